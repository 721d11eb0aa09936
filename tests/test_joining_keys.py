"""Joining with key establishment, as transcripts: this test is the radio and, where it must misbehave, the hub."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.events import (
    ApsRequest,
    Beacon,
    DiscoverNetworks,
    JoinNetwork,
    LeaveNetwork,
    LogicalType,
    NetworkInfo,
    RadioRequest,
    RadioResult,
    RadioStatus,
    RestoreNetwork,
    SetLinkKey,
)
from agent.zigbee import zdo
from agent.zigbee.cbke.certificates import SUITE_1
from agent.zigbee.cbke.ecqv import issue, make_authority
from agent.zigbee.cbke.hub_key import HeldKey, HubKey, LinkKeyFailed, LinkKeyForgotten, LinkKeyMade
from agent.zigbee.cbke.machine import KeyEstablishment
from agent.zigbee.cbke.messages import KeyCommand, KeyFrame, Terminate, TerminateStatus
from agent.zigbee.clusters import Cluster
from agent.zigbee.hub_contact import SECURED_FAILURES
from agent.zigbee.joining import (
    HubFound,
    HubLost,
    JoinEvent,
    Joining,
    JoinState,
    LeftNetwork,
    NetworkUp,
    SwapOutTried,
)
from agent.zigbee.peer import OutgoingZcl
from agent.zigbee.time_cluster import HubClock
from agent.zigbee.whereabouts import CHANNELS, NetworkSought
from agent.zigbee.zcl import ZclFrame

EUI, HUB, OTHER_HUB = 0x0011223344556677, 0xAABBCCDDEEFF0011, 0xAABBCCDDEEFF0012
NETWORK = NetworkInfo(EUI, 0x1234, 0xABCD, 0x99, 15, LogicalType.ROUTER)
OK = RadioResult(RadioStatus.OK)
CA = make_authority(SUITE_1, 0x99, random.Random(1))
SETS = {eui: {SUITE_1: issue(CA, eui, random.Random(eui))} for eui in (EUI, HUB)}
HELD = HeldKey(HUB, SUITE_1, "00" * 16)


class Lab:
    def __init__(self, held: HeldKey | None = None) -> None:
        self.now = 100.0
        self.hub = KeyEstablishment(HUB, SETS[HUB], random.Random(2))
        machine = KeyEstablishment(EUI, SETS[EUI], random.Random(3))
        request = JoinNetwork(bytes(18), (15,))
        self.joining = Joining(request, 0x0109, LogicalType.ROUTER, HubClock(), HubKey(machine, held))
        self.last = 0
        self.matches: list[int] = []  # sequence numbers of the Match_Desc_req so far
        self.key_frames: list[KeyFrame] = []

    def asked(self, result: RadioResult | None = OK) -> list[zdo.ZdoCommand | RadioRequest | str | None]:
        """Requests since the last call, done at once with ``result``; Key Establishment frames by their names."""
        requests: list[zdo.ZdoCommand | RadioRequest | str | None] = []
        for handle, request in self.joining.requests_to_send():
            self.last = handle
            if isinstance(request, OutgoingZcl):
                requests.append(self._name(request))
            elif isinstance(request, ApsRequest):
                sequence, command = zdo.unpack(request.cluster, request.payload)
                requests.append(command)
                if isinstance(command, zdo.MatchDescReq):
                    self.matches.append(sequence)
            else:
                requests.append(request)
            commissioning = isinstance(request, RestoreNetwork | JoinNetwork | LeaveNetwork | DiscoverNetworks)
            if result is not None and not commissioning:
                self.joining.request_done(handle, result, self.now)
        return requests

    def _name(self, request: OutgoingZcl) -> str:
        if request.cluster == Cluster.TIME:
            return "read time"
        assert request.cluster == Cluster.KEY_ESTABLISHMENT
        if not request.cluster_specific:
            return "read suites"
        self.key_frames.append(KeyFrame(request.command, request.payload, request.to_client))
        return KeyCommand(request.command).name

    def done(self, result: RadioResult) -> None:
        self.joining.request_done(self.last, result, self.now)

    def events(self) -> list[JoinEvent]:
        events = []
        while (event := self.joining.next_event()) is not None:
            events.append(event)
        return events

    def next(self) -> float:
        deadline = self.joining.next_deadline()
        assert deadline is not None
        passed, self.now = deadline - self.now, max(self.now, deadline)
        self.joining.handle_timer(self.now)
        return passed

    def zdo(self, command: zdo.ZdoCommand, sequence: int | None = None) -> None:
        """To the last Match_Desc_req, unless told otherwise."""
        last = self.matches[-1] if self.matches else 0
        self.joining.receive_zdo(last if sequence is None else sequence, command, 0, self.now)

    def hub_says(self, command: int, payload: bytes, source: int = 0, *, to_client: bool = True) -> bool:
        frame = ZclFrame(Cluster.KEY_ESTABLISHMENT, command, payload, 1, to_client=to_client)
        return self.joining.receive_key(frame, source, self.now)

    def exchange(self) -> None:
        """Let the real responder answer whatever is waiting for it."""
        frames, self.key_frames = self.key_frames, []
        for frame in frames:
            self.hub.receive(frame, EUI, self.now)
        for handle, out in self.hub.frames_to_send(self.now):
            self.hub.frame_sent(handle, True, self.now)
            self.hub_says(out.frame.command, out.frame.payload, to_client=out.frame.to_client)

    def searching(self, *, joined: bool = False) -> Lab:
        self.joining.start(self.now)
        self.asked()
        if joined:
            self.done(RadioResult(RadioStatus.NO_NETWORK))
            self.asked()
        self.done(RadioResult(RadioStatus.OK, NETWORK))
        return self

    def keying(self) -> Lab:
        """As far as the hub's suites."""
        self.searching()
        self.asked()
        self.zdo(zdo.IeeeAddrRsp(0, HUB, 0))
        self.asked()
        self.zdo(zdo.MatchDescRsp(0, 0, (8,)))
        assert self.joining.state is JoinState.KEYING
        assert self.asked() == ["read suites"]
        self.events()
        return self

    def agreeing(self) -> Lab:
        self.keying()
        self.joining.suites_answered({0: SUITE_1}, 0, self.now)
        return self

    def online(self) -> Lab:
        self.agreeing()
        for _ in range(3):
            self.asked()
            self.exchange()
        self.asked()
        self.asked()
        self.zdo(zdo.MatchDescRsp(0, 0, (8,)))
        assert self.joining.state is JoinState.ONLINE
        self.asked()
        self.events()
        return self


def test_from_joining_to_a_key_to_the_hub() -> None:
    lab = Lab().searching(joined=True)
    assert lab.asked() == [zdo.DeviceAnnce(0x1234, EUI, 0x8E), zdo.IeeeAddrReq(0)]
    # whose key it would be is known: its Key Establishment endpoint is looked for, and not yet its OTA server
    lab.zdo(zdo.IeeeAddrRsp(0, HUB, 0))
    assert lab.asked() == [zdo.IeeeAddrReq(0), zdo.MatchDescReq(0, 0x0109, (0x0800,), ())]
    lab.zdo(zdo.MatchDescRsp(0, 0, (8,)))
    assert lab.asked() == ["read suites"]
    lab.joining.suites_answered({0: 3}, 0, lab.now)
    for expected in ("INITIATE", "EPHEMERAL_DATA", "CONFIRM_KEY"):
        assert lab.asked() == [expected]
        assert not lab.joining.key_held
        lab.exchange()
    # the chip gets the key, and only then the hub is found
    (given_to_chip,) = lab.asked(None)
    assert isinstance(given_to_chip, SetLinkKey)
    assert (given_to_chip.eui, given_to_chip.short_address) == (HUB, 0)
    assert not lab.joining.key_held
    lab.done(OK)
    assert lab.joining.key_held
    assert lab.asked() == [zdo.IeeeAddrReq(0), zdo.MatchDescReq(0, 0x0109, (0x0019,), ())]
    lab.zdo(zdo.MatchDescRsp(0, 0, (9,)))
    up, made, found = lab.events()
    assert isinstance(up, NetworkUp)
    assert isinstance(made, LinkKeyMade)
    assert (made.held.hub_eui, made.held.suite) == (HUB, SUITE_1)
    assert isinstance(found, HubFound)
    assert (found.peer.endpoint, found.peer.eui) == (9, HUB)


def test_a_key_that_is_held_is_not_made_again() -> None:
    lab = Lab(HELD).searching()
    assert lab.asked()[1:] == [zdo.IeeeAddrReq(0), zdo.MatchDescReq(0, 0x0109, (0x0019,), ())]
    lab.zdo(zdo.IeeeAddrRsp(0, HUB, 0))
    lab.zdo(zdo.MatchDescRsp(0, 0, (8,)))
    assert lab.joining.state is JoinState.ONLINE


def test_another_hub_needs_another_key() -> None:
    lab = Lab(HELD).searching()
    lab.asked()
    lab.zdo(zdo.IeeeAddrRsp(0, OTHER_HUB, 0))
    assert not lab.joining.key_held
    assert lab.asked() == [zdo.IeeeAddrReq(0), zdo.MatchDescReq(0, 0x0109, (0x0800,), ())]


def test_the_endpoint_of_one_cluster_is_not_taken_for_that_of_another() -> None:
    lab = Lab().agreeing()
    for _ in range(3):
        lab.asked()
        lab.exchange()
    lab.asked()  # the chip takes the key
    assert lab.asked()[-1] == zdo.MatchDescReq(0, 0x0109, (Cluster.OTA,), ())
    # the network brings a second copy of the answer about Key Establishment
    lab.zdo(zdo.MatchDescRsp(0, 0, (8,)), sequence=lab.matches[0])
    assert lab.joining.state is JoinState.SEARCHING
    lab.zdo(zdo.MatchDescRsp(0, 0, (9,)))
    assert lab.joining.hub is not None
    assert lab.joining.hub.endpoint == 9


def silent(lab: Lab, *, permits_joining: bool) -> None:
    """Two searches without an answer, then a discovery that hears the hub's own beacon where the network is."""
    lab.asked()
    lab.next()
    lab.asked()
    lab.next()
    assert lab.asked() == [DiscoverNetworks(tuple(range(11, 27)))]
    lab.events()
    beacon = Beacon(15, 0xABCD, 0x99, 0, permits_joining, 200)
    lab.done(RadioResult(RadioStatus.OK, beacons=(beacon,)))


SWAPPED = JoinNetwork(b"", (15,), LogicalType.ROUTER, 0x99, bytes(16))


def test_a_network_that_is_heard_open_and_silent_is_joined_by_the_hash_of_the_key() -> None:
    lab = Lab(HELD).searching()
    silent(lab, permits_joining=True)
    assert lab.asked() == [SWAPPED]
    assert bytes(16).hex() not in repr(SWAPPED), "it is a key"
    sought, tried = lab.events()
    assert isinstance(sought, NetworkSought)
    assert tried == SwapOutTried("channel 15, PAN 0xABCD")
    lab.done(RadioResult(RadioStatus.OK, NETWORK))
    assert LinkKeyForgotten("Trust Center swap-out") in lab.events()
    assert not lab.joining.key_held


def test_what_does_not_take_the_hash_is_tried_by_install_code_and_hash_in_turn() -> None:
    lab = Lab(HELD).searching()
    silent(lab, permits_joining=True)
    asked = []
    for _ in range(4):
        asked += lab.asked()
        lab.done(RadioResult(RadioStatus.KEY_EXCHANGE_FAILED))
        lab.next()
        assert lab.asked() == [RestoreNetwork()]
        lab.done(RadioResult(RadioStatus.NO_NETWORK))
    code = JoinNetwork(bytes(18), (15,))
    assert asked == [SWAPPED, code, SWAPPED, code]


@pytest.mark.parametrize(("held", "permits"), [(HELD, False), (None, True)])
def test_a_closed_network_and_a_device_without_a_key_have_no_swap_out(held: HeldKey | None, permits: bool) -> None:
    lab = Lab(held).searching()
    silent(lab, permits_joining=permits)
    assert lab.asked() == [RestoreNetwork()]


def test_joining_anew_forgets_the_key() -> None:
    lab = Lab(HELD).searching(joined=True)
    assert LinkKeyForgotten("joined anew") in lab.events()
    assert not lab.joining.key_held


@pytest.mark.parametrize("status", [0x02, 0x03, 0x04, 0x05, 0x06, 0x77])
def test_every_other_terminate_status_is_retried_after_the_wait_time(status: int) -> None:
    lab = Lab().agreeing()
    lab.asked()
    lab.hub_says(KeyCommand.TERMINATE, Terminate(status, 200, SUITE_1).encode())
    (event,) = lab.events()
    assert isinstance(event, LinkKeyFailed)
    assert event.retry_s == 200.0, "the hub's own wait time"
    assert lab.asked() == []
    assert lab.next() == 200.0
    assert lab.asked() == ["read suites"]


def test_after_an_unknown_issuer_the_device_leaves_for_an_hour() -> None:
    lab = Lab().agreeing()
    lab.asked()
    lab.hub_says(KeyCommand.TERMINATE, Terminate(TerminateStatus.UNKNOWN_ISSUER, 1, SUITE_1).encode())
    assert lab.asked() == [LeaveNetwork()]
    assert lab.joining.state is JoinState.LEAVING
    lab.joining.network_lost("left", lab.now)
    lab.done(OK)
    (left,) = lab.events()
    assert left == LeftNetwork("the hub does not know the issuer of our certificate", 3_600.0)
    lab.joining.network_lost("left", lab.now)
    assert lab.next() == 3_600.0
    assert lab.asked() == [RestoreNetwork()]


def test_the_hubs_silence_is_retried_ever_more_rarely() -> None:
    """Its chip answers; it may be elsewhere all the same, so that every second time the network is looked for."""
    lab = Lab().keying()
    pauses = []
    for number in range(13):
        lab.next()  # no answer to the read
        (failed,) = lab.events()
        assert isinstance(failed, LinkKeyFailed)
        pauses.append(failed.retry_s)
        lab.next()
        if number % 2:
            assert lab.asked() == [DiscoverNetworks(CHANNELS)]
            lab.done(RadioResult(RadioStatus.OK))
            assert lab.asked() == [RestoreNetwork()]
            lab.done(RadioResult(RadioStatus.OK, NETWORK))
            lab.asked()
            lab.zdo(zdo.MatchDescRsp(0, 0, (8,)))
            assert [type(event) for event in lab.events()] == [NetworkSought]
        assert lab.asked() == ["read suites"]
    assert pauses[:3] == [5, 10, 20]
    assert pauses[-1] == 3_600


def test_suites_that_are_not_told_are_tried() -> None:
    lab = Lab().keying()
    lab.joining.suites_answered({}, 0, lab.now)
    assert lab.asked() == ["INITIATE"]


def test_an_undelivered_frame_is_sent_three_times() -> None:
    lab = Lab().agreeing()
    lost = RadioResult(RadioStatus.NOT_ACKNOWLEDGED)
    assert [lab.asked(lost) for _ in range(4)] == [["INITIATE"], ["INITIATE"], ["INITIATE"], []]
    (failed,) = lab.events()
    assert isinstance(failed, LinkKeyFailed)
    assert failed.reason == "not delivered"


def test_a_frame_whose_answer_came_is_not_sent_again() -> None:
    lab = Lab().agreeing()
    assert lab.asked(None) == ["INITIATE"]
    first = lab.last
    lab.exchange()
    lab.joining.request_done(first, RadioResult(RadioStatus.NOT_ACKNOWLEDGED), lab.now)
    assert lab.asked() == ["EPHEMERAL_DATA"]


def test_a_chip_that_does_not_take_the_key() -> None:
    lab = Lab().agreeing()
    for _ in range(3):
        lab.asked()
        lab.exchange()
    lab.asked(RadioResult(RadioStatus.REFUSED, detail="no room"))
    (failed,) = lab.events()
    assert isinstance(failed, LinkKeyFailed)
    assert "no room" in failed.detail
    assert not lab.joining.key_held


def test_only_the_hub_is_listened_to() -> None:
    lab = Lab().agreeing()
    lab.asked()
    assert not lab.hub_says(KeyCommand.TERMINATE, Terminate(1, 1, 1).encode(), source=0x4321)
    lab.joining.suites_answered({0: 1}, 0x4321, lab.now)
    assert lab.events() == []


def test_a_hub_that_says_not_authorized_gets_a_new_key_after_a_pause() -> None:
    lab = Lab().online()
    lab.joining.key_rejected("said so", lab.now)
    assert lab.events() == [LinkKeyForgotten("said so"), HubLost("said so")]
    assert lab.asked() == [zdo.IeeeAddrReq(0), zdo.MatchDescReq(0, 0x0109, (0x0800,), ())]
    lab.zdo(zdo.MatchDescRsp(0, 0, (8,)))
    assert lab.asked() == []
    assert lab.next() == 5.0
    assert lab.asked() == ["read suites"]


def test_secured_frames_that_vanish_while_the_clock_answers() -> None:
    lab = Lab().online()
    for _ in range(SECURED_FAILURES - 1):
        lab.joining.secured_sent(RadioStatus.NOT_ACKNOWLEDGED, lab.now)
    lab.joining.secured_sent(RadioStatus.OK, lab.now)
    for _ in range(SECURED_FAILURES - 1):
        lab.joining.secured_sent(RadioStatus.NOT_ACKNOWLEDGED, lab.now)
    assert lab.asked() == []
    lab.joining.secured_sent(RadioStatus.NOT_ACKNOWLEDGED, lab.now)
    assert lab.asked() == ["read time"]
    assert lab.joining.key_held, "so far it may be the network"
    lab.joining.time_answered({}, 0, lab.now)
    assert not lab.joining.key_held


RESULTS = st.builds(RadioResult, st.sampled_from(RadioStatus), st.none() | st.just(NETWORK))
STEPS: st.SearchStrategy[Callable[[Lab], object]] = st.one_of(
    st.builds(lambda result: lambda lab: lab.done(result), RESULTS),
    st.builds(lambda ends: lambda lab: lab.zdo(zdo.MatchDescRsp(0, 0, tuple(ends))), st.lists(st.integers(1, 240))),
    st.builds(lambda eui: lambda lab: lab.zdo(zdo.IeeeAddrRsp(0, eui, 0)), st.sampled_from([HUB, OTHER_HUB])),
    st.builds(
        lambda command, payload: lambda lab: lab.hub_says(command, payload),
        st.integers(0, 4),
        st.binary(max_size=60) | st.builds(lambda s: Terminate(s, 5, 1).encode(), st.integers(0, 8)),
    ),
    st.builds(lambda suites: lambda lab: lab.joining.suites_answered({0: suites}, 0, lab.now), st.integers(0, 4)),
    st.just(lambda lab: lab.exchange()),
    st.just(lambda lab: lab.joining.time_answered({}, 0, lab.now)),
    st.just(lambda lab: lab.joining.key_rejected("no", lab.now)),
    st.builds(lambda status: lambda lab: lab.joining.secured_sent(status, lab.now), st.sampled_from(RadioStatus)),
    st.just(lambda lab: lab.joining.start(lab.now)),
    st.just(lambda lab: lab.joining.join(JoinNetwork(bytes(18), (11,)), lab.now)),
    st.just(lambda lab: lab.joining.leave("told to", lab.now)),
    st.just(lambda lab: lab.joining.network_lost("lost", lab.now)),
    st.just(lambda lab: lab.joining.radio_lost("lost", lab.now)),
    st.just(lambda lab: lab.next() if lab.joining.next_deadline() is not None else None),
)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["new", "keying", "online"]), st.lists(STEPS, max_size=20))
def test_any_sequence(begin: str, steps: list[Callable[[Lab], object]]) -> None:
    """Never raises; a hub is found only with a key; in an hour of silence few requests."""
    lab = Lab()
    if begin != "new":
        lab.keying() if begin == "keying" else lab.online()
    for step in steps:
        step(lab)
        assert (lab.joining.hub is not None) == (lab.joining.state is JoinState.ONLINE)
        assert lab.joining.state is not JoinState.ONLINE or lab.joining.key_held
        lab.asked()
    end, requests = lab.now + 3600, 0
    while (deadline := lab.joining.next_deadline()) is not None and deadline <= end:
        lab.next()
        requests += len(lab.asked())
    assert requests <= 60
