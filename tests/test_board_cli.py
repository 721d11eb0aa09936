"""``han-agent board`` and ``flash radio --entry pins``: real ttys, the emulated chip in both of its states."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radio_images import make_flash

from agent.cli import main
from agent.errors import RadioError
from boards.pin_test import Guide, Outcome, walk_pins
from boards.radios import known_radios, recognise
from boards.raspberry_pi.gpio import RadioPins, prepare
from boards.raspberry_pi.profile import ButtonPin, Pin, Pins, RelayPin
from boards.virtual.cc2652_rom import VirtualCc2652
from boards.virtual.cc2652_rom_line import PtyServer
from boards.virtual.gpio import IN, VirtualGpio, VirtualPins
from boards.virtual.ncp.board import BoardSettings, ChipSettings, VirtualBoard
from flash.cc2652 import mt
from flash.cc2652.entry import enter_by_lines
from flash.cc2652.mt import Firmware, ask_firmware, decode_frames, encode_frame
from flash.cc2652.port import _explain_open
from flash.probe import Finding, Port, find_ports, probe, read_model

# --- which stick is which ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usb", "words", "name"),
    [
        ((0x10C4, 0xEA60), "ITead Sonoff Zigbee 3.0 USB Dongle Plus", "SONOFF"),
        ((0x10C4, 0xEA60), "Silicon Labs Sonoff Zigbee 3.0 USB Dongle Plus", "SONOFF"),
        ((0x10C4, 0xEA60), "Itead Sonoff Zigbee 3.0 USB Dongle Plus V2", None),  # an EFR32
        ((0x10C4, 0xEA60), "Silicon Labs slae.sh cc2652rb stick - slaesh's iot stuff", "slae.sh"),
        ((0x10C4, 0xEA60), "SMLIGHT SMLIGHT SLZB-07p7", "SMLIGHT"),
        ((0x10C4, 0xEA60), "SMLIGHT SMLIGHT SLZB-07", None),
        ((0x10C4, 0xEA60), "Silicon Labs CP2102N USB to UART Bridge Controller", None),
        ((0x1A86, 0x7523), "ZigStar LAN gateway", "ZigStar"),
        ((0x1A86, 0x7523), "1a86 USB Serial", None),
        ((0x0403, 0x6015), "Electrolama zig-a-zig-ah! (zzh)", "Electrolama"),
        ((0x0403, 0x6015), "dresden elektronik ConBee III", None),
        ((0x0451, 0xBEF3), "Texas Instruments XDS110", "Texas"),
    ],
)
def test_a_stick_is_known_by_ids_and_words(usb: tuple[int, int], words: str, name: str | None) -> None:
    radio = recognise(usb, words)
    assert (radio.name.split()[0] if radio else None) == name


def test_ports_come_with_what_usb_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stick = SimpleNamespace(device="/dev/ttyUSB1", vid=0x10C4, pid=0xEA60, manufacturer="ITead",
                            product="Sonoff Zigbee 3.0 USB Dongle Plus")  # fmt: skip
    plain = SimpleNamespace(device="/dev/ttyS0", vid=None, pid=None, manufacturer=None, product=None)
    monkeypatch.setattr("flash.probe.list_ports.comports", lambda: [stick, plain])
    hat = tmp_path / "ttyAMA0"
    hat.touch()
    ports = find_ports([str(hat), "/dev/ttyS0", "/dev/not-there"])
    assert [port.path for port in ports] == ["/dev/ttyS0", "/dev/ttyUSB1", str(hat)]
    assert ports[1].radio is known_radios()[0]


# --- MT ---------------------------------------------------------------------------------------------------------------


def test_the_frames_are_mt_s() -> None:
    assert encode_frame(mt.PING).hex() == "fe00210120"
    assert list(decode_frames(bytes.fromhex("00fe fe02 6101 5904 3f ff"))) == [(b"\x61\x01", b"\x59\x04")]
    assert list(decode_frames(bytes.fromhex("fe02 6101 5904 3e"))) == []


@given(st.binary(max_size=400), st.binary(min_size=2, max_size=2), st.binary(max_size=250))
def test_any_noise_before_a_frame_is_passed_over(noise: bytes, command: bytes, data: bytes) -> None:
    quiet = noise.replace(b"\xfe", b"")
    assert list(decode_frames(quiet + encode_frame(command, data))) == [(command, data)]
    for found, octets in decode_frames(noise):
        assert encode_frame(found, octets) in noise


class Script:
    """A line that answers each frame with what the script says."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.pending = b""

    def write(self, data: bytes) -> None:
        self.pending += self.answers.pop(0) if self.answers else b""

    def read(self, maximum_octets: int, timeout_s: float) -> bytes:
        octets, self.pending = self.pending[:maximum_octets], self.pending[maximum_octets:]
        return octets


PONG = encode_frame(b"\x61\x01", b"\x59\x04")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ((PONG, encode_frame(b"\x61\x02", bytes((2, 1, 2, 7, 1)) + (20210708).to_bytes(4, "little"))),
         "Z-Stack 3.x.0 (2.7.1), build 20210708"),
        ((b"", PONG, encode_frame(b"\x61\x02", bytes((2, 0, 2, 6, 3)))), "Z-Stack Home 1.2 (2.6.3)"),
        ((PONG, encode_frame(b"\x41\x80", bytes(6)) + encode_frame(b"\x61\x02", bytes((2, 9, 1, 1, 1)))),
         "product 9 (1.1.1)"),
        ((PONG,), "product -1 (tells no version)"),
        ((PONG, encode_frame(b"\x61\x02", b"\x02")), "product -1 (tells no version)"),
        ((b"\x00\xcc" * 8,), "None"),
        ((), "None"),
    ],
)  # fmt: skip
def test_what_a_firmware_says_of_itself(answers: tuple[bytes, ...], expected: str) -> None:
    assert str(ask_firmware(Script(*answers))) == expected


def test_a_babbling_port_is_left() -> None:
    class Babble(Script):
        def read(self, maximum_octets: int, timeout_s: float) -> bytes:
            return b"\xfe" * maximum_octets

    assert ask_firmware(Babble()) is None


# --- probing real ttys ------------------------------------------------------------------------------------------------


def test_a_running_firmware_is_found_over_a_tty() -> None:
    async def go() -> Finding:
        chips = (ChipSettings("pty", 0x02DB_0000_0000_0001),)
        async with VirtualBoard(BoardSettings(chips=chips, seed=1)) as board:
            return await asyncio.to_thread(probe, Port(board.addresses[0]))

    finding = asyncio.run(asyncio.wait_for(go(), 60))
    assert (finding.state, finding.detail) == ("z-stack", "Z-Stack 3.x.0 (2.7.1), build 20240710")


def test_a_bootloader_is_found_over_a_tty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mt, "ANSWER_S", 0.05)
    with PtyServer(VirtualCc2652()) as stick:
        finding = probe(Port(stick.path))
    assert (finding.state, finding.detail) == ("bootloader", "CC2652P 00124B001CA0D3C1 in its ROM bootloader")


@contextmanager
def silent_tty() -> Iterator[str]:
    master, slave = pty.openpty()
    tty.setraw(slave)
    try:
        yield os.ttyname(slave)
    finally:
        os.close(master)
        os.close(slave)


def test_a_silent_port_and_a_missing_one_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mt, "ANSWER_S", 0.02)
    with silent_tty() as path:
        assert main(["board", "probe", "--port", path, "--port", "/dev/not-there", "--json"]) == 3
    report = json.loads(capsys.readouterr().out)
    assert [one["state"] for one in report["ports"]] == ["silent", "error"]
    assert "no such port" in report["ports"][1]["detail"]


@pytest.mark.parametrize(
    ("group", "said"),
    [("dialout", r"sudo usermod -aG dialout \$USER"), ("root", r"udev rule systemd/han-agent\.rules")],
)
def test_without_permission_the_group_or_the_rule_is_named(
    group: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flash.cc2652.port._group", lambda path: group)
    with pytest.raises(RadioError, match=said):
        raise RadioError(_explain_open("/dev/ttyUSB0", PermissionError(13, "Permission denied")))


def test_the_machine_s_name_is_read(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.write_bytes(b"Raspberry Pi 4 Model B Rev 1.5\0")
    assert read_model(model) == "Raspberry Pi 4 Model B Rev 1.5"
    assert read_model(tmp_path / "none") == ""


def test_probe_names_the_profile_and_looks_at_its_uart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("agent.cli.board.read_model", lambda: "Raspberry Pi 5 Model B Rev 1.0")
    looked: list[list[str]] = []
    monkeypatch.setattr("agent.cli.board.find_ports", lambda extra: looked.append(extra) or [Port("/dev/ttyAMA0")])
    monkeypatch.setattr("agent.cli.board.probe", lambda port: Finding(port, "z-stack", str(Firmware(1, "2.7.1", 1))))
    assert main(["board", "probe"]) == 0
    assert looked == [["/dev/ttyAMA0"]]
    said = capsys.readouterr().out
    assert "profile: raspberry-pi-5" in said
    assert "Z-Stack 3.x.0 (2.7.1)" in said


def test_list_knows_boards_and_radios(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["board", "list"]) == 0
    assert "raspberry-pi-zero-2-w" in capsys.readouterr().out
    assert main(["board", "list", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {one["tried"] for one in report["boards"]} == {""}
    assert len(report["radios"]) == len(known_radios())


# --- the guided pin test ----------------------------------------------------------------------------------------------

PINS = Pins(
    status_led=Pin(gpio=27), button=ButtonPin(gpio=22), relay=RelayPin(gpio=17),
    radio_reset=Pin(gpio=23, active="low"), radio_boot=Pin(gpio=24, active="low"),
)  # fmt: skip


def walk(hardware: VirtualPins, folder: Path | None, answers: bool = True, *, press: bool = True) -> dict[str, Outcome]:
    def tell(text: str) -> None:
        if "Press the button" in text and press:
            hardware.pulled[22] = 0

    gpio = prepare(VirtualGpio(hardware), reads_outputs=True)
    guide = Guide(lambda question: answers, tell, wait=lambda seconds: None)
    return {one.function: one for one in walk_pins(gpio, PINS, folder, guide)}


def test_a_well_wired_board_passes_and_the_relay_is_put_back(tmp_path: Path) -> None:
    hardware = VirtualPins(pulled={23: 1, 24: 1})
    outcomes = walk(hardware, tmp_path)
    assert [one.result for one in outcomes.values()] == ["ok"] * 4
    assert [level for gpio, level in hardware.history if gpio == 17] == [1, 0]
    assert [level for gpio, level in hardware.history if gpio == 23] == [0, 1]
    assert len([1 for gpio, _ in hardware.history if gpio == 27]) == 10


def test_a_person_who_says_no_moves_nothing(tmp_path: Path) -> None:
    hardware = VirtualPins(pulled={23: 1, 24: 1})
    outcomes = walk(hardware, tmp_path, answers=False, press=False)
    results = {name: one.result for name, one in outcomes.items()}
    assert results == {"status_led": "failed", "button": "failed", "relay": "skipped", "radio_reset": "skipped"}
    assert hardware.function(17) == IN
    assert {gpio for gpio, _ in hardware.history} == {27}


def test_no_relay_moves_without_the_agent_s_folder() -> None:
    assert "needs --config" in walk(VirtualPins(), None)["relay"].detail


def test_a_button_that_is_pressed_already_is_wrong(tmp_path: Path) -> None:
    assert "before anybody pressed" in walk(VirtualPins(pulled={22: 0}), tmp_path)["button"].detail


def test_a_contact_that_does_not_follow_is_told(tmp_path: Path) -> None:
    pins = Pins(relay=RelayPin(gpio=17, read_back=Pin(gpio=5)))
    hardware = VirtualPins(pulled={5: 0})
    guide = Guide(lambda question: True, print, wait=lambda seconds: None)
    (outcome,) = walk_pins(prepare(VirtualGpio(hardware), reads_outputs=True), pins, tmp_path, guide)
    assert (outcome.result, outcome.detail) == ("failed", "the level read back does not follow")


def test_the_command_asks_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("boards.pin_test.BLINK_S", 0.0)
    monkeypatch.setattr("boards.pin_test.PRESS_S", 0.1)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert main(["board", "test", "--profile", "virtual", "--json"]) == 1
    said = capsys.readouterr()
    assert [one["result"] for one in json.loads(said.out)["pins"]] == ["ok", "failed", "skipped"]
    assert "Did the status LED blink? [y/N]" in said.err


def test_off_a_pi_the_command_names_the_virtual_board(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["board", "test", "--profile", "raspberry-pi-4"]) == 2
    assert 'profile = "virtual"' in capsys.readouterr().err


# --- flash radio --entry pins -----------------------------------------------------------------------------------------


class WiredPins(VirtualPins):
    """GPIO 23 and 24 soldered to a chip's reset and BOOT."""

    def __init__(self, chip: VirtualCc2652) -> None:
        super().__init__(pulled={23: 1, 24: 1})
        self.chip = chip

    def change(self, gpio: int, function: int, latch: int) -> None:
        super().change(gpio, function, latch)
        self.chip.backdoor_low = self.level(24) == 0
        self.chip.set_reset_pin(self.level(23) == 0)


def test_two_pins_open_the_bootloader_of_a_running_firmware() -> None:
    chip = VirtualCc2652()
    chip.flash[:] = make_flash(352 * 1024)
    chip.reset()
    assert not chip.in_bootloader
    gpio = prepare(VirtualGpio(WiredPins(chip)), reads_outputs=True)
    reset, boot = PINS.radio_reset, PINS.radio_boot
    assert reset is not None
    assert boot is not None
    enter_by_lines(RadioPins(gpio, reset, boot))
    assert chip.in_bootloader
    assert not chip.backdoor_low, "let go again"


def test_flash_by_pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "fw.bin"
    image.write_bytes(make_flash(352 * 1024, seed=2))
    chip = VirtualCc2652()
    chip.flash[:] = make_flash(352 * 1024)
    chip.reset()
    gpio = prepare(VirtualGpio(WiredPins(chip)), reads_outputs=True)
    monkeypatch.setattr("agent.cli.flash_radio.open_pins", lambda profile, folder: gpio)
    with PtyServer(chip) as stick:
        arguments = ["flash", "radio", "--port", stick.path, "--image", str(image), "--entry", "pins"]
        assert main(arguments) == 2
        assert "--entry pins needs --profile NAME" in capsys.readouterr().err
        assert main([*arguments, "--profile", "virtual"]) == 2
        assert "radio_reset and pins.radio_boot are not both there" in capsys.readouterr().err
        assert main([*arguments, "--profile", "raspberry-pi-4"]) == 0
    assert bytes(chip.flash) == image.read_bytes()
