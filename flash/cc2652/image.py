"""A radio firmware image: Intel HEX or binary in, words of flash out, and what its CCFG would do to the bootloader.

The customer configuration (CCFG) is the last 88 octets of the flash (SWCU185, 11.1 and the CCFG registers)::

    offset   0          48          52           56          68             72                88
             | ...      | BL_CONFIG | ERASE_CONF | TI, TAP   | IMAGE_VALID  | sector protect  |

    BL_CONFIG    31:24 BOOTLOADER_ENABLE C5 = on | 16 BL_LEVEL | 15:8 BL_PIN_NUMBER | 7:0 BL_ENABLE C5 = backdoor on
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from agent.errors import FormatError, HanError, SettingsError
from flash.cc2652.intel_hex import parse_intel_hex

CCFG_OCTETS = 88
FLASH_LIMIT_OCTETS = 1024 * 1024  # above every CC13x2/CC26x2
RAM_START, RAM_OCTETS = 0x2000_0000, 144 * 1024  # of the largest; SWCU192
LAST_DIO = 30
_FOREIGN_STARTS = {
    b"PK\x03\x04": "a zip archive: unpack the .hex file that is in it",
    b"\x7fELF": "an ELF file: convert it to Intel HEX with objcopy -O ihex",
    b"UF2\n": "a UF2 file, not made for a TI chip",
    b"\xeb\x17\xa6\x03": "a Silicon Labs GBL file, not made for a TI chip",
}


@dataclass(frozen=True, slots=True)
class Ccfg:
    """What the customer configuration says about the bootloader."""

    bootloader_enabled: bool
    backdoor_enabled: bool
    backdoor_dio: int
    backdoor_active_low: bool
    bank_erase_enabled: bool
    protected_sectors: tuple[int, ...]
    image_valid: int

    def lockout_reasons(self) -> list[str]:
        """Why this bootloader could not be used again after this image; empty when it can."""
        reasons = []
        if not self.bootloader_enabled:
            reasons.append("BOOTLOADER_ENABLE is not C5: the ROM bootloader is switched off")
        if not self.backdoor_enabled:
            reasons.append("BL_ENABLE is not C5: no pin opens the bootloader")
        elif self.backdoor_dio > LAST_DIO:
            reasons.append(f"BL_PIN_NUMBER {self.backdoor_dio} is not a pin of the chip")
        if not self.bank_erase_enabled:
            reasons.append("BANK_ERASE_DIS_N is 0: the bootloader will not erase")
        if self.protected_sectors:
            reasons.append(f"{len(self.protected_sectors)} flash sectors are write-protected")
        return reasons

    def backdoor(self) -> str:
        """The pin that opens the bootloader, for a person."""
        if not self.bootloader_enabled or not self.backdoor_enabled:
            return "none"
        return f"DIO{self.backdoor_dio} {'low' if self.backdoor_active_low else 'high'}"


def parse_ccfg(ccfg: bytes) -> Ccfg:
    """Read the 88 octets. Raises FormatError when they are not 88."""
    if len(ccfg) != CCFG_OCTETS:
        raise FormatError("CCFG", 0, f"{len(ccfg)} octets instead of {CCFG_OCTETS}")
    bl_enable, pin, level, enabled = ccfg[48:52]
    protect = int.from_bytes(ccfg[72:88], "little")
    return Ccfg(
        bootloader_enabled=enabled == 0xC5,
        backdoor_enabled=bl_enable == 0xC5,
        backdoor_dio=pin,
        backdoor_active_low=not level & 1,
        bank_erase_enabled=bool(ccfg[52] & 1),
        protected_sectors=tuple(sector for sector in range(128) if not protect >> sector & 1),
        image_valid=struct.unpack_from("<I", ccfg, 68)[0],
    )


@dataclass(frozen=True, slots=True)
class FlashImage:
    """``runs``: (address, octets) ascending, apart from each other, addresses and lengths multiples of four."""

    name: str
    runs: tuple[tuple[int, bytes], ...]

    @property
    def end(self) -> int:
        """Address after the last octet."""
        address, data = self.runs[-1]
        return address + len(data)

    @property
    def octets(self) -> int:
        return sum(len(data) for _, data in self.runs)

    @property
    def crc32(self) -> int:
        """CRC-32 over all runs, to tell images apart."""
        crc = 0
        for address, data in self.runs:
            crc = zlib.crc32(address.to_bytes(4, "big") + data, crc)
        return crc

    def read(self, address: int, length: int) -> bytes:
        """As the flash reads after programming the erased chip: FF where the image says nothing."""
        memory = bytearray(b"\xff" * length)
        for start, data in self.runs:
            low, high = max(start, address), min(start + len(data), address + length)
            if low < high:
                memory[low - address : high - address] = data[low - start : high - start]
        return bytes(memory)

    def covers(self, address: int, length: int) -> bool:
        """True when one run holds the whole range."""
        return any(start <= address and address + length <= start + len(data) for start, data in self.runs)

    def check_fits(self, flash_octets: int) -> Ccfg:
        """Its CCFG, once sure that it is a firmware for a flash of this size. Raises HanError saying why not."""
        if self.end > flash_octets:
            raise HanError(
                f"{self.name}: ends at {self.end:#x}, this chip's flash at {flash_octets:#x}: made for a larger chip"
            )
        if not self.covers(flash_octets - CCFG_OCTETS, CCFG_OCTETS):
            raise HanError(
                f"{self.name}: has no CCFG at {flash_octets - CCFG_OCTETS:#x}, so this chip would never start it: "
                f"an image for another chip, or an application without its configuration"
            )
        ccfg = parse_ccfg(self.read(flash_octets - CCFG_OCTETS, CCFG_OCTETS))
        self._check_vectors(ccfg.image_valid, flash_octets)
        return ccfg

    def _check_vectors(self, table: int, flash_octets: int) -> None:
        if table % 4 or table >= flash_octets or not self.covers(table, 8):
            raise HanError(f"{self.name}: IMAGE_VALID_CONF {table:#010x} does not point to a vector table in the image")
        stack, entry = struct.unpack("<II", self.read(table, 8))
        if not RAM_START < stack <= RAM_START + RAM_OCTETS or not entry & 1 or entry >= flash_octets:
            raise HanError(
                f"{self.name}: not a firmware for this chip: initial stack {stack:#010x}, reset vector {entry:#010x}"
            )


def load_image(path: Path) -> FlashImage:
    """Read Intel HEX (text) or a raw image of the flash from address 0 (anything else).

    Raises SettingsError (file), FormatError (HEX) or HanError (not a firmware image).
    """
    try:
        with path.open("rb") as file:
            content = file.read(4 * FLASH_LIMIT_OCTETS)
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such image; name one with --image FILE") from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    return parse_image(path.name, content)


def parse_image(name: str, content: bytes) -> FlashImage:
    """Raises FormatError (HEX) or HanError (not a firmware image)."""
    for start, what in _FOREIGN_STARTS.items():
        if content.startswith(start):
            raise HanError(f"{name}: this is {what}")
    if content.lstrip()[:1] == b":":
        runs = _aligned(parse_intel_hex(name, content))
    elif len(content) % 4:
        raise HanError(f"{name}: {len(content)} octets: a binary image is a multiple of four octets long")
    else:
        runs = ((0, content),) if content else ()
    if not runs:
        raise HanError(f"{name}: the image is empty")
    image = FlashImage(name, runs)
    if image.end > FLASH_LIMIT_OCTETS:
        raise HanError(f"{name}: ends at {image.end:#x}, beyond every chip of this family: too large, or not for it")
    return image


def _aligned(runs: list[tuple[int, bytes]]) -> tuple[tuple[int, bytes], ...]:
    """Runs widened with FF to whole words; runs that then touch become one."""
    merged: list[tuple[int, bytearray]] = []
    for address, data in runs:
        start = address & ~3
        if not merged or start > merged[-1][0] + len(merged[-1][1]):
            merged.append((start, bytearray()))
        base, memory = merged[-1]
        gap = address - base - len(memory)
        if gap >= 0:
            memory += b"\xff" * gap + data
        else:  # this run begins inside the word that the last one was widened to
            memory[gap:] = data
        memory += b"\xff" * (-len(memory) % 4)
    return tuple((base, bytes(memory)) for base, memory in merged)
