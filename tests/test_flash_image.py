"""Images: Intel HEX against the intelhex package, what is refused and why, and which CCFG locks the bootloader out."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from intelhex import IntelHex
from radio_images import SMALL, make_ccfg, make_flash, to_hex

from agent.errors import FormatError, HanError, SettingsError
from flash.cc2652.image import load_image, parse_ccfg, parse_image
from flash.cc2652.intel_hex import parse_intel_hex

runs_of_octets = st.dictionaries(st.integers(0, 0x3FFFF), st.binary(min_size=1, max_size=40), min_size=1, max_size=8)


@given(runs_of_octets)
def test_hex_reads_as_the_intelhex_package_wrote_it(pieces: dict[int, bytes]) -> None:
    judge = IntelHex()
    for address, data in pieces.items():
        judge.puts(address, data)
    text = io.StringIO()
    judge.write_hex_file(text)
    runs = parse_intel_hex("x.hex", text.getvalue().encode())
    assert {address + at: octet for address, data in runs for at, octet in enumerate(data)} == judge.todict()


@given(st.one_of(st.binary(max_size=200), st.text(":0123456789ABCDEF\n\r ", max_size=200).map(str.encode)))
def test_only_format_error_escapes_the_hex_parser(content: bytes) -> None:
    try:
        parse_intel_hex("x.hex", content)
    except FormatError:
        return


@given(st.binary(max_size=200), st.sampled_from([b"", b":", b":00000001FF\n", b"PK\x03\x04"]))
def test_only_our_errors_escape_the_image_parser(content: bytes, start: bytes) -> None:
    try:
        parse_image("x", start + content).check_fits(SMALL)
    except HanError:
        return


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (":0100000001FE\n", "no end record"),
        (":0100000001FF\n:00000001FF\n", "line 1: wrong checksum"),
        (":0200000001FE\n:00000001FF\n", "line 1: the length"),
        (":00000001FF\n:0100000001FE\n", "line 2: data after the end record"),
        (":0100000001FE\n:0100000001FE\n:00000001FF\n", "line 2: address 0x0 is given twice"),
        (":0100000601F8\n:00000001FF\n", "record type 6"),
        (":zz\n:00000001FF\n", "line 1: not an Intel HEX record"),
        ("hello\n", "line 1: not an Intel HEX record"),
    ],
)
def test_bad_hex_names_the_line(text: str, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        parse_intel_hex("x.hex", text.encode())


def test_segment_and_linear_addresses() -> None:
    text = b":020000021000EC\n:0100000001FE\n:020000040005F5\n:0100000002FD\n:0400000500001001E6\n:00000001FF\n"
    assert parse_intel_hex("x.hex", text) == [(0x10000, b"\x01"), (0x50000, b"\x02")]


def test_runs_widen_to_words_and_merge() -> None:
    judge = IntelHex()
    judge.puts(1, b"\x11")
    judge.puts(3, b"\x33\x44")
    judge.puts(6, b"\x66")
    judge.puts(13, b"\xdd")
    text = io.StringIO()
    judge.write_hex_file(text)
    image = parse_image("x", text.getvalue().encode())
    assert image.runs == ((0, bytes.fromhex("ff11ff3344ff66ff")), (12, bytes.fromhex("ffddffff")))
    assert image.octets == 12
    assert image.end == 16


def test_binary_and_hex_of_one_flash_are_the_same() -> None:
    flash = make_flash()
    assert parse_image("a", to_hex(flash)).read(0, SMALL) == flash == parse_image("b", flash).read(0, SMALL)
    assert parse_image("a", to_hex(flash)).check_fits(SMALL).backdoor() == "DIO15 low"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (bytes(1001), "multiple of four"),
        (b"PK\x03\x04rest", "zip archive: unpack"),
        (b"\x7fELF" + bytes(4), "ELF"),
        (b"UF2\n" + bytes(4), "UF2"),
        (b"\xeb\x17\xa6\x03" + bytes(4), "GBL"),
        (bytes(1024 * 1024 + 4), "too large"),
    ],
)
def test_what_is_no_image_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(HanError, match=reason):
        parse_image("fw", content)


def with_vectors(stack: int, entry: int) -> bytes:
    return struct.pack("<II", stack, entry) + make_flash()[8:]


@pytest.mark.parametrize(
    ("flash", "reason"),
    [
        (make_flash(2 * SMALL), "made for a larger chip"),
        (make_flash(SMALL // 2), "no CCFG"),
        (with_vectors(0x10000000, 0x1001), "not a firmware"),
        (with_vectors(0x20014000, 0x1000), "not a firmware"),
        (with_vectors(0x20014000, SMALL + 1), "not a firmware"),
        (make_flash(ccfg=make_ccfg(valid=0xFFFFFFFF)), "IMAGE_VALID_CONF"),
        (make_flash(ccfg=make_ccfg(valid=2)), "IMAGE_VALID_CONF"),
    ],
)
def test_foreign_images_are_refused(flash: bytes, reason: str) -> None:
    with pytest.raises(HanError, match=reason):
        parse_image("fw.bin", flash).check_fits(SMALL)


@pytest.mark.parametrize(
    ("ccfg", "reason"),
    [
        (make_ccfg(), None),
        (make_ccfg(bl_config=0x00FE0FC5), "BOOTLOADER_ENABLE"),
        (make_ccfg(bl_config=0xC5FE0F00), "BL_ENABLE"),
        (make_ccfg(bl_config=0xC5FEFFC5), "BL_PIN_NUMBER 255"),
        (make_ccfg(erase=0xFFFFFFFE), "BANK_ERASE_DIS_N"),
        (make_ccfg(protect=b"\xfe" + b"\xff" * 15), "1 flash sectors"),
    ],
)
def test_lockout(ccfg: bytes, reason: str | None) -> None:
    reasons = parse_ccfg(ccfg).lockout_reasons()
    assert (reasons == []) if reason is None else (len(reasons) == 1 and reason in reasons[0])


def test_ccfg_describes_its_pin() -> None:
    assert parse_ccfg(make_ccfg()).backdoor() == "DIO15 low"
    assert parse_ccfg(make_ccfg(bl_config=0xC5FF0DC5)).backdoor() == "DIO13 high"
    assert parse_ccfg(make_ccfg(bl_config=0xC5FFFFFF)).backdoor() == "none"
    with pytest.raises(FormatError):
        parse_ccfg(bytes(87))


def test_missing_and_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.hex: no such image"):
        load_image(tmp_path / "none.hex")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_image(tmp_path)
