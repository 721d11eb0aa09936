"""A sleepy end device on the emulated air: when it polls, what that costs, and what it lives through."""

from __future__ import annotations

import math
import shutil
import struct
from pathlib import Path

import pytest
from stack_world import DEVICE_EUI, HUB_EUI, LINK_KEY, Chip, World, request
from test_stack_restart import persisted, restart
from test_stack_tshark import DATA_KEY, tshark

from agent.events import LogicalType
from boards.virtual.air.awake import RadioUse
from boards.virtual.air.medium import AirSettings
from boards.virtual.stack.interface import PollRates, Status

REST = PollRates(7.5)
FAST = PollRates(0.1)


def sleepy(world: World, rates: PollRates = REST) -> Chip:
    """Joined, with a link key of its own, and at rest."""
    world.form()
    world.hub.stack.allow_link_key(DEVICE_EUI, LINK_KEY)
    world.hub.stack.permit_join(255)
    for _ in range(5):
        device = world.chip(DEVICE_EUI)
        device.stack.set_poll_rates(rates)
        world.join(device, LogicalType.END_DEVICE, receiver_on=False)
        if device.started:
            break
    assert device.started
    world.hub.stack.set_link_key(DEVICE_EUI, device.short, DATA_KEY)
    device.stack.set_link_key(HUB_EUI, 0, DATA_KEY)
    world.scheduler.run_for(20.0)
    return device


def used(world: World, seconds: float) -> RadioUse:
    before = world.air.meter(DEVICE_EUI).use()
    world.scheduler.run_for(seconds)
    return world.air.meter(DEVICE_EUI).use().since(before)


def test_at_rest_it_polls_by_its_period_and_is_awake_for_less_than_a_thousandth() -> None:
    world = World()
    sleepy(world)
    use = used(world, 7_500.0)
    assert use.polls == pytest.approx(1000, abs=2)
    assert 0.0 < use.share < 0.001


def test_a_new_rate_counts_at_once_and_no_rate_is_no_poll() -> None:
    world = World()
    device = sleepy(world)
    device.stack.set_poll_rates(FAST)
    assert used(world, 10.0).polls == pytest.approx(100, abs=5)
    device.stack.set_poll_rates(PollRates(math.inf))
    assert used(world, 1000.0).polls == 0
    assert world.send(device, 1, request(0, b"x")) == Status.SUCCESS  # its acknowledgement is fetched all the same
    device.stack.set_poll_rates(REST)
    assert used(world, 75.0).polls == pytest.approx(10, abs=1)


@pytest.mark.parametrize("octets", [20, 1500])
@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_secured_data_both_ways_at_rest_in_one_frame_or_in_fragments(octets: int, loss: float) -> None:
    world = World(AirSettings(loss=loss), seed=2)
    device = sleepy(world)
    for handle in range(3):
        up, down = bytes((handle,)) * octets, bytes((handle + 100,)) * octets
        assert world.send(device, handle, request(0, up, aps_security=True), 200.0) == Status.SUCCESS
        assert world.send(world.hub, handle, request(device.short, down, aps_security=True), 200.0) == Status.SUCCESS
        assert world.hub.indications[-1].payload == up
        assert device.indications[-1].payload == down
    assert len(device.indications) == len(world.hub.indications) == 3  # copies are told apart


def test_an_answer_is_fetched_soon_after_the_question_whatever_the_rate_at_rest() -> None:
    world = World()
    device = sleepy(world)
    world.hub.data_indication = lambda _i: world.hub.stack.data_request(  # type: ignore[method-assign]
        9, request(device.short, b"answer", aps_ack=False)
    )
    asked = world.scheduler.now()
    device.stack.data_request(1, request(0, b"question", aps_ack=False))
    assert world.scheduler.run_while(lambda: not device.indications, 7.0)
    assert world.scheduler.now() - asked < 0.2


def test_it_restarts_without_a_join_and_sleeps_again() -> None:
    world = World()
    device = sleepy(world)
    joins = len(world.hub.joined)
    device = restart(world, device, persisted(device), receiver_on=False)
    device.stack.set_poll_rates(REST)
    assert device.failures == []
    assert len(world.hub.joined) == joins + 1  # told as a rejoin
    assert world.send(device, 1, request(0, b"x", aps_security=True)) == Status.SUCCESS
    world.scheduler.run_for(10.0)
    assert used(world, 750.0).share < 0.001
    assert world.hub.stack.statistics.replays == 0


@pytest.mark.parametrize("restarts", [False, True])
def test_a_parent_that_was_gone_for_a_while_reaches_it_again(restarts: bool) -> None:
    """Out of range, or off and on again with its table of children: it asks to rejoin meanwhile, in vain."""
    world = World()
    device = sleepy(world)
    world.air.set_link(HUB_EUI, DEVICE_EUI, None)
    away = used(world, 600.0)
    assert away.polls > 50
    if restarts:
        world.hub = restart(world, world.hub, persisted(world.hub))
    world.air.set_link(HUB_EUI, DEVICE_EUI, 255)
    world.scheduler.run_for(30.0)
    assert world.send(world.hub, 1, request(device.short, b"back", aps_security=True)) == Status.SUCCESS
    assert world.send(device, 1, request(0, b"too", aps_security=True)) == Status.SUCCESS
    assert [one.payload for one in device.indications] == [b"back"]
    world.scheduler.run_for(10.0)
    assert used(world, 750.0).share < 0.001


def behind_a_router(rates: PollRates, seed: int) -> tuple[World, Chip]:
    """The hub is out of the device's reach: a router is its parent."""
    world = World(seed=seed)
    world.form()
    router, device = world.chip(DEVICE_EUI + 1), world.chip(DEVICE_EUI)
    for chip in (router, device):
        world.hub.stack.allow_link_key(chip.stack.eui, LINK_KEY)
    world.hub.stack.permit_join(255)
    world.join(router)
    world.air.set_link(HUB_EUI, DEVICE_EUI, None)
    router.stack.permit_join(255)
    device.stack.set_poll_rates(rates)
    world.join(device, LogicalType.END_DEVICE, receiver_on=False)
    assert device.started
    world.scheduler.run_for(20.0 + 0.61 * seed)
    return world, device


def test_behind_a_router_the_senders_patience_must_outlast_the_sleep() -> None:
    """It starts when the router has the frame and ends 4 x 1.6 s later: a period of 6 s fits, one of 7.5 s does not.

    At the hub itself the wait begins when the device has fetched the frame.
    """
    statuses: dict[float, set[int]] = {6.0: set(), 7.5: set()}
    for period_s, seen in statuses.items():
        for seed in range(8):
            world, device = behind_a_router(PollRates(period_s), seed)
            seen.add(world.send(world.hub, 1, request(device.short, bytes(300))))
            world.scheduler.run_for(30.0)
            if period_s == 6.0:
                assert [len(one.payload) for one in device.indications] == [300]
    assert statuses == {6.0: {Status.SUCCESS}, 7.5: {Status.SUCCESS, Status.APS_NO_ACK}}


def test_a_device_that_does_not_poll_is_told_to_the_sender() -> None:
    world = World()
    device = sleepy(world, PollRates(math.inf))
    assert world.send(world.hub, 1, request(device.short, b"x", aps_ack=False)) == Status.MAC_TRANSACTION_EXPIRED


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_polls_and_pending_frames_as_tshark_reads_them(tmp_path: Path) -> None:
    """MAC data requests; an acknowledgement that says pending, then a data frame; and everything decrypts."""
    path = tmp_path / "air.pcapng"
    world = World(capture=path)
    device = sleepy(world)
    start = world.scheduler.now()
    block = b"\x09\x08\x05\x00" + struct.pack("<HHIIB", 0x105E, 0x0042, 0x01020003, 0x2742, 200) + bytes(200)
    assert world.send(world.hub, 1, request(device.short, block, aps_security=True)) == Status.SUCCESS
    world.scheduler.run_for(20.0)
    assert world.capture is not None
    world.capture.close()
    polls = tshark(path, "-Y", "wpan.cmd == 0x04", "-e", "wpan.src16", "-e", "wpan.dst16", "-e", "wpan.ack_request")
    mine = [row for row in polls if row[0] and int(row[0], 0) == device.short]
    assert len(mine) > 5
    assert {(int(to, 0), ack) for _, to, ack in mine} == {(0, "1")}
    after = f"frame.time_relative >= {start:.6f}"
    acks = tshark(path, "-Y", f"wpan.frame_type == 2 and {after}", "-e", "wpan.pending")
    assert {row[0] for row in acks} == {"0", "1"}
    fetched = tshark(path, "-Y", f"wpan.frame_type == 1 and wpan.src16 == 0 and {after}", "-e", "wpan.dst16")
    assert sum(row[0] == "1" for row in acks) == len(fetched)  # what a poll was promised, it got
    assert tshark(path, "-Y", "zbee_sec.encrypted_payload or _ws.malformed", "-e", "frame.number") == []
    capability = tshark(path, "-Y", "wpan.cmd == 0x01", "-e", "wpan.cinfo.idle_rx", "-e", "wpan.cinfo.device_type")
    assert capability
    assert {tuple(row) for row in capability} == {("0", "0")}
