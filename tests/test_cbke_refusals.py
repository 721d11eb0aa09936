"""Key establishment in virtual time: every way to fail, who is told, and what is remembered of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cbke_lab import (
    DEVICE,
    HUB,
    SETS,
    STRANGER,
    TIMES,
    Pair,
    changed,
    events,
    failure,
    foreign,
    initiate_frame,
    machine,
    sent,
    terminate,
)

from agent.zigbee.cbke.certificates import CURVES, SUITE_1, SUITE_2
from agent.zigbee.cbke.events import CbkeTimes, KeyEstablishmentFailed, LinkKeyEstablished
from agent.zigbee.cbke.machine import REMEMBERED_PARTNERS
from agent.zigbee.cbke.messages import EphemeralData, KeyCommand, KeyFrame, Terminate, TerminateStatus
from agent.zigbee.cbke.states import AWAITED, Reason, State

SUITE_2_HUB = SETS[HUB][SUITE_2]
REFUSED = [
    ("unknown issuer", initiate_frame(foreign(HUB, SUITE_2), to_client=False), TerminateStatus.UNKNOWN_ISSUER),
    ("of another device", initiate_frame(SETS[STRANGER][2], to_client=False), TerminateStatus.INVALID_CERTIFICATE),
    ("type", changed(initiate_frame(SUITE_2_HUB, to_client=False), 4, 1), TerminateStatus.INVALID_CERTIFICATE),
    ("curve", changed(initiate_frame(SUITE_2_HUB, to_client=False), 13, 0x0C), TerminateStatus.INVALID_CERTIFICATE),
    ("hash", changed(initiate_frame(SUITE_2_HUB, to_client=False), 14, 0), TerminateStatus.INVALID_CERTIFICATE),
    ("usage", changed(initiate_frame(SUITE_2_HUB, to_client=False), 40, 0x80), TerminateStatus.INVALID_CERTIFICATE),
    ("point", changed(initiate_frame(SUITE_2_HUB, to_client=False), 41, 0), TerminateStatus.INVALID_CERTIFICATE),
    ("time FF", initiate_frame(SUITE_2_HUB, to_client=False, ephemeral=0xFF), TerminateStatus.BAD_MESSAGE),
    ("time FF", initiate_frame(SUITE_2_HUB, to_client=False, confirm=0xFF), TerminateStatus.BAD_MESSAGE),
    ("suite 4", initiate_frame(SUITE_2_HUB, to_client=False, suite=4), TerminateStatus.UNSUPPORTED_SUITE),
    ("suite 1", initiate_frame(SETS[HUB][SUITE_1], to_client=False), TerminateStatus.UNSUPPORTED_SUITE),
    ("short", KeyFrame(0, bytes(3), False), TerminateStatus.BAD_MESSAGE),
    ("wrong length", KeyFrame(0, b"\x02\x00\x0a\x0f" + bytes(48), False), TerminateStatus.BAD_MESSAGE),
]


@pytest.mark.parametrize("initiator", [True, False])
@pytest.mark.parametrize(("name", "frame", "status"), REFUSED)
def test_refused_initiates(name: str, frame: KeyFrame, status: TerminateStatus, initiator: bool) -> None:
    device = machine(DEVICE, SUITE_2)
    if initiator:
        device.start(HUB, SUITE_2, 0.0)
        sent(device)
        frame = replace(frame, to_client=True)
    device.receive(frame, HUB, 1.0)
    message = terminate(device)
    assert (message.status, message.wait_s, message.suites) == (status, TIMES.wait_s, SUITE_2)
    event = failure(device)
    assert event.reason.value == status
    assert not event.by_partner
    assert device.state is State.IDLE
    assert not device.start(HUB, SUITE_2, 1.0), "not before the wait time"
    assert device.start(HUB, SUITE_2, 1.0 + event.retry_after_s)


def test_a_wrong_confirmation_gives_no_key() -> None:
    for liar in ("device", "hub"):
        pair = Pair(machine(DEVICE), machine(HUB))
        pair.device.start(HUB, SUITE_1, 0.0)
        pair.run_until(pair.hub, State.CONFIRM_REQUEST)
        (confirm,) = sent(pair.device)
        if liar == "device":
            honest, frame = pair.hub, changed(confirm, 0, confirm.payload[0] ^ 1)
            honest.receive(frame, DEVICE, 1.0)
        else:
            pair.hub.receive(confirm, DEVICE, 1.0)
            honest, (answer,) = pair.device, sent(pair.hub)
            honest.receive(changed(answer, 15, answer.payload[15] ^ 0x80), HUB, 1.0)
        assert terminate(honest).status == TerminateStatus.BAD_KEY_CONFIRM
        assert failure(honest).reason is Reason.BAD_KEY_CONFIRM


@pytest.mark.parametrize("point", ["off the curve", "infinity", "small order", "wrong length"])
@pytest.mark.parametrize("initiator", [True, False])
def test_bad_ephemeral_points(point: str, initiator: bool) -> None:
    octets = {
        "off the curve": b"\x02" + bytes(20) + b"\x02",
        "infinity": bytes(22),
        "small order": b"\x02" + bytes(21),
        "wrong length": SETS[HUB][SUITE_2].certificate.point_octets,
    }[point]
    if point == "off the curve":
        f = CURVES[SUITE_1].field
        x = next(x for x in range(1, 99) if f.trace(x ^ 1 ^ f.square(f.inverse(x))))
        octets = b"\x02" + x.to_bytes(21, "big")
    pair = Pair(machine(DEVICE), machine(HUB))
    pair.device.start(HUB, SUITE_1, 0.0)
    victim, partner = (pair.device, HUB) if initiator else (pair.hub, DEVICE)
    pair.run_until(victim, State.EPHEMERAL_RESPONSE if initiator else State.EPHEMERAL_REQUEST)
    sent(victim)
    victim.receive(KeyFrame(KeyCommand.EPHEMERAL_DATA, EphemeralData(octets).encode(), initiator), partner, 1.0)
    assert terminate(victim).status == TerminateStatus.BAD_MESSAGE
    assert failure(victim).reason is Reason.BAD_MESSAGE


@pytest.mark.parametrize("status", [1, 2, 3, 4, 5, 6, 0, 7, 255])
@pytest.mark.parametrize("state", [state for state in State if state is not State.IDLE])
def test_a_terminate_ends_the_exchange(status: int, state: State) -> None:
    pair = Pair(machine(DEVICE), machine(HUB))
    pair.device.start(HUB, SUITE_1, 0.0)
    initiator = AWAITED[state].to_client
    victim, partner = (pair.device, HUB) if initiator else (pair.hub, DEVICE)
    pair.run_until(victim, state)
    sent(victim)
    frame = KeyFrame(KeyCommand.TERMINATE, Terminate(status, 60, 3).encode(), initiator)
    victim.receive(replace(frame, to_client=not initiator), partner, 1.0)
    assert victim.state is state, "of the wrong direction: ignored"
    victim.receive(replace(frame, payload=frame.payload[1:]), partner, 1.0)
    assert victim.state is state, "malformed: ignored, and never answered"
    victim.receive(frame, partner, 1.0)
    assert sent(victim) == []
    event = failure(victim)
    assert event.reason is (Reason(status) if 1 <= status <= 6 else Reason.UNKNOWN_STATUS)
    assert (event.by_partner, event.partner_suites) == (True, 3)
    assert event.retry_after_s == (60 if initiator else 0)
    assert victim.start(partner, SUITE_1, 1.0) is not initiator
    assert victim.start(partner, SUITE_1, 61.0) is initiator


@pytest.mark.parametrize(
    ("state", "seconds"),
    [
        (State.INITIATE_RESPONSE, TIMES.initiate_timeout_s),
        (State.EPHEMERAL_RESPONSE, 3 + TIMES.margin_s),
        (State.CONFIRM_RESPONSE, 7 + TIMES.margin_s),
        (State.EPHEMERAL_REQUEST, 3 + TIMES.margin_s),
        (State.CONFIRM_REQUEST, 7 + TIMES.margin_s),
    ],
)
def test_time_outs_come_from_the_partners_announced_times(state: State, seconds: float) -> None:
    times = CbkeTimes(ephemeral_s=3, confirm_s=7)
    pair = Pair(machine(DEVICE, times=times), machine(HUB, times=times), now=100.0)
    pair.device.start(HUB, SUITE_1, 100.0)
    victim = pair.device if AWAITED[state].to_client else pair.hub
    pair.run_until(victim, state)
    sent(victim)
    assert victim.next_deadline() == 100.0 + seconds
    victim.handle_timer(100.0 + seconds - 0.01)
    assert victim.state is state, "early is harmless"
    victim.handle_timer(100.0 + seconds)
    assert sent(victim) == [], "silence ends without a Terminate"
    assert failure(victim).reason is Reason.TIME_OUT
    assert victim.next_deadline() is None
    victim.handle_timer(1e9)
    assert events(victim) == []


def test_an_undelivered_frame_ends_it_and_an_old_report_does_not() -> None:
    pair = Pair(machine(DEVICE), machine(HUB))
    pair.device.start(HUB, SUITE_1, 0.0)
    ((first, initiate),) = pair.device.frames_to_send(0.0)
    pair.hub.receive(initiate.frame, DEVICE, 0.0)
    (response,) = sent(pair.hub)
    pair.device.receive(response, HUB, 0.0)
    pair.device.frame_sent(first, False, 0.0)
    assert pair.device.state is State.EPHEMERAL_RESPONSE, "its answer is here already"
    ((second, _),) = pair.device.frames_to_send(0.0)
    pair.device.frame_sent(second, True, 0.0)
    assert pair.device.state is State.EPHEMERAL_RESPONSE
    pair.device.frame_sent(second, False, 0.0)
    assert failure(pair.device).reason is Reason.NOT_DELIVERED
    pair.device.frame_sent(second, False, 0.0)
    assert events(pair.device) == []


def test_a_responder_begins_anew_with_a_partner_that_begins_anew() -> None:
    pair = Pair(machine(DEVICE), machine(HUB))
    pair.device.start(HUB, SUITE_1, 0.0)
    pair.run_until(pair.hub, State.CONFIRM_REQUEST)
    pair.device = machine(DEVICE)  # restarted
    pair.device.start(HUB, SUITE_1, 1.0)
    sent(pair.hub)
    pair.run()
    told, established = events(pair.hub)
    assert isinstance(told, KeyEstablishmentFailed)
    assert told.reason is Reason.RESTARTED
    assert isinstance(established, LinkKeyEstablished)
    (mine,) = events(pair.device)
    assert isinstance(mine, LinkKeyEstablished)
    assert mine.link_key == established.link_key


def test_a_frame_repeated_by_the_network_changes_nothing() -> None:
    pair = Pair(machine(DEVICE), machine(HUB))
    pair.device.start(HUB, SUITE_1, 0.0)
    for sender, receiver in [(pair.device, pair.hub), (pair.hub, pair.device)] * 3:
        (frame,) = sent(sender)
        receiver.receive(frame, sender.eui, 0.0)
        if frame.command == KeyCommand.INITIATE and not frame.to_client:
            continue
        before = receiver.state, receiver.next_deadline(), len(receiver._outgoing)
        receiver.receive(frame, sender.eui, 0.1)
        assert (receiver.state, receiver.next_deadline(), len(receiver._outgoing)) == before
    assert isinstance(events(pair.device)[0], LinkKeyEstablished)
    assert isinstance(events(pair.hub)[0], LinkKeyEstablished)


def test_one_partner_at_a_time() -> None:
    pair = Pair(machine(DEVICE), machine(HUB))
    pair.device.start(HUB, SUITE_1, 0.0)
    pair.run_until(pair.hub, State.EPHEMERAL_REQUEST)
    sent(pair.hub)
    request = initiate_frame(SETS[STRANGER][SUITE_1], to_client=False)
    pair.hub.receive(request, STRANGER, 5.5)
    message = terminate(pair.hub)
    assert message.status == TerminateStatus.NO_RESOURCES
    assert message.wait_s == 10, "15 s from 0 s on, rounded up"
    assert (pair.hub.state, events(pair.hub)) == (State.EPHEMERAL_REQUEST, [])
    assert not pair.hub.start(STRANGER, SUITE_1, 5.5), "busy"
    pair.device.receive(initiate_frame(SETS[HUB][SUITE_1], to_client=False), HUB, 5.5)
    assert pair.device.state is not State.IDLE, "both began at once: ours goes on"


def test_a_partner_that_was_refused_must_wait() -> None:
    hub = machine(HUB)
    bad = initiate_frame(SETS[STRANGER][SUITE_1], to_client=False)
    hub.receive(bad, DEVICE, 0.0)
    assert terminate(hub).status == TerminateStatus.INVALID_CERTIFICATE
    events(hub)
    good = initiate_frame(SETS[DEVICE][SUITE_1], to_client=False)
    hub.receive(good, DEVICE, 4.0)
    refused = terminate(hub)
    assert (refused.status, refused.wait_s) == (TerminateStatus.NO_RESOURCES, 6)
    assert events(hub) == []
    hub.receive(initiate_frame(SETS[STRANGER][SUITE_1], to_client=False), STRANGER, 4.0)
    assert hub.state is State.EPHEMERAL_REQUEST, "another one need not"
    hub.cancel()
    hub.receive(good, DEVICE, 10.0)
    assert hub.state is State.EPHEMERAL_REQUEST


def test_the_memory_of_refusals_is_bounded() -> None:
    hub = machine(HUB)
    bad = initiate_frame(SETS[STRANGER][SUITE_1], to_client=False)
    for eui in range(3 * REMEMBERED_PARTNERS):
        hub.receive(bad, eui, 0.0)
    assert len(hub._not_before) == REMEMBERED_PARTNERS


def test_stray_messages_are_answered_and_fail_nothing() -> None:
    device = machine(DEVICE)
    for command, payload in [(1, SETS[HUB][SUITE_1].certificate.point_octets), (2, bytes(16)), (9, b""), (1, b"short")]:
        device.receive(KeyFrame(command, payload, True), HUB, 0.0)
        (frame,) = sent(device)
        assert not frame.to_client
        assert frame.payload == Terminate(TerminateStatus.BAD_MESSAGE, TIMES.wait_s, SUITE_1).encode()
    device.receive(KeyFrame(KeyCommand.TERMINATE, Terminate(3, 10, 1).encode(), True), HUB, 0.0)
    assert sent(device) == []
    assert events(device) == []
    assert device.start(HUB, SUITE_1, 0.0)
