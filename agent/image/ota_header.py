"""The header of an OTA file (ZCL 11.4.2), little-endian.

::

    0 magic 0x0BEEF11E | 4 header version 0x0100 | 6 header length | 8 field control | 10 manufacturer code |
    12 image type | 14 file version u32 | 18 stack version | 20 header string (32) | 52 total size u32 | then, each if
    its bit of the field control is set: security credential version u8 (bit 0) | destination EUI u64 (bit 1) |
    minimum and maximum hardware version u16 (bit 2)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from agent.errors import FormatError
from agent.image.mcuboot import MagicError
from agent.image.version import Version

OTA_MAGIC = 0x0BEEF11E
HEADER_VERSION = 0x0100
FIXED_OCTETS = 56
MAXIMUM_HEADER_OCTETS = 256  # our choice: four times what the known fields take, so that a stream buffers little
STACK_VERSION_PRO = 0x0002

SECURITY_CREDENTIAL, DEVICE_SPECIFIC, HARDWARE_VERSIONS = 0x0001, 0x0002, 0x0004
SECURITY_CREDENTIAL_NAMES = {0: "SE 1.0", 1: "SE 1.1", 2: "SE 2.0", 3: "SE 1.2"}

WHAT = "OTA header"
_FIXED = struct.Struct("<IHHHHHIH32sI")


@dataclass(frozen=True, slots=True, kw_only=True)
class OtaHeader:
    """Every field; an optional one is None where its bit is clear. ``extra`` is what a later header version adds."""

    manufacturer_code: int
    image_type: int
    file_version: int
    total_octets: int
    header_string: bytes = b""
    stack_version: int = STACK_VERSION_PRO
    header_version: int = HEADER_VERSION
    security_credential_version: int | None = None
    destination: int | None = None
    hardware_versions: tuple[int, int] | None = None
    reserved_control: int = 0  # the bits of the field control that have no meaning yet
    extra: bytes = b""

    @property
    def version(self) -> Version:
        """The file version as three numbers."""
        return Version.from_file_version(self.file_version)

    @property
    def field_control(self) -> int:
        """Which optional fields follow."""
        return (
            self.reserved_control
            | (SECURITY_CREDENTIAL if self.security_credential_version is not None else 0)
            | (DEVICE_SPECIFIC if self.destination is not None else 0)
            | (HARDWARE_VERSIONS if self.hardware_versions is not None else 0)
        )

    @property
    def header_octets(self) -> int:
        """The header length field."""
        return FIXED_OCTETS + _optional_octets(self.field_control) + len(self.extra)

    def encode(self) -> bytes:
        """The header verbatim."""
        octets = _FIXED.pack(
            OTA_MAGIC,
            self.header_version,
            self.header_octets,
            self.field_control,
            self.manufacturer_code,
            self.image_type,
            self.file_version,
            self.stack_version,
            self.header_string,
            self.total_octets,
        )
        if self.security_credential_version is not None:
            octets += self.security_credential_version.to_bytes(1, "little")
        if self.destination is not None:
            octets += self.destination.to_bytes(8, "little")
        if self.hardware_versions is not None:
            octets += struct.pack("<HH", *self.hardware_versions)
        return octets + self.extra


def header_length(octets: bytes | memoryview) -> int | None:
    """How long the header is, as soon as 8 octets are there, None before. Raises FormatError."""
    if len(octets) >= 4 and int.from_bytes(octets[:4], "little") != OTA_MAGIC:
        found = int.from_bytes(octets[:4], "little")
        raise MagicError(WHAT, 0, f"not an OTA file: magic 0x{found:08X}, expected 0x{OTA_MAGIC:08X}")
    if len(octets) < 8:
        return None
    length = int.from_bytes(octets[6:8], "little")
    if not FIXED_OCTETS <= length <= MAXIMUM_HEADER_OCTETS:
        raise FormatError(WHAT, 6, f"header length {length} is not within {FIXED_OCTETS}..{MAXIMUM_HEADER_OCTETS}")
    return length


def parse_header(octets: bytes | memoryview) -> OtaHeader:
    """The header at the start of ``octets``; more may follow. Raises FormatError."""
    length = header_length(octets)
    if length is None or len(octets) < length:
        raise FormatError(WHAT, len(octets), f"ends in the header of {length or FIXED_OCTETS} octets")
    _, version, _, control, manufacturer, kind, file_version, stack, text, total = _FIXED.unpack_from(octets)
    rest = bytes(octets[FIXED_OCTETS:length])
    needed = _optional_octets(control)
    if needed > len(rest):
        raise FormatError(WHAT, 6, f"header length {length}, but its fields take {FIXED_OCTETS + needed}")
    if total < length:
        raise FormatError(WHAT, 52, f"total size {total} is below the header's own {length}")
    credential, destination, hardware = _parse_optional(rest, control)
    return OtaHeader(
        header_version=version,
        reserved_control=control & ~(SECURITY_CREDENTIAL | DEVICE_SPECIFIC | HARDWARE_VERSIONS),
        manufacturer_code=manufacturer,
        image_type=kind,
        file_version=file_version,
        stack_version=stack,
        header_string=text,
        total_octets=total,
        security_credential_version=credential,
        destination=destination,
        hardware_versions=hardware,
        extra=rest[needed:],
    )


def _optional_octets(control: int) -> int:
    return (
        (1 if control & SECURITY_CREDENTIAL else 0)
        + (8 if control & DEVICE_SPECIFIC else 0)
        + (4 if control & HARDWARE_VERSIONS else 0)
    )


def _parse_optional(rest: bytes, control: int) -> tuple[int | None, int | None, tuple[int, int] | None]:
    credential = destination = None
    if control & SECURITY_CREDENTIAL:
        credential, rest = rest[0], rest[1:]
    if control & DEVICE_SPECIFIC:
        destination, rest = int.from_bytes(rest[:8], "little"), rest[8:]
    hardware = struct.unpack_from("<HH", rest) if control & HARDWARE_VERSIONS else None
    return credential, destination, hardware
