"""The confirmed mark: the last 4096 octets of a slot say that its image was found healthy once.

It is what remains when both copies of the boot state are lost, and then decides alone: an image without it never runs.
Little-endian, the rest zeros:

    0   8   magic "HANMARK\\0"
    8   2   format version, 1
    10  2   zero
    12  4   octets of the image
    16  32  SHA-256 of the Manufacturer Image, verbatim
    48  4   security counter of the image
    52  4   file version: major u8, minor u8, revision u16, most significant first in the number
    56  8   zero
    64  32  SHA-256 over the 64 octets before
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from agent.errors import FormatError
from agent.ports import Area

MARK_OCTETS = 4096
MAGIC = b"HANMARK\0"
FORMAT_VERSION = 1

_BODY = struct.Struct("<8sH2xI32sII8x")
_USED_OCTETS = _BODY.size + hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True)
class ConfirmedMark:
    """Which image was confirmed in this slot."""

    image_hash: bytes
    image_octets: int
    security_counter: int
    file_version: int

    @property
    def rank(self) -> tuple[int, int]:
        """The order of preference among marks: security counter, then version."""
        return self.security_counter, self.file_version


def encode(mark: ConfirmedMark) -> bytes:
    """MARK_OCTETS octets."""
    body = _BODY.pack(
        MAGIC, FORMAT_VERSION, mark.image_octets, mark.image_hash, mark.security_counter, mark.file_version
    )
    return (body + hashlib.sha256(body).digest()).ljust(MARK_OCTETS, b"\0")


def decode(octets: bytes) -> ConfirmedMark:
    """Raises FormatError: no mark here, or a torn one, which counts as none."""
    if len(octets) < _USED_OCTETS:
        raise FormatError("confirmed mark", len(octets), f"shorter than {_USED_OCTETS} octets")
    body, checksum = octets[: _BODY.size], octets[_BODY.size : _USED_OCTETS]
    if hashlib.sha256(body).digest() != checksum:
        raise FormatError("confirmed mark", _BODY.size, "checksum differs, or there is none")
    magic, version, image_octets, image_hash, security_counter, file_version = _BODY.unpack(body)
    if magic != MAGIC or version != FORMAT_VERSION:
        raise FormatError("confirmed mark", 0, "another magic or format version")
    return ConfirmedMark(image_hash, image_octets, security_counter, file_version)


def read_mark(area: Area) -> ConfirmedMark | None:
    """The slot's mark; None when there is none that holds."""
    try:
        return decode(area.read(area.size_octets - MARK_OCTETS, MARK_OCTETS))
    except FormatError:
        return None


def write_mark(area: Area, mark: ConfirmedMark) -> None:
    """Durable when this returns."""
    area.write(area.size_octets - MARK_OCTETS, encode(mark))
    area.sync()


def clear_mark(area: Area) -> None:
    """Durable when this returns."""
    area.write(area.size_octets - MARK_OCTETS, bytes(MARK_OCTETS))
    area.sync()
