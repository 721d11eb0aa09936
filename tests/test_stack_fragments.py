"""Fragmentation as two machines, walked together over an air that loses, repeats and reorders."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import FormatError
from boards.virtual.stack.aps_frames import Fragmentation
from boards.virtual.stack.fragments import IncomingTransfer, OutgoingTransfer, split


@given(st.binary(max_size=400), st.integers(1, 82), st.integers(1, 80))
def test_split_loses_nothing(payload: bytes, single: int, block: int) -> None:
    blocks = split(payload, single, block)
    assert b"".join(blocks) == payload
    assert len(blocks) == 1 or max(map(len, blocks)) <= block
    assert (len(blocks) == 1) == (len(payload) <= single or len(payload) <= block)


def fragment(blocks: list[bytes], number: int) -> tuple[Fragmentation, int, bytes]:
    if number == 0:
        return Fragmentation.FIRST, len(blocks), blocks[0]
    return Fragmentation.SUBSEQUENT, number, blocks[number]


@given(st.binary(min_size=2, max_size=300), st.integers(1, 8), st.integers(0, 1 << 32), st.integers(0, 60))
def test_the_two_sides_agree_or_the_sender_knows(payload: bytes, window: int, seed: int, loss_percent: int) -> None:
    """Whenever the sender is done the receiver has every octet, whatever was lost, doubled or shuffled on the way."""
    generator = random.Random(seed)
    blocks = split(payload, 1, 10 if len(payload) > 10 else 1)
    sender, receiver = OutgoingTransfer(blocks, window, retries=3), IncomingTransfer(window, 1500)
    for _ in range(1000):
        sent = sender.missing() * (1 + (generator.random() < 0.1))
        generator.shuffle(sent)
        acks = []
        for number in sent:
            if generator.randrange(100) >= loss_percent:
                due = receiver.add(*fragment(blocks, number))
                if due is not None and generator.randrange(100) >= loss_percent:
                    acks.append(due)
        news = any(sender.acknowledge(*ack) for ack in acks)
        if sender.finished:
            assert receiver.complete
            assert receiver.payload() == payload
            return
        if not news and not sender.retry():
            assert loss_percent > 0
            return
    raise AssertionError("neither done nor given up")


@given(st.lists(st.tuples(st.sampled_from(Fragmentation), st.integers(0, 255), st.binary(max_size=70)), max_size=40))
def test_any_fragments_give_a_format_error_or_a_bounded_message(
    fragments: list[tuple[Fragmentation, int, bytes]],
) -> None:
    receiver = IncomingTransfer(window=2, maximum_octets=500)
    for one in fragments:
        with contextlib.suppress(FormatError):
            receiver.add(*one)
        assert sum(map(len, receiver.blocks.values())) <= 500
        if receiver.complete:
            assert len(receiver.payload()) <= 500


@given(st.lists(st.tuples(st.none() | st.integers(0, 255), st.integers(0, 255)), max_size=30), st.integers(1, 9))
def test_any_acknowledgements_never_skip_a_block(acks: list[tuple[int | None, int]], count: int) -> None:
    """An illegal input changes nothing; what is left out of every bitfield is still missing."""
    transfer = OutgoingTransfer([b"x"] * count, window=3, retries=3)
    for base, bits in acks:
        before = transfer.base, set(transfer.acknowledged)
        news = transfer.acknowledge(base, bits)
        if (base is None) != (count == 1) or (base is not None and base != before[0]):
            assert not news
            assert (transfer.base, transfer.acknowledged) == before
        assert set(range(min(transfer.base, count))) <= transfer.acknowledged


def test_more_than_the_agreed_size_is_refused() -> None:
    receiver = IncomingTransfer(window=1, maximum_octets=160)
    receiver.add(Fragmentation.FIRST, 3, bytes(80))
    receiver.add(Fragmentation.SUBSEQUENT, 1, bytes(80))
    with pytest.raises(FormatError, match="160 octets of a transfer"):
        receiver.add(Fragmentation.SUBSEQUENT, 2, b"x")


def test_a_window_is_acknowledged_when_complete_or_when_its_last_block_comes() -> None:
    receiver = IncomingTransfer(window=3, maximum_octets=1500)
    assert receiver.add(Fragmentation.FIRST, 5, b"0") is None
    assert receiver.add(Fragmentation.SUBSEQUENT, 2, b"2") == (0, 0b101)
    assert receiver.add(Fragmentation.SUBSEQUENT, 1, b"1") == (0, 0b111)
    assert receiver.add(Fragmentation.SUBSEQUENT, 3, b"3") is None
    assert receiver.add(Fragmentation.SUBSEQUENT, 3, b"3") == (3, 0b01)  # a repeat: the sender waits for us
    assert receiver.add(Fragmentation.SUBSEQUENT, 4, b"4") == (3, 0b11)
    assert receiver.payload() == b"01234"
