"""The flasher against the emulated bootloader in virtual time: a hostile line, wrong chips, lost power."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from radio_images import SMALL, make_ccfg, make_flash, to_hex

from agent.errors import HanError, RadioError
from boards.virtual.cc2652_rom import VirtualCc2652, factory_ccfg
from boards.virtual.cc2652_rom_line import HostileLine, MemoryLine
from flash.cc2652.flasher import flash_radio, verify_radio
from flash.cc2652.image import parse_image
from flash.cc2652.rom import RomBootloader, RomTimes, SilentChipError


def small_chip(**kind: int) -> VirtualCc2652:
    return VirtualCc2652(**{"flash_octets": SMALL, **kind})


def test_a_quiet_line_needs_no_retry() -> None:
    chip, flash = small_chip(), make_flash()
    rom = RomBootloader(MemoryLine(chip))
    steps: list[tuple[str, int, int]] = []
    report = flash_radio(rom, parse_image("fw.hex", to_hex(flash)), progress=lambda *step: steps.append(step))
    assert bytes(chip.flash) == flash
    assert (report.matches, report.passes, report.retries, report.chip.model) == (True, 1, 0, "CC2652P")
    assert report.chip.ieee == 0x00124B001CA0D3C1
    assert not chip.in_bootloader, "started: the image is valid and no pin is held"
    assert chip.log[:4] == ["chip_id", "memory_read", "memory_read", "memory_read"]
    assert chip.log[4:6] == ["bank_erase", "download"]
    assert chip.log[-2:] == ["crc32", "reset_command"]
    programmed = [step for step in steps if step[0] == "program"]
    assert programmed[-1][1] == programmed[-1][2] == report.programmed_octets < SMALL // 2, "blanks are skipped"
    assert [step[1] for step in programmed] == sorted(step[1] for step in programmed)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_the_flash_is_right_after_any_harm(seed: int, resends: bool) -> None:
    chip, flash = small_chip(), make_flash(seed=seed)
    chip.resends_refused_packet = resends
    line = HostileLine(random.Random(seed), lose=0.02, corrupt=0.02, hold=0.02)
    link = MemoryLine(chip, line)
    rom = RomBootloader(link, RomTimes(acknowledge_s=0.5, tries=30))
    report = flash_radio(rom, parse_image("fw.bin", flash))
    assert bytes(chip.flash) == flash
    assert report.matches


def test_harm_was_done_and_repaired() -> None:
    chip, flash = small_chip(), make_flash()
    line = HostileLine(random.Random(7), lose=0.05, corrupt=0.05, hold=0.05)
    rom = RomBootloader(MemoryLine(chip, line), RomTimes(tries=50))
    report = flash_radio(rom, parse_image("fw.bin", flash))
    assert line.harm > 5
    assert report.retries > 0
    assert bytes(chip.flash) == flash


@pytest.mark.parametrize("waiting", range(256))
def test_resync_from_any_broken_packet(waiting: int) -> None:
    chip = small_chip()
    rom = RomBootloader(MemoryLine(chip))
    rom.connect()
    chip.receive(bytes((waiting,)))
    rom.connect()
    assert rom.chip_id() == chip.user_id


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ({"user_id": 0x0000B964}, "CC2538"),
        ({"wafer": 0xB99A}, "CC26x0"),
        ({"wafer": 0x1234}, "wafer id 1234"),
        ({"flash_octets": 704 * 1024}, "704 KiB"),
    ],
)
def test_a_wrong_chip_is_left_alone(kind: dict[str, int], reason: str) -> None:
    chip = small_chip(**kind)
    with pytest.raises(RadioError, match=f"wrong chip: .*{reason}"):
        flash_radio(RomBootloader(MemoryLine(chip)), parse_image("fw.bin", make_flash()))
    assert "bank_erase" not in chip.log


@pytest.mark.parametrize("bl_config", [0x00FE0FC5, 0xC5FE0F00, 0xC5FEFFC5])
def test_lockout_is_refused_before_anything_is_erased(bl_config: int) -> None:
    chip = small_chip()
    flash = make_flash(ccfg=make_ccfg(bl_config=bl_config))
    with pytest.raises(HanError, match="--allow-bootloader-lockout"):
        flash_radio(RomBootloader(MemoryLine(chip)), parse_image("fw.bin", flash))
    assert "bank_erase" not in chip.log


def test_lockout_is_done_when_asked_for() -> None:
    chip = small_chip()
    flash = make_flash(ccfg=make_ccfg(bl_config=0))
    report = flash_radio(RomBootloader(MemoryLine(chip)), parse_image("fw.bin", flash), allow_lockout=True)
    assert report.backdoor == "none"
    assert bytes(chip.flash) == flash
    chip.backdoor_low = True
    chip.reset()
    assert not chip.in_bootloader, "it is locked out, as asked"


def test_an_image_for_a_larger_chip_is_refused() -> None:
    chip = small_chip()
    with pytest.raises(HanError, match="larger chip"):
        flash_radio(RomBootloader(MemoryLine(chip)), parse_image("fw.bin", make_flash(2 * SMALL)))
    assert "bank_erase" not in chip.log


def test_a_crc_that_stays_wrong_is_an_error_after_three_passes() -> None:
    chip = small_chip()
    chip.wrong_crc = True
    with pytest.raises(RadioError, match="CRC-32"):
        flash_radio(RomBootloader(MemoryLine(chip)), parse_image("fw.bin", make_flash()))
    assert chip.log.count("bank_erase") == 3
    assert chip.in_bootloader, "not started"


@pytest.mark.parametrize("packets", [0, 1, 10, 26])
def test_power_lost_in_the_middle_leaves_a_chip_that_can_be_flashed(packets: int) -> None:
    chip, flash = small_chip(), make_flash()
    image = parse_image("fw.bin", flash)
    chip.power_fails_after = packets
    with pytest.raises(SilentChipError, match="--entry already"):
        flash_radio(RomBootloader(MemoryLine(chip)), image)
    chip.power(True)
    assert chip.in_bootloader, "the CCFG comes last, so that the boot ROM finds no valid image"
    report = flash_radio(RomBootloader(MemoryLine(chip)), image)
    assert report.matches
    assert bytes(chip.flash) == flash


def test_the_ccfg_is_programmed_last() -> None:
    chip, flash = small_chip(), make_flash()
    chip.power_fails_after = 27
    with pytest.raises(SilentChipError):
        flash_radio(RomBootloader(MemoryLine(chip)), parse_image("fw.bin", flash))
    assert bytes(chip.flash[-88:]) == factory_ccfg()
    assert bytes(chip.flash[: SMALL // 2]) == flash[: SMALL // 2]


def test_verify_sees_one_wrong_bit_and_ignores_what_the_image_leaves_out() -> None:
    chip, flash = small_chip(), make_flash()
    image = parse_image("fw.hex", to_hex(flash))
    flash_radio(RomBootloader(MemoryLine(chip)), image)
    chip.flash[SMALL // 4] = 0x12  # the firmware's own NV
    chip.backdoor_low = True
    for wrong in (False, True):
        chip.flash[100] ^= wrong
        chip.reset()
        before = bytes(chip.flash)
        assert verify_radio(RomBootloader(MemoryLine(chip)), image).matches is not wrong
        assert bytes(chip.flash) == before


def test_verify_compares_short_runs_too() -> None:
    chip, flash = small_chip(), bytearray(make_flash())
    flash[SMALL // 4 : SMALL // 4 + 4] = b"abcd"
    chip.flash[:] = flash
    image = parse_image("fw.hex", to_hex(bytes(flash), blank=4))
    chip.backdoor_low = True
    chip.reset()
    assert verify_radio(RomBootloader(MemoryLine(chip)), image).matches
    chip.flash[SMALL // 4] = 0
    chip.reset()
    assert not verify_radio(RomBootloader(MemoryLine(chip)), image).matches


def test_a_dead_port_is_told_from_a_bad_line() -> None:
    chip = small_chip()
    chip.power(False)
    link = MemoryLine(chip)
    with pytest.raises(SilentChipError, match="hold the BOOT"):
        RomBootloader(link).connect()
    assert link.now < 15, "seconds until the person is told"


def test_zeros_without_end_are_not_a_bootloader() -> None:
    class Zeros:
        def write(self, data: bytes) -> None:
            """Into the void."""

        def read(self, maximum_octets: int, timeout_s: float) -> bytes:
            return bytes(min(maximum_octets, 16))

    with pytest.raises(RadioError):
        RomBootloader(Zeros(), RomTimes(tries=2)).connect()


def test_wrong_use_is_a_programming_error() -> None:
    rom = RomBootloader(MemoryLine(small_chip()))
    with pytest.raises(ValueError, match="words of four"):
        rom.program(2, b"abcd", lambda _: None)
    with pytest.raises(ValueError, match="1 to 63"):
        rom.read_memory(0, 64)
