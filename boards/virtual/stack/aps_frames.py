"""APS frames: data, acknowledgement, command, and the extended header of fragments.

::

    data, ack   control u8 | dst endpoint u8 (group u16) | cluster u16 | profile u16 | src endpoint u8 | counter u8 | x
    command     control u8 | counter u8
    x           [extended control u8 | block number u8 | [ack bitfield u8: in acknowledgements]]

Source: ZigBee specification (05-3474) 2.2.5, commands 4.4.10.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from agent.errors import FormatError
from boards.virtual.air.octets import Reader

HEADER_OCTETS = 8  # of a unicast data frame without extended header
FRAGMENT_HEADER_OCTETS = 2
NETWORK_KEY_TYPE = 0x01

_ACK_FORMAT = 1 << 4
_SECURITY = 1 << 5
_ACK_REQUEST = 1 << 6
_EXTENDED = 1 << 7


class ApsType(IntEnum):
    """Control bits 0 and 1."""

    DATA = 0
    COMMAND = 1
    ACK = 2


class Delivery(IntEnum):
    """Control bits 2 and 3."""

    UNICAST = 0
    BROADCAST = 2
    GROUP = 3


class Fragmentation(IntEnum):
    """Extended control bits 0 and 1."""

    NONE = 0
    FIRST = 1
    SUBSEQUENT = 2


class ApsCommand(IntEnum):
    """First octet of a command's payload (4.4.10)."""

    TRANSPORT_KEY = 0x05
    UPDATE_DEVICE = 0x06
    TUNNEL = 0x0E


@dataclass(frozen=True, slots=True)
class ApsFrame:
    """One frame. ``block`` is the number of blocks in a FIRST fragment, else the block's number.

    ``payload`` is plain, or still sealed with its auxiliary header when just decoded and ``secured``.
    """

    kind: ApsType
    counter: int
    payload: bytes = b""
    delivery: Delivery = Delivery.UNICAST
    destination_endpoint: int = 0
    group: int = 0
    cluster: int = 0
    profile: int = 0
    source_endpoint: int = 0
    secured: bool = False
    ack_request: bool = False
    fragmentation: Fragmentation = Fragmentation.NONE
    block: int = 0
    ack_bits: int = 0


def encode_header(frame: ApsFrame) -> bytes:
    """Everything before the auxiliary header or the payload."""
    extended = frame.fragmentation != Fragmentation.NONE
    control = frame.kind | frame.delivery << 2 | frame.secured << 5 | frame.ack_request << 6 | extended << 7
    if frame.kind == ApsType.COMMAND:
        return bytes((control, frame.counter))
    to_group = frame.delivery == Delivery.GROUP
    header = struct.pack("<BH", control, frame.group) if to_group else bytes((control, frame.destination_endpoint))
    header += struct.pack("<HHBB", frame.cluster, frame.profile, frame.source_endpoint, frame.counter)
    if extended:
        header += bytes((frame.fragmentation, frame.block))
        if frame.kind == ApsType.ACK:
            header += bytes((frame.ack_bits,))
    return header


def decode(octets: bytes) -> tuple[ApsFrame, bytes]:
    """The frame and the octets of its header (which the MIC covers). Raises FormatError."""
    reader = Reader(octets, "APS frame")
    control = reader.u8()
    kind, delivery = control & 3, control >> 2 & 3
    if kind > ApsType.ACK or delivery == 1 or (kind == ApsType.ACK and control & _ACK_FORMAT):
        raise FormatError("APS frame", 0, f"frame control {control:#04x}: inter-PAN, indirect or a command's ack")
    secured, ack_request = bool(control & _SECURITY), bool(control & _ACK_REQUEST)
    if kind == ApsType.COMMAND:
        counter = reader.u8()
        header = octets[: reader.offset]
        command = ApsFrame(ApsType.COMMAND, counter, reader.rest(), Delivery(delivery), secured=secured)
        return command, header
    to_group = delivery == Delivery.GROUP
    group = reader.u16() if to_group else 0
    endpoint = 0xFF if to_group else reader.u8()
    cluster, profile, source_endpoint, counter = reader.u16(), reader.u16(), reader.u8(), reader.u8()
    fragmentation, block, bits = _decode_extended(reader, kind) if control & _EXTENDED else (Fragmentation.NONE, 0, 0)
    header = octets[: reader.offset]
    frame = ApsFrame(
        ApsType(kind),
        counter,
        reader.rest(),
        Delivery(delivery),
        endpoint,
        group,
        cluster,
        profile,
        source_endpoint,
        secured,
        ack_request,
        fragmentation,
        block,
        bits,
    )
    return frame, header


def _decode_extended(reader: Reader, kind: int) -> tuple[Fragmentation, int, int]:
    fragmentation = reader.u8() & 3
    if fragmentation == Fragmentation.NONE:
        return Fragmentation.NONE, 0, 0
    if fragmentation == 3:
        raise FormatError("APS frame", reader.offset - 1, "fragmentation 3 is reserved")
    block = reader.u8()
    return Fragmentation(fragmentation), block, reader.u8() if kind == ApsType.ACK else 0


@dataclass(frozen=True, slots=True)
class TransportKey:
    """4.4.10.1 with the network key; ``source`` is the Trust Center's EUI."""

    key: bytes
    sequence: int
    destination: int
    source: int

    def encode(self) -> bytes:
        head = bytes((ApsCommand.TRANSPORT_KEY, NETWORK_KEY_TYPE))
        return head + self.key + struct.pack("<BQQ", self.sequence, self.destination, self.source)


def decode_transport_key(reader: Reader) -> TransportKey:
    """After the command octet. Raises FormatError, also for any other key than the network key."""
    key_type = reader.u8()
    if key_type != NETWORK_KEY_TYPE:
        raise FormatError("Transport-Key", 1, f"key type {key_type}, only the network key (1) is taken")
    return TransportKey(reader.take(16), reader.u8(), reader.u64(), reader.u64())


class UpdateStatus(IntEnum):
    """Status of Update-Device (4.4.10.2)."""

    SECURED_REJOIN = 0
    UNSECURED_JOIN = 1
    LEFT = 2


@dataclass(frozen=True, slots=True)
class UpdateDevice:
    """A router tells the Trust Center who joined at it or left it."""

    eui: int
    short: int
    status: UpdateStatus

    def encode(self) -> bytes:
        return struct.pack("<BQHB", ApsCommand.UPDATE_DEVICE, self.eui, self.short, self.status)


def decode_update_device(reader: Reader) -> UpdateDevice:
    """After the command octet. Raises FormatError."""
    eui, short, status = reader.u64(), reader.u16(), reader.u8()
    if status > UpdateStatus.LEFT:
        raise FormatError("Update-Device", reader.offset - 1, f"status {status} is not used")
    return UpdateDevice(eui, short, UpdateStatus(status))


@dataclass(frozen=True, slots=True)
class Tunnel:
    """4.4.10.7: an APS command for a device that has no network key yet, sent through its parent."""

    destination: int
    frame: bytes

    def encode(self) -> bytes:
        return struct.pack("<BQ", ApsCommand.TUNNEL, self.destination) + self.frame


def decode_tunnel(reader: Reader) -> Tunnel:
    """After the command octet. Raises FormatError."""
    return Tunnel(reader.u64(), reader.rest())
