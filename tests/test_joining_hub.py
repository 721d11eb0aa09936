"""The hub, once the device is on its network: found, its time read, silent, lost and found again."""

from __future__ import annotations

from agent.events import RadioResult, RadioStatus
from agent.zigbee import zdo
from agent.zigbee.joining import HubAnswered, HubFound, HubLost, JoinState
from agent.zigbee.peer import UNKNOWN_EUI, Peer
from agent.zigbee.whereabouts import NetworkSought, Sight
from tests.joining_lab import HUB_EUI, IEEE, MATCH, OK, Lab, beacon, heard


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
