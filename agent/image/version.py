"""The firmware version: the OTA header's file version u32 as major u8, minor u8, revision u16.

The same three numbers stand in the MCUboot header, and as 4 octets, most significant first, in GBCS messages.
The split of the u32 and the GBCS byte order are *our choice*; no published source settles them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from agent.errors import FormatError

_TEXT = re.compile(r"(0|[1-9][0-9]{0,4})\.(0|[1-9][0-9]{0,4})\.(0|[1-9][0-9]{0,4})", re.ASCII)


@dataclass(frozen=True, order=True, slots=True)
class Version:
    """Ordered as its file version is."""

    major: int
    minor: int
    revision: int

    def __post_init__(self) -> None:
        if not (0 <= self.major <= 0xFF and 0 <= self.minor <= 0xFF and 0 <= self.revision <= 0xFFFF):
            raise FormatError("version", 0, f"{self} is out of range; the largest is 255.255.65535")

    @classmethod
    def parse(cls, text: str) -> Version:
        """From ``1.1.0``: three decimal numbers without leading zeros. Raises FormatError."""
        found = _TEXT.fullmatch(text)
        if found is None:
            raise FormatError("version", 0, f"{text!r} is not MAJOR.MINOR.REVISION, such as 1.1.0")
        return cls(*(int(part) for part in found.groups()))

    @classmethod
    def from_file_version(cls, file_version: int) -> Version:
        """From the u32 of the OTA header and of Query Next Image."""
        return cls(file_version >> 24 & 0xFF, file_version >> 16 & 0xFF, file_version & 0xFFFF)

    @property
    def file_version(self) -> int:
        """The u32 of the OTA header."""
        return self.major << 24 | self.minor << 16 | self.revision

    def to_octets(self) -> bytes:
        """The 4 octets of GBCS messages, most significant first."""
        return self.file_version.to_bytes(4, "big")

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.revision}"
