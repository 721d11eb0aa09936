"""A whole HAN whose device loses its power, or its process, at planned operations of its disk, and comes up again.

Or the disk fails there: then the device goes on, or its program ends with a StorageError and is started again, as the
unit does, while the fault lasts and after it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from unittest.mock import patch

from agent.boot.control import SlotsControl
from agent.boot.handover import Handover
from agent.boot.state import EndReason, Slot
from agent.errors import HanError, StorageError
from agent.gbcs.use_cases import ActivateFirmwareAlert, ActivateFirmwareResponse, PpmidActivationAlert, ReceiptAlert
from agent.image.version import Version
from agent.update import database
from agent.update.journal import Journal
from agent.update.states import State
from boards.bench.report import Report, Request
from boards.bench.trust_center import KeyEstablished
from boards.virtual.disk import Cut, Disk, PowerCut
from boards.virtual.seat import Seat
from tests.home import DEVICE_EUI, HUB_EUI, Home
from tests.powercut.counters import Ledger
from tests.powercut.cuts import PlannedCut, Task
from tests.update_rig import OLD

Fork = Callable[[int], Task | None]
OFF_S = 3.0
OUR_SCHEMA = database.MIGRATIONS
NEWER_SCHEMA = "CREATE TABLE newer (id INTEGER PRIMARY KEY) STRICT;" + "".join(
    f"ALTER TABLE {table} ADD COLUMN newer TEXT NOT NULL DEFAULT '';"
    for table in ("journal", "outbox", "activation_order", "counter", "tunnel", "event", "fact", "hub_key")
)
STARTS = 40  # more than any walk needs: beyond it the device is in a loop
FAULT_LASTS_S = 30.0
REMEDIES = ("free space", "replace the card", "check the medium")


class WatchedDisk(Disk):
    """``watch`` is told of every operation, and says whether it ends there."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.watch: Callable[[int], bool] | None = None

    def interrupts(self, number: int) -> bool:
        return super().interrupts(number) if self.watch is None else self.watch(number)


@dataclass
class CutHome(Home):
    """``deaf``: versions whose radio code is broken. ``stillborn``: versions that end before they do anything."""

    deaf: frozenset[Version] = frozenset()
    stillborn: frozenset[Version] = frozenset()
    cuts: list[PlannedCut] = field(default_factory=list)
    fork: Fork | None = None
    disk: WatchedDisk = field(default_factory=WatchedDisk)
    on_disk: bool = True
    starts_on: bool = False

    def __post_init__(self) -> None:
        self.told: list[Report] = []
        self.is_on = False
        self.armed = False
        self.first_request = 0  # of the device's, since the arming
        self.starts: list[tuple[Version, bool]] = []  # what the first stage chose, and whether as a trial
        self.cuts_made: list[str] = []
        self.keys_made = 0  # that the hub told of
        self.keys_before = 0  # those made before the arming
        self.ledger = Ledger()
        self._opened = (0, 0)
        self.first_stages = 0  # those that were cut among them: such a one may have spent a try
        self._left = list(self.cuts)
        self._on_at = 0.0
        self._present: PlannedCut | None = None
        self.ends: list[str] = []  # what the program said when a fault ended it
        self._heals_at: float | None = None
        super().__post_init__()

    # --- power --------------------------------------------------------------------------------------------------------

    def arm(self) -> None:
        """From here on operations count."""
        self.armed = True
        self.keys_before = self.keys_made
        if DEVICE_EUI in self.world.seats:
            self.first_request = len(self.world.seats[DEVICE_EUI].traffic)
        self._plan()
        if self.fork is not None:
            self.disk.watch = self._watch

    def disarm(self) -> None:
        """The walk has ended: what of the plan has not come does not come any more."""
        self.armed = False
        self._left.clear()

    def _watch(self, operation: int) -> bool:
        """The undisturbed walk has come to an operation: a child of this process may take a cut there."""
        task = self.fork(operation) if self.fork else None
        if task is None:
            return False
        self.disk.watch = None
        self.disk.reseed(task.seed)
        self._present, *self._left = task.cuts
        if self._present.fault is not None:
            self.disk.fail_at(operation, self._present.fault, lasting=self._present.lasting)
            return False
        self.disk.end_with(self._present.survival, self._present.cut)
        return True

    def _plan(self) -> None:
        self.disk.power_on()
        self._present = self._left.pop(0) if self.armed and self._left else None
        if self._present is None:
            return
        if self._present.fault is not None:
            self.disk.fail_at(self._present.operation, self._present.fault, lasting=self._present.lasting)
        else:
            self.disk.cut_at(self._present.operation, self._present.survival, self._present.cut)

    def power_up(self) -> None:
        self.is_on = False
        self._opened = self._opened_so_far
        self.ledger.read(self.seat.traffic)
        super().power_up()
        self.is_on = True
        self.ledger.compare(self.journal)

    def choose(self) -> Handover:
        """The first stage, again for every image that ends at once."""
        while True:
            self.first_stages += 1
            handover = super().choose()
            version = self.rig.running.version
            self.starts.append((version, handover.trial))
            assert len(self.starts) < STARTS, "the device starts again and again"
            if version not in self.stillborn:
                break
        (self.world.deaf.add if version in self.deaf else self.world.deaf.discard)(DEVICE_EUI)
        return handover

    def open_journal(self) -> Journal:
        """An image that was downloaded brings a newer schema: an older one that comes back after it lives with that."""
        newer = self.rig.running.version > OLD
        with patch.object(database, "MIGRATIONS", (*OUR_SCHEMA, NEWER_SCHEMA) if newer else OUR_SCHEMA):
            return super().open_journal()

    def run_until(self, until: Callable[[], bool], limit_s: float = 3_600.0) -> bool:
        """As in ``Home``; a device that falls is off for a moment and comes up again."""
        end = self.world.now + limit_s
        while True:
            try:
                if not self.is_on:
                    self.world.run(lambda: self._carry() or False, max(0.0, self._on_at - self.world.now))
                    self.power_up()  # the very first start included, so that it can be cut as well
                return super().run_until(until, end - self.world.now)
            except PowerCut:
                self._fall()
            except StorageError as error:
                self._end(error)

    def _fall(self) -> None:
        self.cuts_made.append(str(self.disk.operations[-1]))
        self.is_on = False
        if self._present is None or self._present.cut is Cut.POWER:
            self.rig.boot_number += 1
            self.world.cut_power(DEVICE_EUI)
        else:
            self.world.detach(DEVICE_EUI)
        with suppress(PowerCut):
            self.rig.close_database()
        self._plan()
        self._on_at = self.world.now + OFF_S

    def switch_off(self) -> None:
        """The power goes now; ``run_until`` brings it back."""
        self.is_on = False
        self.world.cut_power(DEVICE_EUI)
        self.disk.lose_power()
        with suppress(PowerCut):
            self.rig.close_database()
        self.disk.power_on()
        self.rig.boot_number += 1

    def _end(self, error: StorageError) -> None:
        """The program said why it cannot go on, and ended with exit code 4: the unit starts it again."""
        said = str(error)
        assert any(remedy in said for remedy in REMEDIES), f"no remedy: {said}"
        assert any(name in said for name in ("slot A", "slot B", "boot state", "journal.db")), f"no file: {said}"
        self.ends.append(said)
        assert len(self.ends) < STARTS, "the device ends again and again"
        if self.is_on:
            with suppress(HanError):  # as agent.main does
                slot = Slot[self.rig.running.slot] if self.rig.running.slot else None  # the factory agent has none
                control = SlotsControl(self.rig.store, self.rig.areas, slot)
                control.note_try(EndReason.STORAGE)
        self.is_on = False
        if DEVICE_EUI in self.world.seats:
            self.world.detach(DEVICE_EUI)
        self.rig.close_database()
        self.world.run(lambda: self._carry() or False, OFF_S)

    def _heal(self) -> None:
        """A fault is over after a while; then the next cut is planned, if one is left."""
        if self.disk.faults and self._heals_at is None:
            self.cuts_made.append(f"{self.disk.operations[-1]} fails")
            self._heals_at = self.world.now + FAULT_LASTS_S
        if self._heals_at is not None and self.world.now >= self._heals_at:
            self._heals_at = None
            self.disk.faults = 0
            self._plan()

    def _carry(self) -> None:
        self._heal()
        for one in self.backhaul.carry(self.world.now):
            self.keys_made += isinstance(one, KeyEstablished)
            if isinstance(one, Report):
                self.told.append(one)

    def _look(self) -> bool:
        self._carry()
        return self.device.restart != ""

    @property
    def seat(self) -> Seat:
        """The device's chip."""
        return self.world.seats[DEVICE_EUI]

    @property
    def _opened_so_far(self) -> tuple[int, int]:
        return self.seat.opened, self.world.seats[HUB_EUI].opened

    # --- what a scenario asks ---------------------------------------------------------------------------------------

    @property
    def state(self) -> State | None:
        """Where the update stands; None while the device is off."""
        return self.device._update.state if self.is_on else None

    @property
    def is_member(self) -> bool:
        """Whether the device is back on the HAN: the hub answers, and since the start secured frames went both ways."""
        if not self.is_on or not self.device.hub_answers:
            return False
        return all(now > before for now, before in zip(self._opened_so_far, self._opened, strict=True))

    @property
    def outcomes(self) -> list[tuple[bool, Version]]:
        """The ends of activations that the head end has been told, after its own dedup: success, and what runs."""
        found: list[tuple[bool, Version]] = []
        for payload in (report.payload for report in self.reports):
            match payload:
                case PpmidActivationAlert(_, version, succeeded):
                    found.append((succeeded, Version.from_file_version(version)))
                case ActivateFirmwareResponse() | ActivateFirmwareAlert() if payload.result is not None:
                    version = Version.from_file_version(payload.result.version)
                    found.append((payload.result.outcome == 0, version))
                case _:
                    pass
        return found

    @property
    def receipts(self) -> list[bool]:
        """Images received, as the head end has been told: verified or not."""
        return [one.payload.verified for one in self.reports if isinstance(one.payload, ReceiptAlert)]

    @property
    def repeats(self) -> int:
        """Messages that the head end had seen before."""
        return sum(one.duplicate for one in self.told)

    def answered(self, request: Request) -> bool:
        """Whether the command has its response."""
        return any(isinstance(one.payload, ActivateFirmwareResponse) and one.answers == request for one in self.reports)
