"""Boot control: what the running device and the engineer may do to the slots. Backend ``slots``, behind a small port.

Every method may be called twice. The boot state is changed in one atomic step and is the truth; the confirmed mark
follows it, and `confirm` puts it right when power fell in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from agent.boot.area import Medium
from agent.boot.mark import ConfirmedMark, clear_mark, read_mark, write_mark
from agent.boot.refusal import BootRefusedError
from agent.boot.slots import SlotWriter, WrittenImage, check_free
from agent.boot.state import BootState, EndReason, Slot, SlotRecord, SlotState, TryProgress
from agent.boot.store import BootStateStore, require
from agent.errors import FormatError
from agent.image import mcuboot
from agent.image.mcuboot import ManufacturerImage


@dataclass(frozen=True, slots=True)
class BootStatus:
    """``running`` is None for a tool that runs beside the device."""

    running: Slot | None
    active: Slot | None
    trial: Slot | None
    security_counter: int
    slots: Mapping[Slot, SlotRecord]


class BootControl(Protocol):
    """Which firmware runs, next and from now on. Every method raises StorageError when the medium does not take it."""

    def status(self) -> BootStatus:
        """As the boot state says now."""

    def activate(self, slot: Slot, tries: int) -> None:
        """The next start runs ``slot`` as a trial. Raises BootRefusedError unless it holds a whole image."""

    def report_running(self) -> None:
        """The running image's code has come up: from now on a trial that ends was not 'never started'."""

    def note_try(self, reason: EndReason) -> None:
        """Why the try under way is about to end; it stays spent and the trial goes on with the next start."""

    def confirm(self) -> None:
        """The running image is healthy: keep it, and raise the security counter to its own. Durable on return."""

    def mark_bad(self, slot: Slot, reason: EndReason) -> None:
        """Never run ``slot`` again. For the running trial: restart afterwards, and the confirmed slot runs."""


class StateControl:
    """What changes in the boot state alone: the part that every backend has in common."""

    def __init__(self, store: BootStateStore, running: Slot | None) -> None:
        self._store = store
        self._running = running

    def status(self) -> BootStatus:
        state = require(self._store.load().state)
        slots = {slot: state[slot] for slot in Slot}
        return BootStatus(self._running, state.active, state.trial, state.security_counter, slots)

    def spare(self) -> Slot:
        """The slot that an update may write. Raises BootRefusedError when there is none."""
        state = require(self._store.load().state)
        keep = self._running or state.active or Slot.B
        check_free(state, keep.other, self._running)
        return keep.other

    def mark_written(self, slot: Slot, written: WrittenImage, security_counter: int) -> None:
        """After the verdict: ``slot`` holds a whole, verified image that waits for its activation."""

        def change(state: BootState) -> BootState:
            check_free(state, slot, self._running)
            record = SlotRecord(
                state=SlotState.WRITTEN,
                image_octets=written.image_octets,
                security_counter=security_counter,
                image_hash=written.image_hash,
            )
            return state.with_slot(slot, record)

        self._update(change)

    def activate(self, slot: Slot, tries: int) -> None:
        if not 1 <= tries <= 255:
            raise BootRefusedError(f"{tries} tries: give a trial 1 to 255 of them")

        def change(state: BootState) -> BootState:
            record = state[slot]
            if record.state is SlotState.TRIAL:
                return state  # armed before: its tries stay as they are
            check_free(state, slot, self._running)
            if record.state not in (SlotState.WRITTEN, SlotState.CONFIRMED):
                raise BootRefusedError(f"slot {slot.name} is {record.state.name}: only a whole, verified image can run")
            if record.security_counter < state.security_counter:
                raise BootRefusedError(
                    f"slot {slot.name}: security counter {record.security_counter} is below {state.security_counter}: "
                    "its manufacturer withdrew this image"
                )
            armed = replace(
                record,
                state=SlotState.TRIAL,
                tries_left=tries,
                tries_given=tries,
                reason=EndReason.NONE,
                progress=TryProgress.NOT_STARTED,
            )
            return state.with_slot(slot, armed)

        self._update(change)

    def cancel(self, slot: Slot) -> None:
        """Forget an image that waits for its activation, or a trial that has not run yet."""

        def change(state: BootState) -> BootState:
            check_free(state, slot, self._running)
            if state[slot].state not in (SlotState.WRITTEN, SlotState.TRIAL):
                return state
            return state.with_slot(slot, replace(state[slot], state=SlotState.EMPTY, tries_left=0))

        self._update(change)

    def report_running(self) -> None:
        self._update_trial(TryProgress.RUNNING, EndReason.NONE)

    def note_try(self, reason: EndReason) -> None:
        self._update_trial(TryProgress.RUNNING, reason)

    def confirm(self) -> None:
        self.mark_good(self._require_running())

    def mark_good(self, slot: Slot) -> None:
        """Confirm ``slot``: the running one after its health check, or by an engineer who verified it."""
        self._update(lambda state: _confirmed(state, slot))

    def mark_bad(self, slot: Slot, reason: EndReason) -> None:
        def change(state: BootState) -> BootState:
            record = state[slot]
            if record.state is SlotState.BAD:
                return state
            # A trial that the factory agent made may fail: the factory agent is left.
            confirmed = slot is state.active and record.state is SlotState.CONFIRMED
            if confirmed and state[slot.other].state is not SlotState.CONFIRMED:
                raise BootRefusedError(f"slot {slot.name} is the only one that can run: nothing would be left")
            return state.with_slot(slot, replace(record, state=SlotState.BAD, tries_left=0, reason=reason))

        self._update(change)

    def _update(self, change: _Change) -> BootState:
        return self._store.update(lambda state: change(require(state)))

    def _update_trial(self, progress: TryProgress, reason: EndReason) -> None:
        slot = self._require_running()

        def change(state: BootState) -> BootState:
            if state[slot].state is not SlotState.TRIAL:
                return state
            return state.with_slot(slot, replace(state[slot], progress=progress, reason=reason))

        self._update(change)

    def _require_running(self) -> Slot:
        if self._running is None:
            raise BootRefusedError("no first stage started this program, so no slot is running")
        return self._running


class SlotsControl(StateControl):
    """Two slots and a boot state of ours, selected by `agent.boot.first_stage`: images and confirmed marks as well."""

    def __init__(self, store: BootStateStore, areas: Mapping[Slot, Medium], running: Slot | None) -> None:
        super().__init__(store, running)
        self._areas = areas

    def begin(self, slot: Slot) -> SlotWriter:
        """Write ``slot`` from its first octet; whatever it held is gone, a pending image included."""
        return SlotWriter.begin(self._store, self._areas[slot], slot, self._running)

    def resume(self, slot: Slot, durable_octets: int) -> SlotWriter:
        """Go on at a checkpoint."""
        return SlotWriter.resume(self._store, self._areas[slot], slot, self._running, durable_octets)

    def read(self, slot: Slot, image_octets: int) -> ManufacturerImage:
        """The image in ``slot``, for the verdict. Raises FormatError when there is none."""
        return mcuboot.parse(self._areas[slot].read(0, image_octets))

    def mark_good(self, slot: Slot) -> None:
        super().mark_good(slot)
        self._write_mark(slot, self.status().slots[slot])

    def mark_bad(self, slot: Slot, reason: EndReason) -> None:
        super().mark_bad(slot, reason)
        clear_mark(self._areas[slot])

    def _write_mark(self, slot: Slot, record: SlotRecord) -> None:
        area = self._areas[slot]
        try:
            header = mcuboot.parse_header(area.read(0, mcuboot.HEADER_OCTETS))
        except FormatError as error:
            raise BootRefusedError(f"slot {slot.name}: {error}; write it again") from None
        mark = ConfirmedMark(
            record.image_hash, record.image_octets, record.security_counter, header.version.file_version
        )
        if read_mark(area) == mark:
            area.sync()  # it may be in the cache only, left there by a process that was killed
        else:
            write_mark(area, mark)


class _Change(Protocol):
    def __call__(self, state: BootState, /) -> BootState: ...


def _confirmed(state: BootState, slot: Slot) -> BootState:
    record = state[slot]
    if record.state is SlotState.CONFIRMED and state.active is slot:
        return state
    if record.state not in (SlotState.TRIAL, SlotState.CONFIRMED, SlotState.WRITTEN):
        raise BootRefusedError(f"slot {slot.name} is {record.state.name}: nothing in it to confirm")
    kept = replace(record, state=SlotState.CONFIRMED, tries_left=0, reason=EndReason.NONE)
    counter = max(state.security_counter, record.security_counter)
    return replace(state.with_slot(slot, kept), active=slot, security_counter=counter)
