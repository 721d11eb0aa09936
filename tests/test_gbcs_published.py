"""Every published message verifies with the published keys: signature, MAC and certificates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agent.gbcs.certificate import KeyUse, Role
from agent.gbcs.keystore import KeyStore
from agent.gbcs.message import decode
from agent.gbcs.protection import Check, check_mac, check_signature

ACB = 0x90B3D51F30000002
SUPPLIER = 0x90B3D51F30010000


@pytest.fixture(scope="module")
def keys(vectors: Path) -> KeyStore:
    return KeyStore.load(vectors / "keystore")


def test_every_published_message_verifies(vectors: Path, keys: KeyStore) -> None:
    for path in sorted((vectors / "rtds").glob("*.HEX")):
        message = decode(bytes.fromhex(path.read_text()))
        assert check_signature(message, keys) is (Check.OK if message.signature else Check.ABSENT), path.name
        assert check_mac(message, keys) is (Check.OK if message.mac else Check.ABSENT), path.name


def test_a_published_message_with_another_counter_does_not(vectors: Path, keys: KeyStore) -> None:
    command = decode(bytes.fromhex((vectors / "rtds" / "CS06_11.3_IMMEDIATE_SUCCESS_COMMAND_GBCS.HEX").read_text()))
    other = replace(command, counter=command.counter + 1)
    assert (check_signature(other, keys), check_mac(other, keys)) == (Check.BAD, Check.BAD)


def test_published_certificates_say_who_and_what_for(keys: KeyStore) -> None:
    assert keys.holders(Role.ACCESS_CONTROL_BROKER, KeyUse.KEY_AGREEMENT) == [ACB]
    assert keys.holders(Role.SUPPLIER, KeyUse.DIGITAL_SIGNING) == [SUPPLIER]
    device = keys.certificate(0x00DB1234567890A0, KeyUse.DIGITAL_SIGNING)
    assert device is not None
    assert device.role is None
    assert device.not_after.isoformat() == "9999-12-31T23:59:59+00:00"
    assert keys.private_key(0x00DB1234567890A0, KeyUse.DIGITAL_SIGNING) is None
    assert keys.private_key(SUPPLIER, KeyUse.PREPAYMENT) is not None
