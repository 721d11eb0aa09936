"""The first stage of a device whose slot a boot loader selects (`agent.boot.backends`). Untested on metal.

The loader has started base X, so firmware slot X is the one in question; what a cut left undone is done first
(`LoaderControl.reconcile`), and may end in another restart of the machine.

===============================================  =====================================================================
found                                            this stage does
===============================================  =====================================================================
both copies of the boot state are lost           rebuild it from the confirmed marks, as `agent.boot.decide`
X's trial ran, and ended, since the machine      note why, restart the machine: the next try, or the way back
came up; or X was marked bad since
X is on trial, or confirmed, and verifies        run it
X does not verify, the other slot is confirmed   mark X bad, log 0x8F1B, commit the other one, restart the machine
otherwise                                        the factory agent of base X
===============================================  =====================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace

from Crypto.PublicKey.ECC import EccKey

from agent.boot.backends import open_loader, restart_machine
from agent.boot.backends.loader import Loader, LoaderControl
from agent.boot.decide import Situation, rebuild, why_refused, why_trial_ended
from agent.boot.first_stage import FirstStage, Started, log
from agent.boot.places import BootChoice
from agent.boot.state import BootState, EndReason, Slot, SlotState, TryProgress
from agent.boot.store import BootStateStore, require
from agent.ports import Area


class LoaderStage(FirstStage):
    """Carries the table out. ``boot_id`` zeros: a process that ended is not told from a machine that came up."""

    def __init__(
        self,
        store: BootStateStore,
        areas: Mapping[Slot, Area],
        trusted_keys: Mapping[bytes, EccKey],
        boot_id: bytes,
        loader: Loader,
    ) -> None:
        super().__init__(store, areas, trusted_keys, boot_id)
        self._loader = loader

    def settle(self, service_result: str = "") -> Started | None:
        """What to run, with every decision on the way durable; None: restart the machine. Raises StorageError."""
        slot = self._loader.look().running
        state = self._load(slot)
        if self._has_ended(state, slot, service_result) or LoaderControl(self._store, self._loader).reconcile():
            log("boot_decision", rule="restart the machine", slot=slot.name)
            return None
        return self._run(slot, require(self._store.load().state))

    def _load(self, slot: Slot) -> BootState:
        state = self.repair()
        if state is not None:
            return state
        rebuilt = rebuild(self._read_marks())
        return self._store.replace(replace(rebuilt, active=rebuilt.active or slot))

    def _has_ended(self, state: BootState, slot: Slot, service_result: str) -> bool:
        """The loader counts starts of the machine, so a program that ends by itself must lead to one.

        A slot that was marked bad in an earlier life of the machine is another matter: the loader started it all the
        same, and would again.
        """
        record = state[slot]
        here = any(self._boot_id) and record.boot_id == self._boot_id and record.progress is not TryProgress.NOT_STARTED
        if not here or record.state not in (SlotState.TRIAL, SlotState.BAD):
            return False
        if record.state is SlotState.TRIAL:
            situation = Situation(state, boot_id=self._boot_id, service_result=service_result)
            self._store.replace(state.with_slot(slot, replace(record, reason=why_trial_ended(record, situation))))
        return state[slot.other].state is SlotState.CONFIRMED or record.state is SlotState.TRIAL

    def _run(self, slot: Slot, state: BootState) -> Started | None:
        record = state[slot]
        if record.state not in (SlotState.TRIAL, SlotState.CONFIRMED):
            return self.start_factory_agent()
        situation = Situation(state, looks={slot: self._inspect(slot, state)})
        if situation.holds_recorded_image(slot):
            log("boot_decision", rule=f"{record.state.name.lower()} verified", slot=slot.name)
            if record.state is SlotState.TRIAL:
                state = self._store.replace(state.with_slot(slot, replace(record, boot_id=self._boot_id)))
            return self._start(slot, state)
        self.note_failure(slot, why_refused(situation, slot))
        bad = replace(
            record,
            state=SlotState.BAD,
            tries_left=0,
            reason=EndReason.VERIFY_FAILED,
            progress=TryProgress.HANDED_OVER,
            boot_id=self._boot_id,
        )
        state = self._store.replace(state.with_slot(slot, bad))
        if state[slot.other].state is not SlotState.CONFIRMED:
            return self.start_factory_agent()
        self._loader.commit(slot.other)
        log("boot_decision", rule="the other slot", slot=slot.other.name)
        return None


def choose(
    choice: BootChoice,
    store: BootStateStore,
    areas: Mapping[Slot, Area],
    keys: Mapping[bytes, EccKey],
    boot_id: bytes,
    service_result: str,
) -> Started | None:
    """What to run; None: the machine restarts. Raises StorageError, BootRefusedError."""
    with ExitStack() as stack:
        loader = open_loader(choice, stack)
        if loader is None:
            raise AssertionError("no boot loader: the first stage itself chooses")
        stage = LoaderStage(store, areas, keys, boot_id, loader)
        stack.callback(stage.close)
        started = stage.settle(service_result)
        if started is None:
            restart_machine(loader)
        return started
