"""MAC frames: octets, round trips, and what never gets past the parser."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import FormatError
from boards.virtual.air import mac
from boards.virtual.air.mac import FrameType, MacFrame, Mode


def addresses(mode: Mode) -> st.SearchStrategy[int]:
    return {
        Mode.NONE: st.just(0xFFFF),
        Mode.SHORT: st.integers(0, 0xFFFF),
        Mode.EXTENDED: st.integers(0, (1 << 64) - 1),
    }[mode]


@st.composite
def frames(draw: st.DrawFn) -> MacFrame:
    destination_mode, source_mode = draw(st.sampled_from(Mode)), draw(st.sampled_from(Mode))
    pans = st.integers(0, 0xFFFF)
    return MacFrame(
        draw(st.sampled_from(FrameType)),
        draw(st.integers(0, 255)),
        draw(pans) if destination_mode else 0xFFFF,
        draw(addresses(destination_mode)),
        destination_mode,
        draw(pans) if source_mode else 0xFFFF,
        draw(addresses(source_mode)),
        source_mode,
        draw(st.binary(max_size=98)),
        draw(st.booleans()),
        draw(st.booleans()),
    )


def test_data_frame_octets() -> None:
    frame = MacFrame(FrameType.DATA, 5, 0x1234, 0, Mode.SHORT, 0x1234, 7, Mode.SHORT, b"abc", ack_request=True)
    # control: data, ack request, PAN id compression, short addresses; sequence; PAN; to 0; from 7; payload; FCS
    assert mac.encode(frame).hex(" ", 2) == "6188 0534 1200 0007 0061 6263 e544"


def test_frame_check_sequence_of_the_standard() -> None:
    """IEEE 802.15.4-2006 7.2.1.9: the ack 02 00 6A has the FCS bits 0010 0111 1001 1110, first to last."""
    bits = "0010011110011110"
    assert mac.frame_check_sequence(bytes.fromhex("02006A")) == int(bits[::-1], 2)


@given(frames())
def test_round_trip(frame: MacFrame) -> None:
    assert mac.decode(mac.encode(frame)) == frame


@given(st.binary(max_size=130), st.booleans())
def test_only_format_errors_escape(octets: bytes, with_fcs: bool) -> None:
    """Also with a right FCS, so that the fields are looked at."""
    if with_fcs:
        octets += mac.frame_check_sequence(octets).to_bytes(2, "little")
    with contextlib.suppress(FormatError):
        mac.decode(octets)


@given(frames(), st.integers(0, 2000))
def test_every_flipped_bit_is_noticed(frame: MacFrame, bit: int) -> None:
    octets = bytearray(mac.encode(frame))
    octets[bit // 8 % len(octets)] ^= 1 << bit % 8
    with pytest.raises(FormatError, match="frame check sequence"):
        mac.decode(bytes(octets))


def test_more_than_the_phy_takes_is_a_defect_of_the_sender() -> None:
    with pytest.raises(ValueError, match="at most 127"):
        mac.encode(MacFrame(FrameType.DATA, 0, payload=bytes(123)))
