"""Key establishment in virtual time: transcripts of both suites, and any input in any state."""

from __future__ import annotations

import random

import pytest
from annex_c import EXAMPLES, Party
from cbke_lab import (
    DEVICE,
    HUB,
    SETS,
    STRANGER,
    Pair,
    Scripted,
    events,
    failure,
    initiate_frame,
    machine,
    sent,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.zigbee.cbke.certificates import SUITE_1, SUITE_2
from agent.zigbee.cbke.ecqv import check_credentials
from agent.zigbee.cbke.events import LinkKeyEstablished
from agent.zigbee.cbke.machine import KeyEstablishment
from agent.zigbee.cbke.messages import KeyFrame
from agent.zigbee.cbke.states import AWAITED, Reason, State


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
