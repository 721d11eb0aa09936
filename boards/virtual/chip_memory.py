"""What a chip of the in-process world keeps over a loss of power.

Items by name, each replaced as a whole or not at all: TI's NV driver writes the new copy with a checksum and gives the
old one up afterwards. Items change one after another, and the power may go between any two of them. On a ``Disk`` each
change is one of its operations, so that a sweep cuts there too, and a *kill*, which ends the host's process only, lets
the chip finish. What it does not model: a flash page that wears out or is being compacted.
"""

from __future__ import annotations

import random
from typing import Any

from boards.virtual.disk import Disk, MediumFault, Survival

AREA = "chip"


class ChipMemory:
    """``disk`` None: nothing can come in between. Values are immutable; None takes an item out."""

    def __init__(self, disk: Disk | None = None) -> None:
        self._disk = disk
        self._items: dict[str, Any] = {}
        self._changing: tuple[str, Any] | None = None  # the change that the power interrupts
        if disk is not None:
            disk.attach(AREA, self)

    def get(self, item: str) -> Any:
        """What the item holds, None when there is none."""
        return self._items.get(item)

    def put(self, item: str, value: Any) -> None:
        """Change an item. Raises PowerCut where the power goes, or the host's process ends, at this moment."""
        if self._items.get(item) == value:
            return
        if self._disk is not None and self._interrupted(self._disk, item):
            self._changing = (item, value)
            try:
                self._disk.interrupt()
            finally:
                self._finish()  # what is left of it: a kill does not reach the chip
        self._items[item] = value

    @staticmethod
    def _interrupted(disk: Disk, item: str) -> bool:
        """Whether the power goes in this change; a medium that fails is the disk's, the chip has one of its own."""
        try:
            return disk.begin(AREA, f"keep {item}")
        except MediumFault:
            return False

    def lose_power(self, survival: Survival, choose: random.Random) -> None:
        """The interrupted change was made, or was not."""
        made = survival is Survival.KEPT or (survival is not Survival.LOST and choose.random() < 0.5)
        if not made:
            self._changing = None

    def _finish(self) -> None:
        if self._changing is not None:
            item, value = self._changing
            self._items[item] = value
            self._changing = None
