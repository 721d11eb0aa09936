"""Keystore, certificates and builders, judged by ``cryptography`` and by tshark's GBCS dissector."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import struct
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import FormatError, StorageError
from agent.gbcs import build
from agent.gbcs.build import Envelope
from agent.gbcs.certificate import KeyUse, Role, decode_certificate
from agent.gbcs.keystore import KeyStore, read_certificate
from agent.gbcs.message import decode
from agent.gbcs.protection import Check, check_mac, check_signature
from agent.gbcs.use_cases import (
    ActivateFirmwareAlert,
    ActivationOutcome,
    ActivationResult,
    FirmwareTransferAlert,
    PpmidActivationAlert,
    ReadVersionResponse,
    ReceiptAlert,
    TransferOutcome,
)

FOLDER = Path(__file__).parent / "vectors" / "gbcs" / "keystore"
ACB, SUPPLIER, HCALCS, PPMID, HUB = (
    0x90B3D51F30AA0001,
    0x90B3D51F30AA0002,
    0x00DB1234567890B0,
    0x00DB1234567890B1,
    0x00DB1234567890B2,
)
KEYS = KeyStore.load(FOLDER)
NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
HASH = hashlib.sha256(b"image").digest()
RESULT = ActivationResult(ActivationOutcome.SUCCESS, 0x01020003)


def every_message() -> dict[str, bytes]:
    """One of each kind that the builders make."""
    cs06 = build.cs06_command(KEYS, Envelope(SUPPLIER, HCALCS, 10), HASH)
    cs08 = build.cs08_command(KEYS, Envelope(ACB, PPMID, 11), SUPPLIER, 12)
    command, read = decode(cs06), decode(cs08)
    transfer = FirmwareTransferAlert(NOW, PPMID, 0x01020003, TransferOutcome.SUCCESS)
    return {
        "cs06 command": cs06,
        "cs06 dated": build.cs06_command(KEYS, Envelope(SUPPLIER, HCALCS, 13), HASH, NOW),
        "cs06 response": build.cs06_response(KEYS, command, RESULT, NOW),
        "cs06 accepted": build.cs06_response(KEYS, command, None, NOW),
        "cs06 alert": build.cs06_alert(KEYS, Envelope(HCALCS, SUPPLIER, 1), ActivateFirmwareAlert(NOW, 13, RESULT)),
        "cs08 command": cs08,
        "cs08 response": build.cs08_response(KEYS, read, ReadVersionResponse(0x01020003)),
        "cs09 alert": build.cs09_alert(KEYS, Envelope(PPMID, ACB, 2), PpmidActivationAlert(NOW, 1, True)),
        "ccs08 alert": build.ccs08_alert(KEYS, Envelope(HUB, ACB, 3), transfer),
        "receipt": build.receipt_alert(KEYS, Envelope(HCALCS, SUPPLIER, 4), ReceiptAlert(NOW, HASH, True)),
    }


MESSAGES = every_message()


def certificate_of(eui: int, use: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((FOLDER / f"{eui:016x}-{use}.pem").read_bytes())


def public_key(eui: int, use: str) -> ec.EllipticCurvePublicKey:
    key = certificate_of(eui, use).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def mac_by_cryptography(octets: bytes, parties: tuple[int, int]) -> bytes:
    """The MAC of a whole message, worked out from its octets alone."""
    start = octets.index(b"\xdf\x09")
    body = octets[start:-12]
    private = load_pem_private_key((FOLDER / f"{parties[0]:016x}-ka.key").read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    secret = private.exchange(ec.ECDH(), public_key(parties[1], "ka"))
    info = bytes.fromhex("60857406080300") + body[12:20] + body[1:11] + body[21:29]
    key = hashlib.sha256(bytes.fromhex("00000001") + secret + info).digest()[:16]
    return AESGCM(key).encrypt(body[12:20] + bytes(4), b"", bytes.fromhex("110000000000") + body)[:12]


@pytest.mark.parametrize("name", MESSAGES)
def test_our_signatures_verify_with_cryptography(name: str) -> None:
    octets = MESSAGES[name]
    message = decode(octets)
    if not message.signature:
        assert name in ("cs08 command", "cs08 response")
        return
    end = len(octets) - (12 if message.mac else 0) - 65
    signed = octets[octets.index(b"\xdf\x09") + 1 : end]
    pair = encode_dss_signature(int.from_bytes(message.signature[:32]), int.from_bytes(message.signature[32:]))
    public_key(message.originator, "ds").verify(pair, signed, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        public_key(message.originator, "ds").verify(pair, signed + b"\x00", ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize(
    ("name", "parties"),
    [
        ("cs06 command", (ACB, HCALCS)),
        ("cs06 dated", (ACB, HCALCS)),
        ("cs08 command", (ACB, PPMID)),
        ("cs08 response", (PPMID, ACB)),
    ],
)
def test_our_macs_verify_with_cryptography(name: str, parties: tuple[int, int]) -> None:
    assert MESSAGES[name][-12:] == mac_by_cryptography(MESSAGES[name], parties)


@pytest.mark.parametrize("name", MESSAGES)
def test_protection_is_what_the_use_case_asks_for(name: str) -> None:
    message = decode(MESSAGES[name])
    found = (check_signature(message, KEYS), check_mac(message, KEYS))
    command = name in ("cs06 command", "cs06 dated")
    wanted = (Check.ABSENT, Check.OK) if name.startswith("cs08") else (Check.OK, Check.OK if command else Check.ABSENT)
    assert found == wanted


def test_the_same_message_is_the_same_octets() -> None:
    assert every_message() == MESSAGES


def test_a_response_repeats_the_commands_counter_with_the_parties_swapped() -> None:
    command, response = (decode(MESSAGES[name]) for name in ("cs08 command", "cs08 response"))
    assert (response.originator, response.target, response.counter) == (command.target, command.originator, 11)
    assert (response.supplementary_party, response.supplementary_party_counter) == (SUPPLIER, 12)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(StorageError, match="no private signing key of 90B3D51F30AA0002"):
        build.cs06_command(KeyStore(), Envelope(SUPPLIER, HCALCS, 1), HASH)
    with pytest.raises(StorageError, match="no key agreement keys for the MAC of 90B3D51F30AA0001 -> 00DB1234567890B1"):
        build.cs08_command(KeyStore(), Envelope(ACB, PPMID, 1), SUPPLIER, 1)


def test_certificates_made_by_cryptography() -> None:
    broker = KEYS.certificate(ACB, KeyUse.KEY_AGREEMENT)
    device = KEYS.certificate(PPMID, KeyUse.DIGITAL_SIGNING)
    assert broker is not None
    assert device is not None
    assert (broker.eui, broker.role, broker.usage) == (ACB, Role.ACCESS_CONTROL_BROKER, KeyUse.KEY_AGREEMENT)
    assert (device.eui, device.role, device.usage) == (PPMID, None, KeyUse.DIGITAL_SIGNING)
    assert device.not_after == certificate_of(PPMID, "ds").not_valid_after_utc


def test_a_certificate_under_another_name_is_refused_by_file(tmp_path: Path) -> None:
    wrong_eui = tmp_path / f"{HUB:016x}-ds.pem"
    shutil.copy(FOLDER / f"{PPMID:016x}-ds.pem", wrong_eui)
    with pytest.raises(StorageError, match=f"{wrong_eui.name}: the certificate is of 00DB1234567890B1, not of"):
        KeyStore.load(tmp_path)
    wrong_eui.unlink()
    shutil.copy(FOLDER / f"{PPMID:016x}-ds.pem", tmp_path / f"{PPMID:016x}-ka.pem")
    with pytest.raises(StorageError, match=r"-ka\.pem: the certificate is for digital signing, not for key agreement"):
        KeyStore.load(tmp_path)


def test_a_private_key_of_another_pair_is_refused(tmp_path: Path) -> None:
    shutil.copy(FOLDER / f"{PPMID:016x}-ds.pem", tmp_path / f"{PPMID:016x}-ds.pem")
    shutil.copy(FOLDER / f"{HUB:016x}-ds.key", tmp_path / f"{PPMID:016x}-ds.key")
    with pytest.raises(StorageError, match=r"00db1234567890b1-ds\.key is not the private key of its certificate"):
        KeyStore.load(tmp_path)


@pytest.mark.parametrize(
    ("suffix", "content", "reason"),
    [
        ("pem", b"", "not a PEM file"),
        ("pem", b"\xff\xfe", "not a PEM file"),
        ("key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no private key"),
        ("pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no certificate that"),
        ("key", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds a CERTIFICATE"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, suffix: str, content: bytes, reason: str) -> None:
    path = tmp_path / f"{PPMID:016x}-ds.{suffix}"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=reason) as caught:
        KeyStore.load(tmp_path)
    assert str(path) in str(caught.value)


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README.txt").write_text("keys live here")
    (tmp_path / "install-code.key").write_text("83FED3407A939723A5C639B26916D505C3B5")
    assert KeyStore.load(tmp_path).names() == []


@settings(deadline=None)  # a loaded machine is no defect
@given(data=st.data())
def test_damaged_certificates_raise_nothing_but_format_errors(data: st.DataObject) -> None:
    octets = bytearray(read_certificate(FOLDER / f"{data.draw(st.sampled_from([ACB, PPMID])):016x}-ds.pem").octets)
    for _ in range(data.draw(st.integers(1, 3))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(FormatError):
        decode_certificate(bytes(octets))


@settings(deadline=None)  # a loaded machine is no defect
@given(st.binary(max_size=100))
def test_garbage_certificates_raise_nothing_but_format_errors(octets: bytes) -> None:
    with pytest.raises(FormatError):
        decode_certificate(octets)


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_dissects_what_we_build(tmp_path: Path) -> None:
    capture = tmp_path / "gbcs.pcap"
    link_type_user0 = 147
    octets = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link_type_user0)
    for message in MESSAGES.values():
        octets += struct.pack("<IIII", 0, 0, len(message), len(message)) + message
    capture.write_bytes(octets)
    header = "gbcs_message.grouping_header"
    columns = ["cra_flag", "originator_counter", "message_code", "business_target_id"]
    command = ["tshark", "-r", str(capture), "-o", 'uat:user_dlts:"User 0 (DLT=147)","gbcs_message","0","","0",""']
    command += ["-T", "fields", *(f"-e{header}.{column}" for column in columns), "-e_ws.malformed", "-e_ws.col.Info"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    rows = [line.split("\t") for line in output.splitlines()]
    decoded = [decode(message) for message in MESSAGES.values()]
    assert [[int(row[0], 0), int(row[1]), int(row[2], 0)] for row in rows] == [
        [message.cra.value, message.counter, message.message_code] for message in decoded
    ]
    assert [int(row[3].replace(":", ""), 16) for row in rows] == [message.target for message in decoded]
    assert not any(row[4] for row in rows)
    assert "CS06 Activate Firmware" in rows[0][5]
