"""The disk: its areas, its operation counter, and the cut."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from agent.boot.area import explain
from agent.errors import StorageError
from boards.virtual.disk.faults import Fault, MediumFault, PlannedFault
from boards.virtual.disk.sectors import Sectors, Survival


class PowerCut(BaseException):
    """The program ends here, whatever it was doing. Not an Exception, so that nothing below the test catches it."""


class Cut(Enum):
    """What ends at the chosen operation."""

    POWER = "the machine: the cache is lost"
    KILL = "the process: the cache stays"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation that changes the medium or makes changes durable."""

    number: int
    area: str
    kind: str  # write, erase, sync; of files also create, delete, truncate, sync names
    offset: int = 0
    length: int = 0

    def __str__(self) -> str:
        where = f" {self.offset}+{self.length}" if self.kind in ("write", "erase") else ""
        return f"#{self.number} {self.area} {self.kind}{where}"


class Loses(Protocol):
    """Something on the disk that has unsynced changes."""

    def lose_power(self, survival: Survival, choose: random.Random) -> None:
        """Settle them; afterwards all that is left is durable."""


class Disk:
    """Makes areas that share one power supply. Seeded, so that a cut can be repeated."""

    def __init__(self, seed: int = 0) -> None:
        self._choose = random.Random(seed)
        self._sectors: dict[str, Sectors] = {}
        self._others: dict[str, Loses] = {}
        self._cut_at: int | None = None
        self._cut = Cut.POWER
        self._survival = Survival.LOST
        self._off = False
        self._fault: PlannedFault | None = None
        self.faults = 0  # operations that failed
        self.operations: list[Operation] = []

    def area(self, name: str, size_octets: int) -> DiskArea:
        """An area of its own; the same name gives the same octets again."""
        return DiskArea(self, name, size_octets, self._sectors.setdefault(name, Sectors()))

    def attach(self, name: str, other: Loses) -> None:
        """Put something else on the same power supply; it counts its operations with ``begin``."""
        self._others[name] = other

    def cut_at(self, number: int, survival: Survival = Survival.LOST, cut: Cut = Cut.POWER) -> None:
        """End at operation ``number``, counted from now on, 1 being the next. Clears the list of operations."""
        self.operations.clear()
        self._cut_at = number
        self.end_with(survival, cut)

    def fail_at(self, number: int, fault: Fault, *, lasting: bool = False) -> None:
        """Operation ``number`` of those counted now answers with ``fault``: once, or from then on until ``heal``."""
        self._fault = PlannedFault(number, fault, lasting)

    def heal(self) -> None:
        """The medium answers again."""
        self._fault = None

    def end_with(self, survival: Survival, cut: Cut) -> None:
        """How the next interruption ends, for one who says himself in ``begin`` which operation that is."""
        self._survival, self._cut = survival, cut

    def reseed(self, seed: int) -> None:
        """Choose anew what survives."""
        self._choose = random.Random(seed)

    def power_on(self) -> None:
        """The next start: no cut and no fault is planned any more, and operations count from 1 again."""
        self._off = False
        self._cut_at = None
        self._fault = None
        self.operations.clear()

    def lose_power(self, survival: Survival = Survival.LOST) -> None:
        """The power goes now, between two operations. Nothing works until ``power_on``."""
        for name in sorted(self._sectors):
            self._sectors[name].lose_power(survival, self._choose)
        for name in sorted(self._others):
            self._others[name].lose_power(survival, self._choose)
        self._off = True

    def begin(self, area: str, kind: str, offset: int = 0, length: int = 0) -> bool:
        """Count an operation. True when it is the one that is interrupted.

        Raises PowerCut while off, and MediumFault for one that fails: then ``taken_octets`` of it happen all the same.
        """
        self.check_power()
        self.operations.append(Operation(len(self.operations) + 1, area, kind, offset, length))
        interrupted = self.interrupts(len(self.operations))
        if self._fault is not None and self._fault.concerns(len(self.operations)):
            self.faults += 1
            raise MediumFault(self._fault.fault, length)
        return interrupted

    def interrupts(self, number: int) -> bool:
        """Whether the power goes in this operation."""
        return number == self._cut_at

    def interrupt(self) -> None:
        """End the operation that ``begin`` said True for. Always raises PowerCut."""
        if self._cut is Cut.POWER:
            self.lose_power(self._survival)
        self._off = True
        raise PowerCut(str(self.operations[-1]))

    def check_power(self) -> None:
        if self._off:
            raise PowerCut("the power is off")


class DiskArea:
    """An `agent.ports.Area` whose medium can be read past the cache, on a `Disk`."""

    def __init__(self, disk: Disk, name: str, size_octets: int, sectors: Sectors) -> None:
        self._disk = disk
        self._name = name
        self._size_octets = size_octets
        self._sectors = sectors

    @property
    def size_octets(self) -> int:
        return self._size_octets

    def read(self, offset: int, length: int) -> bytes:
        self._disk.check_power()
        self._check_bounds(offset, length)
        return self._sectors.read(offset, length)

    def read_medium(self, offset: int, length: int) -> bytes:
        self._disk.check_power()
        self._check_bounds(offset, length)
        return self._sectors.read(offset, length, durable_only=True)

    def write(self, offset: int, data: bytes) -> None:
        self._check_bounds(offset, len(data))
        try:
            interrupted = self._disk.begin(self._name, "write", offset, len(data))
        except MediumFault as fault:
            self._sectors.write(offset, data[: fault.taken_octets])
            raise explain(fault, Path(self._name), f"write at octet {offset}") from None
        self._sectors.write(offset, data)
        if interrupted:
            self._disk.interrupt()

    def erase(self, offset: int, length: int) -> None:
        self._check_bounds(offset, length)
        try:
            interrupted = self._disk.begin(self._name, "erase", offset, length)
        except MediumFault as fault:
            raise explain(fault, Path(self._name), f"erase at octet {offset}") from None
        self._sectors.erase(offset, length)
        if interrupted:
            self._disk.interrupt()

    def sync(self) -> None:
        try:
            interrupted = self._disk.begin(self._name, "sync")
        except MediumFault as fault:
            self._sectors.fail_sync()
            raise explain(fault, Path(self._name), "fsync") from None
        if interrupted:
            self._disk.interrupt()
        self._sectors.sync()

    def damage(self, offset: int, mask: int = 0x01) -> None:
        """Flip bits of one octet, durably and without an operation."""
        self._check_bounds(offset, 1)
        self._sectors.damage(offset, mask)

    def _check_bounds(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self._size_octets:
            raise StorageError(f"{self._name}: {length} octets at octet {offset} are beyond its {self._size_octets}")
