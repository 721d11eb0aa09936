"""Joining: who gets the network key, who is refused, and who hears of it."""

from __future__ import annotations

import pytest
from stack_world import (
    CHANNEL,
    DEVICE_EUI,
    HUB_EUI,
    INSTALL_CODE,
    LINK_KEY,
    OTHER_CODE,
    World,
    request,
)

from agent.events import LogicalType
from boards.virtual.air.medium import AirSettings
from boards.virtual.stack.interface import JoinFailure, Status
from boards.virtual.stack.keys import install_code_link_key


def test_the_right_install_code_joins_and_both_sides_know() -> None:
    world = World()
    device = world.pair()
    hub_state, state = world.hub.started[0], device.started[0]
    assert world.hub.joined == [(DEVICE_EUI, state.short, 0)]
    assert (state.pan_id, state.channel, state.extended_pan_id) == (hub_state.pan_id, CHANNEL, HUB_EUI)
    assert state.network_key == hub_state.network_key
    assert state.trust_center == HUB_EUI
    assert device.stack.eui_of(0) == HUB_EUI
    assert world.hub.stack.address_of(DEVICE_EUI) == state.short
    parent = device.stack.neighbours()[0]
    assert (parent.eui, parent.relation, parent.logical_type) == (HUB_EUI, 0, LogicalType.COORDINATOR)
    child = world.hub.stack.neighbours()[0]
    assert (child.eui, child.relation, child.authenticated) == (DEVICE_EUI, 1, True)


def test_a_wrong_install_code_does_not_open_the_network_key() -> None:
    world = World()
    world.form()
    world.hub.stack.require_install_code(True)
    world.hub.stack.allow_link_key(DEVICE_EUI, LINK_KEY)
    world.hub.stack.permit_join(255)
    device = world.chip(DEVICE_EUI)
    world.join(device, code=OTHER_CODE)
    assert device.failures == [JoinFailure.KEY_EXCHANGE]
    assert device.stack.export_state() is None
    assert device.stack.statistics.mic_failures == 1
    world.scheduler.run_for(20.0)
    assert world.hub.joined == []
    assert world.hub.stack.neighbours() == []  # the stranger was dropped
    world.join(device, code=INSTALL_CODE)  # and may try again with the right one
    assert len(device.started) == 1


def test_without_an_entry_a_device_is_refused_where_install_codes_are_required() -> None:
    world = World()
    world.form()
    world.hub.stack.require_install_code(True)
    world.hub.stack.allow_link_key(DEVICE_EUI + 1, LINK_KEY)
    world.hub.stack.permit_join(255)
    device = world.chip(DEVICE_EUI)
    world.join(device)
    assert device.failures == [JoinFailure.KEY_EXCHANGE]
    assert world.hub.joined == []


def test_the_default_key_joins_where_install_codes_are_not_required() -> None:
    world = World()
    world.form()
    world.hub.stack.permit_join(255)
    device = world.chip(DEVICE_EUI)
    device.stack.join((CHANNEL,), b"ZigBeeAlliance09", LogicalType.ROUTER)
    assert world.scheduler.run_while(lambda: not device.ended, 60.0)
    assert device.failures == []
    world.scheduler.run_for(1.0)
    assert len(world.hub.joined) == 1


def test_another_default_key_can_be_set() -> None:
    world = World()
    world.form()
    world.hub.stack.set_default_link_key(LINK_KEY)
    world.hub.stack.permit_join(255)
    device = world.chip(DEVICE_EUI)
    world.join(device)
    assert len(device.started) == 1


def test_no_network_and_a_closed_one_are_told_apart() -> None:
    world = World()
    device = world.chip(DEVICE_EUI)
    world.join(device)
    assert device.failures == [JoinFailure.NO_NETWORK]
    world.form()
    world.hub.stack.permit_join(30)
    world.scheduler.run_for(31.0)
    other = world.chip(DEVICE_EUI)
    world.join(other)
    assert other.failures == [JoinFailure.NOT_PERMITTED]


def test_a_permit_lasts_the_host_s_seconds_on_a_fast_air() -> None:
    """The host renews it by its own clock; were it scaled, a device that starts slowly would find the door shut."""
    world = World()
    world.scheduler.speed = 100.0
    world.form()
    world.hub.stack.permit_join(30)
    world.scheduler.run_for(2_900.0)
    device = world.chip(DEVICE_EUI)
    world.join(device)
    assert JoinFailure.NOT_PERMITTED not in device.failures
    world.scheduler.run_for(200.0)
    other = world.chip(DEVICE_EUI + 1)
    world.join(other)
    assert other.failures == [JoinFailure.NOT_PERMITTED]


def test_the_wanted_extended_pan_id_is_chosen_among_two_networks_on_one_channel() -> None:
    world = World()
    other_hub = world.chip(HUB_EUI + 1)
    for hub in (world.hub, other_hub):
        world.form(hub)
        hub.stack.permit_join(255)
        hub.stack.allow_link_key(DEVICE_EUI, LINK_KEY)
    device = world.chip(DEVICE_EUI)
    world.join(device, extended_pan_id=HUB_EUI + 1)
    assert device.started[0].trust_center == HUB_EUI + 1
    assert world.hub.joined == []
    assert [eui for eui, _, _ in other_hub.joined] == [DEVICE_EUI]
    assert world.send(device, 1, request(0, b"mine")) == Status.SUCCESS
    assert [indication.payload for indication in other_hub.indications] == [b"mine"]
    assert world.hub.indications == []
    assert world.hub.started[0].pan_id != other_hub.started[0].pan_id


def test_forming_takes_the_channel_with_the_fewest_networks() -> None:
    world = World()
    world.form(channels=(11,))
    second = world.form(world.chip(HUB_EUI + 1), channels=(11, 12))
    assert second.started[0].channel == 12


def test_given_network_parameters_are_used() -> None:
    world = World()
    world.hub.stack.form((25,), pan_id=0x1A62, extended_pan_id=0xAABB, network_key=bytes(range(16)))
    assert world.scheduler.run_while(lambda: not world.hub.started, 10.0)
    state = world.hub.started[0]
    assert (state.channel, state.pan_id, state.extended_pan_id) == (25, 0x1A62, 0xAABB)
    assert state.network_key == bytes(range(16))


def test_active_scan_tells_what_a_beacon_says() -> None:
    world = World()
    world.form()
    world.hub.stack.permit_join(255)
    looker = world.chip(DEVICE_EUI)
    results = []
    looker.stack.active_scan((11, CHANNEL), results.append)
    world.scheduler.run_for(1.0)
    (found,) = results[0]
    assert (found.channel, found.sender, found.permits_joining, found.extended_pan_id) == (CHANNEL, 0, True, HUB_EUI)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("loss", [0.1, 0.3])
def test_joining_over_a_bad_air_succeeds_or_says_why(loss: float, seed: int) -> None:
    world = World(AirSettings(loss=loss, duplicate=0.1), seed=seed)
    device = world.pair()
    assert world.scheduler.run_while(lambda: not world.hub.joined, 30.0)
    assert {eui for eui, _, _ in world.hub.joined} == {DEVICE_EUI}
    assert device.started[-1].network_key == world.hub.started[0].network_key


def test_a_device_that_lost_everything_joins_again_and_is_heard() -> None:
    """Its counters start at 0 again; the hub does not take that for a replay, since it joined anew."""
    world = World()
    device = world.pair()
    for handle in range(20):
        assert world.send(device, handle, request(0, b"before", aps_security=True)) == Status.SUCCESS
    device.stack.stop()
    again = world.chip(DEVICE_EUI)
    world.join(again)
    assert again.started
    assert world.send(again, 1, request(0, b"after", aps_security=True)) == Status.SUCCESS
    assert world.hub.indications[-1].payload == b"after"


def test_leaving_is_heard_and_ends_membership() -> None:
    world = World()
    device = world.pair()
    short = device.short
    device.stack.leave()
    world.scheduler.run_for(1.0)
    assert device.gone == [False]
    assert device.stack.export_state() is None
    assert world.hub.left == [(DEVICE_EUI, short)]
    assert world.send(device, 1, request(0, b"x")) == Status.APS_FAIL


def test_joining_while_on_a_network_is_a_defect_of_the_caller() -> None:
    world = World()
    device = world.pair()
    with pytest.raises(RuntimeError, match="leave or stop first"):
        device.stack.join((CHANNEL,), install_code_link_key(INSTALL_CODE), LogicalType.ROUTER)
