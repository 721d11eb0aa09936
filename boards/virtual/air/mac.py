"""IEEE 802.15.4 MAC frames: the header, the frame check sequence, and the commands that ZigBee uses.

::

    frame control u16 | sequence u8 | [dst PAN u16 | dst u16/u64] | [src PAN u16] | [src u16/u64] | payload | FCS u16

Source: IEEE 802.15.4-2006 clause 7.2; MAC security is not used by ZigBee.
"""

from __future__ import annotations

import binascii
import struct
from dataclasses import dataclass
from enum import IntEnum

from agent.errors import FormatError
from boards.virtual.air.octets import Reader

BROADCAST = 0xFFFF  # as short address and as PAN id
MAXIMUM_OCTETS = 127  # aMaxPHYPacketSize
NO_SHORT_ADDRESS = 0xFFFE  # associated, but to be reached by its EUI only

_REVERSED = bytes(int(f"{octet:08b}"[::-1], 2) for octet in range(256))


class FrameType(IntEnum):
    """Frame control bits 0 to 2."""

    BEACON = 0
    DATA = 1
    ACK = 2
    COMMAND = 3


class Mode(IntEnum):
    """Addressing mode: bits 10-11 and 14-15."""

    NONE = 0
    SHORT = 2
    EXTENDED = 3


class MacCommand(IntEnum):
    """First payload octet of a command frame (clause 7.3)."""

    ASSOCIATION_REQUEST = 0x01
    ASSOCIATION_RESPONSE = 0x02
    DATA_REQUEST = 0x04
    BEACON_REQUEST = 0x07


@dataclass(frozen=True, slots=True)
class MacFrame:
    """One frame without its FCS. An address counts only where its mode is not NONE."""

    kind: FrameType
    sequence: int
    destination_pan: int = BROADCAST
    destination: int = BROADCAST
    destination_mode: Mode = Mode.NONE
    source_pan: int = BROADCAST
    source: int = BROADCAST
    source_mode: Mode = Mode.NONE
    payload: bytes = b""
    ack_request: bool = False
    pending: bool = False


def frame_check_sequence(data: bytes) -> int:
    """CRC-16 with x^16+x^12+x^5+1, bits least significant first, start 0 (clause 7.2.1.9)."""
    crc = binascii.crc_hqx(data.translate(_REVERSED), 0)  # the C routine takes bits the other way round
    return _REVERSED[crc & 0xFF] << 8 | _REVERSED[crc >> 8]


def encode(frame: MacFrame) -> bytes:
    """The frame as it goes on the air, FCS included. Raises ValueError above 127 octets: a defect of the sender."""
    both = Mode.NONE not in (frame.destination_mode, frame.source_mode)
    compress = both and frame.destination_pan == frame.source_pan
    control = (
        frame.kind
        | frame.pending << 4
        | frame.ack_request << 5
        | compress << 6
        | frame.destination_mode << 10
        | frame.source_mode << 14
    )
    parts = [struct.pack("<HB", control, frame.sequence)]
    if frame.destination_mode:
        parts.append(_encode_address(frame.destination_pan, frame.destination, frame.destination_mode))
    if frame.source_mode:
        address = _encode_address(frame.source_pan, frame.source, frame.source_mode)
        parts.append(address[2:] if compress else address)
    parts.append(frame.payload)
    body = b"".join(parts)
    if len(body) + 2 > MAXIMUM_OCTETS:
        raise ValueError(f"MAC frame of {len(body) + 2} octets; the PHY takes at most {MAXIMUM_OCTETS}")
    return body + frame_check_sequence(body).to_bytes(2, "little")


def decode(octets: bytes) -> MacFrame:
    """Parse a frame from the air. Raises FormatError, also for a wrong FCS."""
    body = octets[:-2]
    if len(octets) < 5 or frame_check_sequence(body) != int.from_bytes(octets[-2:], "little"):
        raise FormatError("MAC frame", max(0, len(octets) - 2), "wrong frame check sequence")
    reader = Reader(body, "MAC frame")
    control = reader.u16()
    sequence = reader.u8()
    kind, destination_mode, source_mode = control & 7, control >> 10 & 3, control >> 14
    if kind > FrameType.COMMAND or 1 in (destination_mode, source_mode) or control & 1 << 3:
        raise FormatError("MAC frame", 0, f"frame control {control:#06x} is not one that ZigBee uses")
    destination_pan, destination = _decode_address(reader, destination_mode, None)
    compressed_pan = destination_pan if control & 1 << 6 else None
    source_pan, source = _decode_address(reader, source_mode, compressed_pan)
    return MacFrame(
        FrameType(kind),
        sequence,
        destination_pan,
        destination,
        Mode(destination_mode),
        source_pan,
        source,
        Mode(source_mode),
        reader.rest(),
        bool(control & 1 << 5),
        bool(control & 1 << 4),
    )


def ack(sequence: int, pending: bool) -> MacFrame:
    """The acknowledgement of one frame (clause 7.2.2.3): 5 octets on the air."""
    return MacFrame(FrameType.ACK, sequence, pending=pending)


def _encode_address(pan: int, address: int, mode: Mode) -> bytes:
    return struct.pack("<HQ" if mode == Mode.EXTENDED else "<HH", pan, address)


def _decode_address(reader: Reader, mode: int, pan: int | None) -> tuple[int, int]:
    """PAN id and address; an absent one reads as 0xFFFF. ``pan`` is given where the header leaves it out."""
    if mode == Mode.NONE:
        return BROADCAST, BROADCAST
    if pan is None:
        pan = reader.u16()
    return pan, reader.u64() if mode == Mode.EXTENDED else reader.u16()
