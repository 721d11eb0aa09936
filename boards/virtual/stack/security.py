"""The auxiliary security header and CCM* protection of NWK and APS frames.

::

    control u8 | frame counter u32 | [source EUI u64: extended nonce] | [key sequence u8: network key] | sealed | MIC 4

Source: ZigBee specification (05-3474) 4.5.1 and 4.3.1.1. The level in the control octet is 0 on the air and 5 in nonce
and authentication.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from agent.errors import FormatError
from boards.virtual.air.octets import Reader
from boards.virtual.stack import keys

LEVEL = 5  # ENC-MIC-32, the only one that ZigBee PRO networks use
_EXTENDED_NONCE = 1 << 5


class KeyId(IntEnum):
    """Control bits 3 and 4: which key protects the frame."""

    DATA = 0  # the link key itself
    NETWORK = 1
    KEY_TRANSPORT = 2
    KEY_LOAD = 3


@dataclass(frozen=True, slots=True)
class Auxiliary:
    """One auxiliary header. ``source`` is an EUI or None; ``key_sequence`` counts for the network key only."""

    key_id: KeyId
    counter: int
    source: int | None = None
    key_sequence: int = 0

    def control(self, level: int) -> int:
        """The control octet, with the level that is asked for."""
        return level | self.key_id << 3 | (0 if self.source is None else _EXTENDED_NONCE)

    def encode(self, level: int = 0) -> bytes:
        """The octets on the air (level 0) or as they are authenticated (level 5)."""
        octets = struct.pack("<BI", self.control(level), self.counter)
        if self.source is not None:
            octets += struct.pack("<Q", self.source)
        if self.key_id == KeyId.NETWORK:
            octets += bytes((self.key_sequence,))
        return octets


def decode_auxiliary(reader: Reader) -> Auxiliary:
    """Parse the header at the reader's position. Raises FormatError."""
    control = reader.u8()
    counter = reader.u32()
    if counter == 0xFFFFFFFF:
        raise FormatError(reader.what, reader.offset - 4, "frame counter 0xFFFFFFFF is never used")
    key_id = KeyId(control >> 3 & 3)
    source = reader.u64() if control & _EXTENDED_NONCE else None
    return Auxiliary(key_id, counter, source, reader.u8() if key_id == KeyId.NETWORK else 0)


def protect(key: bytes, header: bytes, auxiliary: Auxiliary, sender: int, plain: bytes) -> bytes:
    """Header, auxiliary header, ciphertext and MIC. ``sender`` is the EUI in the nonce."""
    nonce = struct.pack("<QIB", sender, auxiliary.counter, auxiliary.control(LEVEL))
    sealed = keys.encrypt(key, nonce, header + auxiliary.encode(LEVEL), plain)
    return header + auxiliary.encode() + sealed


def unprotect(key: bytes, header: bytes, auxiliary: Auxiliary, sender: int, sealed: bytes) -> bytes | None:
    """The plain octets, or None where the MIC is wrong."""
    nonce = struct.pack("<QIB", sender, auxiliary.counter, auxiliary.control(LEVEL))
    return keys.decrypt(key, nonce, header + auxiliary.encode(LEVEL), sealed)
