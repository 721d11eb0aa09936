"""Install codes: 6, 8, 12 or 16 octets with their CRC-16/X-25, least significant octet first (Smart Energy)."""

from __future__ import annotations

from agent.errors import FormatError
from agent.zigbee.cbke.mmo import mmo

CODE_OCTETS = (6, 8, 12, 16)


def crc16_x25(data: bytes) -> int:
    """Polynomial 1021 reflected, initial value and final xor FFFF."""
    crc = 0xFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0x8408 if crc & 1 else 0)
    return crc ^ 0xFFFF


def add_crc(code: bytes) -> bytes:
    """The code as printed on a label. Raises FormatError for a length that install codes do not have."""
    if len(code) not in CODE_OCTETS:
        raise FormatError("install code", 0, f"{len(code)} octets without CRC; it has 6, 8, 12 or 16")
    return code + crc16_x25(code).to_bytes(2, "little")


def check_install_code(code: bytes) -> bytes:
    """The code with its CRC, once both are right. Raises FormatError."""
    if len(code) - 2 not in CODE_OCTETS:
        raise FormatError("install code", 0, f"{len(code)} octets; with its CRC it has 8, 10, 14 or 18")
    expected = crc16_x25(code[:-2]).to_bytes(2, "little")
    if code[-2:] != expected:
        reason = f"its CRC is {code[-2:].hex().upper()}, computed {expected.hex().upper()}: mistyped?"
        raise FormatError("install code", len(code) - 2, reason)
    return code


def parse_install_code(text: str) -> bytes:
    """From hex as people type it; spaces, colons and dashes between the digits are skipped. Raises FormatError."""
    digits = "".join(character for character in text if character not in " \t:-")
    try:
        code = bytes.fromhex(digits)
    except ValueError:
        raise FormatError("install code", 0, "not hex digits in pairs") from None
    return check_install_code(code)


def link_key(code: bytes) -> bytes:
    """The pre-configured link key of a code with its CRC: 16 octets. Raises FormatError."""
    return mmo(check_install_code(code))
