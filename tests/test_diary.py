"""The whole device in virtual time leaves behind what an engineer asks for: network, hub, last contact."""

from __future__ import annotations

import pytest

from agent.diary import Diary
from agent.errors import StorageError
from agent.events import RadioStatus, format_eui
from agent.update.facts import FactName
from agent.zigbee.cbke.hub_key import HeldKey, LinkKeyFailed, LinkKeyMade
from agent.zigbee.joining import JoinFailed, LeftNetwork
from agent.zigbee.whereabouts import NetworkSought, Sight
from tests.home import DEVICE_EUI, HUB_EUI, Home
from tests.update_rig import UTC as STARTED_UTC


def test_the_device_notes_network_hub_and_contact() -> None:
    home = Home("ppmid")
    home.run(60.0)
    facts = home.journal.facts
    network, hub, contact = (facts.read(name) for name in (FactName.NETWORK, FactName.HUB, FactName.CONTACT))
    assert network is not None
    assert (network.values["channel"], network.values["logical_type"], network.values["by"]) == (20, "router", "join")
    assert hub is not None
    assert (hub.values["eui"], hub.values["short_address"]) == (format_eui(HUB_EUI), "0x0000")
    assert contact is not None
    assert contact.values == {"link_quality": 255, "hub_has_time": True}
    assert STARTED_UTC <= contact.utc <= STARTED_UTC + 60
    home.lose_power()
    home.run(10.0)
    again = facts.read(FactName.NETWORK)
    assert again is not None
    assert again.values["by"] == "restore"


def test_a_discovery_is_noted_until_a_hub_is_found_and_a_new_address_at_once() -> None:
    home = Home("ppmid")
    facts, diary = home.journal.facts, Diary(home.journal.facts)
    diary.note(NetworkSought(Sight.ABSENT, "no beacon"), 7)
    sought = facts.read(FactName.SOUGHT)
    assert sought is not None
    assert sought.values == {"sight": "absent", "detail": "no beacon"}
    home.run(60.0)
    assert facts.read(FactName.SOUGHT) is None
    home.world.change_address(DEVICE_EUI, 0x4242)
    network = facts.read(FactName.NETWORK)
    assert network is not None
    assert (network.values["short_address"], network.values["by"]) == ("0x4242", "the chip's own doing")


def test_a_failed_join_is_noted_until_a_network_is_there() -> None:
    home = Home("ppmid")
    facts, diary = home.journal.facts, Diary(home.journal.facts)
    diary.note(JoinFailed(RadioStatus.KEY_EXCHANGE_FAILED, "no such key", 5.0), 7)
    failed = facts.read(FactName.JOINING)
    assert failed is not None
    assert failed.values == {"status": "key exchange failed", "detail": "no such key", "retry_s": 5.0}
    home.run(60.0)
    assert facts.read(FactName.JOINING) is None


def test_a_failing_key_establishment_is_noted_until_there_is_a_key() -> None:
    facts = Home("ppmid").journal.facts
    diary = Diary(facts)
    diary.note(LinkKeyFailed("refused", "no resources", 5.0), 7)
    failed = facts.read(FactName.LINK_KEY_FAILED)
    assert failed is not None
    assert failed.values == {"reason": "refused", "detail": "no resources", "retry_s": 5.0}
    diary.note(LeftNetwork("unknown issuer", 3600.0), 8)
    left = facts.read(FactName.JOINING)
    assert left is not None
    assert left.values["detail"] == "unknown issuer"
    diary.note(LinkKeyMade(HeldKey(HUB_EUI, 2, "00" * 16)), 9)
    assert facts.read(FactName.LINK_KEY_FAILED) is None


def test_a_full_medium_does_not_disturb_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home("ppmid")
    facts = home.journal.facts

    def full(*_values: object, **_more: object) -> None:
        raise StorageError("disk full")

    monkeypatch.setattr(facts, "record", full)
    monkeypatch.setattr(facts, "forget", full)
    home.run(60.0)
    assert home.logged("hub found")
    assert facts.all() == {}
