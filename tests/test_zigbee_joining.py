"""Getting onto the network, as transcripts: restore, join, back off; and any sequence of what may happen."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.events import RadioResult, RadioStatus, RestoreNetwork
from agent.zigbee import zdo
from agent.zigbee.joining import HubAnswered, HubFound, HubLost, JoinFailed, JoinState, LeftNetwork, NetworkUp
from agent.zigbee.peer import Peer
from tests.joining_lab import ANNOUNCE, GIVEN, HUB_EUI, IEEE, JOIN, MATCH, NETWORK, NONE, OK, Lab, beacon


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


def test_network_lost_is_restored_after_a_moment() -> None:
    lab = Lab().online()
    lab.joining.network_lost("left", lab.now)
    assert lab.events() == [HubLost("left"), LeftNetwork("left", 5.0)]
    lab.next()
    assert lab.asked() == [RestoreNetwork()]


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
