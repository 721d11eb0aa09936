"""Power cut at every operation of an update: written, activated, tried, confirmed or taken back, whatever happens.

The device here is as small as can be: a journal of a few facts (durable as soon as it is set, as SQLite's is), and a
`run` that looks at the handover and goes on. Slots, boot state, control and first stage are the real ones.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from boot_factory import Board, image_hash, small_image

from agent.boot import slots, store
from agent.boot.control import SlotsControl
from agent.boot.first_stage import FirstStage, Started
from agent.boot.mark import read_mark
from agent.boot.state import BootState, EndReason, Slot, SlotState, TryProgress, decode, encode
from agent.boot.store import COPY_OFFSETS, Finding
from agent.errors import FormatError, HanError
from agent.image import mcuboot
from boards.virtual.disk import Cut, PowerCut, Survival

OLD, NEW = small_image(0), small_image(1, counter=2)
TRIES = 3
PIECE_OCTETS = 1500


@dataclass
class Journal:
    """What the device's database would hold, and what the test wants to know at the end."""

    durable_octets: int = 0
    written: bool = False
    asked_to_activate: bool = False
    found_healthy: bool = False
    result: str = ""
    octets_taken: int = 0
    boots: int = 0
    runs: list[bytes] = field(default_factory=list)


class Restart(Exception):  # noqa: N818
    """The image exits with code 75."""


def run(board: Board, journal: Journal, started: Started, *, healthy: bool) -> None:
    """One life of the image that runs."""
    handover = started.handover
    control = board.control(handover.slot)
    if handover.image_hash == image_hash(NEW):
        if handover.trial:
            control.report_running()
            if not healthy:
                control.mark_bad(handover.slot, EndReason.UNHEALTHY)
                raise Restart
            journal.found_healthy = True
        control.confirm()
        journal.result = "new"
        return
    if handover.reverted is not None and handover.reverted.image_hash == image_hash(NEW):
        journal.result = f"old: {handover.reverted.reason.name}"
        return
    if not journal.written:
        stage(board, journal, handover.slot)
    journal.asked_to_activate = True
    control.activate(Slot.B, TRIES)
    raise Restart


def stage(board: Board, journal: Journal, running: Slot) -> None:
    control = board.control(running)
    writer = control.resume(Slot.B, journal.durable_octets)
    while writer.position_octets < len(NEW):
        piece = NEW[writer.position_octets : writer.position_octets + PIECE_OCTETS]
        writer.write(piece)
        journal.octets_taken += len(piece)
        journal.durable_octets = writer.checkpoint()
    written = writer.finish()
    image = mcuboot.parse(board.areas[Slot.B].read_medium(0, written.image_octets))
    assert image.manufacturer_image_hash == image_hash(NEW)
    control.mark_written(Slot.B, written, image.security_counter or 0)
    journal.written = True


def live(board: Board, journal: Journal, *, healthy: bool = True) -> None:
    """From one start to the end of the update, or to a cut."""
    while not journal.result:
        journal.boots += 1
        assert journal.boots < 20
        started = board.boot()
        assert started is not None, "a device that boots nothing"
        durable = newest_durable_state(board)
        assert durable == board.store.load().state, "a decision that was not durable"
        assert "boot state: both copies are lost" not in started.handover.notes
        check_tries(durable, started)
        journal.runs.append(started.handover.image_hash)
        if started.handover.image_hash == image_hash(NEW):
            assert journal.asked_to_activate, "a pending image ran"
        try:
            run(board, journal, started, healthy=healthy)
        except Restart:
            continue


def newest_durable_state(board: Board) -> BootState:
    """What would be found if the power went now."""
    found = []
    for offset in COPY_OFFSETS:
        with suppress(FormatError):
            found.append(decode(board.state_area.read_medium(offset, 512)))
    return max(found, key=lambda state: state.sequence)


def check_tries(durable: BootState, started: Started) -> None:
    """The try that now runs is counted where a power cut cannot take it back."""
    record = durable[started.handover.slot]
    if started.handover.trial:
        assert record.tries_left == started.handover.tries_left
        assert record.progress is not TryProgress.NOT_STARTED


def make_board(seed: int = 0) -> Board:
    board = Board(seed)
    board.provision(OLD)
    board.disk.power_on()
    return board


def count_operations(*, healthy: bool) -> int:
    board = make_board()
    live(board, Journal(), healthy=healthy)
    return len(board.disk.operations)


def live_with_cuts(
    board: Board, cuts: list[int], survival: Survival, *, healthy: bool = True, cut: Cut = Cut.POWER
) -> Journal:
    journal = Journal()
    for number in cuts:
        board.disk.cut_at(number, survival, cut)
        try:
            live(board, journal, healthy=healthy)
        except PowerCut:
            board.disk.power_on()
    board.disk.power_on()
    live(board, journal, healthy=healthy)
    return journal


def check_end(board: Board, journal: Journal, expected: str) -> None:
    assert journal.result == expected
    board.disk.lose_power(Survival.LOST)
    board.disk.power_on()
    status = board.control(None).status()
    assert board.store.repair().finding in (Finding.WHOLE, Finding.BEHIND)
    assert board.areas[Slot.A].read(0, len(OLD)) == OLD
    if expected != "new":
        assert (status.active, status.security_counter) == (Slot.A, 1)
        assert status.slots[Slot.B].state is SlotState.BAD
        assert read_mark(board.areas[Slot.B]) is None
        return
    assert (status.active, status.security_counter) == (Slot.B, 2)
    assert status.slots[Slot.B].state is SlotState.CONFIRMED
    assert board.areas[Slot.B].read(0, len(NEW)) == NEW
    mark = read_mark(board.areas[Slot.B])
    assert mark is not None
    assert mark.image_hash == image_hash(NEW)


@pytest.mark.parametrize("survival", Survival)
@pytest.mark.parametrize("cut", Cut)
def test_an_update_survives_a_cut_anywhere(survival: Survival, cut: Cut) -> None:
    for number in range(1, count_operations(healthy=True) + 1):
        board = make_board(number)
        journal = live_with_cuts(board, [number], survival, cut=cut)
        check_end(board, journal, "new")
        assert journal.octets_taken <= len(NEW) + 4096 + PIECE_OCTETS, "downloaded again what was checkpointed"


@pytest.mark.parametrize("survival", Survival)
def test_a_rollback_survives_a_cut_anywhere(survival: Survival) -> None:
    for number in range(1, count_operations(healthy=False) + 1):
        board = make_board(number)
        journal = live_with_cuts(board, [number], survival, healthy=False)
        check_end(board, journal, "old: UNHEALTHY")


def test_two_and_three_cuts_end_new_or_with_every_try_spent() -> None:
    choose = random.Random(20)
    operations = count_operations(healthy=True)
    for seed in range(120):
        cuts = [choose.randint(1, operations), *(choose.randint(1, 30) for _ in range(choose.randint(1, 2)))]
        board = make_board(seed)
        journal = live_with_cuts(board, cuts, choose.choice(list(Survival)))
        if journal.result != "new":
            # Three tries and at most three cuts: only when each of them hit a trial.
            assert len(cuts) == TRIES, cuts
            assert journal.runs.count(image_hash(NEW)) <= TRIES
            check_end(board, journal, journal.result)
        else:
            check_end(board, journal, "new")


def test_a_cut_and_then_both_copies_lost_runs_only_what_was_found_healthy() -> None:
    for number in range(1, count_operations(healthy=True) + 1):
        board = make_board(number)
        journal = Journal()
        board.disk.cut_at(number, Survival.MIXED)
        with pytest.raises(PowerCut):
            live(board, journal)
        board.disk.power_on()
        for offset in COPY_OFFSETS:
            board.state_area.write(offset, b"\xff" * 512)
        board.state_area.sync()
        started = board.boot()
        assert started is not None
        assert started.handover.image_hash == image_hash(OLD) or journal.found_healthy


def test_replacing_a_pending_image_survives_a_cut_anywhere() -> None:
    pending = small_image(7)

    def staged(seed: int) -> Board:
        board = make_board(seed)
        board.write(Slot.A, Slot.B, pending)
        board.disk.power_on()
        return board

    board = staged(0)
    live(board, Journal())
    for number in range(1, len(board.disk.operations) + 1):
        board = staged(number)
        journal = live_with_cuts(board, [number], Survival.MIXED)
        check_end(board, journal, "new")
        assert image_hash(pending) not in journal.runs


def leave_out_store_sync(patch: pytest.MonkeyPatch) -> None:
    def write_copy(self: store.BootStateStore, index: int, state: BootState) -> None:
        self._area.sync()  # too early: what is written last is in the cache only
        self._area.write(COPY_OFFSETS[index], encode(state))

    patch.setattr(store.BootStateStore, "_write_copy", write_copy)


def leave_out_checkpoint_sync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(slots.SlotWriter, "checkpoint", lambda self: self._written_octets)


def put_copies_in_one_place(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(store, "COPY_OFFSETS", (0, 0))


def count_the_try_in_memory_only(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FirstStage, "_make_durable", lambda self, decision, before: decision.situation)


def leave_out_the_mark(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SlotsControl, "_write_mark", lambda self, slot, record: None)


@pytest.mark.parametrize(
    "plant",
    [
        leave_out_store_sync,
        leave_out_checkpoint_sync,
        put_copies_in_one_place,
        count_the_try_in_memory_only,
        leave_out_the_mark,
    ],
)
def test_the_sweep_finds_a_planted_bug(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep is worth its time only if these fail it."""
    operations = count_operations(healthy=True)
    plant(monkeypatch)
    failures = 0
    for number in range(1, operations + 1):
        board = make_board(number)
        try:
            check_end(board, live_with_cuts(board, [number], Survival.MIXED), "new")
        except (AssertionError, HanError):
            failures += 1
    assert failures
