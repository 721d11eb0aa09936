"""Restarts, end devices and routers in between."""

from __future__ import annotations

import itertools

import pytest
from stack_world import DEVICE_EUI, HUB_EUI, INSTALL_CODE, LINK_KEY, Chip, World, request

from agent.events import LogicalType
from boards.virtual.air.medium import AirSettings
from boards.virtual.stack.interface import JoinFailure, NetworkState, PollRates, Status
from boards.virtual.stack.key_store import RESERVE_STEP
from boards.virtual.stack.state import from_json, to_json


def restart(world: World, chip: Chip, state: NetworkState, receiver_on: bool = True) -> Chip:
    """Power off, and on again with what NV had."""
    chip.stack.stop()
    fresh = world.chip(chip.stack.eui)
    fresh.stack.restore(from_json(to_json(state)), receiver_on_when_idle=receiver_on)
    assert world.scheduler.run_while(lambda: not fresh.ended, 60.0)
    world.scheduler.run_for(1.0)
    return fresh


def persisted(chip: Chip) -> NetworkState:
    assert chip.persisted is not None
    return chip.persisted


def test_a_router_comes_back_without_joining_and_counts_on() -> None:
    world = World()
    device = world.pair()
    for key_of in (world.hub, device):
        partner = (DEVICE_EUI, device.short) if key_of is world.hub else (HUB_EUI, 0)
        key_of.stack.set_link_key(*partner, bytes(16))
    joins = len(world.hub.joined)
    for round_number in range(4):
        for handle in range(30):
            secured = request(0, bytes((round_number, handle)), aps_security=True)
            assert world.send(device, handle, secured) == Status.SUCCESS
        device = restart(world, device, persisted(device))
        assert device.failures == []
    assert len(world.hub.joined) == joins
    assert len(world.hub.indications) == 120
    assert world.hub.stack.statistics.replays == 0


def test_a_coordinator_comes_back_with_its_members_and_keys() -> None:
    world = World()
    device = world.pair()
    assert world.send(world.hub, 1, request(device.short, b"before", aps_security=True)) == Status.SUCCESS
    world.hub = restart(world, world.hub, persisted(world.hub))
    assert world.hub.stack.address_of(DEVICE_EUI) == device.short
    assert world.send(world.hub, 2, request(device.short, b"after", aps_security=True)) == Status.SUCCESS
    assert world.send(device, 3, request(0, b"back", aps_security=True)) == Status.SUCCESS
    assert [one.payload for one in device.indications] == [b"before", b"after"]
    state = persisted(world.hub)
    assert state.require_install_code
    assert [entry.eui for entry in state.link_keys] == [DEVICE_EUI]


def test_the_persisted_reserve_is_always_ahead_of_the_counter_on_the_air() -> None:
    """Power may fail at any moment: what NV holds then is above every counter that was ever used."""
    world = World()
    device = world.pair()
    handles = itertools.count(1)
    core = device.stack._core
    for _ in range(RESERVE_STEP + 200):
        device.stack.data_request(next(handles), request(0, b"x", aps_ack=False, aps_security=True))
        world.scheduler.run_for(0.02)
        assert core.network is not None
        state, entry = persisted(device), core.keys.get(HUB_EUI)
        assert entry is not None
        assert state.outgoing_counter >= core.network.outgoing.next_value
        assert state.link_keys[0].outgoing_counter >= entry.outgoing.next_value
    assert persisted(device).outgoing_counter > RESERVE_STEP


def test_a_restart_right_after_traffic_is_not_taken_for_duplicates() -> None:
    """APS counters and NWK sequence numbers start at random: whatever they are, new content is heard."""
    for seed in range(30):
        world = World(seed=seed)
        device = world.pair()
        for handle in range(130):
            assert world.send(device, handle, request(0, bytes((handle,)))) == Status.SUCCESS
        device = restart(world, device, persisted(device))
        count = len(world.hub.indications)
        assert world.send(device, 1, request(0, b"after the restart")) == Status.SUCCESS
        assert len(world.hub.indications) == count + 1


@pytest.mark.parametrize("receiver_on", [True, False])
def test_an_end_device_joins_talks_and_rejoins(receiver_on: bool) -> None:
    world = World()
    world.form()
    world.hub.stack.allow_link_key(DEVICE_EUI, LINK_KEY)
    world.hub.stack.permit_join(255)
    device = world.chip(DEVICE_EUI)
    world.join(device, LogicalType.END_DEVICE, receiver_on=receiver_on)
    assert device.started
    assert world.hub.joined == [(DEVICE_EUI, device.short, 0)]
    assert world.send(device, 1, request(0, bytes(300))) == Status.SUCCESS
    assert world.send(world.hub, 1, request(device.short, bytes(300))) == Status.SUCCESS
    assert [len(one.payload) for one in device.indications] == [300]
    device = restart(world, device, persisted(device), receiver_on)
    assert device.failures == []
    assert [eui for eui, _, _ in world.hub.joined] == [DEVICE_EUI, DEVICE_EUI]  # a rejoin is told as well
    assert world.send(world.hub, 2, request(device.short, b"again")) == Status.SUCCESS
    assert world.send(world.hub, 3, request(0xFFFF, b"everybody", aps_ack=False)) == Status.SUCCESS
    world.scheduler.run_for(5.0)
    assert [one.payload for one in device.indications] == [b"again", b"everybody"]


def test_a_sleepy_device_hears_nothing_between_polls() -> None:
    world = World()
    world.form()
    world.hub.stack.allow_link_key(DEVICE_EUI, LINK_KEY)
    world.hub.stack.permit_join(255)
    device = world.chip(DEVICE_EUI)
    device.stack.set_poll_rates(PollRates(5.0))
    world.join(device, LogicalType.END_DEVICE, receiver_on=False)
    world.scheduler.run_for(20.0)
    waits = []
    for handle in range(1, 6):
        before = world.scheduler.now()
        assert world.send(world.hub, handle, request(device.short, b"x", aps_ack=False)) == Status.SUCCESS
        waits.append(world.scheduler.now() - before)
        world.scheduler.run_for(3.7)
    assert max(waits) > 0.5
    device.stack.stop()
    assert world.send(world.hub, 9, request(device.short, b"x", aps_ack=False)) == Status.MAC_TRANSACTION_EXPIRED


def test_an_end_device_whose_parent_is_gone_says_so() -> None:
    world = World()
    world.form()
    world.hub.stack.allow_link_key(DEVICE_EUI, LINK_KEY)
    world.hub.stack.permit_join(255)
    device = world.chip(DEVICE_EUI)
    world.join(device, LogicalType.END_DEVICE)
    world.hub.stack.stop()
    device = restart(world, device, persisted(device))
    assert device.failures == [JoinFailure.NO_PARENT]
    assert device.started == []


def chain(length: int, settings: AirSettings | None = None, seed: int = 1) -> tuple[World, list[Chip]]:
    """Hub and routers in a row, each in range of its neighbours only; the later ones join through the earlier."""
    world = World(settings, seed=seed)
    euis = [HUB_EUI, *(DEVICE_EUI + number for number in range(length))]
    for one, other in itertools.combinations(range(len(euis)), 2):
        if other - one > 1:
            world.air.set_link(euis[one], euis[other], None)
    world.form()
    world.hub.stack.require_install_code(True)
    devices: list[Chip] = []
    for eui in euis[1:]:
        world.hub.stack.allow_link_key(eui, LINK_KEY)
        (devices[-1] if devices else world.hub).stack.permit_join(255)
        device = world.chip(eui)
        for _ in range(5):
            if not device.started:
                world.join(device)
        assert device.started
        devices.append(device)
    return world, devices


def test_joining_through_routers_and_talking_over_three_hops() -> None:
    world, devices = chain(3)
    assert [eui for eui, _, _ in world.hub.joined] == [device.stack.eui for device in devices]
    parents = [parent for _, _, parent in world.hub.joined]
    assert parents == [0, devices[0].short, devices[1].short]
    far = devices[-1]
    assert world.send(far, 1, request(0, bytes(300), aps_security=True)) == Status.SUCCESS
    assert world.send(world.hub, 1, request(far.short, bytes(300), aps_security=True)) == Status.SUCCESS
    assert [len(one.payload) for one in far.indications] == [300]
    assert world.hub.indications[0].source_eui == far.stack.eui
    assert world.send(world.hub, 2, request(0xFFFD, b"all", aps_ack=False)) == Status.SUCCESS
    world.scheduler.run_for(5.0)
    assert all(device.indications[-1].payload == b"all" for device in devices)


def test_a_wrong_install_code_is_refused_through_a_router_too() -> None:
    world, devices = chain(1)
    world.air.set_link(HUB_EUI, DEVICE_EUI + 1, None)
    world.hub.stack.allow_link_key(DEVICE_EUI + 1, bytes(16))
    world.hub.stack.permit_join(0)
    devices[0].stack.permit_join(255)
    stranger = world.chip(DEVICE_EUI + 1)
    world.join(stranger, code=INSTALL_CODE)
    assert stranger.failures == [JoinFailure.KEY_EXCHANGE]
    assert len(world.hub.joined) == 1


@pytest.mark.parametrize("seed", range(4))
def test_two_hops_over_a_bad_air(seed: int) -> None:
    world, devices = chain(2, AirSettings(loss=0.1, duplicate=0.1), seed)
    far, delivered = devices[-1], 0
    for handle in range(20):
        status = world.send(far, handle, request(0, bytes((handle,)) * 20), limit_s=120.0)
        copies = [one.payload[0] for one in world.hub.indications].count(handle)
        assert copies <= 1
        assert status != Status.SUCCESS or copies == 1
        delivered += status == Status.SUCCESS
    assert delivered >= 19


def test_a_router_that_moves_out_of_range_is_found_another_way() -> None:
    """Hub, two routers; the far one loses the hub and is reached through the near one from then on."""
    world = World()
    world.form()
    devices = []
    for eui in (DEVICE_EUI, DEVICE_EUI + 1):
        world.hub.stack.allow_link_key(eui, LINK_KEY)
        world.hub.stack.permit_join(255)
        device = world.chip(eui)
        world.join(device)
        devices.append(device)
    world.air.set_link(HUB_EUI, DEVICE_EUI + 1, None)
    statuses = [world.send(world.hub, handle, request(devices[1].short, b"x")) for handle in range(3)]
    assert statuses[-1] == Status.SUCCESS
    assert world.send(devices[1], 1, request(0, b"y")) == Status.SUCCESS
