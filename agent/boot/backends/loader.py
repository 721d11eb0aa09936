"""Boot control where a boot loader that is not ours chooses the slot: what ``tryboot`` and ``uboot`` have in common.

The journal is a boot state of ours (`agent.boot.state`: sequence, active slot, checksum, two copies) on a file system
or partition that a trial does not touch. It is the truth: it changes first, durably, and the boot loader's own setting
follows; `LoaderControl.reconcile`, called once after every boot before anything else, does what a cut left undone.
Only then may the device go on.

==============================================  ====================================================================
found after a boot                              `reconcile` does
==============================================  ====================================================================
the slot under trial runs                       nothing: its try is under way
another slot runs, the trial has tries left     arm it again (a power cut disarms ``tryboot``), ask for a restart
another slot runs, no try is left               mark the trial bad with what is known of why, commit the active slot
no trial, the loader's setting differs          commit the active slot; ask for a restart when another one runs
no trial, the setting is right, another runs    nothing: the loader went back by itself, and would again
the journal is lost                             what the loader has committed counts as confirmed; security counter 0
==============================================  ====================================================================

Untested on metal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from agent.boot.control import StateControl
from agent.boot.state import BootState, EndReason, Slot, SlotRecord, SlotState, TryProgress
from agent.boot.store import BootStateStore, require


@dataclass(frozen=True, slots=True)
class LoaderLook:
    """What the boot loader says of this boot and of the next.

    ``committed``: what starts without a trial; None when a write of it was torn, or a trial stands in its place.
    ``armed``: the next restart starts the trial. ``tries_left``: by the loader's own count; None while it counts none.
    """

    running: Slot
    committed: Slot | None
    armed: bool
    tries_left: int | None = None


class Loader(Protocol):
    """A boot loader that can try a slot. Methods raise StorageError."""

    @property
    def counts_tries(self) -> bool:
        """Whether the loader itself counts the tries of a trial, and goes back when none is left."""

    def check(self) -> None:
        """Before anything is armed: raises BootRefusedError when this boot loader cannot try a slot safely."""

    def look(self) -> LoaderLook:
        """As it is now."""

    def arm(self, slot: Slot, tries: int) -> None:
        """The next restart starts ``slot``: once, or ``tries`` times where the loader counts."""

    def commit(self, slot: Slot) -> None:
        """Every start from now on is ``slot``; nothing is armed. Durable on return, and harmless when it is so."""

    def restart_arguments(self) -> tuple[str, ...]:
        """What ``systemctl reboot`` needs to hear, so that what is armed happens."""


class LoaderControl(StateControl):
    """An `agent.boot.control.BootControl` over a `Loader`; images and marks are `agent.boot.backends.LoaderSlots`'s."""

    def __init__(self, journal: BootStateStore, loader: Loader) -> None:
        super().__init__(journal, loader.look().running)
        self._loader = loader

    def reconcile(self) -> bool:
        """The table above. True: restart the machine now. May be called again in the same boot."""
        look = self._loader.look()
        state = self._store.repair().state or self._store.replace(_rebuild(look))
        trial = state.trial
        if trial is not None and look.running is trial:
            self._note_start(trial, look)
            return False
        if trial is not None and not look.armed and self._is_spent(state[trial], look):
            state = self._end_trial(trial)
            trial = None
        if trial is not None:
            self._arm(trial)
            return True
        keep = _slot_to_keep(state)
        if keep is None or look.committed is keep:
            return False
        self._loader.commit(keep)
        return look.running is not keep

    def activate(self, slot: Slot, tries: int) -> None:
        self._loader.check()
        super().activate(slot, tries)
        self._arm(slot)

    def cancel(self, slot: Slot) -> None:
        super().cancel(slot)
        self._commit_active()

    def mark_good(self, slot: Slot) -> None:
        """The journal first: were the loader committed first, a cut would leave a slot running that nobody confirmed.

        The loader falls back no more after this, so call it when the whole health check is done.
        """
        super().mark_good(slot)
        self._loader.commit(slot)

    def mark_bad(self, slot: Slot, reason: EndReason) -> None:
        super().mark_bad(slot, reason)
        self._commit_active()

    def _commit_active(self) -> None:
        keep = _slot_to_keep(require(self._store.load().state))
        if keep is not None:
            self._loader.commit(keep)

    def _is_spent(self, record: SlotRecord, look: LoaderLook) -> bool:
        return (look.tries_left if self._loader.counts_tries else record.tries_left) == 0

    def _arm(self, slot: Slot) -> None:
        """Count the try before it is armed: a slot that hangs before our code runs must not be tried for ever."""
        if self._loader.look().armed:
            return

        def change(state: BootState) -> BootState:
            record = state[slot]
            left = record.tries_left if self._loader.counts_tries else max(record.tries_left - 1, 0)
            spent = replace(record, tries_left=left, progress=TryProgress.NOT_STARTED, reason=EndReason.NONE)
            return state.with_slot(slot, spent)

        state = self._update(change)
        self._loader.arm(slot, state[slot].tries_left)

    def _note_start(self, slot: Slot, look: LoaderLook) -> None:
        def change(state: BootState) -> BootState:
            record = state[slot]
            left = record.tries_left if look.tries_left is None else look.tries_left
            progress = max(record.progress, TryProgress.HANDED_OVER)
            return state.with_slot(slot, replace(record, tries_left=left, progress=progress))

        self._update(change)

    def _end_trial(self, slot: Slot) -> BootState:
        def change(state: BootState) -> BootState:
            bad = replace(state[slot], state=SlotState.BAD, tries_left=0, reason=_end_reason(state[slot]))
            return state.with_slot(slot, bad)

        return self._update(change)


def _slot_to_keep(state: BootState) -> Slot | None:
    """The active one, unless it was marked bad since and the other one is confirmed."""
    active = state.active
    if active is None or state[active].state is not SlotState.BAD:
        return active
    return active.other if state[active.other].state is SlotState.CONFIRMED else active


def _end_reason(record: SlotRecord) -> EndReason:
    """Of the last try; a reset and a power cut look alike from here."""
    if record.reason is not EndReason.NONE:
        return record.reason
    return EndReason.POWER if record.progress is TryProgress.RUNNING else EndReason.NEVER_STARTED


def _rebuild(look: LoaderLook) -> BootState:
    active = look.committed or look.running
    return BootState(active=active).with_slot(active, SlotRecord(state=SlotState.CONFIRMED))
