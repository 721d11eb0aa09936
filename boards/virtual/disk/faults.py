"""A medium that answers with an error instead of doing what it was asked."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import Enum


class Fault(Enum):
    """What the medium answers. SHORT: it took half of a write and says then that it is full; elsewhere as ENOSPC."""

    EIO = errno.EIO
    ENOSPC = errno.ENOSPC
    SHORT = "short"

    @property
    def number(self) -> int:
        """The errno."""
        return errno.ENOSPC if self is Fault.SHORT else int(self.value)


class MediumFault(OSError):  # noqa: N818  (it is what the kernel says, not an error of ours)
    """Of one operation. ``taken_octets`` of ``length`` reached the cache."""

    def __init__(self, fault: Fault, length: int) -> None:
        super().__init__(fault.number, f"injected {fault.name}")
        self.fault = fault
        self.taken_octets = length // 2 if fault is Fault.SHORT else 0


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """Operation ``number`` fails; ``lasting``: every one from then on, until the medium is healed."""

    number: int
    fault: Fault
    lasting: bool = False

    def concerns(self, number: int) -> bool:
        """Whether this operation fails."""
        return number == self.number or (self.lasting and number > self.number)
