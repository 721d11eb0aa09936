"""Boot control and first stage together, on a device in memory: an update's way through the slots."""

from __future__ import annotations

import json

import pytest
from boot_factory import BOOT_ID, Board, image_hash, small_image

from agent.boot.handover import Reverted
from agent.boot.mark import read_mark
from agent.boot.refusal import BootRefusedError
from agent.boot.state import EndReason, Slot, SlotState
from agent.boot.store import COPY_OFFSETS
from boards.virtual.disk import Survival

OLD, NEW, HIGHER = small_image(0), small_image(1), small_image(2, counter=5)
OTHER_BOOT = bytes(16)


@pytest.fixture
def board() -> Board:
    made = Board()
    made.provision(OLD)
    return made


def arm(board: Board, image: bytes = NEW, tries: int = 3) -> None:
    board.write(Slot.A, Slot.B, image)
    board.control(Slot.A).activate(Slot.B, tries)


def runs(board: Board, **how: object) -> Slot | None:
    started = board.boot(**how)  # type: ignore[arg-type]
    return started.handover.slot


def test_a_provisioned_device_runs_slot_a(board: Board) -> None:
    started = board.boot()
    handover = started.handover
    assert (handover.slot, handover.trial, handover.reverted, handover.notes) == (Slot.A, False, None, ())
    assert handover.image_hash == image_hash(OLD)


def test_a_written_image_does_not_run_until_it_is_activated(board: Board) -> None:
    board.write(Slot.A, Slot.B, NEW)
    assert board.control(Slot.A).status().slots[Slot.B].state is SlotState.WRITTEN
    assert runs(board) is Slot.A


def test_trial_then_confirm(board: Board) -> None:
    arm(board, HIGHER)
    started = board.boot()
    assert (started.handover.slot, started.handover.trial, started.handover.tries_left) == (Slot.B, True, 2)
    control = board.control(Slot.B)
    assert control.status().security_counter == 1
    control.report_running()
    for _ in range(2):
        control.confirm()
        status = control.status()
        assert (status.active, status.trial, status.security_counter) == (Slot.B, None, 5)
    mark = read_mark(board.areas[Slot.B])
    assert mark is not None
    assert (mark.image_hash, mark.security_counter, mark.file_version) == (image_hash(HIGHER), 5, 0x01000002)
    assert runs(board) is Slot.B
    assert control.spare() is Slot.A


def test_a_trial_that_uses_up_its_tries_goes_back(board: Board) -> None:
    arm(board)
    for left in (2, 1, 0):
        started = board.boot()
        assert (started.handover.slot, started.handover.tries_left) == (Slot.B, left)
        board.control(Slot.B).report_running()
    for _ in range(2):  # and says so at every start, until the slot is written anew
        started = board.boot(boot_id=OTHER_BOOT)
        assert started.handover.slot is Slot.A
        assert started.handover.reverted == Reverted(Slot.B, EndReason.POWER, image_hash(NEW))
    board.control(Slot.A).begin(Slot.B)
    started = board.boot()
    assert started.handover.reverted is None


def test_a_trial_found_unhealthy_goes_back_at_once(board: Board) -> None:
    arm(board)
    assert runs(board) is Slot.B
    board.control(Slot.B).mark_bad(Slot.B, EndReason.UNHEALTHY)
    started = board.boot()
    assert started.handover.slot is Slot.A
    assert started.handover.reverted == Reverted(Slot.B, EndReason.UNHEALTHY, image_hash(NEW))


@pytest.mark.parametrize(
    ("running", "noted", "boot_id", "result", "reason"),
    [
        (False, EndReason.NONE, BOOT_ID, "exit-code", EndReason.NEVER_STARTED),
        (True, EndReason.NONE, BOOT_ID, "signal", EndReason.CRASHED),
        (True, EndReason.NONE, BOOT_ID, "watchdog", EndReason.WATCHDOG),
        (True, EndReason.UNHEALTHY, BOOT_ID, "exit-code", EndReason.UNHEALTHY),
        (True, EndReason.NONE, OTHER_BOOT, "", EndReason.POWER),
    ],
)
def test_the_reason_of_the_last_try_is_kept(
    board: Board, running: bool, noted: EndReason, boot_id: bytes, result: str, reason: EndReason
) -> None:
    arm(board, tries=1)
    assert runs(board) is Slot.B
    control = board.control(Slot.B)
    if running:
        control.report_running()
    if noted is not EndReason.NONE:
        control.note_try(noted)
    started = board.boot(boot_id=boot_id, service_result=result)
    assert started.handover.reverted is not None
    assert started.handover.reverted.reason is reason


def test_a_flipped_bit_in_the_active_slot_starts_the_other(board: Board, capsys: pytest.CaptureFixture[str]) -> None:
    arm(board)
    board.boot()
    board.control(Slot.B).confirm()
    board.areas[Slot.B].damage(1000)
    started = board.boot()
    handover = started.handover
    assert handover.slot is Slot.A
    assert [(event.code, event.slot) for event in handover.events] == [(0x8F1B, Slot.B)]
    assert handover.reverted == Reverted(Slot.B, EndReason.VERIFY_FAILED, image_hash(NEW))
    logged = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["code"] for line in logged if line["event"] == "firmware_verification_failed"] == ["0x8F1B"]


def test_a_withdrawn_image_is_no_way_back(board: Board) -> None:
    """The confirmed image raised the counter: the older one, below it, does not run even as the last resort."""
    arm(board, HIGHER)
    board.boot()
    board.control(Slot.B).confirm()
    board.areas[Slot.B].damage(1000)
    assert board.boot().handover.slot is None


def test_swapped_slots_run_the_confirmed_image_where_it_is(board: Board) -> None:
    board.write(Slot.A, Slot.B, NEW)
    swapped = {slot: board.areas[slot].read(0, board.areas[slot].size_octets) for slot in Slot}
    for slot in Slot:
        board.areas[slot].write(0, swapped[slot.other])
    started = board.boot()
    assert started.handover.slot is Slot.B
    assert started.handover.image_hash == image_hash(OLD)
    assert board.control(Slot.B).status().active is Slot.B


def test_both_copies_lost_runs_what_bears_a_mark(board: Board) -> None:
    arm(board, HIGHER)
    board.boot()
    board.control(Slot.B).confirm()
    lose_state(board)
    started = board.boot()
    assert started.handover.slot is Slot.B
    assert started.handover.notes == ("boot state: both copies are lost",)
    status = board.control(Slot.B).status()
    assert (status.security_counter, status.slots[Slot.A].state) == (5, SlotState.CONFIRMED)


@pytest.mark.parametrize("armed", [False, True])
def test_both_copies_lost_never_starts_a_pending_image(board: Board, armed: bool) -> None:
    board.write(Slot.A, Slot.B, HIGHER)
    if armed:
        board.control(Slot.A).activate(Slot.B, 3)
    lose_state(board)
    assert runs(board) is Slot.A
    assert board.control(Slot.A).status().slots[Slot.B].state is SlotState.UNKNOWN


def test_nothing_marked_and_state_lost_runs_nothing() -> None:
    board = Board()
    board.areas[Slot.A].write(0, OLD)
    assert board.boot().handover.slot is None


def test_a_slot_shorter_than_its_image_does_not_run() -> None:
    board = Board()
    board.provision(OLD)
    area = board.areas[Slot.A]
    header = area.read(0, 16)
    area.write(12, (2**20).to_bytes(4, "little"))  # the header now names a payload past the slot's end
    assert area.read(0, 16) != header
    assert board.boot().handover.slot is None


def lose_state(board: Board) -> None:
    for offset in COPY_OFFSETS:
        board.state_area.write(offset, bytes(512))
    board.disk.lose_power(Survival.KEPT)
    board.disk.power_on()


def test_what_may_not_be_activated(board: Board) -> None:
    control = board.control(Slot.A)
    with pytest.raises(BootRefusedError, match="EMPTY"):
        control.activate(Slot.B, 3)
    with pytest.raises(BootRefusedError, match="slot A runs"):
        control.activate(Slot.A, 3)
    board.write(Slot.A, Slot.B, NEW)
    for tries in (0, 256):
        with pytest.raises(BootRefusedError, match="tries"):
            control.activate(Slot.B, tries)
    assert control.status().trial is None


def test_a_withdrawn_image_may_not_be_activated(board: Board) -> None:
    arm(board, HIGHER)
    board.boot()
    board.control(Slot.B).confirm()
    with pytest.raises(BootRefusedError, match="withdrew"):
        board.control(Slot.B).activate(Slot.A, 3)


def test_activating_twice_does_not_give_more_tries(board: Board) -> None:
    arm(board)
    board.boot()
    board.control(Slot.A).activate(Slot.B, 3)
    assert board.control(Slot.A).status().slots[Slot.B].tries_left == 2


def test_cancel_forgets_a_pending_image(board: Board) -> None:
    arm(board)
    board.control(Slot.A).cancel(Slot.B)
    assert runs(board) is Slot.A
    assert board.control(Slot.A).status().slots[Slot.B].state is SlotState.EMPTY


def test_the_last_slot_that_can_run_may_not_be_marked_bad(board: Board) -> None:
    with pytest.raises(BootRefusedError, match="only one"):
        board.control(None).mark_bad(Slot.A, EndReason.CANCELLED)


def test_a_bad_slot_loses_its_mark(board: Board) -> None:
    arm(board)
    board.boot()
    board.control(Slot.B).confirm()
    board.control(None).mark_bad(Slot.B, EndReason.CANCELLED)
    assert read_mark(board.areas[Slot.B]) is None
    assert runs(board) is Slot.A


def test_confirm_needs_a_slot_to_confirm(board: Board) -> None:
    with pytest.raises(BootRefusedError, match="no first stage"):
        board.control(None).confirm()
    with pytest.raises(BootRefusedError, match="EMPTY"):
        board.control(Slot.B).confirm()
