"""ZCL foundation commands (ZCL 2.5) and the attribute types (ZCL 2.6.2) that our clusters use.

Every command is a frozen dataclass with ``COMMAND`` (its id), ``encode()`` and ``decode(octets)``. Decoding raises
FormatError and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from agent.zigbee.wire import FixedLayout, Reader
from agent.zigbee.zcl import ZclStatus


class ZclType(IntEnum):
    """Attribute data types. Integers unless it is a string."""

    BOOLEAN = 0x10
    BITMAP8 = 0x18
    BITMAP16 = 0x19
    BITMAP32 = 0x1B
    UINT8 = 0x20
    UINT16 = 0x21
    UINT24 = 0x22
    UINT32 = 0x23
    UINT48 = 0x25
    UINT64 = 0x27
    INT8 = 0x28
    INT16 = 0x29
    INT32 = 0x2B
    ENUM8 = 0x30
    ENUM16 = 0x31
    OCTET_STRING = 0x41
    CHARACTER_STRING = 0x42
    UTC_TIME = 0xE2
    EUI64 = 0xF0


_WIDTHS = {
    ZclType.BOOLEAN: 1,
    ZclType.BITMAP8: 1,
    ZclType.BITMAP16: 2,
    ZclType.BITMAP32: 4,
    ZclType.UINT8: 1,
    ZclType.UINT16: 2,
    ZclType.UINT24: 3,
    ZclType.UINT32: 4,
    ZclType.UINT48: 6,
    ZclType.UINT64: 8,
    ZclType.INT8: 1,
    ZclType.INT16: 2,
    ZclType.INT32: 4,
    ZclType.ENUM8: 1,
    ZclType.ENUM16: 2,
    ZclType.UTC_TIME: 4,
    ZclType.EUI64: 8,
}
_SIGNED = (ZclType.INT8, ZclType.INT16, ZclType.INT32)
_INVALID_STRING = 0xFF

Value = int | str | bytes | None


@dataclass(frozen=True, slots=True)
class Typed:
    """An attribute's type and value: int, str (character string), bytes (octet string), None for an invalid string."""

    type: ZclType
    value: Value

    def encode(self) -> bytes:
        """Type octet and value. Raises TypeError for a value that is not of its type (a defect of ours)."""
        head = bytes([self.type])
        if isinstance(self.value, int) and self.type in _WIDTHS:
            return head + self.value.to_bytes(_WIDTHS[self.type], "little", signed=self.type in _SIGNED)
        if self.type not in (ZclType.OCTET_STRING, ZclType.CHARACTER_STRING) or isinstance(self.value, int):
            raise TypeError(f"{self.value!r} is not a {self.type.name}")
        if self.value is None:
            return head + bytes([_INVALID_STRING])
        text = self.value.encode() if isinstance(self.value, str) else self.value
        return head + bytes([len(text)]) + text

    @classmethod
    def read(cls, reader: Reader) -> Typed:
        """Type octet and value. Raises FormatError, also for a type that we do not know (its length is unknown)."""
        code = reader.u8()
        try:
            kind = ZclType(code)
        except ValueError:
            raise reader.error(f"attribute type 0x{code:02X} is not known") from None
        if kind in _WIDTHS:
            return cls(kind, int.from_bytes(reader.take(_WIDTHS[kind]), "little", signed=kind in _SIGNED))
        length = reader.u8()
        if length == _INVALID_STRING:
            return cls(kind, None)
        text = reader.take(length)
        if kind is ZclType.OCTET_STRING:
            return cls(kind, text)
        try:
            return cls(kind, text.decode())
        except UnicodeDecodeError:
            raise reader.error("character string is not UTF-8") from None


def _u16(number: int) -> bytes:
    return number.to_bytes(2, "little")


def _join(parts: Iterable[bytes]) -> bytes:
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class ReadAttributes:
    """Attribute ids wanted."""

    COMMAND: ClassVar[int] = 0x00
    attributes: tuple[int, ...]

    def encode(self) -> bytes:
        """The payload as it goes on the air."""
        return _join(_u16(attribute) for attribute in self.attributes)

    @classmethod
    def decode(cls, octets: bytes) -> ReadAttributes:
        """Raises FormatError on an odd number of octets."""
        reader = Reader("Read Attributes", octets)
        wanted = []
        while reader.octets_left():
            wanted.append(reader.u16())
        return cls(tuple(wanted))


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """One answer: ``typed`` is set exactly when the status is SUCCESS."""

    attribute: int
    status: int
    typed: Typed | None = None


@dataclass(frozen=True, slots=True)
class ReadAttributesResponse:
    """One record an attribute asked for."""

    COMMAND: ClassVar[int] = 0x01
    records: tuple[ReadRecord, ...]

    def encode(self) -> bytes:
        """The payload as it goes on the air."""
        return _join(
            _u16(record.attribute) + bytes([record.status]) + (record.typed.encode() if record.typed else b"")
            for record in self.records
        )

    @classmethod
    def decode(cls, octets: bytes) -> ReadAttributesResponse:
        """Raises FormatError when short or when an attribute's type is not known."""
        reader = Reader("Read Attributes Response", octets)
        records = []
        while reader.octets_left():
            attribute, status = reader.u16(), reader.u8()
            records.append(ReadRecord(attribute, status, None if status else Typed.read(reader)))
        return cls(tuple(records))

    def values(self) -> dict[int, Value]:
        """The attributes that were read with success."""
        return {record.attribute: record.typed.value for record in self.records if record.typed}


@dataclass(frozen=True, slots=True)
class WriteAttributes:
    """(attribute id, typed value) to be written."""

    COMMAND: ClassVar[int] = 0x02
    records: tuple[tuple[int, Typed], ...]

    def encode(self) -> bytes:
        """The payload as it goes on the air."""
        return _join(_u16(attribute) + typed.encode() for attribute, typed in self.records)

    @classmethod
    def decode(cls, octets: bytes) -> WriteAttributes:
        """Raises FormatError when short or when a type is not known."""
        reader = Reader("Write Attributes", octets)
        records = []
        while reader.octets_left():
            records.append((reader.u16(), Typed.read(reader)))
        return cls(tuple(records))


@dataclass(frozen=True, slots=True)
class WriteAttributesResponse:
    """(status, attribute id) of what failed; empty when everything was written (one octet SUCCESS on the air)."""

    COMMAND: ClassVar[int] = 0x04
    failures: tuple[tuple[int, int], ...]

    def encode(self) -> bytes:
        """The payload as it goes on the air."""
        if not self.failures:
            return bytes([ZclStatus.SUCCESS])
        return _join(bytes([status]) + _u16(attribute) for status, attribute in self.failures)

    @classmethod
    def decode(cls, octets: bytes) -> WriteAttributesResponse:
        """Raises FormatError when short."""
        reader = Reader("Write Attributes Response", octets)
        failures: list[tuple[int, int]] = []
        while reader.octets_left():
            status = reader.u8()
            if status == ZclStatus.SUCCESS and not failures and not reader.octets_left():
                break
            failures.append((status, reader.u16()))
        return cls(tuple(failures))


@dataclass(frozen=True, slots=True)
class DefaultResponse(FixedLayout):
    """The command answered and its status."""

    COMMAND: ClassVar[int] = 0x0B
    LAYOUT: ClassVar[str] = "BB"
    command: int
    status: int


@dataclass(frozen=True, slots=True)
class DiscoverAttributes(FixedLayout):
    """The attribute ids from ``start`` on, at most ``maximum`` of them."""

    COMMAND: ClassVar[int] = 0x0C
    LAYOUT: ClassVar[str] = "HB"
    start: int
    maximum: int


@dataclass(frozen=True, slots=True)
class DiscoverAttributesResponse:
    """(attribute id, type octet); ``complete`` when none follows."""

    COMMAND: ClassVar[int] = 0x0D
    complete: bool
    attributes: tuple[tuple[int, int], ...]

    def encode(self) -> bytes:
        """The payload as it goes on the air."""
        return bytes([self.complete]) + _join(_u16(attribute) + bytes([kind]) for attribute, kind in self.attributes)

    @classmethod
    def decode(cls, octets: bytes) -> DiscoverAttributesResponse:
        """Raises FormatError when short."""
        reader = Reader("Discover Attributes Response", octets)
        complete, attributes = bool(reader.u8()), []
        while reader.octets_left():
            attributes.append((reader.u16(), reader.u8()))
        return cls(complete, tuple(attributes))
