"""The assembler: whole messages out of any chunking, garbage refused, memory bounded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import FormatError
from agent.gbcs.assembler import MessageAssembler
from agent.gbcs.message import Cra, GbcsMessage

SIGNED = st.builds(
    GbcsMessage,
    cra=st.sampled_from(Cra),
    counter=st.integers(0, 2**64 - 1),
    originator=st.integers(0, 2**64 - 1),
    target=st.integers(0, 2**64 - 1),
    message_code=st.integers(0, 0xFFFF),
    payload=st.binary(max_size=300),
    date_time=st.none() | st.binary(min_size=12, max_size=12),
    signature=st.just(bytes(64)) | st.just(b""),
    mac=st.none() | st.just(bytes(12)),
)


def drain(assembler: MessageAssembler) -> list[bytes]:
    messages = []
    while (message := assembler.next_message()) is not None:
        messages.append(message)
    return messages


@settings(deadline=None)  # a loaded machine is no defect
@given(messages=st.lists(SIGNED, max_size=4), data=st.data())
def test_any_chunking_gives_the_same_messages(messages: list[GbcsMessage], data: st.DataObject) -> None:
    whole = [message.encode() for message in messages]
    stream = b"".join(whole)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    assembler = MessageAssembler()
    out = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        assembler.feed(stream[start:end])
        out += drain(assembler)
    assert out == whole
    assert assembler.pending_octets == 0


def test_octet_by_octet() -> None:
    long = GbcsMessage(Cra.COMMAND, 1, 2, 3, 4, bytes(200), signature=bytes(64), mac=bytes(12)).encode()
    assembler = MessageAssembler()
    for octet in long[:-1]:
        assembler.feed(bytes([octet]))
        assert assembler.next_message() is None
    assembler.feed(long[-1:])
    assert assembler.next_message() == long


def test_what_stands_before_garbage_still_comes_out() -> None:
    good = GbcsMessage(Cra.ALERT, 1, 2, 3, 4, b"\x05\x00", signature=bytes(64)).encode()
    assembler = MessageAssembler()
    assembler.feed(good + b"\xe0garbage")
    assert assembler.next_message() == good
    with pytest.raises(FormatError, match="starts with E0"):
        assembler.next_message()
    assembler.feed(good)
    assert assembler.next_message() == good


@pytest.mark.parametrize("head", ["DD000000000000 82FFFF", "DF" + "00" * 28 + "00 02 0012 82FFFF" + "00" * 30])
def test_a_message_longer_than_the_bound_is_refused(head: str) -> None:
    assembler = MessageAssembler(maximum_octets=64)
    assembler.feed(bytes.fromhex(head))
    with pytest.raises(FormatError, match="longer than 64"):
        assembler.next_message()
    assert assembler.pending_octets == 0


@settings(deadline=None)  # a loaded machine is no defect
@given(st.lists(st.binary(max_size=60), max_size=8))
def test_garbage_raises_nothing_but_format_errors(chunks: list[bytes]) -> None:
    assembler = MessageAssembler(maximum_octets=100)
    for chunk in chunks:
        assembler.feed(chunk)
        try:
            drain(assembler)
        except FormatError:
            assert assembler.pending_octets == 0
        assert assembler.pending_octets <= 100
