"""What follows the OTA header: the three forms of an OTA file, their sub-elements and trailer.

::

    gb-ppmid   OTA header | Manufacturer Image
    gb-hcalcs  OTA header | Manufacturer Image | forcedReplace u8 | 0x40 | signature (64)
    generic    OTA header | (tag u16 | length u32 | octets)*      the Manufacturer Image has tag 0x0000

GB files carry no sub-element head (seen in the published samples), so that nothing in a file tells its form for sure:
a device knows its own from its configuration.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from agent.errors import FormatError
from agent.image.ota_header import OtaHeader

TRAILER = "supplier trailer"
SIGNATURE_OCTETS = 64
TRAILER_OCTETS = 2 + SIGNATURE_OCTETS
ELEMENT_HEAD = struct.Struct("<HI")

UPGRADE_IMAGE = 0x0000
ELEMENT_NAMES = {
    UPGRADE_IMAGE: "upgrade image",
    0x0001: "ECDSA signature, suite 1",
    0x0002: "signing certificate, suite 1",
    0x0003: "image integrity code",
    0x0004: "picture data",
    0x0005: "ECDSA signature, suite 2",
    0x0006: "signing certificate, suite 2",
}
# ZCL 11.4.3 and SE 1.4 Annex: signer EUI and r || s, certificate, AES-MMO hash
ELEMENT_OCTETS = {0x0001: 8 + 42, 0x0002: 48, 0x0003: 16, 0x0005: 8 + 72, 0x0006: 74}


class Form(Enum):
    """How a file goes on after its header; the value is that of ``image.form`` in a configuration."""

    GB_PPMID = "gb-ppmid"
    GB_HCALCS = "gb-hcalcs"
    GENERIC = "generic"


@dataclass(frozen=True, slots=True)
class SubElement:
    """One sub-element of a generic file, other than the Manufacturer Image."""

    tag: int
    octets: bytes

    @property
    def name(self) -> str:
        """The tag's name in ZCL table 11-13."""
        return element_name(self.tag)


@dataclass(frozen=True, slots=True)
class Trailer:
    """What the supplier adds behind an HCALCS's image: plain r || s over the Manufacturer Image only."""

    forced_replace: int
    signature: bytes

    def encode(self) -> bytes:
        """The 66 octets."""
        return bytes((self.forced_replace, SIGNATURE_OCTETS)) + self.signature


def element_name(tag: int) -> str:
    """The name of a sub-element's tag."""
    return ELEMENT_NAMES.get(tag, "manufacturer specific" if tag >= 0xF000 else "reserved")


def parse_trailer(octets: bytes) -> Trailer:
    """The last 66 octets of a gb-hcalcs file. Raises FormatError."""
    if len(octets) != TRAILER_OCTETS:
        raise FormatError(TRAILER, len(octets), f"is {TRAILER_OCTETS} octets long")
    if octets[1] != SIGNATURE_OCTETS:
        raise FormatError(TRAILER, 1, f"signature length 0x{octets[1]:02X}, expected 0x40")
    return Trailer(octets[0], octets[2:])


def encode_file(
    form: Form, header: OtaHeader, image: bytes, *, trailer: Trailer | None = None, elements: Sequence[SubElement] = ()
) -> bytes:
    """A whole file; the header's total size is set here. ValueError when the parts do not belong to the form."""
    if (trailer is not None) != (form is Form.GB_HCALCS) or (elements and form is not Form.GENERIC):
        raise ValueError(f"a trailer belongs to gb-hcalcs, sub-elements to generic; this is {form.value}")
    if form is Form.GENERIC:
        parts = (SubElement(UPGRADE_IMAGE, image), *elements)
        body = b"".join(ELEMENT_HEAD.pack(part.tag, len(part.octets)) + part.octets for part in parts)
    else:
        body = image + (trailer.encode() if trailer is not None else b"")
    return replace(header, total_octets=header.header_octets + len(body)).encode() + body
