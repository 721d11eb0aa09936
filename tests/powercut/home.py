"""A whole HAN whose device loses its power, or its process, at planned operations of its disk, and comes up again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from agent.boot.handover import Handover
from agent.gbcs.use_cases import ActivateFirmwareAlert, ActivateFirmwareResponse, PpmidActivationAlert, ReceiptAlert
from agent.image.version import Version
from agent.update.states import State
from boards.bench.report import Report, Request
from boards.virtual.disk import Cut, Disk, PowerCut
from tests.home import DEVICE_EUI, Home
from tests.powercut.cuts import PlannedCut, Task

Fork = Callable[[int], Task | None]
OFF_S = 3.0
STARTS = 40  # more than any walk needs: beyond it the device is in a loop


class WatchedDisk(Disk):
    """``watch`` is told of every operation, and says whether it ends there."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.watch: Callable[[int], bool] | None = None

    def begin(self, area: str, kind: str, offset: int = 0, length: int = 0) -> bool:
        interrupted = super().begin(area, kind, offset, length)
        return interrupted if self.watch is None else self.watch(len(self.operations))


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
        self.starts: list[tuple[Version, bool]] = []  # what the first stage chose, and whether as a trial
        self.cuts_made: list[str] = []
        self.first_stages = 0  # those that were cut among them: such a one may have spent a try
        self._left = list(self.cuts)
        self._present: PlannedCut | None = None
        super().__post_init__()

    # --- power --------------------------------------------------------------------------------------------------------

    def arm(self) -> None:
        """From here on operations count."""
        self.armed = True
        self._plan()
        if self.fork is not None:
            self.disk.watch = self._watch

    def _watch(self, operation: int) -> bool:
        """The undisturbed walk has come to an operation: a child of this process may take a cut there."""
        task = self.fork(operation) if self.fork else None
        if task is None:
            return False
        self.disk.watch = None
        self.disk.reseed(task.seed)
        self._present, *self._left = task.cuts
        self.disk.end_with(self._present.survival, self._present.cut)
        return True

    def _plan(self) -> None:
        self.disk.power_on()
        self._present = self._left.pop(0) if self.armed and self._left else None
        if self._present is not None:
            self.disk.cut_at(self._present.operation, self._present.survival, self._present.cut)

    def power_up(self) -> None:
        self.is_on = False
        super().power_up()
        self.is_on = True

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

    def run_until(self, until: Callable[[], bool], limit_s: float = 3_600.0) -> bool:
        """As in ``Home``; a device that falls is off for a moment and comes up again."""
        end = self.world.now + limit_s
        while True:
            try:
                if not self.is_on:
                    self.power_up()  # the very first start included, so that it can be cut as well
                return super().run_until(until, end - self.world.now)
            except PowerCut:
                self._fall()

    def _fall(self) -> None:
        self.cuts_made.append(str(self.disk.operations[-1]))
        self.is_on = False
        if DEVICE_EUI in self.world.seats:
            self.world.detach(DEVICE_EUI)
        with suppress(PowerCut):
            self.rig.close_database()
        if self._present is None or self._present.cut is Cut.POWER:
            self.rig.boot_number += 1
        self._plan()
        self.world.run(lambda: self._carry() or False, OFF_S)

    def _carry(self) -> None:
        self.told += [one for one in self.backhaul.carry(self.world.now) if isinstance(one, Report)]

    def _look(self) -> bool:
        self._carry()
        return self.device.restart != ""

    # --- what a scenario asks ---------------------------------------------------------------------------------------

    @property
    def state(self) -> State | None:
        """Where the update stands; None while the device is off."""
        return self.device._update.state if self.is_on else None

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
