"""NWK frames, the NWK commands that the stack uses, and the beacon payload.

::

    frame control u16 | dst u16 | src u16 | radius u8 | sequence u8 | [dst EUI] | [src EUI] | [source route] | payload

Source: ZigBee specification (05-3474) 3.3 and 3.4, beacon payload 3.6.7.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from agent.errors import FormatError
from boards.virtual.air.octets import Reader

PROTOCOL_VERSION = 2
STACK_PROFILE = 2  # ZigBee PRO
FIRST_BROADCAST = 0xFFF8

_DISCOVER_ROUTE = 1 << 6
_MULTICAST = 1 << 8
_SECURITY = 1 << 9
_SOURCE_ROUTE = 1 << 10
_DESTINATION_EUI = 1 << 11
_SOURCE_EUI = 1 << 12


class NwkType(IntEnum):
    """Frame control bits 0 and 1."""

    DATA = 0
    COMMAND = 1


class NwkCommand(IntEnum):
    """First octet of a command's payload (3.4)."""

    ROUTE_REQUEST = 0x01
    ROUTE_REPLY = 0x02
    LEAVE = 0x04
    REJOIN_REQUEST = 0x06
    REJOIN_RESPONSE = 0x07


@dataclass(frozen=True, slots=True)
class NwkFrame:
    """One frame; ``payload`` is plain, or still sealed with its auxiliary header when just decoded and ``secured``."""

    kind: NwkType
    destination: int
    source: int
    radius: int
    sequence: int
    payload: bytes
    secured: bool = True
    discover_route: bool = True
    destination_eui: int | None = None
    source_eui: int | None = None


def encode_header(frame: NwkFrame) -> bytes:
    """Everything before the auxiliary header or the payload."""
    control = frame.kind | PROTOCOL_VERSION << 2
    if frame.discover_route:
        control |= _DISCOVER_ROUTE
    if frame.secured:
        control |= _SECURITY
    euis = b""
    if frame.destination_eui is not None:
        control |= _DESTINATION_EUI
        euis += struct.pack("<Q", frame.destination_eui)
    if frame.source_eui is not None:
        control |= _SOURCE_EUI
        euis += struct.pack("<Q", frame.source_eui)
    fields = struct.pack("<HHHBB", control, frame.destination, frame.source, frame.radius, frame.sequence)
    return fields + euis


def decode(octets: bytes) -> tuple[NwkFrame, bytes]:
    """The frame and the octets of its header (which the MIC covers). Raises FormatError."""
    reader = Reader(octets, "NWK frame")
    control, destination, source = reader.u16(), reader.u16(), reader.u16()
    radius, sequence = reader.u8(), reader.u8()
    kind = control & 3
    if kind > NwkType.COMMAND or control >> 2 & 15 != PROTOCOL_VERSION or control & _MULTICAST:
        raise FormatError("NWK frame", 0, f"frame control {control:#06x}: inter-PAN, other version or multicast")
    destination_eui = reader.u64() if control & _DESTINATION_EUI else None
    source_eui = reader.u64() if control & _SOURCE_EUI else None
    if control & _SOURCE_ROUTE:
        relays = reader.u8()
        reader.take(1 + 2 * relays)
    header = octets[: reader.offset]
    frame = NwkFrame(
        NwkType(kind),
        destination,
        source,
        radius,
        sequence,
        reader.rest(),
        bool(control & _SECURITY),
        bool(control & _DISCOVER_ROUTE),
        destination_eui,
        source_eui,
    )
    return frame, header


@dataclass(frozen=True, slots=True)
class RouteRequest:
    """3.4.1: who can reach ``destination``? Many-to-one requests are not used."""

    identifier: int
    destination: int
    cost: int

    def encode(self) -> bytes:
        return struct.pack("<BBBHB", NwkCommand.ROUTE_REQUEST, 0, self.identifier, self.destination, self.cost)


def decode_route_request(reader: Reader) -> RouteRequest:
    """After the command octet. Raises FormatError."""
    reader.u8()  # options: many-to-one and the destination's EUI do not change what we do
    return RouteRequest(reader.u8(), reader.u16(), reader.u8())


@dataclass(frozen=True, slots=True)
class RouteReply:
    """3.4.2: ``responder`` can be reached through the sender of this."""

    identifier: int
    originator: int
    responder: int
    cost: int

    def encode(self) -> bytes:
        fields = (NwkCommand.ROUTE_REPLY, 0, self.identifier, self.originator, self.responder, self.cost)
        return struct.pack("<BBBHHB", *fields)


def decode_route_reply(reader: Reader) -> RouteReply:
    """After the command octet. Raises FormatError."""
    reader.u8()
    return RouteReply(reader.u8(), reader.u16(), reader.u16(), reader.u8())


@dataclass(frozen=True, slots=True)
class Leave:
    """3.4.4. ``request`` tells the receiver to leave; without it the sender says that it leaves itself."""

    request: bool = False
    rejoin: bool = False

    def encode(self) -> bytes:
        return bytes((NwkCommand.LEAVE, self.request << 6 | self.rejoin << 5))


def decode_leave(reader: Reader) -> Leave:
    """After the command octet. Raises FormatError."""
    options = reader.u8()
    return Leave(bool(options & 1 << 6), bool(options & 1 << 5))


def encode_rejoin_request(capability: int) -> bytes:
    """3.4.6."""
    return bytes((NwkCommand.REJOIN_REQUEST, capability))


def encode_rejoin_response(short: int, status: int) -> bytes:
    """3.4.7; ``status`` is a MAC association status, 0 for success."""
    return struct.pack("<BHB", NwkCommand.REJOIN_RESPONSE, short, status)


@dataclass(frozen=True, slots=True)
class Capability:
    """Capability information of a joining device (802.15.4 7.3.1.2)."""

    router: bool
    receiver_on_when_idle: bool

    def encode(self) -> int:
        mains = self.router or self.receiver_on_when_idle
        return self.router << 1 | mains << 2 | self.receiver_on_when_idle << 3 | 1 << 7


def decode_capability(octet: int) -> Capability:
    """Any octet is valid."""
    return Capability(bool(octet & 1 << 1), bool(octet & 1 << 3))


@dataclass(frozen=True, slots=True)
class Beacon:
    """The superframe and the ZigBee payload of a beacon frame."""

    extended_pan_id: int
    permits_joining: bool
    coordinator: bool
    router_capacity: bool
    end_device_capacity: bool
    depth: int
    update_id: int

    def encode(self) -> bytes:
        superframe = 0x0FFF | self.coordinator << 14 | self.permits_joining << 15
        capacity = self.router_capacity << 2 | (self.depth & 15) << 3 | self.end_device_capacity << 7
        head = struct.pack("<HBBBBB", superframe, 0, 0, 0, STACK_PROFILE | PROTOCOL_VERSION << 4, capacity)
        return head + struct.pack("<Q", self.extended_pan_id) + b"\xff\xff\xff" + bytes((self.update_id,))


def decode_beacon(payload: bytes) -> Beacon:
    """The payload of a MAC beacon frame. Raises FormatError for what is not a ZigBee PRO network."""
    reader = Reader(payload, "beacon")
    superframe = reader.u16()
    if reader.u8() & 7 or reader.u8() & 0x77:
        raise FormatError("beacon", 2, "guaranteed time slots or pending addresses, which ZigBee networks do not use")
    protocol, versions = reader.u8(), reader.u8()
    if protocol != 0 or versions != STACK_PROFILE | PROTOCOL_VERSION << 4:
        raise FormatError("beacon", 4, f"protocol {protocol}, profile and version {versions:#04x}: not ZigBee PRO")
    capacity = reader.u8()
    extended_pan_id = reader.u64()
    reader.take(3)  # time stamp, not used without beacon order
    return Beacon(
        extended_pan_id,
        bool(superframe & 1 << 15),
        bool(superframe & 1 << 14),
        bool(capacity & 1 << 2),
        bool(capacity & 1 << 7),
        capacity >> 3 & 15,
        reader.u8(),
    )
