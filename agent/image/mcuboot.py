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
from contextlib import suppress
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
MAXIMUM_TLV_OCTETS = 2 * 0xFFFF  # two areas, whose lengths are u16
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
    def tlv_offset(self) -> int:
        """Where the TLVs start."""
        return self.header_octets + self.payload_octets

    @property
    def signed_octets(self) -> int:
        """How far the digest reaches: header, payload and protected TLVs."""
        return self.tlv_offset + self.protected_tlv_octets


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
    """What an image says of itself, and what its octets were hashed to in the same pass; the octets are not kept."""

    header: ImageHeader
    total_octets: int  # TLVs included
    tlvs: tuple[Tlv, ...]
    calculated_digest: bytes  # what TLV 0x10 should hold
    manufacturer_image_hash: bytes  # SHA-256 of the whole image verbatim: the hash of GBCS CS05, CS06 and the receipt
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


def parse_header(octets: bytes | bytearray | memoryview) -> ImageHeader:
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


class ImageReader:
    """Reads an image that comes in pieces, in order: one pass, and no more memory than its TLVs take (128 KiB at most).

    Nothing is looked at twice: what is judged is what was hashed.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()  # of header and payload
        self._head = bytearray()
        self._body_left = 0  # octets of header and payload that are still to come
        self._tail = bytearray()  # the TLVs, as far as two areas can reach
        self._total_octets = 0

    def feed(self, piece: bytes | memoryview) -> None:
        """The next octets, any number of them. Never raises on content: ``finish`` does."""
        view = memoryview(piece)
        self._total_octets += len(view)
        wanted = HEADER_OCTETS - len(self._head)
        if wanted:
            self._head += view[:wanted]
            view = view[wanted:]
            if len(self._head) == HEADER_OCTETS:
                self._hash.update(self._head)
                with suppress(FormatError):
                    self._body_left = parse_header(self._head).tlv_offset - HEADER_OCTETS
        body = view[: self._body_left]
        self._hash.update(body)
        self._body_left -= len(body)
        self._tail += view[len(body) :][: MAXIMUM_TLV_OCTETS - len(self._tail)]

    def finish(self, *, allow_trailing: bool = False) -> ManufacturerImage:
        """The image. A slot is longer than its image: there octets after the TLVs are allowed.

        Raises FormatError: no header, sizes that do not add up, a TLV twice or of a wrong length.
        """
        header = parse_header(bytes(self._head))
        start = header.tlv_offset
        if self._total_octets < start:
            raise FormatError(WHAT, self._total_octets, f"ends before the TLVs at octet {start}")
        areas = _TlvAreas(bytes(self._tail), start)
        tlvs: list[Tlv] = []
        if header.protected_tlv_octets:
            tlvs += areas.read(PROTECTED_TLV_INFO_MAGIC, protected=True)
            if areas.end != header.signed_octets:
                raise FormatError(
                    WHAT, start, f"protected TLVs of {areas.end - start} octets, the header says otherwise"
                )
        tlvs += areas.read(TLV_INFO_MAGIC, protected=False)
        if self._total_octets > areas.end and not allow_trailing:
            raise FormatError(WHAT, areas.end, f"{self._total_octets - areas.end} octets after the last TLV")
        digest = self._hash_with(header.protected_tlv_octets)
        return _collect(header, areas.end, tlvs, digest, self._hash_with(areas.end - start))

    def _hash_with(self, tlv_octets: int) -> bytes:
        """SHA-256 of header, payload and so many octets of the TLVs."""
        running = self._hash.copy()
        running.update(self._tail[:tlv_octets])
        return running.digest()


def parse(octets: bytes | memoryview, *, allow_trailing: bool = False) -> ManufacturerImage:
    """An image that is in memory. Raises FormatError, see ``ImageReader.finish``."""
    reader = ImageReader()
    reader.feed(octets)
    return reader.finish(allow_trailing=allow_trailing)


class _TlvAreas:
    """The TLV areas one after the other; ``start`` is where ``octets`` lie in the image, ``end`` where reading is."""

    def __init__(self, octets: bytes, start: int) -> None:
        self._octets = octets
        self._start = start
        self.end = start

    def read(self, magic: int, *, protected: bool) -> list[Tlv]:
        """The TLVs of the next area."""
        first = self.end
        last = self._find_end(first, magic)
        self.end = first + _PAIR.size
        tlvs: list[Tlv] = []
        while self.end < last:
            tlvs.append(self._read_tlv(last, protected=protected))
        return tlvs

    def _find_end(self, first: int, magic: int) -> int:
        found, total = self._pair(first, f"ends before the TLVs at octet {first}")
        if found != magic:
            raise FormatError(WHAT, first, f"TLV area magic 0x{found:04X}, expected 0x{magic:04X}")
        if total < _PAIR.size:
            raise FormatError(WHAT, first + 2, f"TLV area of {total} octets cannot hold its own head")
        there = self._start + len(self._octets)
        if first + total > there:
            raise FormatError(WHAT, there, f"ends inside the TLV area that ends at octet {first + total}")
        return first + total

    def _read_tlv(self, last: int, *, protected: bool) -> Tlv:
        at = self.end
        if at + _PAIR.size > last:
            raise FormatError(WHAT, at, "a TLV's head crosses the end of its area")
        kind, length = self._pair(at, "ends inside a TLV")
        self.end = at + _PAIR.size + length
        if self.end > last:
            raise FormatError(WHAT, at, f"TLV 0x{kind:04X} of {length} octets crosses the end of its area")
        value = self._octets[at + _PAIR.size - self._start : self.end - self._start]
        return Tlv(kind, value, at, protected)

    def _pair(self, at: int, otherwise: str) -> tuple[int, int]:
        if at + _PAIR.size > self._start + len(self._octets):
            raise FormatError(WHAT, self._start + len(self._octets), otherwise)
        first, second = _PAIR.unpack_from(self._octets, at - self._start)
        return first, second


def _collect(
    header: ImageHeader, total_octets: int, tlvs: list[Tlv], calculated_digest: bytes, image_hash: bytes
) -> ManufacturerImage:
    public_key = _only(tlvs, PUBLIC_KEY, protected=False)
    key_hash = _only(tlvs, KEY_HASH, protected=False, length=32)
    if public_key is not None:
        if key_hash is not None:
            raise FormatError(WHAT, public_key.offset, "both a key hash and a public key")
        key_hash = Tlv(KEY_HASH, hashlib.sha256(public_key.value).digest(), public_key.offset, protected=False)
    counter = _only(tlvs, SECURITY_COUNTER, protected=True, length=4)
    return ManufacturerImage(
        header,
        total_octets,
        tuple(tlvs),
        calculated_digest,
        image_hash,
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
