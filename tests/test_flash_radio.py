"""``han-agent flash radio`` over a real pty, the ways into the bootloader, and what a person reads when it fails."""

from __future__ import annotations

import json
import os
import pty
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from radio_images import make_ccfg, make_flash, to_hex

from agent.cli import main
from agent.errors import RadioError
from boards.virtual.cc2652_rom import VirtualCc2652
from boards.virtual.cc2652_rom_line import HostileLine, MemoryLine, PtyServer
from flash.cc2652.entry import MT_SYS_RESET_REQ_CHIP, SwappedLines, enter_by_lines, enter_by_mt
from flash.cc2652.flasher import flash_radio
from flash.cc2652.image import parse_image
from flash.cc2652.port import SerialPort
from flash.cc2652.rom import RomBootloader, RomTimes

SIZE = 352 * 1024


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "coordinator.hex"
    path.write_bytes(to_hex(make_flash(SIZE)))
    return path


@pytest.fixture
def stick() -> Iterator[PtyServer]:
    with PtyServer(VirtualCc2652()) as server:
        yield server


def command(stick: PtyServer, image: Path, *more: str) -> list[str]:
    return ["flash", "radio", "--port", stick.path, "--image", str(image), "--entry", "already", *more]


def test_flash_then_verify(stick: PtyServer, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(stick, image, "--json")) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["chip"] == "CC2652P"
    assert report["ieee"] == "00124B001CA0D3C1"
    assert report["matches"] is True
    assert report["backdoor"] == "DIO15 low"
    assert bytes(stick.chip.flash) == make_flash(SIZE)
    assert not stick.chip.in_bootloader

    stick.chip.backdoor_low = True
    stick.chip.reset()
    assert main(command(stick, image, "--verify-only")) == 0
    assert "the flash holds coordinator.hex" in capsys.readouterr().out
    stick.chip.flash[40] ^= 1
    stick.chip.reset()
    assert main(command(stick, image, "--verify-only")) == 1
    assert "NOT" in capsys.readouterr().out


def test_lockout_needs_its_option(stick: PtyServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "locked.bin"
    path.write_bytes(make_flash(SIZE, ccfg=make_ccfg(bl_config=0xC5FE0F00)))
    assert main(command(stick, path)) == 1
    assert "only JTAG helps" in capsys.readouterr().err
    stick.chip.reset()
    assert main(command(stick, path, "--allow-bootloader-lockout")) == 0
    assert bytes(stick.chip.flash) == path.read_bytes()


def test_a_hostile_line_over_a_pty() -> None:
    flash = make_flash(64 * 1024, seed=3)
    line = HostileLine(random.Random(3), lose=0.02, corrupt=0.02, hold=0.02)
    times = RomTimes(sync_s=0.3, acknowledge_s=0.3, quiet_s=0.03, tries=40)
    with PtyServer(VirtualCc2652(flash_octets=64 * 1024), line) as stick, SerialPort(stick.path) as port:
        report = flash_radio(RomBootloader(port, times), parse_image("fw.bin", flash))
    assert bytes(stick.chip.flash) == flash
    assert report.matches
    assert line.harm > 0


class BoardLines:
    """DTR and RTS as a stick wires them: plainly, or through the gate that passes one only while the other is off."""

    def __init__(self, chip: VirtualCc2652, gate: bool) -> None:
        self.chip, self.gate, self.dtr, self.rts = chip, gate, False, False
        self.waited = 0.0

    def set_dtr(self, asserted: bool) -> None:
        self.dtr = asserted
        self._drive()

    def set_rts(self, asserted: bool) -> None:
        self.rts = asserted
        self._drive()

    def wait(self, seconds: float) -> None:
        self.waited += seconds

    def _drive(self) -> None:
        both = self.gate and self.dtr and self.rts
        self.chip.backdoor_low = self.dtr and not both
        if not both:  # the reset pin's capacitor bridges the instant of changing over
            self.chip.set_reset_pin(self.rts)


@pytest.mark.parametrize("gate", [False, True])
def test_lines_open_the_bootloader_of_a_running_firmware(gate: bool) -> None:
    chip = VirtualCc2652()
    chip.flash[:] = make_flash(SIZE)
    chip.reset()
    assert not chip.in_bootloader
    lines = BoardLines(chip, gate)
    enter_by_lines(lines)
    assert chip.in_bootloader
    assert not chip.backdoor_low, "let go again"
    assert (lines.dtr, lines.rts) == (False, False)
    assert RomBootloader(MemoryLine(chip)).connect() is None
    assert 0 < lines.waited < 1


def test_swapped_lines_are_swapped() -> None:
    lines = BoardLines(VirtualCc2652(), gate=False)
    SwappedLines(lines).set_dtr(True)
    assert (lines.dtr, lines.rts) == (False, True)
    SwappedLines(lines).set_rts(True)
    assert (lines.dtr, lines.rts) == (True, True)


def test_mt_reset_opens_the_bootloader_only_with_the_pin_held() -> None:
    assert MT_SYS_RESET_REQ_CHIP.hex() == "fe0141000040"
    chip = VirtualCc2652()
    chip.flash[:] = make_flash(SIZE)
    chip.reset()
    lines = BoardLines(chip, gate=False)
    for held in (False, True):
        chip.backdoor_low = held
        enter_by_mt(MemoryLine(chip), lines)
        assert chip.in_bootloader is held


def test_a_port_without_lines_says_so(stick: PtyServer, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = command(stick, image)
    arguments[arguments.index("already")] = "dtr-rts"
    assert main(arguments) == 3
    assert "line" in (said := capsys.readouterr().err)
    assert "--entry" in said


def test_errors_name_the_port_and_the_remedy(tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flash", "radio", "--port", str(tmp_path / "ttyX"), "--image", str(image)]) == 3
    assert "ttyX: no such port" in capsys.readouterr().err
    assert main(["flash", "radio", "--port", str(image), "--image", str(image)]) == 3
    assert "cannot be opened as a serial port" in capsys.readouterr().err
    assert main(["flash", "radio", "--port", "/dev/null", "--image", str(tmp_path / "no.hex")]) == 2
    assert "no.hex: no such image" in capsys.readouterr().err


def test_no_permission_names_the_group(stick: PtyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: str, *rest: int) -> int:
        if path == stick.path:
            raise PermissionError(13, "Permission denied", path)
        return real(path, *rest)

    monkeypatch.setattr(os, "open", refuse)  # root may open anything, so the kernel's answer is played
    with pytest.raises(RadioError, match="usermod -aG"):
        SerialPort(stick.path)


def test_a_port_in_use_is_not_shared(stick: PtyServer) -> None:
    with SerialPort(stick.path), pytest.raises(RadioError, match="another program has it open"):
        SerialPort(stick.path)


def test_a_port_that_goes_away_is_an_error() -> None:
    master, slave = pty.openpty()
    path = os.ttyname(slave)
    with SerialPort(path) as port:
        os.close(master)
        os.close(slave)
        with pytest.raises(RadioError, match="went away"):
            RomBootloader(port).connect()
