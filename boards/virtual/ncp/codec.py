"""The emulated chip's own MT codec (TI, *Z-Stack Monitor and Test API*, section 2): never shared with the agent.

::

    FE | length 0..250 | cmd0 = type << 5 | subsystem | cmd1 | data | xor of length .. data
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import reduce
from operator import xor

from agent.errors import FormatError

START_OF_FRAME = 0xFE
MAXIMUM_DATA_OCTETS = 250  # MT_RPC_DATA_MAX


class FrameType(IntEnum):
    """Upper three bits of cmd0."""

    POLL = 0
    SREQ = 1
    AREQ = 2
    SRSP = 3


class Subsystem(IntEnum):
    """Lower five bits of cmd0."""

    RPC_ERROR = 0
    SYS = 1
    AF = 4
    ZDO = 5
    SAPI = 6
    UTIL = 7
    APP_CNF = 15


@dataclass(frozen=True, slots=True)
class MtFrame:
    """One MT frame without its envelope."""

    cmd0: int
    cmd1: int
    data: bytes = b""

    @property
    def type(self) -> int:
        """Frame type, one of FrameType or a reserved value."""
        return self.cmd0 >> 5

    @property
    def subsystem(self) -> int:
        """Subsystem number, known or not."""
        return self.cmd0 & 0x1F

    def encode(self) -> bytes:
        """The frame as it goes over the wire. Raises FormatError when the data is longer than MT can carry."""
        if len(self.data) > MAXIMUM_DATA_OCTETS:
            raise FormatError("MT frame", MAXIMUM_DATA_OCTETS, f"{len(self.data)} data octets do not fit")
        body = bytes((len(self.data), self.cmd0, self.cmd1)) + self.data
        return bytes((START_OF_FRAME,)) + body + bytes((reduce(xor, body),))


def srsp(request: MtFrame, data: bytes) -> MtFrame:
    """The synchronous response to ``request``."""
    return MtFrame(FrameType.SRSP << 5 | request.subsystem, request.cmd1, data)


def areq(subsystem: Subsystem, cmd1: int, data: bytes) -> MtFrame:
    """An asynchronous indication from the chip."""
    return MtFrame(FrameType.AREQ << 5 | subsystem, cmd1, data)


class MtParser:
    """Cuts an octet stream into frames; drops what is no frame and finds the next start by itself."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.dropped_octets = 0

    def feed(self, octets: bytes) -> Iterator[MtFrame]:
        """Frames completed by these octets, in order. Never raises."""
        self._buffer += octets
        while (start := self._buffer.find(START_OF_FRAME)) >= 0:
            self._drop(start)
            if len(self._buffer) < 2:
                return
            end = self._buffer[1] + 5
            if self._buffer[1] > MAXIMUM_DATA_OCTETS:
                self._drop(1)
            elif len(self._buffer) < end:
                return
            elif reduce(xor, self._buffer[1:end]) != 0:
                self._drop(1)
            else:
                frame = MtFrame(self._buffer[2], self._buffer[3], bytes(self._buffer[4 : end - 1]))
                del self._buffer[:end]  # before the yield: whoever takes one frame only shall not get it twice
                yield frame
        self._drop(len(self._buffer))

    def _drop(self, octets: int) -> None:
        self.dropped_octets += octets
        del self._buffer[:octets]

    def reset(self) -> None:
        """Forget a half-received frame: the line was opened anew."""
        self._buffer.clear()


class Fields:
    """Reads the little-endian fields of one command's data. Raises FormatError where they end too early."""

    def __init__(self, what: str, data: bytes) -> None:
        self._what = what
        self._data = data
        self._offset = 0

    def take(self, octets: int) -> bytes:
        """The next ``octets`` octets."""
        end = self._offset + octets
        if end > len(self._data):
            raise FormatError(self._what, self._offset, f"needs {octets} octets, {len(self._data) - self._offset} left")
        taken = self._data[self._offset : end]
        self._offset = end
        return taken

    def u8(self) -> int:
        """One octet."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Two octets."""
        return int.from_bytes(self.take(2), "little")

    def u32(self) -> int:
        """Four octets."""
        return int.from_bytes(self.take(4), "little")

    def u64(self) -> int:
        """Eight octets: an EUI or an extended PAN id."""
        return int.from_bytes(self.take(8), "little")

    def u16_list(self) -> tuple[int, ...]:
        """A count octet, then that many 16-bit values (clusters, addresses)."""
        count = self.u8()
        return struct.unpack(f"<{count}H", self.take(2 * count))

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.take(len(self._data) - self._offset)
