"""Reading little-endian fields out of a frame. Running off the end is a FormatError that names the frame."""

from __future__ import annotations

import struct

from agent.errors import FormatError

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class Reader:
    """A position in ``data``; ``what`` names the frame in errors."""

    __slots__ = ("data", "offset", "what")

    def __init__(self, data: bytes, what: str) -> None:
        self.data = data
        self.what = what
        self.offset = 0

    def u8(self) -> int:
        """One octet."""
        offset = self.offset
        if offset >= len(self.data):
            raise self.short(1)
        self.offset = offset + 1
        return self.data[offset]

    def u16(self) -> int:
        """Two octets, least significant first."""
        return self._unpack(_U16, 2)

    def u32(self) -> int:
        """Four octets, least significant first."""
        return self._unpack(_U32, 4)

    def u64(self) -> int:
        """Eight octets, least significant first: an EUI."""
        return self._unpack(_U64, 8)

    def take(self, length: int) -> bytes:
        """Exactly ``length`` octets."""
        offset = self.offset
        if offset + length > len(self.data):
            raise self.short(length)
        self.offset = offset + length
        return self.data[offset : offset + length]

    def rest(self) -> bytes:
        """Everything that is left, perhaps nothing."""
        offset, self.offset = self.offset, len(self.data)
        return self.data[offset:]

    def short(self, wanted: int) -> FormatError:
        """The error for a frame that ends too early."""
        return FormatError(self.what, self.offset, f"{wanted} octets wanted, {len(self.data) - self.offset} left")

    def _unpack(self, form: struct.Struct, length: int) -> int:
        offset = self.offset
        if offset + length > len(self.data):
            raise self.short(length)
        self.offset = offset + length
        value: int = form.unpack_from(self.data, offset)[0]
        return value
