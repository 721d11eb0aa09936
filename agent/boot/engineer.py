"""What an engineer may ask of the slots at the bench or on the device: look, verify, and overrule."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from Crypto.PublicKey.ECC import EccKey

from agent.boot.backends import open_boot_control, open_loader
from agent.boot.control import SlotsControl
from agent.boot.inspection import inspect_slot
from agent.boot.mark import read_mark
from agent.boot.places import OpenPlaces, Places, open_places
from agent.boot.refusal import BootRefusedError
from agent.boot.state import BootState, EndReason, Slot, SlotRecord, SlotState
from agent.boot.store import Finding, require
from agent.errors import FormatError
from agent.image import mcuboot
from agent.image.signature import load_trusted_keys
from agent.image.version import Version


@dataclass(frozen=True, slots=True)
class SlotReport:
    """One slot. ``version`` is what its header says, None without one; ``refusal`` None: verified, or not asked.

    ``withdrawn``: its security counter is below the stored one. After an update with a higher counter that is how the
    older slot is meant to be: whole, and never run again.
    """

    slot: Slot
    record: SlotRecord
    marked: bool
    version: Version | None
    refusal: str | None = None
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """Boot state and slots as they lie there."""

    finding: Finding
    backend: str  # who selects the slot
    active: Slot | None
    trial: Slot | None
    security_counter: int
    slots: tuple[SlotReport, ...]

    @property
    def refused(self) -> bool:
        """A slot that is to run, now, when it is activated or as the one to fall back to, would not."""
        return any(self._is_to_run(one) and one.refusal is not None for one in self.slots)

    def _is_to_run(self, one: SlotReport) -> bool:
        if one.record.state is SlotState.CONFIRMED and one.slot is not self.active:
            return not one.withdrawn
        return one.record.state in (SlotState.WRITTEN, SlotState.TRIAL, SlotState.CONFIRMED)


def report(places: Places, *, verify: bool = False) -> Report:
    """Look, and with ``verify`` check both slots as the first stage would. Changes nothing. Raises StorageError."""
    keys = load_trusted_keys(places.trust) if verify else None
    with ExitStack() as stack:
        opened = open_places(places, stack, read_only=True)
        loaded = opened.store.load()
        state = loaded.state
        slots = tuple(_report_slot(opened, state, slot, keys) for slot in Slot)
    return Report(
        finding=loaded.finding,
        backend=places.boot.backend,
        active=state.active if state else None,
        trial=state.trial if state else None,
        security_counter=state.security_counter if state else 0,
        slots=slots,
    )


def mark_good(places: Places, slot: Slot) -> None:
    """Confirm a slot by hand, if it verifies. Raises BootRefusedError."""
    with ExitStack() as stack:
        opened = open_places(places, stack)
        _require_verified(places, opened, slot)
        _control(places, opened, stack).mark_good(slot)


def mark_bad(places: Places, slot: Slot) -> None:
    """Never run a slot again. Raises BootRefusedError when it is the only one that can run."""
    with ExitStack() as stack:
        opened = open_places(places, stack)
        _control(places, opened, stack).mark_bad(slot, EndReason.CANCELLED)


def activate(places: Places, slot: Slot, tries: int | None = None) -> None:
    """The next start runs ``slot`` as a trial, if it verifies. Raises BootRefusedError."""
    with ExitStack() as stack:
        opened = open_places(places, stack)
        _require_verified(places, opened, slot)
        _control(places, opened, stack).activate(slot, tries or places.tries)


def _control(places: Places, opened: OpenPlaces, stack: ExitStack) -> SlotsControl:
    return open_boot_control(opened, open_loader(places.boot, stack), None)


def _report_slot(
    opened: OpenPlaces, state: BootState | None, slot: Slot, keys: Mapping[bytes, EccKey] | None
) -> SlotReport:
    area = opened.areas[slot]
    record = state[slot] if state else SlotRecord(state=SlotState.UNKNOWN)
    refusal, withdrawn = (None, False) if keys is None else _verify(opened, state, slot, keys)
    try:
        version = mcuboot.parse_header(area.read(0, mcuboot.HEADER_OCTETS)).version
    except FormatError:
        version = None
    return SlotReport(slot, record, read_mark(area) is not None, version, refusal, withdrawn)


def _verify(
    opened: OpenPlaces, state: BootState | None, slot: Slot, keys: Mapping[bytes, EccKey]
) -> tuple[str | None, bool]:
    """Why the first stage would not run it, and whether its security counter is all that it has against it."""
    inspection = inspect_slot(opened.areas[slot], keys, 0)
    inspection.close()
    look = inspection.look
    if look.refusal is not None or state is None:
        return look.refusal, False
    if state[slot].state is not SlotState.EMPTY and look.image_hash != state[slot].image_hash:
        return f"holds image {look.image_hash.hex()}, the boot state names {state[slot].image_hash.hex()}", False
    if look.security_counter < state.security_counter:
        return f"security counter {look.security_counter} is below the stored {state.security_counter}", True
    return None, False


def _require_verified(places: Places, opened: OpenPlaces, slot: Slot) -> None:
    state = require(opened.store.load().state)
    refusal, _ = _verify(opened, state, slot, load_trusted_keys(places.trust))
    if refusal is not None:
        raise BootRefusedError(f"slot {slot.name} does not verify: {refusal}")
