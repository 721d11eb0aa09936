"""A network that is elsewhere now, or does not take the device back, and an address that is another."""

from __future__ import annotations

from dataclasses import replace

from agent.events import LogicalType, MoveNetwork, NetworkInfo, RadioResult, RadioStatus, RestoreNetwork
from agent.zigbee import zdo
from agent.zigbee.joining import JoinFailed, JoinState, NetworkUp
from agent.zigbee.whereabouts import AddressChanged, NetworkSought, Sight, ranges
from tests.joining_lab import ANNOUNCE, DISCOVER, EUI, IEEE, MATCH, NETWORK, NOT_TAKEN_BACK, OK, Lab, beacon, heard


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
