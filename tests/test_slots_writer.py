"""Writing a slot: streamed, resumable, never the one that runs."""

from __future__ import annotations

import pytest
from boot_factory import SLOT_OCTETS, Board, image_hash, small_image
from hypothesis import given, settings
from hypothesis import strategies as st
from image_factory import steady

from agent.boot.mark import MARK_OCTETS, read_mark
from agent.boot.refusal import BootRefusedError
from agent.boot.slots import find_length, hash_medium
from agent.boot.state import Slot, SlotState
from agent.errors import FormatError, StorageError
from boards.virtual.disk import Survival

OLD, NEW = small_image(0), small_image(1)


@pytest.fixture
def board() -> Board:
    made = Board()
    made.provision(OLD)
    return made


@given(st.lists(st.integers(0, 9000), max_size=12), st.sets(st.integers(0, 12)))
@settings(steady, max_examples=40)
def test_any_chunks_and_checkpoints_give_the_same_slot(lengths: list[int], checkpoints: set[int]) -> None:
    board = Board()
    board.provision(OLD)
    board.areas[Slot.B].write(0, b"\xff" * SLOT_OCTETS)
    writer = board.control(Slot.A).begin(Slot.B)
    position = 0
    for number, length in enumerate(lengths):
        writer.write(NEW[position : position + length])
        position = min(len(NEW), position + length)
        assert writer.position_octets == position
        if number in checkpoints:
            assert writer.checkpoint() == position // 4096 * 4096
    writer.write(NEW[position:])
    written = writer.finish()
    assert written.image_hash == image_hash(NEW)
    assert written.image_octets == len(NEW)
    assert board.areas[Slot.B].read_medium(0, SLOT_OCTETS) == NEW.ljust(SLOT_OCTETS, b"\0")


@given(st.integers(0, len(NEW)), st.sampled_from(Survival), st.integers(0, 99))
@settings(steady, max_examples=40)
def test_what_a_checkpoint_promised_survives_the_power(cut_after: int, survival: Survival, seed: int) -> None:
    board = Board(seed)
    board.provision(OLD)
    writer = board.control(Slot.A).begin(Slot.B)
    writer.write(NEW[:cut_after])
    durable = writer.checkpoint()
    writer.write(NEW[cut_after : cut_after + 5000])
    board.disk.lose_power(survival)
    board.disk.power_on()
    resumed = board.control(Slot.A).resume(Slot.B, durable)
    assert resumed.position_octets == durable
    resumed.write(NEW[durable:])
    assert resumed.finish().image_hash == image_hash(NEW)


@pytest.mark.parametrize("offset", [-4096, 1, 4095, SLOT_OCTETS])
def test_a_resume_where_no_checkpoint_can_be_is_refused(board: Board, offset: int) -> None:
    with pytest.raises(StorageError, match="no checkpoint"):
        board.control(Slot.A).resume(Slot.B, offset)


def test_the_running_and_the_active_slot_are_refused(board: Board) -> None:
    control = board.control(Slot.A)
    for attempt in (control.begin, lambda slot: control.resume(slot, 4096)):
        with pytest.raises(BootRefusedError, match="slot A runs"):
            attempt(Slot.A)
    with pytest.raises(BootRefusedError, match="confirmed"):
        board.control(None).begin(Slot.A)
    with pytest.raises(BootRefusedError, match="slot B runs"):
        board.control(Slot.B).begin(Slot.B)
    assert board.areas[Slot.A].read(0, len(OLD)) == OLD


def test_begin_takes_away_what_the_slot_was(board: Board) -> None:
    board.write(Slot.A, Slot.B, NEW)
    board.control(None).mark_good(Slot.B)
    board.control(Slot.B).begin(Slot.A)
    assert board.control(Slot.B).status().slots[Slot.A].state is SlotState.EMPTY
    assert read_mark(board.areas[Slot.A]) is None
    with pytest.raises(FormatError):
        find_length(board.areas[Slot.A])


def test_an_image_may_not_reach_the_mark(board: Board) -> None:
    writer = board.control(Slot.A).begin(Slot.B)
    writer.write(bytes(SLOT_OCTETS - MARK_OCTETS))
    with pytest.raises(StorageError, match="longer than its slot"):
        writer.write(b"x")
    assert writer.finish().image_octets == SLOT_OCTETS - MARK_OCTETS
    assert read_mark(board.areas[Slot.B]) is None


def test_a_medium_that_holds_other_octets_is_noticed(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    area = board.areas[Slot.B]
    writer = board.control(Slot.A).begin(Slot.B)
    writer.write(NEW)
    sync = area.sync

    def sync_and_rot() -> None:
        sync()
        area.damage(5000)

    monkeypatch.setattr(area, "sync", sync_and_rot)
    with pytest.raises(StorageError, match="reads back other octets"):
        writer.finish()


def test_length_and_hash_of_what_a_slot_holds(board: Board) -> None:
    area = board.areas[Slot.A]
    assert find_length(area) == len(OLD)
    pieces: list[bytes] = []
    assert hash_medium(area, len(OLD), pieces.append) == image_hash(OLD)
    assert b"".join(pieces) == OLD


@steady
@given(st.binary(max_size=80), st.integers(0, 60))
def test_any_octets_in_a_slot_raise_format_error_only(octets: bytes, at: int) -> None:
    board = Board()
    area = board.areas[Slot.B]
    area.write(0, OLD)
    area.write(at, octets)
    try:
        length = find_length(area)
    except FormatError:
        return
    assert length <= SLOT_OCTETS - MARK_OCTETS
