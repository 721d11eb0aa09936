"""Which chip answers: family and flash size from its own registers, never from what the person says it is."""

from __future__ import annotations

from dataclasses import dataclass

from agent.errors import RadioError
from flash.cc2652.rom import RomBootloader

FCFG1_IEEE = 0x500012F0  # MAC_15_4_0 and MAC_15_4_1
FCFG1_ICEPICK_DEVICE_ID = 0x50001318  # WAFER_ID in 27:12, PG_REV in 31:28
FLASH_SIZE = 0x4003002C  # sectors
SECTOR_OCTETS = 8192

_FAMILIES = {0xBB41: ("CC13x2/CC26x2", 352), 0xBB77: ("CC13x2x7/CC26x2x7", 704)}
_OTHERS = {0xB99A: "a CC26x0", 0xB9BE: "a CC13x0", 0xBB7A: "a CC13x1/CC26x1"}
_CC2538 = (0xB964, 0xB965)
# upper half of JTAGUSERCODE, as flashers in use tell them apart; others get their family's name
_MODELS = {(0xBB41, 0x3202): "CC2652P", (0xBB41, 0x3102): "CC2652RB", (0xBB77, 0x1202): "CC2652P7"}


@dataclass(frozen=True, slots=True)
class Chip:
    """One chip, as it describes itself."""

    model: str
    user_id: int
    wafer: int
    flash_octets: int
    ieee: int


def identify(rom: RomBootloader) -> Chip:
    """Ask the chip. Raises RadioError when this flasher is not for it."""
    user_id = rom.chip_id()
    if user_id & 0xFFFF in _CC2538:
        raise RadioError("wrong chip: a CC2538, not a CC2652")
    wafer = rom.read_word(FCFG1_ICEPICK_DEVICE_ID) >> 12 & 0xFFFF
    if wafer not in _FAMILIES:
        what = _OTHERS.get(wafer, f"user id {user_id:08X}, wafer id {wafer:04X}")
        raise RadioError(f"wrong chip: {what}, not a CC2652")
    family, flash_kib = _FAMILIES[wafer]
    flash_octets = (rom.read_word(FLASH_SIZE) & 0xFF) * SECTOR_OCTETS
    if not 0 < flash_octets <= flash_kib * 1024:
        raise RadioError(f"wrong chip: a {family} that reports {flash_octets // 1024} KiB of flash")
    ieee = int.from_bytes(rom.read_memory(FCFG1_IEEE, 2), "little")
    return Chip(_MODELS.get((wafer, user_id >> 16), family), user_id, wafer, flash_octets, ieee)
