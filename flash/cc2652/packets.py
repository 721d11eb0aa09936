"""Packets of the ROM bootloader (SWCU185, 11.2).

::

    host -> chip   | size 1 | checksum 1 | command 1 | parameters, most significant octet first |
    chip -> host   | 00 CC | acknowledged            | 00 33 | not acknowledged: checksum wrong
    chip -> host   | size 1 | checksum 1 | data |   then the host acknowledges in the same way

``size`` counts itself, the checksum and the data; ``checksum`` is the sum of the data modulo 256. Zeros may stand
before a packet and are skipped.
"""

from __future__ import annotations

from enum import IntEnum

from agent.errors import FormatError

SYNC = b"\x55\x55"
ACK = b"\x00\xcc"
NACK = b"\x00\x33"
MAXIMUM_DATA_OCTETS = 252  # of one SEND_DATA (SWRA466, 4.4)
MAXIMUM_READ_WORDS = 63  # of one MEMORY_READ with 32-bit accesses (SWCU185, 11.2.3)
CRC_MINIMUM_OCTETS = 9  # CRC32 over eight octets or less answers FFFFFFFF whatever they are


class Command(IntEnum):
    """Command octet. Those that we never send are left out (SET_CCFG, DOWNLOAD_CRC)."""

    PING = 0x20
    DOWNLOAD = 0x21
    GET_STATUS = 0x23
    SEND_DATA = 0x24
    RESET = 0x25
    CRC32 = 0x27
    GET_CHIP_ID = 0x28
    MEMORY_READ = 0x2A
    BANK_ERASE = 0x2C


class Status(IntEnum):
    """What GET_STATUS says of the command before it."""

    SUCCESS = 0x40
    UNKNOWN_COMMAND = 0x41
    INVALID_COMMAND = 0x42
    INVALID_ADDRESS = 0x43
    FLASH_FAIL = 0x44


def encode_packet(payload: bytes) -> bytes:
    """``payload``: command and parameters, or data; 1 to 253 octets."""
    if not 1 <= len(payload) <= 253:
        raise ValueError(f"a packet carries 1 to 253 octets, not {len(payload)}")
    return bytes((len(payload) + 2, sum(payload) & 0xFF)) + payload


def decode_packet(packet: bytes) -> bytes:
    """The data of one whole packet. Raises FormatError."""
    if len(packet) < 3 or packet[0] != len(packet):
        raise FormatError("bootloader packet", 0, f"size field does not fit its {len(packet)} octets")
    if sum(packet[2:]) & 0xFF != packet[1]:
        raise FormatError("bootloader packet", 1, f"checksum is {packet[1]:02X}, computed {sum(packet[2:]) & 0xFF:02X}")
    return packet[2:]


def command(code: Command, *words: int, tail: bytes = b"") -> bytes:
    """A command with 32-bit parameters and what follows them, as a packet."""
    return encode_packet(bytes((code,)) + b"".join(word.to_bytes(4, "big") for word in words) + tail)
