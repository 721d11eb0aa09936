"""Little-endian fields, read in order. What every ZigBee codec of ours stands on.

A command of fixed layout subclasses ``FixedLayout`` and only names its fields and their ``struct`` format. Octets
after the last known field are ignored, as ZCL 2.5.1 asks for (a later revision may append fields).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from typing import ClassVar, Self

from agent.errors import FormatError


class Reader:
    """Reads one payload from the front. Raises FormatError where it ends too early."""

    def __init__(self, what: str, octets: bytes) -> None:
        self.what = what
        self.octets = octets
        self.offset_octets = 0

    def octets_left(self) -> int:
        """How many octets are still to be read."""
        return len(self.octets) - self.offset_octets

    def take(self, count: int) -> bytes:
        """The next ``count`` octets."""
        if self.octets_left() < count:
            raise self.error(f"{count} octets wanted, {self.octets_left()} left")
        start = self.offset_octets
        self.offset_octets += count
        return self.octets[start : self.offset_octets]

    def unsigned(self, width: int) -> int:
        """An unsigned integer of ``width`` octets, least significant first."""
        return int.from_bytes(self.take(width), "little")

    def u8(self) -> int:
        """One octet."""
        return self.unsigned(1)

    def u16(self) -> int:
        """Two octets."""
        return self.unsigned(2)

    def u32(self) -> int:
        """Four octets."""
        return self.unsigned(4)

    def u64(self) -> int:
        """Eight octets: an EUI, least significant first on the air."""
        return self.unsigned(8)

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.octets_left())

    def error(self, reason: str) -> FormatError:
        """A FormatError at the current place, for the caller to raise."""
        return FormatError(self.what, self.offset_octets, reason)


@dataclass(frozen=True, slots=True)
class FixedLayout:
    """A payload whose fields always stand in the same places; ``LAYOUT`` is a ``struct`` format without its ``<``."""

    LAYOUT: ClassVar[str] = ""

    def encode(self) -> bytes:
        """The payload as it goes on the air."""
        return struct.pack("<" + self.LAYOUT, *(getattr(self, field.name) for field in fields(self)))

    @classmethod
    def decode(cls, octets: bytes) -> Self:
        """Read the fields; octets behind them are ignored. Raises FormatError when short."""
        layout = "<" + cls.LAYOUT
        head = Reader(cls.__name__, octets).take(struct.calcsize(layout))
        return cls(*struct.unpack(layout, head))
