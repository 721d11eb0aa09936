"""The Manufacturer Image's parser: imgtool's images are read, imgtool reads ours, all else is a FormatError."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_factory import FACTS, PAYLOAD, craft, imgtool_image, make_key, steady

from agent.errors import FormatError, SettingsError, StorageError
from agent.image import mcuboot
from agent.image.signature import key_hash
from agent.image.version import Version
from flash.image_sign import ImageFacts, sign_image


@steady
@given(st.integers(0, 0xFFFF_FFFF))
def test_version_and_file_version_are_one_to_one(number: int) -> None:
    version = Version.from_file_version(number)
    assert version.file_version == number
    assert Version.parse(str(version)) == version
    assert int.from_bytes(version.to_octets(), "big") == number


@steady
@given(st.integers(0, 0xFFFF_FFFF), st.integers(0, 0xFFFF_FFFF))
def test_versions_are_ordered_as_file_versions_are(one: int, other: int) -> None:
    assert (Version.from_file_version(one) < Version.from_file_version(other)) == (one < other)


@pytest.mark.parametrize(
    "text", ["", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.-3", "256.0.0", "0.0.65536", "1.2.3\n", "\u0661.2.3"]
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        Version.parse(text)


def test_an_image_of_imgtool_is_read_in_full() -> None:
    image = mcuboot.parse(imgtool_image())
    assert (image.version, image.build) == (Version(1, 1, 0), 0)
    header = image.header
    assert imgtool_image()[header.header_octets : header.tlv_offset] == PAYLOAD
    assert header.header_octets == 32
    assert image.total_octets == len(imgtool_image())
    assert image.security_counter == FACTS.security_counter
    assert image.base_abi == FACTS.base_abi
    assert image.upgrade_from == FACTS.upgrade_from
    assert image.key_hash == key_hash(make_key())
    assert image.digest == image.calculated_digest


def test_imgtool_verifies_a_crafted_image(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(make_key().export_key(format="PEM"))
    (tmp_path / "image.bin").write_bytes(craft())
    command = [sys.executable, "-m", "imgtool.main", "verify", "-k", tmp_path / "key.pem", tmp_path / "image.bin"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "Image was correctly validated" in result.stdout
    assert "Image version: 1.1.0" in result.stdout


def test_a_slot_may_be_longer_than_its_image() -> None:
    octets = imgtool_image() + b"\xff" * 100
    with pytest.raises(FormatError, match="100 octets after the last TLV"):
        mcuboot.parse(octets)
    image = mcuboot.parse(octets, allow_trailing=True)
    assert image.total_octets == len(imgtool_image())
    assert image.manufacturer_image_hash == mcuboot.parse(imgtool_image()).manufacturer_image_hash


def test_every_shorter_image_is_refused() -> None:
    whole = imgtool_image()
    for length in range(len(whole)):
        with pytest.raises(FormatError):
            mcuboot.parse(whole[:length], allow_trailing=True)


def test_a_bare_public_key_stands_for_its_hash() -> None:
    assert mcuboot.parse(craft(key_as=mcuboot.PUBLIC_KEY)).key_hash == key_hash(make_key())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"extra": ((mcuboot.SHA256, bytes(32)),)}, "a second SHA-256"),
        ({"extra": ((mcuboot.PUBLIC_KEY, b"key"),)}, "both a key hash and a public key"),
        ({"protected": ((mcuboot.SECURITY_COUNTER, bytes(3)),)}, "security counter of 3 octets"),
        ({"protected": ((mcuboot.BASE_ABI, b"\xff"),)}, "not UTF-8"),
        ({"protected": ((mcuboot.BASE_ABI, b"x" * 65),)}, "at most 64"),
        ({"protected": ((mcuboot.UPGRADE_FROM, struct.pack("<II", 2, 1)),)}, r"0\.0\.2\.\.0\.0\.1 is empty"),
    ],
)
def test_tlvs_with_two_readings_or_none_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(FormatError, match=words):
        mcuboot.parse(craft(**changes))  # type: ignore[arg-type]


def test_a_security_counter_that_no_signature_covers_is_not_one() -> None:
    image = mcuboot.parse(craft(protected=(), extra=((mcuboot.SECURITY_COUNTER, struct.pack("<I", 9)),)))
    assert image.security_counter is None


def test_imgtools_refusal_comes_in_its_own_words(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text(make_key().export_key(format="PEM"))
    with pytest.raises(SettingsError, match="exceeds requested size"):
        sign_image(PAYLOAD, key, ImageFacts(version=Version(1, 0, 0)), slot_octets=256)
    key.write_text(make_key().public_key().export_key(format="PEM"))
    with pytest.raises(StorageError, match="not a NIST P-256 private key"):
        sign_image(PAYLOAD, key, ImageFacts(version=Version(1, 0, 0)))
    with pytest.raises(StorageError, match="cannot be read: No such file"):
        sign_image(PAYLOAD, tmp_path / "absent.pem", ImageFacts(version=Version(1, 0, 0)))


@steady
@given(st.binary(max_size=200))
def test_any_octets_parse_or_raise_format_error(octets: bytes) -> None:
    for candidate in (octets, mcuboot.IMAGE_MAGIC.to_bytes(4, "little") + octets):
        with contextlib.suppress(FormatError):
            mcuboot.parse(candidate, allow_trailing=True)


@steady
@given(st.data())
def test_a_damaged_image_parses_or_raises_format_error(data: st.DataObject) -> None:
    octets = bytearray(craft())
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(FormatError):
        mcuboot.parse(bytes(octets))
