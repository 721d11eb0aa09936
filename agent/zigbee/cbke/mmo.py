"""AES-MMO-128 and the HMAC over it (ZigBee specification, B.1.3, B.1.4 and B.6).

H_0 = 0, H_j = AES(key H_{j-1}, M_j) xor M_j. Padding: 80, zeros, then the length in bits as 16-bit big-endian; from
65,536 bits on as 32-bit length and 0000.
"""

from __future__ import annotations

from Crypto.Cipher import AES

BLOCK_OCTETS = 16
_LONG_BITS = 1 << 16


class Mmo:
    """A running hash. ``update`` as often as wanted, then ``digest``."""

    def __init__(self, data: bytes = b"") -> None:
        self._state = bytes(BLOCK_OCTETS)
        self._rest = b""
        self._length_octets = 0
        self.update(data)

    def update(self, data: bytes) -> None:
        self._length_octets += len(data)
        data = self._rest + data
        whole = len(data) - len(data) % BLOCK_OCTETS
        for at in range(0, whole, BLOCK_OCTETS):
            self._state = _step(self._state, data[at : at + BLOCK_OCTETS])
        self._rest = data[whole:]

    def digest(self) -> bytes:
        """16 octets. More may be added after it."""
        bits = 8 * self._length_octets
        tail = bits.to_bytes(2, "big") if bits < _LONG_BITS else bits.to_bytes(4, "big") + bytes(2)
        zeros = -(len(self._rest) + 1 + len(tail)) % BLOCK_OCTETS
        data = self._rest + b"\x80" + bytes(zeros) + tail
        state = self._state
        for at in range(0, len(data), BLOCK_OCTETS):
            state = _step(state, data[at : at + BLOCK_OCTETS])
        return state


def mmo(data: bytes) -> bytes:
    """AES-MMO-128 of ``data``: 16 octets."""
    return Mmo(data).digest()


def hmac_mmo(key: bytes, data: bytes) -> bytes:
    """HMAC (FIPS 198) with AES-MMO-128 and its block of 16 octets."""
    if len(key) > BLOCK_OCTETS:
        key = mmo(key)
    key = key.ljust(BLOCK_OCTETS, b"\0")
    inner = mmo(bytes(octet ^ 0x36 for octet in key) + data)
    return mmo(bytes(octet ^ 0x5C for octet in key) + inner)


def _step(state: bytes, block: bytes) -> bytes:
    encrypted = AES.new(state, AES.MODE_ECB).encrypt(block)
    return bytes(a ^ b for a, b in zip(encrypted, block, strict=True))
