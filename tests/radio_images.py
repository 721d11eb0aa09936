"""Radio firmware images for the flasher's tests: the shape of the real thing, with nothing of anybody's code."""

from __future__ import annotations

import io
import random
import struct

from intelhex import IntelHex

SMALL = 64 * 1024


def make_ccfg(*, bl_config: int = 0xC5FE0FC5, erase: int = 0xFFFFFFFF, valid: int = 0, protect: bytes = b"") -> bytes:
    """88 octets: bootloader on, backdoor DIO15 active low, image valid at 0."""
    ccfg = bytearray(b"\xff" * 88)
    ccfg[48:52] = struct.pack("<I", bl_config)
    ccfg[52:56] = struct.pack("<I", erase)
    ccfg[68:72] = struct.pack("<I", valid)
    if protect:
        ccfg[72:88] = protect
    return bytes(ccfg)


def make_flash(flash_octets: int = SMALL, *, seed: int = 1, body: int = 6000, ccfg: bytes | None = None) -> bytes:
    """The whole flash: vector table, ``body`` random octets in two places with a blank between, CCFG at the end."""
    rng = random.Random(seed)
    flash = bytearray(b"\xff" * flash_octets)
    flash[0:8] = struct.pack("<II", 0x20014000, 0x1001)
    flash[8:body] = rng.randbytes(body - 8)
    flash[flash_octets // 2 : flash_octets // 2 + 700] = rng.randbytes(700)
    flash[-88:] = make_ccfg() if ccfg is None else ccfg
    return bytes(flash)


def to_hex(flash: bytes, *, blank: int = 64) -> bytes:
    """Intel HEX by the intelhex package, without the stretches of FF, as linkers write it."""
    image = IntelHex()
    for at in range(0, len(flash), blank):
        block = flash[at : at + blank]
        if block != b"\xff" * len(block):
            image.puts(at, block)
    image.puts(len(flash) - 88, flash[-88:])  # a section of its own, always whole
    image.start_addr = {"EIP": 0x1001}
    text = io.StringIO()
    image.write_hex_file(text)
    return text.getvalue().encode()
