"""The emulated chip's MT codec: frames survive garbage around them, and zigpy-znp reads the same octets."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zigpy_znp.frames import GeneralFrame, TransportFrame
from zigpy_znp.types import CommandHeader

from agent.errors import FormatError
from boards.virtual.ncp.codec import Fields, FrameType, MtFrame, MtParser, Subsystem, areq, srsp

frames = st.builds(
    MtFrame, st.integers(0, 255), st.integers(0, 255), st.one_of(st.binary(max_size=20), st.binary(max_size=250))
)


@given(frames)
def test_zigpy_znp_writes_the_same_octets(frame: MtFrame) -> None:
    theirs = TransportFrame(GeneralFrame(CommandHeader(frame.cmd0 | frame.cmd1 << 8), frame.data)).serialize()
    assert frame.encode() == theirs


@given(st.lists(frames, max_size=5), st.integers(1, 40))
def test_frames_come_out_however_the_stream_is_cut(sent: list[MtFrame], piece: int) -> None:
    stream = b"".join(frame.encode() for frame in sent)
    parser = MtParser()
    got = [frame for i in range(0, len(stream), piece) for frame in parser.feed(stream[i : i + piece])]
    assert got == sent
    assert parser.dropped_octets == 0


@given(st.binary(max_size=80).filter(lambda octets: 0xFE not in octets), frames)
def test_garbage_without_a_start_octet_costs_nothing(garbage: bytes, frame: MtFrame) -> None:
    parser = MtParser()
    assert list(parser.feed(garbage + frame.encode())) == [frame]
    assert parser.dropped_octets == len(garbage)


@given(st.binary(max_size=600))
def test_any_octets_then_silence_then_a_frame(garbage: bytes) -> None:
    """However the garbage ends, 255 idle octets complete or refute any frame that it seemed to start."""
    parser = MtParser()
    list(parser.feed(garbage + bytes(255)))
    ping = MtFrame(0x21, 0x01)
    assert list(parser.feed(ping.encode()))[-1:] == [ping]


def test_a_wrong_check_octet_drops_only_that_frame() -> None:
    ping = bytes.fromhex("FE 00 21 01 20")
    parser = MtParser()
    assert list(parser.feed(ping[:-1] + b"\x21" + ping)) == [MtFrame(0x21, 0x01)]


def test_a_reader_that_takes_one_frame_gets_the_next_one_next() -> None:
    first, second = MtFrame(0x61, 1, b"a"), MtFrame(0x61, 2)
    parser = MtParser()
    assert next(parser.feed(first.encode() + second.encode())) == first
    assert next(parser.feed(b"")) == second


def test_too_much_data_is_refused() -> None:
    with pytest.raises(FormatError, match="251 data octets"):
        MtFrame(0x21, 1, bytes(251)).encode()


def test_response_and_indication_headers() -> None:
    assert srsp(MtFrame(0x25, 0x3E), b"\0") == MtFrame(0x65, 0x3E, b"\0")
    assert areq(Subsystem.ZDO, 0xC0, b"\x09") == MtFrame(0x45, 0xC0, b"\x09")
    assert MtFrame(0x25, 0x3E).type == FrameType.SREQ


@given(st.binary(max_size=12), st.lists(st.sampled_from(["u8", "u16", "u32", "u64", "u16_list", "rest"]), max_size=6))
def test_fields_only_ever_raise_format_error(data: bytes, calls: list[str]) -> None:
    fields = Fields("test", data)
    with contextlib.suppress(FormatError):
        for call in calls:
            getattr(fields, call)()
