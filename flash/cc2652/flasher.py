"""The whole job: know the chip, judge the image, erase, program, check, start. A failure begins again from the erase.

The CCFG lies at the top of the flash and is programmed last. Until then the chip has the CCFG it was delivered with (no
valid image), so that power lost at any moment leaves a chip that comes up in its bootloader, without any pin.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agent.errors import HanError, RadioError
from flash.cc2652.chip import Chip, identify
from flash.cc2652.image import Ccfg, FlashImage
from flash.cc2652.packets import CRC_MINIMUM_OCTETS
from flash.cc2652.rom import RomBootloader

BLANK_OCTETS = 256  # a stretch of FF at least so long is skipped: erased flash is FF
PASSES = 3

Progress = Callable[[str, int, int], None]  # step, octets done, octets in all


@dataclass(frozen=True, slots=True)
class FlashReport:
    """What was done. ``matches`` is the chip's own CRC against ours."""

    chip: Chip
    image: str
    image_octets: int
    image_crc32: int
    backdoor: str
    programmed_octets: int
    passes: int
    retries: int
    matches: bool


def flash_radio(
    rom: RomBootloader, image: FlashImage, *, allow_lockout: bool = False, progress: Progress | None = None
) -> FlashReport:
    """Erase, program, check and start. Raises RadioError (line, chip) or HanError (image refused; nothing erased)."""
    show = progress or _silent
    rom.connect()
    chip = identify(rom)
    ccfg = image.check_fits(chip.flash_octets)
    _refuse_lockout(image, ccfg, allow_lockout)
    for number in range(1, PASSES + 1):
        try:
            programmed = _one_pass(rom, image, chip, show)
        except RadioError:
            if number == PASSES:
                raise
            rom.connect()
            continue
        rom.reset()
        return _report(rom, image, chip, ccfg, programmed, number, True)
    raise AssertionError("the last pass returns or raises")


def verify_radio(rom: RomBootloader, image: FlashImage, progress: Progress | None = None) -> FlashReport:
    """Compare what the image says with the flash, and start the firmware. Other flash (its NV) may hold anything."""
    show = progress or _silent
    rom.connect()
    chip = identify(rom)
    ccfg = image.check_fits(chip.flash_octets)
    matches, done = True, 0
    for address, data in image.runs:
        matches = matches and _same(rom, address, data)
        done += len(data)
        show("check", done, image.octets)
    rom.reset()
    return _report(rom, image, chip, ccfg, 0, 1, matches)


def _one_pass(rom: RomBootloader, image: FlashImage, chip: Chip, show: Progress) -> int:
    show("erase", 0, chip.flash_octets)
    rom.bank_erase()
    pieces = list(_pieces(image))
    total, done = sum(len(data) for _, data in pieces), 0
    for address, data in pieces:
        rom.program(address, data, _from(show, done, total))
        done += len(data)
    show("check", 0, chip.flash_octets)
    expected = zlib.crc32(image.read(0, chip.flash_octets))
    found = rom.crc32(0, chip.flash_octets)
    if found != expected:
        raise RadioError(f"the chip's CRC-32 is {found:08X}, the image's {expected:08X}: run this again")
    show("check", chip.flash_octets, chip.flash_octets)
    return total


def _pieces(image: FlashImage) -> Iterator[tuple[int, bytes]]:
    """What must be programmed, ascending (so that the CCFG comes last), without the long blanks."""
    blank = b"\xff" * BLANK_OCTETS
    for base, data in image.runs:
        start: int | None = None
        for offset in range(0, len(data), BLANK_OCTETS):
            block = data[offset : offset + BLANK_OCTETS]
            if block == blank[: len(block)]:
                if start is not None:
                    yield base + start, data[start:offset]
                start = None
            elif start is None:
                start = offset
        if start is not None:
            yield base + start, data[start:]


def _same(rom: RomBootloader, address: int, data: bytes) -> bool:
    if len(data) < CRC_MINIMUM_OCTETS:
        return rom.read_memory(address, len(data) // 4) == data
    return rom.crc32(address, len(data)) == zlib.crc32(data)


def _refuse_lockout(image: FlashImage, ccfg: Ccfg, allow_lockout: bool) -> None:
    reasons = ccfg.lockout_reasons()
    if reasons and not allow_lockout:
        raise HanError(
            f"{image.name}: would lock the bootloader out: {'; '.join(reasons)}. After that only JTAG helps. "
            "If that is what you want: --allow-bootloader-lockout"
        )


def _report(
    rom: RomBootloader, image: FlashImage, chip: Chip, ccfg: Ccfg, programmed: int, passes: int, matches: bool
) -> FlashReport:
    return FlashReport(
        chip=chip,
        image=image.name,
        image_octets=image.octets,
        image_crc32=image.crc32,
        backdoor=ccfg.backdoor(),
        programmed_octets=programmed,
        passes=passes,
        retries=rom.retries,
        matches=matches,
    )


def _from(show: Progress, before: int, total: int) -> Callable[[int], None]:
    return lambda octets: show("program", before + octets, total)


def _silent(step: str, done: int, total: int) -> None:
    """No progress wanted."""
