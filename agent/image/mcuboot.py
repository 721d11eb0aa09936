"""The Manufacturer Image: a MCUboot image, little-endian (MCUboot ``docs/design.md``, "Image format").

::

    header (32, or more)  magic u32 | load address u32 | header size u16 | protected TLV size u16 | image size u32 |
                          flags u32 | version u8.u8.u16+u32 | pad u32
    payload               ``image size`` octets, from ``header size`` on
    protected TLVs        0x6908 u16 | total u16 | (type u16 | length u16 | value)*       absent when the size is 0
    TLVs                  0x6907 u16 | total u16 | (type u16 | length u16 | value)*

The digest (TLV 0x10) runs from the first octet of the header to the end of the protected TLVs; the signature (0x22) is
over that digest. Parsing judges form only: who signed and whether it fits is for :mod:`agent.image.verdict`.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from agent.errors import FormatError
from agent.image.version import Version

IMAGE_MAGIC = 0x96F3B83D
HEADER_OCTETS = 32
TLV_INFO_MAGIC = 0x6907
PROTECTED_TLV_INFO_MAGIC = 0x6908

KEY_HASH = 0x01
PUBLIC_KEY = 0x02
SHA256 = 0x10
ECDSA_SIGNATURE = 0x22
SECURITY_COUNTER = 0x50
# Vendor types (MCUboot leaves 0xXXA0 to 0xXXFE to vendors): 0x48 is the H of HAN, our choice.
BASE_ABI = 0x48A0  # UTF-8 name of the base system that the payload needs
UPGRADE_FROM = 0x48A1  # two file versions u32, lowest and highest (inclusive) that may be upgraded to this image

TLV_NAMES = {
    KEY_HASH: "key hash",
    PUBLIC_KEY: "public key",
    SHA256: "SHA-256",
    ECDSA_SIGNATURE: "ECDSA signature",
    0x40: "dependency",
    SECURITY_COUNTER: "security counter",
    0x60: "boot record",
    BASE_ABI: "base system (base_abi)",
    UPGRADE_FROM: "upgrade from",
}

PIC, RAM_LOAD, ROM_FIXED = 0x0000_0001, 0x0000_0020, 0x0000_0100
FLAGS_UNDERSTOOD = PIC | RAM_LOAD | ROM_FIXED  # where a payload wants to lie; encryption and compression are not ours

WHAT = "Manufacturer Image"
MAXIMUM_BASE_ABI_OCTETS = 64
_HEADER = struct.Struct("<IIHHIIBBHII")
_PAIR = struct.Struct("<HH")


class MagicError(FormatError):
    """The first octets belong to another kind of file."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The first 32 octets."""

    load_address: int
    header_octets: int
    protected_tlv_octets: int
    payload_octets: int
    flags: int
    version: Version
    build: int

    @property
    def signed_octets(self) -> int:
        """How far the digest reaches: header, payload and protected TLVs."""
        return self.header_octets + self.payload_octets + self.protected_tlv_octets


@dataclass(frozen=True, slots=True)
class Tlv:
    """One TLV; ``offset`` is that of its type, from the start of the image."""

    kind: int
    value: bytes
    offset: int
    protected: bool

    @property
    def name(self) -> str:
        """The name of MCUboot's documentation, or the bare type."""
        return TLV_NAMES.get(self.kind, f"type 0x{self.kind:04X}")


@dataclass(frozen=True, slots=True)
class ManufacturerImage:
    """A parsed image. ``octets`` is a view of the caller's memory: what is checked is what the caller holds."""

    header: ImageHeader
    octets: memoryview
    tlvs: tuple[Tlv, ...]
    digest: bytes | None
    key_hash: bytes | None
    signature: bytes | None
    security_counter: int | None
    base_abi: str | None
    upgrade_from: tuple[Version, Version] | None

    @property
    def version(self) -> Version:
        """Version of the payload."""
        return self.header.version

    @property
    def build(self) -> int:
        """Build number; of no consequence to any check."""
        return self.header.build

    @property
    def payload_offset(self) -> int:
        """Where the payload starts, from the start of the image."""
        return self.header.header_octets

    @property
    def payload(self) -> memoryview:
        """What runs."""
        return self.octets[self.payload_offset : self.payload_offset + self.header.payload_octets]

    @property
    def total_octets(self) -> int:
        """Length of the whole image, TLVs included."""
        return len(self.octets)

    def calculate_digest(self) -> bytes:
        """What TLV 0x10 should hold."""
        return hashlib.sha256(self.octets[: self.header.signed_octets]).digest()

    def manufacturer_image_hash(self) -> bytes:
        """SHA-256 of the whole image verbatim: the hash of GBCS CS05, CS06 and the receipt alert."""
        return hashlib.sha256(self.octets).digest()


def parse_header(octets: bytes | memoryview) -> ImageHeader:
    """The header out of the first 32 octets (more may follow). Raises FormatError."""
    if len(octets) >= 4 and int.from_bytes(octets[:4], "little") != IMAGE_MAGIC:
        found = int.from_bytes(octets[:4], "little")
        raise MagicError(WHAT, 0, f"not a signed MCUboot image: magic 0x{found:08X}, expected 0x{IMAGE_MAGIC:08X}")
    if len(octets) < HEADER_OCTETS:
        raise FormatError(WHAT, len(octets), f"ends in the header of {HEADER_OCTETS} octets")
    _, load, header_octets, protected, payload, flags, major, minor, revision, build, _ = _HEADER.unpack_from(octets)
    if header_octets < HEADER_OCTETS:
        raise FormatError(WHAT, 8, f"header size {header_octets} is below {HEADER_OCTETS}")
    if 0 < protected < _PAIR.size:
        raise FormatError(WHAT, 10, f"protected TLV size {protected} cannot hold its own head")
    return ImageHeader(load, header_octets, protected, payload, flags, Version(major, minor, revision), build)


def parse(octets: bytes | memoryview, *, allow_trailing: bool = False) -> ManufacturerImage:
    """The whole image. A slot is longer than its image: there octets after the TLVs are allowed.

    Raises FormatError: no header, sizes that do not add up, a TLV twice or of a wrong length.
    """
    view = memoryview(octets).toreadonly()
    header = parse_header(view)
    offset = header.header_octets + header.payload_octets
    tlvs: list[Tlv] = []
    if header.protected_tlv_octets:
        end = _area_end(view, offset, PROTECTED_TLV_INFO_MAGIC)
        if end != header.signed_octets:
            raise FormatError(WHAT, offset, f"protected TLVs of {end - offset} octets, the header says otherwise")
        tlvs += _read_tlvs(view, offset, end, protected=True)
        offset = end
    end = _area_end(view, offset, TLV_INFO_MAGIC)
    tlvs += _read_tlvs(view, offset, end, protected=False)
    if len(view) > end and not allow_trailing:
        raise FormatError(WHAT, end, f"{len(view) - end} octets after the last TLV")
    return _collect(header, view[:end], tlvs)


def _area_end(view: memoryview, offset: int, magic: int) -> int:
    """End of the TLV area that starts at ``offset``."""
    if offset + _PAIR.size > len(view):
        raise FormatError(WHAT, len(view), f"ends before the TLVs at octet {offset}")
    found, total = _PAIR.unpack_from(view, offset)
    if found != magic:
        raise FormatError(WHAT, offset, f"TLV area magic 0x{found:04X}, expected 0x{magic:04X}")
    if total < _PAIR.size:
        raise FormatError(WHAT, offset + 2, f"TLV area of {total} octets cannot hold its own head")
    if offset + total > len(view):
        raise FormatError(WHAT, len(view), f"ends inside the TLV area that ends at octet {offset + total}")
    return int(offset + total)


def _read_tlvs(view: memoryview, offset: int, end: int, *, protected: bool) -> Iterator[Tlv]:
    offset += _PAIR.size
    while offset < end:
        if offset + _PAIR.size > end:
            raise FormatError(WHAT, offset, "a TLV's head crosses the end of its area")
        kind, length = _PAIR.unpack_from(view, offset)
        start = offset + _PAIR.size
        if start + length > end:
            raise FormatError(WHAT, offset, f"TLV 0x{kind:04X} of {length} octets crosses the end of its area")
        yield Tlv(kind, bytes(view[start : start + length]), offset, protected)
        offset = start + length


def _collect(header: ImageHeader, view: memoryview, tlvs: list[Tlv]) -> ManufacturerImage:
    public_key = _only(tlvs, PUBLIC_KEY, protected=False)
    key_hash = _only(tlvs, KEY_HASH, protected=False, length=32)
    if public_key is not None:
        if key_hash is not None:
            raise FormatError(WHAT, public_key.offset, "both a key hash and a public key")
        key_hash = Tlv(KEY_HASH, hashlib.sha256(public_key.value).digest(), public_key.offset, protected=False)
    counter = _only(tlvs, SECURITY_COUNTER, protected=True, length=4)
    return ManufacturerImage(
        header,
        view,
        tuple(tlvs),
        digest=_value(_only(tlvs, SHA256, protected=False, length=32)),
        key_hash=_value(key_hash),
        signature=_value(_only(tlvs, ECDSA_SIGNATURE, protected=False)),
        security_counter=None if counter is None else int.from_bytes(counter.value, "little"),
        base_abi=_base_abi(_only(tlvs, BASE_ABI, protected=True)),
        upgrade_from=_upgrade_from(_only(tlvs, UPGRADE_FROM, protected=True, length=8)),
    )


def _only(tlvs: list[Tlv], kind: int, *, protected: bool, length: int | None = None) -> Tlv | None:
    """The one TLV of this type in its area. Twice means two readings, so it is refused (our choice)."""
    found = [tlv for tlv in tlvs if tlv.kind == kind and tlv.protected == protected]
    if not found:
        return None
    if len(found) > 1:
        raise FormatError(WHAT, found[1].offset, f"a second {found[1].name} TLV")
    if length is not None and len(found[0].value) != length:
        raise FormatError(WHAT, found[0].offset, f"{found[0].name} of {len(found[0].value)} octets, expected {length}")
    return found[0]


def _value(tlv: Tlv | None) -> bytes | None:
    return None if tlv is None else tlv.value


def _base_abi(tlv: Tlv | None) -> str | None:
    if tlv is None:
        return None
    if len(tlv.value) > MAXIMUM_BASE_ABI_OCTETS:
        raise FormatError(WHAT, tlv.offset, f"base_abi of {len(tlv.value)} octets, at most {MAXIMUM_BASE_ABI_OCTETS}")
    try:
        return tlv.value.decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError(WHAT, tlv.offset, "base_abi is not UTF-8") from None


def _upgrade_from(tlv: Tlv | None) -> tuple[Version, Version] | None:
    if tlv is None:
        return None
    lowest, highest = (Version.from_file_version(number) for number in struct.unpack("<II", tlv.value))
    if lowest > highest:
        raise FormatError(WHAT, tlv.offset, f"upgrade-from range {lowest}..{highest} is empty")
    return lowest, highest
