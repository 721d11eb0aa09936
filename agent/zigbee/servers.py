"""The device's small servers: attributes by foundation commands, Basic and Identify.

An attribute table is a plain dict, made when it is asked for, so that a value is never older than the question.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.errors import FormatError
from agent.zigbee import foundation
from agent.zigbee.foundation import ReadRecord, Typed, ZclType
from agent.zigbee.wire import Reader
from agent.zigbee.zcl import ZclFrame, ZclStatus

CLUSTER_REVISION = 0xFFFD
REVISION_1: Mapping[int, Typed] = {CLUSTER_REVISION: Typed(ZclType.UINT16, 1)}
_MAINS = 0x01
_ANSWERS = (
    foundation.ReadAttributesResponse.COMMAND,
    foundation.WriteAttributesResponse.COMMAND,
    foundation.DefaultResponse.COMMAND,
    foundation.DiscoverAttributesResponse.COMMAND,
    0x0A,  # Report Attributes
)
_WRITE_UNDIVIDED = 0x03
_WRITE_NO_RESPONSE = 0x05


@dataclass(frozen=True, slots=True)
class BasicInfo:
    """What the Basic cluster tells (ZCL 3.2). ``software_build`` is the running version for people (16 characters)."""

    manufacturer_name: str
    model: str
    hardware_version: int
    software_build: str
    application_version: int = 1

    def attributes(self) -> dict[int, Typed]:
        """The Basic cluster's attributes."""
        return {
            0x0000: Typed(ZclType.UINT8, 3),  # ZCLVersion
            0x0001: Typed(ZclType.UINT8, self.application_version),
            0x0002: Typed(ZclType.UINT8, 2),  # StackVersion: ZigBee PRO
            0x0003: Typed(ZclType.UINT8, self.hardware_version & 0xFF),
            0x0004: Typed(ZclType.CHARACTER_STRING, self.manufacturer_name[:32]),
            0x0005: Typed(ZclType.CHARACTER_STRING, self.model[:32]),
            0x0007: Typed(ZclType.ENUM8, _MAINS),
            0x4000: Typed(ZclType.CHARACTER_STRING, self.software_build[:16]),
            **REVISION_1,
        }


class Identify:
    """The Identify server (ZCL 3.5): somebody wants to see which device this is until ``until``."""

    IDENTIFY = 0x00
    IDENTIFY_QUERY = 0x01

    def __init__(self) -> None:
        self.until = 0.0

    def attributes(self, now: float) -> dict[int, Typed]:
        """IdentifyTime in seconds left."""
        return {0x0000: Typed(ZclType.UINT16, self._left_s(now)), **REVISION_1}

    def receive(self, frame: ZclFrame, now: float) -> tuple[ZclStatus, bytes | None]:
        """Status for a Default Response, and the payload of an Identify Query Response where there is one."""
        try:
            if frame.command == self.IDENTIFY:
                self.until = now + Reader("Identify", frame.payload).u16()
                return ZclStatus.SUCCESS, None
        except FormatError:
            return ZclStatus.MALFORMED_COMMAND, None
        if frame.command == self.IDENTIFY_QUERY:
            left_s = self._left_s(now)
            return ZclStatus.SUCCESS, left_s.to_bytes(2, "little") if left_s else None
        return ZclStatus.UNSUP_CLUSTER_COMMAND, None

    def _left_s(self, now: float) -> int:
        return max(0, min(0xFFFF, round(self.until - now)))


def answer_foundation(frame: ZclFrame, table: Mapping[int, Typed]) -> tuple[int, bytes] | ZclStatus | None:
    """Answer one foundation command from an attribute table, all of it read-only.

    Returns (command, payload) of the response, a status for a Default Response, or None when nothing is to be said.
    """
    try:
        return _answer(frame, table)
    except FormatError:
        return ZclStatus.MALFORMED_COMMAND


def _answer(frame: ZclFrame, table: Mapping[int, Typed]) -> tuple[int, bytes] | ZclStatus | None:
    if frame.command == foundation.ReadAttributes.COMMAND:
        wanted = foundation.ReadAttributes.decode(frame.payload).attributes
        read = foundation.ReadAttributesResponse(tuple(_read(attribute, table) for attribute in wanted))
        return read.COMMAND, read.encode()
    if frame.command in (foundation.WriteAttributes.COMMAND, _WRITE_UNDIVIDED):
        records = foundation.WriteAttributes.decode(frame.payload).records
        written = foundation.WriteAttributesResponse(tuple((_refuse(name, table), name) for name, _typed in records))
        return written.COMMAND, written.encode()
    if frame.command == foundation.DiscoverAttributes.COMMAND:
        discover = foundation.DiscoverAttributes.decode(frame.payload)
        found = [(name, int(table[name].type)) for name in sorted(table) if name >= discover.start]
        shown = tuple(found[: discover.maximum])
        listed = foundation.DiscoverAttributesResponse(len(shown) == len(found), shown)
        return listed.COMMAND, listed.encode()
    if frame.command == _WRITE_NO_RESPONSE or frame.command in _ANSWERS:
        return None
    return ZclStatus.UNSUP_GENERAL_COMMAND


def _read(attribute: int, table: Mapping[int, Typed]) -> ReadRecord:
    typed = table.get(attribute)
    if typed is None:
        return ReadRecord(attribute, ZclStatus.UNSUPPORTED_ATTRIBUTE)
    return ReadRecord(attribute, ZclStatus.SUCCESS, typed)


def _refuse(attribute: int, table: Mapping[int, Typed]) -> ZclStatus:
    return ZclStatus.READ_ONLY if attribute in table else ZclStatus.UNSUPPORTED_ATTRIBUTE
