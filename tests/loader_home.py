"""A whole HAN whose device is started by a boot loader: a restart of its program is a restart of the machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from agent.boot.backends import LoaderSlots
from agent.boot.handover import Handover
from agent.boot.loader_stage import LoaderStage
from boards.virtual.disk import Cut
from tests.home import Home
from tests.loader_lab import Machine, TrybootMachine, UbootMachine
from tests.powercut.home import CutHome

MACHINES = {"tryboot": TrybootMachine, "uboot": UbootMachine}
RESTARTS = 20  # more than any walk needs between two programs


@dataclass
class LoaderHome(Home):
    """``kind`` of MACHINES; what is not on the disk lies in ``folder``."""

    kind: str = "tryboot"
    folder: Path = field(default_factory=Path)

    def __post_init__(self) -> None:
        self.machine_is_up = False
        starts_on, self.starts_on = self.starts_on, False
        super().__post_init__()
        self.machine: Machine = MACHINES[self.kind](self.folder, self.rig.disk, self.rig.store)
        if starts_on:
            self.power_up()

    def choose(self) -> Handover:
        """The machine comes up unless it is, then the first stage of the base that was started."""
        for _ in range(RESTARTS):
            if not self.machine_is_up:
                self.rig.boot_number += 1
                self.machine.come_up()
                self.machine_is_up = True
            stage = LoaderStage(
                self.rig.store,
                self.rig.areas,
                self.rig.trusted,
                self.rig.boot_number.to_bytes(16),
                self.machine.loader(),
            )
            try:
                started = stage.settle()
            finally:
                stage.close()
            if started is not None:
                return self.rig.take(started)
            self.restart_machine()
        raise AssertionError(f"the machine restarts again and again: {self.machine.started}")

    def boot_control(self, handover: Handover) -> LoaderSlots:
        return LoaderSlots(self.rig.store, self.rig.areas, handover.slot, self.machine.loader())

    def restart_machine(self) -> None:
        self.machine.restart()
        self.machine_is_up = False

    def restart(self) -> None:
        self.restart_machine()
        super().restart()

    def crash(self) -> None:
        """The program ends by itself, and the unit starts it again; the machine stays up."""
        super().restart()

    def power_came_back(self) -> None:
        self.machine.lose_power()
        self.machine_is_up = False


@dataclass
class LoaderCutHome(CutHome, LoaderHome):
    """... whose power is cut at planned operations."""

    def _fall(self) -> None:
        stays_up = self._present is not None and self._present.cut is not Cut.POWER
        super()._fall()
        if not stays_up:
            self.power_came_back()
