"""Told to leave and to join by the engineer, at any moment of an attempt; and kicked out by the hub."""

from __future__ import annotations

from agent.events import LeaveNetwork, RadioResult, RadioStatus, RestoreNetwork
from agent.zigbee.joining import HubLost, JoinedAsTold, JoinFailed, JoinState, LeftNetwork, NetworkUp
from tests.joining_lab import GIVEN, JOIN, NETWORK, NONE, OK, Lab


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
