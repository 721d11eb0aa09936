"""The cryptography of the ZigBee stack: AES-MMO, keyed hash, install codes, and CCM* with a 32-bit MIC.

The emulated chip has its own, apart from the agent's, so that a fault of one does not hide in the other. CCM* comes
from ``cryptography``, which is sixty times as fast as pycryptodome for frames of a hundred octets.
"""

from __future__ import annotations

import binascii
import functools
import struct

from Crypto.Cipher import AES
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from agent.errors import FormatError

KEY_OCTETS = 16
MIC_OCTETS = 4
INSTALL_CODE_OCTETS = (8, 10, 14, 18)  # with the CRC


def aes_mmo(data: bytes) -> bytes:
    """The Matyas-Meyer-Oseas hash, 16 octets (ZigBee specification B.6). ``data`` shorter than 8,192 octets."""
    if len(data) >= 8192:
        raise ValueError("AES-MMO of 8,192 octets or more is not needed by the stack")
    padded = data + b"\x80"
    padded += bytes(-(len(padded) + 2) % 16) + struct.pack(">H", len(data) * 8)
    digest = bytes(16)
    for start in range(0, len(padded), 16):
        block = padded[start : start + 16]
        encrypted = AES.new(digest, AES.MODE_ECB).encrypt(block)
        digest = bytes(a ^ b for a, b in zip(encrypted, block, strict=True))
    return digest


def keyed_hash(key: bytes, message: bytes) -> bytes:
    """HMAC over AES-MMO with a block of 16 octets (ZigBee specification B.1.4)."""
    inner = bytes(octet ^ 0x36 for octet in key)
    outer = bytes(octet ^ 0x5C for octet in key)
    return aes_mmo(outer + aes_mmo(inner + message))


@functools.lru_cache(maxsize=64)
def key_transport_key(link_key: bytes) -> bytes:
    """What a Transport-Key with the network key travels under (4.5.3): keyed hash of 0x00."""
    return keyed_hash(link_key, b"\x00")


def install_code_link_key(code: bytes) -> bytes:
    """The link key of an install code with its CRC-16/X-25. Raises FormatError for a wrong length or CRC."""
    if len(code) not in INSTALL_CODE_OCTETS:
        raise FormatError("install code", len(code), f"{len(code)} octets, not one of {INSTALL_CODE_OCTETS}")
    wanted = _crc_x25(code[:-2])
    if int.from_bytes(code[-2:], "little") != wanted:
        raise FormatError("install code", len(code) - 2, f"CRC should be {wanted.to_bytes(2, 'little').hex().upper()}")
    return aes_mmo(code)


def encrypt(key: bytes, nonce: bytes, header: bytes, plain: bytes) -> bytes:
    """CCM* security level 5: ciphertext, then the MIC of 4 octets."""
    return _ccm(key).encrypt(nonce, plain, header)


def decrypt(key: bytes, nonce: bytes, header: bytes, sealed: bytes) -> bytes | None:
    """The plain octets, or None where the MIC is wrong."""
    if len(sealed) < MIC_OCTETS:
        return None
    try:
        return _ccm(key).decrypt(nonce, sealed, header)
    except InvalidTag:
        return None


@functools.lru_cache(maxsize=64)
def _ccm(key: bytes) -> AESCCM:
    return AESCCM(key, tag_length=MIC_OCTETS)


def _crc_x25(data: bytes) -> int:
    """Reflected CCITT CRC, start and final xor 0xFFFF; the C routine is not reflected, so the bits are turned."""
    turned = bytes(int(f"{octet:08b}"[::-1], 2) for octet in data)
    return int(f"{binascii.crc_hqx(turned, 0xFFFF):016b}"[::-1], 2) ^ 0xFFFF
