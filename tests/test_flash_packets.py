"""The bootloader's packets: the manual's examples, and a parser that raises FormatError only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import FormatError
from flash.cc2652.packets import Command, command, decode_packet, encode_packet


def test_ping_is_three_octets() -> None:
    assert command(Command.PING).hex() == "032020"


def test_download_carries_address_and_size_most_significant_first() -> None:
    # size 11, checksum of 21 00 05 7F A8 00 00 00 58
    assert command(Command.DOWNLOAD, 0x57FA8, 88).hex() == "0ba52100057fa800000058"


def test_memory_read_ends_with_access_type_and_count() -> None:
    assert command(Command.MEMORY_READ, 0x50001318, tail=b"\x01\x01").hex() == "09a72a500013180101"


@given(st.binary(min_size=1, max_size=253))
def test_what_is_encoded_decodes(payload: bytes) -> None:
    assert decode_packet(encode_packet(payload)) == payload


@given(st.binary(max_size=300))
def test_only_format_error_escapes(octets: bytes) -> None:
    try:
        data = decode_packet(octets)
    except FormatError:
        return
    assert encode_packet(data) == octets


@given(st.binary(min_size=1, max_size=253), st.data())
def test_one_wrong_octet_is_noticed(payload: bytes, data: st.DataObject) -> None:
    packet = bytearray(encode_packet(payload))
    at = data.draw(st.integers(0, len(packet) - 1))
    packet[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(FormatError):
        decode_packet(bytes(packet))


@pytest.mark.parametrize("length", [0, 254])
def test_a_packet_has_bounds(length: int) -> None:
    with pytest.raises(ValueError, match="1 to 253"):
        encode_packet(bytes(length))
