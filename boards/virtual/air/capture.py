"""A capture file of the air: pcapng with one interface of link type 283 (IEEE 802.15.4 TAP).

Each packet carries the channel, the link quality and the FCS; a frame that its receiver lost has a comment. Wireshark
decrypts when it is told the keys (network key, and the link key that the Transport-Key came under)::

    tshark -r air.pcapng -o 'uat:zigbee_pc_keys:"5A6967426565416C6C69616E63653039","Normal","link key"'

The same line without ``-o`` may stand in Wireshark's preferences. The writer is our own: it is three block types, and
no well-kept Python library writes TAP headers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from agent.errors import StorageError

LINKTYPE_IEEE802_15_4_TAP = 283
FCS_TYPE_CRC16 = 1

_TLV_FCS_TYPE, _TLV_CHANNEL, _TLV_LQI = 0, 3, 10
_OPTION_END, _OPTION_COMMENT, _OPTION_NAME = 0, 1, 2


class Capture:
    """A pcapng file that grows with every frame. ``epoch_s`` is the wall-clock time of virtual second 0."""

    def __init__(self, path: Path, epoch_s: float) -> None:
        self._epoch_s = epoch_s
        self._path = path
        with self._naming_the_file():
            path.write_bytes(_section_header() + _interface())
            self._file = path.open("ab")

    def add(self, octets: bytes, at_s: float, channel: int, lqi: int = 255, comment: str = "") -> None:
        """One frame with its FCS, whose first octet went on the air at virtual second ``at_s``. Raises StorageError."""
        tap = _tap_header(channel, lqi)
        micros = round((self._epoch_s + at_s) * 1_000_000)
        length = len(tap) + len(octets)
        body = struct.pack("<IIIII", 0, micros >> 32, micros & 0xFFFFFFFF, length, length)
        options = _option(_OPTION_COMMENT, comment.encode()) + _option(_OPTION_END, b"") if comment else b""
        with self._naming_the_file():
            self._file.write(_block(6, body + _padded(tap + octets) + options))

    def flush(self) -> None:
        """What was added is in the file, for a reader that follows along. Raises StorageError."""
        with self._naming_the_file():
            self._file.flush()

    def close(self) -> None:
        """Raises StorageError when the rest cannot be written."""
        with self._naming_the_file():
            self._file.close()

    @contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(f"{self._path}: cannot write the capture: {error.strerror}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def key_option(keys: dict[str, bytes]) -> list[str]:
    """tshark's arguments that make it decrypt with ``keys`` (label to 16 octets)."""
    arguments: list[str] = []
    for label, key in keys.items():
        arguments += ["-o", f'uat:zigbee_pc_keys:"{key.hex().upper()}","Normal","{label}"']
    return arguments


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def _section_header() -> bytes:
    return _block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))


def _interface() -> bytes:
    """No snapshot limit; time stamps in microseconds, the default."""
    name = _option(_OPTION_NAME, b"virtual air") + _option(_OPTION_END, b"")
    return _block(1, struct.pack("<HHI", LINKTYPE_IEEE802_15_4_TAP, 0, 0) + name)


def _tap_header(channel: int, lqi: int) -> bytes:
    """Version 0, then TLVs padded to four octets (IEEE 802.15.4 TAP link type specification)."""
    tlvs = (
        struct.pack("<HHB3x", _TLV_FCS_TYPE, 1, FCS_TYPE_CRC16)
        + struct.pack("<HHHB1x", _TLV_CHANNEL, 3, channel, 0)
        + struct.pack("<HHB3x", _TLV_LQI, 1, lqi)
    )
    return struct.pack("<BBH", 0, 0, 4 + len(tlvs)) + tlvs
