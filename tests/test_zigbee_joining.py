"""Joining, as transcripts: what the policy asks of the radio, what the hub answers, what the owner hears."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.events import (
    ApsRequest,
    Beacon,
    DiscoverNetworks,
    JoinNetwork,
    LeaveNetwork,
    LogicalType,
    MoveNetwork,
    NetworkInfo,
    RadioRequest,
    RadioResult,
    RadioStatus,
    RestoreNetwork,
)
from agent.zigbee import zdo
from agent.zigbee.foundation import Value
from agent.zigbee.joining import (
    HubAnswered,
    HubFound,
    HubLost,
    JoinedAsTold,
    JoinEvent,
    JoinFailed,
    Joining,
    JoinState,
    LeftNetwork,
    NetworkUp,
)
from agent.zigbee.peer import UNKNOWN_EUI, OutgoingZcl, Peer
from agent.zigbee.time_cluster import HubClock
from agent.zigbee.whereabouts import AddressChanged, NetworkSought, Sight, ranges

EUI, HUB_EUI = 0x0011223344556677, 0xAABBCCDDEEFF0011
NETWORK = NetworkInfo(EUI, 0x1234, 0xABCD, 0x99, 15, LogicalType.ROUTER)
JOIN = JoinNetwork(bytes.fromhex("83FED3407A939723A5C639B26916D505C3B5"), (15,))
GIVEN = JoinNetwork(bytes.fromhex("83FED3407A932B70"), (20,))
ANNOUNCE = zdo.DeviceAnnce(0x1234, EUI, 0x8E)
MATCH = zdo.MatchDescReq(0, 0x0109, (0x19,), ())
IEEE = zdo.IeeeAddrReq(0)
OK = RadioResult(RadioStatus.OK, NETWORK)
NONE = RadioResult(RadioStatus.NO_NETWORK)
DISCOVER = DiscoverNetworks(tuple(range(11, 27)))
NOT_TAKEN_BACK = RadioResult(RadioStatus.NOT_TAKEN_BACK, NETWORK, "no parent answers")


def beacon(channel: int = 15, pan_id: int = 0xABCD, sender: int = 0, network: int = 0x99, lqi: int = 200) -> Beacon:
    return Beacon(channel, pan_id, network, sender, permits_joining=False, link_quality=lqi)


def heard(*beacons: Beacon) -> RadioResult:
    return RadioResult(RadioStatus.OK, beacons=beacons)


class Lab:
    def __init__(self, join: JoinNetwork | None = JOIN) -> None:
        self.now = 100.0
        self.clock = HubClock()
        self.joining = Joining(join, 0x0109, LogicalType.ROUTER, self.clock)
        self.last = 0
        self.matches: list[int] = []  # sequence numbers of the Match_Desc_req so far

    def asked(self) -> list[zdo.ZdoCommand | RadioRequest | str | None]:
        """Requests since the last call; ZDO ones decoded, the read of the Time cluster as a word."""
        requests: list[zdo.ZdoCommand | RadioRequest | str | None] = []
        for handle, request in self.joining.requests_to_send():
            self.last = handle
            if isinstance(request, OutgoingZcl):
                assert request.payload == bytes.fromhex("0000 0100")
                requests.append(f"read time of endpoint {request.peer.endpoint}")
            elif isinstance(request, ApsRequest):
                sequence, command = zdo.unpack(request.cluster, request.payload)
                requests.append(command)
                if isinstance(command, zdo.MatchDescReq):
                    self.matches.append(sequence)
            else:
                requests.append(request)
        return requests

    def done(self, result: RadioResult) -> None:
        self.joining.request_done(self.last, result, self.now)

    def zdo(self, command: zdo.ZdoCommand, source: int = 0, sequence: int | None = None) -> None:
        """To the last Match_Desc_req, unless told otherwise."""
        last = self.matches[-1] if self.matches else 0
        self.joining.receive_zdo(last if sequence is None else sequence, command, source, self.now)

    def time(self, values: dict[int, Value]) -> None:
        self.joining.time_answered(values, 0, self.now)

    def events(self) -> list[JoinEvent]:
        events = []
        while (event := self.joining.next_event()) is not None:
            events.append(event)
        return events

    def next(self) -> float:
        """Go to the next deadline; how long that took."""
        deadline = self.joining.next_deadline()
        assert deadline is not None
        passed, self.now = deadline - self.now, deadline
        self.joining.handle_timer(self.now)
        return passed

    def silence(self, shown: RadioResult, back: RadioResult = OK) -> float:
        """To the end of the next search that nobody answers; a discovery before it shows ``shown``."""
        passed = self.next()
        if self.joining.state is JoinState.DISCOVERING:
            assert self.asked() == [DISCOVER]
            self.done(shown)
            assert self.asked() == [RestoreNetwork()]
            self.done(back)
        assert self.asked() == [IEEE, MATCH]
        return passed

    def online(self) -> Lab:
        self.joining.start(self.now)
        self.asked()
        self.done(OK)
        self.asked()
        self.zdo(zdo.IeeeAddrRsp(0, HUB_EUI, 0))
        self.zdo(zdo.MatchDescRsp(0, 0, (8,)))
        assert self.joining.state is JoinState.ONLINE
        self.asked()
        self.events()
        return self


def test_first_join() -> None:
    lab = Lab()
    lab.joining.start(lab.now)
    # nothing remembered: join with the install code
    assert lab.asked() == [RestoreNetwork()]
    lab.done(NONE)
    assert lab.asked() == [JOIN]
    lab.done(OK)
    # on the network: announced, and the hub's OTA server looked for
    assert lab.events() == [NetworkUp(NETWORK, joined=True)]
    assert lab.asked() == [ANNOUNCE, IEEE, MATCH]
    lab.zdo(zdo.IeeeAddrRsp(0, HUB_EUI, 0))
    lab.zdo(zdo.MatchDescRsp(0, 0, (8,)))
    assert lab.events() == [HubFound(Peer(0, 8, HUB_EUI))]
    # the proof of a live network
    assert lab.asked() == ["read time of endpoint 8"]
    lab.time({0: 700_000_000, 1: 3})
    assert lab.events() == [HubAnswered(700_000_000)]
    assert lab.clock.utc(lab.now + 5) == 700_000_005


def test_restore_after_a_restart() -> None:
    lab = Lab(join=None)
    lab.joining.start(lab.now)
    assert lab.asked() == [RestoreNetwork()]
    lab.done(OK)
    assert lab.events() == [NetworkUp(NETWORK, joined=False)]


def test_a_late_answer_to_an_earlier_question_does_not_count() -> None:
    lab = Lab()
    lab.joining.start(lab.now)
    lab.asked()
    lab.done(OK)
    lab.asked()
    lab.next()
    assert MATCH in lab.asked(), "no answer in time: asked again"
    earlier, _ = lab.matches
    lab.zdo(zdo.MatchDescRsp(0, 0, (8,)), sequence=earlier)
    assert lab.joining.state is JoinState.SEARCHING
    lab.zdo(zdo.MatchDescRsp(0, 0, (9,)))
    assert lab.joining.hub == Peer(0, 9, UNKNOWN_EUI)


def test_the_hubs_address_may_come_later() -> None:
    lab = Lab()
    lab.joining.start(lab.now)
    lab.asked()
    lab.done(OK)
    lab.asked()
    lab.zdo(zdo.MatchDescRsp(0, 0, (8,)))
    lab.zdo(zdo.IeeeAddrRsp(0, HUB_EUI, 0))
    assert lab.events()[1:] == [HubFound(Peer(0, 8, UNKNOWN_EUI)), HubFound(Peer(0, 8, HUB_EUI))]


def test_told_to_leave_it_stays_apart_until_it_is_told_to_join() -> None:
    lab = Lab().online()
    lab.joining.leave("told to", lab.now)
    assert lab.asked() == [LeaveNetwork()]
    lab.joining.network_lost("left", lab.now)
    lab.done(RadioResult(RadioStatus.OK))
    assert lab.events() == [HubLost("told to"), LeftNetwork("told to", None)]
    assert (lab.joining.state, lab.joining.next_deadline()) == (JoinState.APART, None)
    # a radio that comes back is no reason to join either
    lab.joining.radio_lost("unplugged", lab.now)
    lab.joining.start(lab.now)
    assert lab.asked() == [RestoreNetwork()]
    lab.done(NONE)
    assert lab.asked() == []
    assert lab.events() == [JoinFailed(RadioStatus.NO_NETWORK, "", None)]
    # another code than the known one, which does not work: as before
    lab.joining.join(GIVEN, lab.now)
    assert lab.asked() == [GIVEN]
    lab.done(RadioResult(RadioStatus.KEY_EXCHANGE_FAILED))
    assert lab.joining.state is JoinState.APART
    assert lab.events() == [JoinFailed(RadioStatus.KEY_EXCHANGE_FAILED, "", None)]
    # and which works: it is what every later join goes by
    lab.joining.join(GIVEN, lab.now)
    lab.asked()
    lab.done(OK)
    assert lab.events() == [JoinedAsTold(GIVEN), NetworkUp(NETWORK, joined=True)]
    lab.asked()
    lab.joining.network_lost("kicked out", lab.now)
    lab.next()
    assert lab.asked() == [RestoreNetwork()]
    lab.done(NONE)
    assert lab.asked() == [GIVEN]


def test_a_code_that_is_given_in_the_middle_of_an_attempt_has_its_turn_after_it() -> None:
    lab = Lab()
    lab.joining.start(lab.now)
    lab.asked()
    lab.done(NONE)
    assert lab.asked() == [JOIN]
    lab.joining.join(GIVEN, lab.now)
    assert lab.asked() == [], "the chip does one thing at a time"
    lab.done(RadioResult(RadioStatus.KEY_EXCHANGE_FAILED))
    assert lab.asked() == [GIVEN]
    lab.done(RadioResult(RadioStatus.KEY_EXCHANGE_FAILED))
    assert [type(event) for event in lab.events()] == [JoinFailed]
    lab.next()
    lab.asked()
    lab.done(NONE)
    assert lab.asked() == [JOIN], "what did not work is not kept"


def test_leave_in_the_middle_of_an_attempt() -> None:
    for result, asks in ((OK, [LeaveNetwork()]), (NONE, [])):
        lab = Lab()
        lab.joining.start(lab.now)
        lab.asked()
        lab.joining.leave("told to", lab.now)
        assert lab.asked() == []
        lab.done(result)
        assert lab.asked() == asks
        if asks:
            lab.done(RadioResult(RadioStatus.OK))
        assert lab.joining.state is JoinState.APART


def test_leave_takes_back_a_join_that_is_under_way() -> None:
    lab = Lab().online()
    lab.joining.leave("told to", lab.now)
    lab.asked()
    lab.done(RadioResult(RadioStatus.OK))
    lab.joining.join(GIVEN, lab.now)
    assert lab.asked() == [GIVEN]
    lab.joining.leave("no, rather not", lab.now)
    lab.done(OK)
    assert lab.asked() == [LeaveNetwork()]
    lab.done(RadioResult(RadioStatus.OK))
    assert lab.joining.state is JoinState.APART


def test_a_radio_that_is_lost_while_it_leaves_leaves_when_it_is_back() -> None:
    lab = Lab().online()
    lab.joining.leave("told to", lab.now)
    lab.asked()
    lab.done(RadioResult(RadioStatus.RADIO_LOST, detail="unplugged"))
    lab.joining.start(lab.now)
    assert lab.asked() == [RestoreNetwork()]
    lab.done(OK)
    assert lab.asked() == [LeaveNetwork()]


def test_failed_joins_back_off_up_to_one_an_hour() -> None:
    lab = Lab()
    lab.joining.start(lab.now)
    lab.asked()
    pauses = []
    for _ in range(14):
        lab.done(NONE)
        assert lab.asked() == [JOIN]
        lab.done(RadioResult(RadioStatus.KEY_EXCHANGE_FAILED, detail="wrong install code?"))
        pauses.append(lab.next())
        assert lab.asked() == [RestoreNetwork()]
    assert pauses[:4] == [5, 10, 20, 40]
    assert pauses[-1] == 3600
    first = lab.events()[0]
    assert first == JoinFailed(RadioStatus.KEY_EXCHANGE_FAILED, "wrong install code?", 5.0)


def test_without_install_code_only_restores() -> None:
    lab = Lab(join=None)
    lab.joining.start(lab.now)
    lab.asked()
    lab.done(NONE)
    assert lab.asked() == []
    lab.next()
    assert lab.asked() == [RestoreNetwork()]


def test_a_chip_that_refuses_is_not_asked_to_join() -> None:
    lab = Lab()
    lab.joining.start(lab.now)
    lab.asked()
    lab.done(RadioResult(RadioStatus.TIMEOUT))
    assert lab.asked() == []
    assert lab.joining.state is JoinState.BACK_OFF


def test_a_hub_without_ota_server_is_looked_for_again() -> None:
    lab = Lab()
    lab.joining.start(lab.now)
    lab.asked()
    lab.done(OK)
    lab.asked()
    lab.zdo(zdo.MatchDescRsp(0, 0, ()))
    assert lab.next() == 5
    assert lab.asked() == [IEEE, MATCH]
    assert lab.next() == 10


def test_a_hub_that_speaks_is_looked_for_at_once() -> None:
    lab = Lab()
    lab.joining.start(lab.now)
    lab.asked()
    lab.done(OK)
    lab.asked()
    for _ in range(8):
        lab.silence(heard())
    lab.now += 100
    lab.joining.heard(0x4321, lab.now)
    assert lab.asked() == []
    lab.joining.heard(0x0000, lab.now)
    lab.joining.heard(0x0000, lab.now)
    assert lab.asked() == [IEEE, MATCH]


def test_answers_of_others_do_not_count() -> None:
    lab = Lab()
    lab.joining.start(lab.now)
    lab.asked()
    lab.done(OK)
    lab.zdo(zdo.MatchDescRsp(0, 0x4321, (8,)), source=0x4321)
    assert lab.joining.hub is None


def test_time_is_read_again_every_ten_minutes() -> None:
    lab = Lab().online()
    lab.time({0: 700_000_000, 1: 3})
    assert lab.next() == 600
    assert lab.asked() == ["read time of endpoint 8"]


def test_a_hub_without_a_time_has_answered_nevertheless() -> None:
    lab = Lab().online()
    lab.time({})
    assert lab.events() == [HubAnswered(None)]
    assert lab.clock.utc(lab.now) is None


def test_unsynchronised_time_is_no_time() -> None:
    lab = Lab().online()
    lab.time({0: 700_000_000, 1: 0})
    assert lab.clock.utc(lab.now) is None
    lab.time({0: 0xFFFFFFFF, 1: 3})
    assert lab.clock.utc(lab.now) is None


def test_a_silent_hub_is_lost_and_searched() -> None:
    lab = Lab().online()
    for seconds in (5, 10, 20):
        assert lab.next() == seconds
        assert lab.asked() == ["read time of endpoint 8"]
    lab.next()
    assert lab.events() == [HubLost("the hub is silent")]
    assert lab.asked() == [IEEE, MATCH]


def test_a_hub_that_speaks_but_tells_no_time_is_not_lost() -> None:
    lab = Lab().online()
    pauses = []
    for _ in range(15):
        lab.joining.heard(0x0000, lab.now)
        pauses.append(lab.next())
    assert pauses[-1] == 3600  # and not asked for ever at the same pace
    assert lab.joining.state is JoinState.ONLINE


def test_network_lost_is_restored_after_a_moment() -> None:
    lab = Lab().online()
    lab.joining.network_lost("left", lab.now)
    assert lab.events() == [HubLost("left"), LeftNetwork("left", 5.0)]
    lab.next()
    assert lab.asked() == [RestoreNetwork()]


def test_kicked_out_it_waits_though_the_chip_resets_itself_and_ever_longer() -> None:
    lab = Lab()
    lab.joining.start(lab.now)
    pauses = []
    for _ in range(4):
        lab.asked()
        lab.done(OK)
        lab.joining.network_lost("told to leave", lab.now)
        lab.joining.radio_lost("reset", lab.now)
        lab.joining.start(lab.now)
        lab.asked()
        lab.done(NONE)
        assert lab.asked() == [], "not before its time"
        pauses.append(lab.next())
        assert lab.asked() == [RestoreNetwork()]
        lab.done(NONE)
        assert lab.asked() == [JOIN]
        lab.joining.request_done(lab.last, OK, lab.now)
        lab.joining.start(lab.now)
    assert pauses == [5, 10, 20, 40]


def test_a_network_that_comes_and_goes_is_restored_ever_more_slowly() -> None:
    lab = Lab()
    lab.joining.start(lab.now)
    pauses = []
    for _ in range(5):
        lab.asked()
        lab.joining.request_done(lab.last, OK, lab.now)
        lab.joining.network_lost("left", lab.now)
        pauses.append(lab.next())
    assert pauses == [5, 10, 20, 40, 80]


def test_radio_lost_waits_for_the_start() -> None:
    lab = Lab().online()
    lab.joining.radio_lost("unplugged")
    assert lab.events() == [HubLost("unplugged")]
    assert lab.joining.next_deadline() is None
    lab.joining.start(lab.now)
    assert lab.asked() == [RestoreNetwork()]


def test_a_hub_that_is_gone_for_hours_is_sought_ever_more_slowly_up_to_once_an_hour() -> None:
    lab = Lab().online()
    lab.joining.start(lab.now)
    lab.asked()
    lab.done(OK)
    lab.asked()
    lab.events()
    pauses = [lab.silence(heard(beacon(network=0x77))) for _ in range(14)]
    assert pauses[:4] == [5, 10, 20, 40]
    assert pauses[-2:] == [3600, 3600]
    told = lab.events()
    absent = NetworkSought(Sight.ABSENT, "no beacon of our network 0000000000000099 on channels 11-26")
    assert told == [absent] * 13, "no other news: on the network it is, all the time"
    assert absent.hub_is_off
    # and it is back
    lab.next()
    lab.asked()
    lab.done(heard(beacon()))
    lab.asked()
    lab.done(OK)
    lab.asked()
    lab.zdo(zdo.MatchDescRsp(0, 0, (8,)))
    assert lab.joining.state is JoinState.ONLINE


def test_a_network_on_another_channel_and_pan_is_followed_without_joining() -> None:
    lab = Lab()
    lab.joining.start(lab.now)
    lab.asked()
    lab.done(OK)
    lab.next()
    lab.next()
    lab.asked()
    lab.events()
    old_member, new_member = beacon(sender=0x7777, lqi=255), beacon(25, 0x1111, 0x5555, lqi=250)
    lab.done(heard(old_member, beacon(network=0x77), new_member, beacon(25, 0x1111)))
    (sought,) = lab.events()
    assert isinstance(sought, NetworkSought)
    assert sought.sight is Sight.MOVED
    assert "is heard on channel 25, PAN 0x1111: it was on channel 15, PAN 0xABCD" in sought.detail
    assert not sought.hub_is_off
    assert lab.asked() == [MoveNetwork(25, 0x1111)]
    there = NetworkInfo(EUI, 0x1234, 0x1111, 0x99, 25, LogicalType.ROUTER)
    lab.done(RadioResult(RadioStatus.OK, there))
    assert lab.events() == [NetworkUp(there, joined=False)]
    assert lab.asked() == [ANNOUNCE, IEEE, MATCH]
    assert lab.next() == 5, "a fresh start"


def test_a_false_beacon_of_our_network_does_not_hold_the_device() -> None:
    """Beacons bear no security: one place after the other is tried, and none for good."""
    lab = Lab()
    lab.joining.start(lab.now)
    lab.asked()
    lab.done(OK)
    channels = []
    for _ in range(4):
        lab.next()
        lab.next()
        lab.asked()
        lab.done(heard(beacon(15), beacon(20, lqi=255)))
        (move,) = lab.asked()
        assert isinstance(move, MoveNetwork)
        channels.append(move.channel)
        lab.done(RadioResult(RadioStatus.OK, replace(NETWORK, channel=move.channel)))
        lab.asked()
    assert channels == [20, 15, 20, 15]


def test_members_that_moved_are_followed_while_the_hub_itself_is_not_heard() -> None:
    lab = Lab()
    lab.joining.start(lab.now)
    lab.asked()
    lab.done(OK)
    lab.next()
    lab.next()
    lab.asked()
    lab.events()
    lab.done(heard(beacon(15, sender=0x7777), beacon(20, sender=0x5555)))
    assert lab.asked() == [MoveNetwork(20, 0xABCD)]
    (sought,) = lab.events()
    assert isinstance(sought, NetworkSought)
    assert (sought.sight, sought.hub_is_off) == (Sight.MOVED, True)


def test_a_hub_that_is_heard_but_silent_and_members_without_their_hub_are_told_apart() -> None:
    lab = Lab()
    lab.joining.start(lab.now)
    lab.asked()
    lab.done(OK)
    lab.asked()
    lab.events()
    lab.silence(heard())  # a second search, before any discovery
    for shown in (heard(beacon(sender=0x7777)), heard(beacon()), RadioResult(RadioStatus.TIMEOUT)):
        lab.silence(shown)
    sights = [(told.sight, told.hub_is_off) for told in lab.events() if isinstance(told, NetworkSought)]
    assert sights == [
        (Sight.HUB_ABSENT, True),
        (Sight.HERE, False),
        (Sight.UNKNOWN, False),
    ]


def test_an_end_device_that_is_not_taken_back_says_why_and_never_joins_anew() -> None:
    lab = Lab()
    lab.joining.start(lab.now)
    lab.asked()
    pauses = []
    for _ in range(13):
        lab.done(NOT_TAKEN_BACK)
        assert lab.asked() == [DISCOVER], "joining would cost the network in NV and its keys"
        lab.done(heard(beacon()))
        assert lab.asked() == []
        pauses.append(lab.next())
        assert lab.asked() == [RestoreNetwork()]
    assert pauses[:3] == [5, 10, 20]
    assert pauses[-1] == 3600
    sought, failed = lab.events()[:2]
    words = "our network 0000000000000099 is heard on channel 15, PAN 0xABCD, but does not take us: no parent answers"
    assert sought == NetworkSought(Sight.HERE, words, hub_heard=True)
    assert failed == JoinFailed(RadioStatus.NOT_TAKEN_BACK, words, 5.0)


def test_a_network_that_moved_and_does_not_take_us_there() -> None:
    lab = Lab()
    lab.joining.start(lab.now)
    lab.asked()
    lab.done(NOT_TAKEN_BACK)
    lab.asked()
    lab.done(heard(beacon(20)))
    assert lab.asked() == [MoveNetwork(20, 0xABCD)]
    lab.done(NOT_TAKEN_BACK)
    failed = lab.events()[-1]
    assert isinstance(failed, JoinFailed)
    assert "is heard on channel 20" in failed.detail
    assert failed.detail.endswith("it does not take us: no parent answers")
    lab.next()
    assert lab.asked() == [RestoreNetwork()]
    lab.done(OK)
    assert lab.events() == [NetworkUp(NETWORK, joined=False)]


def test_another_short_address_is_announced_and_its_reason_told() -> None:
    lab = Lab().online()
    lab.zdo(zdo.DeviceAnnce(0x1234, 0x5555, 0x8E), source=0x1234)
    new = NetworkInfo(EUI, 0x4321, 0xABCD, 0x99, 15, LogicalType.ROUTER)
    lab.joining.network_changed(new, lab.now)
    assert lab.events() == [AddressChanged(new, "short address conflict with 0000000000005555")]
    assert lab.asked() == [zdo.DeviceAnnce(0x4321, EUI, 0x8E)]
    elsewhere = NetworkInfo(EUI, 0x4321, 0xABCD, 0x99, 25, LogicalType.ROUTER)
    lab.joining.network_changed(elsewhere, lab.now)
    assert lab.events() == [AddressChanged(elsewhere, "the network went to channel 25, PAN 0xABCD")]
    lab.joining.network_changed(elsewhere, lab.now)
    assert lab.events() == []
    assert lab.joining.state is JoinState.ONLINE


def test_a_rejoin_that_gave_another_short_address_is_announced() -> None:
    lab = Lab().online()
    lab.joining.start(lab.now)
    lab.asked()
    lab.done(OK)
    lab.asked()
    lab.silence(heard())
    lab.events()
    lab.next()
    lab.asked()
    lab.done(heard(beacon()))
    assert lab.asked() == [RestoreNetwork()]
    new = NetworkInfo(EUI, 0x4321, 0xABCD, 0x99, 15, LogicalType.ROUTER)
    lab.done(RadioResult(RadioStatus.OK, new))
    assert lab.events()[-1] == NetworkUp(new, joined=False)
    assert lab.asked() == [zdo.DeviceAnnce(0x4321, EUI, 0x8E), IEEE, MATCH]


def test_channels_in_words() -> None:
    assert ranges((26, 11, 12, 13, 20)) == "11-13, 20, 26"


BEACONS = st.builds(
    beacon, st.sampled_from([15, 20]), st.sampled_from([0xABCD, 1]), st.sampled_from([0, 7]), st.sampled_from([0x99, 1])
)
RESULTS = st.builds(
    RadioResult,
    st.sampled_from(RadioStatus),
    st.none() | st.just(NETWORK),
    beacons=st.lists(BEACONS, max_size=3).map(tuple),
)
STEPS: st.SearchStrategy[Callable[[Lab], object]] = st.one_of(
    st.builds(lambda result: lambda lab: lab.done(result), RESULTS),
    st.builds(lambda ends: lambda lab: lab.zdo(zdo.MatchDescRsp(0, 0, tuple(ends))), st.lists(st.integers(1, 240))),
    st.just(lambda lab: lab.zdo(zdo.IeeeAddrRsp(0, HUB_EUI, 0))),
    st.builds(lambda values: lambda lab: lab.time(values), st.dictionaries(st.integers(0, 1), st.integers(0, 2**32))),
    st.just(lambda lab: lab.joining.start(lab.now)),
    st.just(lambda lab: lab.joining.join(GIVEN, lab.now)),
    st.just(lambda lab: lab.joining.leave("told to", lab.now)),
    st.just(lambda lab: lab.joining.network_lost("lost", lab.now)),
    st.just(lambda lab: lab.joining.radio_lost("lost")),
    st.just(lambda lab: lab.joining.heard(0, lab.now)),
    st.just(lambda lab: lab.joining.network_changed(NETWORK, lab.now)),
    st.just(lambda lab: lab.next() if lab.joining.next_deadline() is not None else None),
)


@settings(deadline=None)
@given(st.lists(STEPS, max_size=30))
def test_any_sequence(steps: list[Callable[[Lab], object]]) -> None:
    """Never raises; online exactly when there is a hub; in an hour of silence few requests."""
    lab = Lab()
    for step in steps:
        step(lab)
        lab.asked()
        assert (lab.joining.hub is not None) == (lab.joining.state is JoinState.ONLINE)
    end, requests = lab.now + 3600, 0
    while (deadline := lab.joining.next_deadline()) is not None and deadline <= end:
        lab.next()
        requests += len(lab.asked())
    assert requests <= 40
