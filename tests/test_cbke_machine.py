"""The machine in virtual time: transcripts of both suites, every way to fail, and any input in any state."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from annex_c import EXAMPLES, Party
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.zigbee.cbke.certificates import CURVES, SUITE_1, SUITE_2
from agent.zigbee.cbke.ecqv import Credentials, check_credentials, issue, make_authority
from agent.zigbee.cbke.events import CbkeTimes, KeyEstablishmentFailed, LinkKeyEstablished
from agent.zigbee.cbke.machine import REMEMBERED_PARTNERS, KeyEstablishment
from agent.zigbee.cbke.messages import EphemeralData, Initiate, KeyCommand, KeyFrame, Terminate, TerminateStatus, decode
from agent.zigbee.cbke.states import AWAITED, Reason, State

DEVICE, HUB, STRANGER = 0x90B3D51F30010000, 0x90B3D51F30000002, 0x90B3D51F300000AA
ISSUER = 0x1122334455667788
CA = {suite: make_authority(suite, ISSUER, random.Random(suite)) for suite in (SUITE_1, SUITE_2)}
SETS = {
    eui: {suite: issue(CA[suite], eui, random.Random(eui ^ suite)) for suite in CA} for eui in (DEVICE, HUB, STRANGER)
}
TIMES = CbkeTimes()


def machine(eui: int, *suites: int, times: CbkeTimes = TIMES) -> KeyEstablishment:
    chosen = {suite: SETS[eui][suite] for suite in suites or (SUITE_1,)}
    return KeyEstablishment(eui, chosen, random.Random(eui), times)


class Pair:
    """Device and hub, and the air between them: one frame a step."""

    def __init__(self, device: KeyEstablishment, hub: KeyEstablishment, now: float = 0.0) -> None:
        self.device, self.hub, self.now = device, hub, now
        self.transcript: list[tuple[str, KeyFrame]] = []

    def step(self) -> bool:
        """Carry what is waiting; False when nothing was."""
        carried = False
        for sender, receiver, name in ((self.device, self.hub, "device"), (self.hub, self.device, "hub")):
            for handle, out in sender.frames_to_send(self.now):
                assert out.partner == receiver.eui
                self.transcript.append((name, out.frame))
                sender.frame_sent(handle, True, self.now)
                receiver.receive(out.frame, sender.eui, self.now)
                carried = True
        return carried

    def run(self) -> None:
        while self.step():
            self.now += 0.5

    def run_until(self, one: KeyEstablishment, state: State) -> None:
        while one.state is not state:
            assert self.step()


def events(one: KeyEstablishment) -> list[object]:
    found = []
    while (event := one.next_event()) is not None:
        found.append(event)
    return found


def failure(one: KeyEstablishment) -> KeyEstablishmentFailed:
    (event,) = events(one)
    assert isinstance(event, KeyEstablishmentFailed)
    return event


def sent(one: KeyEstablishment, now: float = 0.0) -> list[KeyFrame]:
    return [out.frame for _, out in one.frames_to_send(now)]


def terminate(one: KeyEstablishment, now: float = 0.0) -> Terminate:
    """The one frame that it wants to send, a Terminate."""
    (frame,) = sent(one, now)
    message = decode(frame.command, frame.payload)
    assert isinstance(message, Terminate)
    return message


class Scripted(random.Random):
    """Gives the private keys of a worked example instead of random ones."""

    def __init__(self, party: Party) -> None:
        super().__init__(0)
        self.value = int.from_bytes(party.ephemeral_private, "big")

    def randrange(self, *_: int) -> int:  # type: ignore[override]
        return self.value


@pytest.mark.parametrize("suite", [SUITE_1, SUITE_2])
def test_annex_c_transcript(suite: int) -> None:
    example = EXAMPLES[suite]

    def party(side: Party) -> KeyEstablishment:
        mine = check_credentials(suite, side.certificate, side.private, example.ca_public, side.eui)
        return KeyEstablishment(side.eui, {suite: mine}, Scripted(side))

    u, v = party(example.u), party(example.v)
    pair = Pair(u, v)
    assert u.start(v.eui, suite, 0.0)
    pair.run()
    initiate = bytes((suite, 0, 10, 15))
    assert [(name, frame.command, frame.to_client, frame.payload) for name, frame in pair.transcript] == [
        ("device", 0, False, initiate + example.u.certificate),  # Initiate Key Establishment Request
        ("hub", 0, True, initiate + example.v.certificate),  # Initiate Key Establishment Response
        ("device", 1, False, example.u.ephemeral_public),  # Ephemeral Data Request
        ("hub", 1, True, example.v.ephemeral_public),  # Ephemeral Data Response
        ("device", 2, False, example.mac_u),  # Confirm Key Data Request
        ("hub", 2, True, example.mac_v),  # Confirm Key Data Response
    ]
    assert events(u) == [LinkKeyEstablished(v.eui, suite, True, example.link_key)]
    assert events(v) == [LinkKeyEstablished(u.eui, suite, False, example.link_key)]
    assert u.state is v.state is State.IDLE
    assert u.next_deadline() is v.next_deadline() is None


@pytest.mark.parametrize(
    ("device", "hub", "announced", "chosen"),
    [
        ((SUITE_1, SUITE_2), (SUITE_1, SUITE_2), 3, SUITE_2),
        ((SUITE_1, SUITE_2), (SUITE_1,), 1, SUITE_1),
        ((SUITE_1,), (SUITE_1, SUITE_2), 3, SUITE_1),
        ((SUITE_2,), (SUITE_2, SUITE_1), 3, SUITE_2),
        ((SUITE_2,), (SUITE_2,), 0xFFFF, SUITE_2),
    ],
)
def test_suites_are_negotiated(device: tuple[int, ...], hub: tuple[int, ...], announced: int, chosen: int) -> None:
    pair = Pair(machine(DEVICE, *device), machine(HUB, *hub))
    assert pair.hub.suites == sum(hub)
    assert pair.device.start(HUB, announced, 0.0)
    pair.run()
    (mine,), (theirs,) = events(pair.device), events(pair.hub)
    assert isinstance(mine, LinkKeyEstablished)
    assert isinstance(theirs, LinkKeyEstablished)
    assert mine.suite == theirs.suite == chosen
    assert mine.link_key == theirs.link_key
    assert len(mine.link_key) == 16
    assert mine.link_key.hex() not in repr(mine)


def test_every_run_makes_another_key() -> None:
    keys = set()
    pair = Pair(machine(DEVICE), machine(HUB))
    for _ in range(3):
        assert pair.device.start(HUB, SUITE_1, pair.now)
        pair.run()
        keys |= {event.link_key for event in events(pair.device) + events(pair.hub)}  # type: ignore[attr-defined]
    assert len(keys) == 3


def test_no_suite_in_common_fails_without_a_frame() -> None:
    device = machine(DEVICE, SUITE_1)
    assert device.start(HUB, SUITE_2, 0.0)
    assert sent(device) == []
    assert failure(device).reason is Reason.UNSUPPORTED_SUITE


def test_a_hub_that_announces_what_it_cannot_do_tells_its_suites() -> None:
    pair = Pair(machine(DEVICE, SUITE_1, SUITE_2), machine(HUB, SUITE_1))
    pair.device.start(HUB, SUITE_1 | SUITE_2, 0.0)
    pair.run()
    told = failure(pair.device)
    assert (told.reason, told.by_partner, told.partner_suites) == (Reason.UNSUPPORTED_SUITE, True, SUITE_1)
    pair.now += told.retry_after_s
    assert pair.device.start(HUB, told.partner_suites or 0, pair.now)
    events(pair.hub)
    pair.run()
    assert isinstance(events(pair.device)[0], LinkKeyEstablished)


def changed(frame: KeyFrame, at: int, value: int) -> KeyFrame:
    payload = bytearray(frame.payload)
    payload[at] = value
    return replace(frame, payload=bytes(payload))


def initiate_frame(mine: Credentials, *, to_client: bool, suite: int | None = None, **times: int) -> KeyFrame:
    message = Initiate(
        suite or mine.suite, times.get("ephemeral", 10), times.get("confirm", 15), mine.certificate.octets
    )
    return KeyFrame(KeyCommand.INITIATE, message.encode(), to_client)


def foreign(eui: int, suite: int) -> Credentials:
    return issue(make_authority(suite, ISSUER + 1, random.Random(9)), eui, random.Random(10))


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


def test_cancel_forgets() -> None:
    device = machine(DEVICE)
    device.start(HUB, SUITE_1, 0.0)
    device.cancel()
    assert sent(device) == []
    assert events(device) == []
    assert device.next_deadline() is None
    assert device.start(HUB, SUITE_1, 0.0)


payloads = st.one_of(
    st.binary(max_size=80),
    st.sampled_from([SETS[eui][SUITE_1].certificate.point_octets for eui in SETS]),
    st.sampled_from([initiate_frame(SETS[eui][SUITE_1], to_client=False).payload for eui in SETS]),
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=4, max_size=4),
)
frames = st.builds(KeyFrame, st.integers(0, 4), payloads, st.booleans())


@pytest.mark.parametrize("state", list(State))
@settings(max_examples=25, deadline=None)
@given(inputs=st.lists(st.tuples(frames, st.sampled_from([DEVICE, HUB, STRANGER]), st.floats(0, 40)), max_size=5))
def test_any_input_in_any_state(state: State, inputs: list[tuple[KeyFrame, int, float]]) -> None:
    pair = Pair(machine(DEVICE), machine(HUB))
    victim, partner = pair.hub, DEVICE
    if state is not State.IDLE:
        pair.device.start(HUB, SUITE_1, 0.0)
        if AWAITED[state].to_client:
            victim, partner = pair.device, HUB
        pair.run_until(victim, state)
    sent(victim)
    now = 0.0
    for frame, source, passed_s in inputs:
        before = victim.state, victim.next_deadline(), victim._exchange
        victim.receive(frame, source, now)
        assert len(sent(victim)) <= 1, "one answer at most"
        told = events(victim)
        assert not any(isinstance(event, LinkKeyEstablished) for event in told), "nobody here knows the key"
        if source != partner and before[0] is not State.IDLE:
            assert (victim.state, victim.next_deadline(), victim._exchange) == before
            assert told == []
        assert (victim.next_deadline() is None) == (victim.state is State.IDLE)
        now += passed_s
        victim.handle_timer(now)
        events(victim)
        partner = victim._exchange.partner if victim._exchange else partner


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_on_a_bad_line_both_end_with_the_same_key(seed: int) -> None:
    rng = random.Random(seed)
    device, hub, now = machine(DEVICE), machine(HUB), 0.0
    keys: dict[int, bytes] = {}
    while DEVICE not in keys:
        now += 1.0
        assert now < 20_000, "it gets there"
        device.start(HUB, SUITE_1, now)
        for sender, receiver in ((device, hub), (hub, device)):
            for handle, out in sender.frames_to_send(now):
                arrives = rng.random() < 0.8
                reported = arrives and rng.random() < 0.9
                for _ in range(arrives + (arrives and rng.random() < 0.2)):
                    receiver.receive(out.frame, sender.eui, now)
                sender.frame_sent(handle, reported, now)
        for one in (device, hub):
            one.handle_timer(now)
            for event in events(one):
                if isinstance(event, LinkKeyEstablished):
                    keys[one.eui] = event.link_key
    assert keys[DEVICE] == keys[HUB]
