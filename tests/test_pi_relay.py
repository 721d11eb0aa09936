"""A relay is never moved but by ``set``: not at start, restart, exit or crash, under either library of that name."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_factory import steady

from agent.errors import SettingsError, StorageError
from boards.raspberry_pi.gpio import OutputPin, PinRelay, RadioPins, open_gpio, prepare
from boards.raspberry_pi.led import Light, StatusLed
from boards.raspberry_pi.memory import LevelMemory
from boards.raspberry_pi.profile import Pin, RelayPin
from boards.virtual.gpio import IN, OUT, VirtualGpio, VirtualPins

RELAY = 17
BOOT, NEXT_BOOT = "boot-1", "boot-2"
BOTH = pytest.mark.parametrize("lgpio", [False, True], ids=["RPi.GPIO", "rpi-lgpio"])


def start(pins: VirtualPins, folder: Path, *, lgpio: bool = False, boot: str = BOOT, **changes: object) -> PinRelay:
    """A program starts and opens the relay."""
    gpio = prepare(VirtualGpio(pins, lgpio=lgpio), reads_outputs=not lgpio)
    fields: dict[str, object] = {"gpio": RELAY, **changes}
    return PinRelay(gpio, RelayPin(**fields), LevelMemory(folder, RELAY, boot))  # type: ignore[arg-type]


@BOTH
@pytest.mark.parametrize("default", ["connected", "disconnected"])
@pytest.mark.parametrize("active", ["high", "low"])
def test_after_power_up_it_has_its_default_without_a_spike(
    tmp_path: Path, lgpio: bool, default: str, active: str
) -> None:
    wired = int((default == "connected") == (active == "high"))  # the resistor of the relay board
    pins = VirtualPins(pulled={RELAY: wired})
    relay = start(pins, tmp_path, lgpio=lgpio, default=default, active=active)
    assert relay.read() is (default == "connected")
    assert pins.function(RELAY) == OUT
    assert pins.history == [], "the level on the wire has changed"


@BOTH
@pytest.mark.parametrize("connected", [True, False])
def test_a_restart_keeps_the_state_and_touches_nothing(tmp_path: Path, lgpio: bool, connected: bool) -> None:
    pins = VirtualPins()
    start(pins, tmp_path, lgpio=lgpio).set(connected)
    before = list(pins.history)
    for _ in range(3):  # however it ended: an end runs no code of ours
        assert start(pins, tmp_path, lgpio=lgpio).read() is connected
    assert pins.history == before


@BOTH
def test_an_output_of_the_firmware_s_own_is_taken_over_only_where_it_can_be_read(tmp_path: Path, lgpio: bool) -> None:
    """config.txt can drive a line (gpio=17=op,dh). Under rpi-lgpio its level cannot be known without losing it."""
    pins = VirtualPins()
    pins.change(RELAY, OUT, 1)
    assert start(pins, tmp_path, lgpio=lgpio, default="disconnected").read() is not lgpio
    assert len(pins.history) == (2 if lgpio else 1)


@BOTH
def test_what_was_driven_before_the_machine_went_down_is_forgotten(tmp_path: Path, lgpio: bool) -> None:
    pins = VirtualPins()
    start(pins, tmp_path, lgpio=lgpio).set(True)
    pins.lose_power()
    assert pins.history == [(RELAY, 1), (RELAY, 0)]
    assert start(pins, tmp_path, lgpio=lgpio, boot=NEXT_BOOT).read() is False
    assert pins.history == [(RELAY, 1), (RELAY, 0)]


def test_rpi_lgpio_would_have_let_go_of_it_for_a_moment(tmp_path: Path) -> None:
    """The trap that ``initial`` avoids: the stand-in shows it, as lg does (lgGpioRead claims an input)."""
    pins = VirtualPins()
    start(pins, tmp_path, lgpio=True).set(True)
    del pins.history[:]
    module = VirtualGpio(pins, lgpio=True)
    module.setmode(module.BCM)
    module.setup(RELAY, module.OUT)
    assert pins.history == [(RELAY, 0)]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"boot_id": "boot-1", "level": 7}', b"\xff\xfe", b"null"])
def test_a_torn_memory_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / f"gpio-{RELAY}.json").write_bytes(content)
    assert LevelMemory(tmp_path, RELAY, BOOT).recall() is None


def test_a_machine_that_tells_no_boot_id_has_no_memory(tmp_path: Path) -> None:
    LevelMemory(tmp_path, RELAY, "").remember(1)
    assert LevelMemory(tmp_path, RELAY, "").recall() is None


def test_a_folder_that_cannot_be_written_is_told_at_start(tmp_path: Path) -> None:
    (tmp_path / "pins").write_text("in the way")
    with pytest.raises(StorageError, match=r"gpio-17\.json: cannot be written: .*board\.pins"):
        start(VirtualPins(), tmp_path / "pins")


def test_a_full_disk_does_not_stop_the_load_from_being_switched(tmp_path: Path) -> None:
    pins = VirtualPins()
    relay = start(pins, tmp_path / "pins")
    (tmp_path / "pins" / f"gpio-{RELAY}.json").unlink()
    (tmp_path / "pins").rmdir()
    (tmp_path / "pins").write_text("in the way")
    relay.set(True)
    assert pins.level(RELAY) == 1


def test_the_auxiliary_contact_is_what_counts(tmp_path: Path) -> None:
    pins = VirtualPins(pulled={5: 0})
    relay = start(pins, tmp_path, read_back=Pin(gpio=5))
    relay.set(True)
    assert relay.read() is False, "the coil is driven, yet the contact says that it has not moved"
    pins.pulled[5] = 1
    assert relay.read() is True


@steady
@given(st.lists(st.sampled_from(["on", "off", "restart", "crash", "power"]), max_size=30), st.booleans())
def test_only_commands_and_power_move_it(steps: list[str], lgpio: bool) -> None:
    """State x input: after any walk the relay is as last told, and the wire moved only then."""
    with tempfile.TemporaryDirectory() as name:
        folder, pins, boot = Path(name), VirtualPins(), 0
        relay, expected, moves = start(pins, folder, lgpio=lgpio, boot="0"), False, 0
        for step in steps:
            before = expected
            if step in ("on", "off"):
                expected = step == "on"
                relay.set(expected)
            elif step == "power":
                boot, expected = boot + 1, False
                pins.lose_power()
            if step not in ("on", "off"):
                relay = start(pins, folder, lgpio=lgpio, boot=str(boot))
            moves += before != expected
            assert relay.read() is expected
            assert len(pins.history) == moves


PROGRAM = """
import os, sys
from pathlib import Path
from boards.raspberry_pi.gpio import PinRelay, prepare
from boards.raspberry_pi.memory import LevelMemory
from boards.raspberry_pi.profile import RelayPin
from boards.virtual.gpio import VirtualGpio, VirtualPins
folder = Path(sys.argv[1])
gpio = prepare(VirtualGpio(VirtualPins(folder / "pins.json")), reads_outputs=True)
relay = PinRelay(gpio, RelayPin(gpio=17), LevelMemory(folder, 17))
print(relay.read(), flush=True)
relay.set(True)
exec(sys.argv[2])
"""


@pytest.mark.parametrize("end", ["sys.exit(0)", "raise RuntimeError", "os.kill(os.getpid(), 9)", "os._exit(75)"])
def test_a_real_process_may_end_in_any_way(tmp_path: Path, end: str) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), end]
    root = Path(__file__).parents[1]
    done = [subprocess.run(command, cwd=root, capture_output=True, text=True, check=False) for _ in range(2)]
    assert [one.stdout.strip() for one in done] == ["False", "True"], done[0].stderr
    assert done[0].returncode in (0, 1, 75, -signal.SIGKILL)
    assert json.loads((tmp_path / "pins.json").read_text()) == {"17": {"output": True, "level": 1}}


# --- the library itself -----------------------------------------------------------------------------------------------


def test_off_a_pi_the_message_names_the_virtual_board() -> None:
    with pytest.raises(SettingsError, match=r"RPi\.GPIO.*han-agent\[pi\].*python3-rpi-lgpio.*profile = \"virtual\""):
        open_gpio()


FAKE = """
VERSION = "0.7.1"
BCM, IN, OUT, PUD_OFF, PUD_DOWN, PUD_UP = 11, 1, 0, 20, 21, 22
{body}
"""


@pytest.mark.parametrize(
    ("library", "said"),
    [
        ('raise RuntimeError("This module can only be run on a Raspberry Pi!")', "not a Raspberry Pi that RPi.GPIO"),
        ('raise NotImplementedError("old-style revision codes")', "not a Raspberry Pi that RPi.GPIO"),
        (
            'def setwarnings(value): pass\ndef setmode(mode): raise RuntimeError("No access to /dev/mem. Try as root")',
            r"no permission .*usermod -aG gpio",
        ),
        (
            "import lgpio\ndef setwarnings(value): pass\ndef setmode(mode): raise lgpio.error('can not open gpiochip')",
            r"no permission .*usermod -aG gpio",
        ),
        (
            "def setwarnings(value): pass\ndef setmode(mode): raise ValueError('A different mode is set')",
            "the GPIO pins: A different mode",
        ),
    ],
    indirect=["library"],
)
@pytest.mark.usefixtures("library")
def test_what_the_library_raises_is_told(said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        open_gpio()


MODULES = ("RPi", "RPi.GPIO", "RPi._GPIO", "lgpio")


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """A module of the library's name in the path, laid out as the library's own package is."""
    (tmp_path / "RPi" / "GPIO").mkdir(parents=True)
    (tmp_path / "RPi" / "__init__.py").write_text("")
    (tmp_path / "RPi" / "_GPIO.py").write_text("")
    (tmp_path / "RPi" / "GPIO" / "__init__.py").write_text(FAKE.format(body=request.param))
    (tmp_path / "lgpio.py").write_text("class error(Exception): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


SILENT = "\ndef setwarnings(value): pass\ndef setmode(mode): assert mode == BCM"


@pytest.mark.parametrize(
    ("library", "classic"),
    [("from RPi._GPIO import *" + SILENT, True), ("import lgpio" + SILENT, False)],
    indirect=["library"],
)
@pytest.mark.usefixtures("library")
def test_the_two_libraries_are_told_apart(classic: bool) -> None:
    assert open_gpio().reads_outputs is classic


def test_a_line_in_use_is_told() -> None:
    class Busy(VirtualGpio):
        def setup(self, channel: int, direction: int, *args: object, **options: object) -> None:  # type: ignore[override]
            raise RuntimeError("GPIO busy")

    gpio = prepare(Busy(VirtualPins()), reads_outputs=True)
    with pytest.raises(SettingsError, match="GPIO 17: another program holds it"):
        gpio.output_pin(Pin(gpio=RELAY))
    with pytest.raises(SettingsError, match="GPIO 17: another program holds it"):
        gpio.input_pin(Pin(gpio=RELAY))
    with pytest.raises(SettingsError, match="GPIO 23: another program holds it"):
        RadioPins(gpio, Pin(gpio=23), Pin(gpio=24))


# --- the LED and the radio's lines ------------------------------------------------------------------------------------


def test_the_led_blinks_by_the_clock_and_is_only_touched_at_a_change() -> None:
    pins = VirtualPins()
    pin = prepare(VirtualGpio(pins), reads_outputs=True).output_pin(Pin(gpio=27))
    assert isinstance(pin, OutputPin)
    led = StatusLed(pin)
    for tenth in range(40):
        led.show(Light.SLOW, tenth / 10)
    assert pins.history == [(27, 1), (27, 0), (27, 1), (27, 0)]
    for light, shines in ((Light.STEADY, True), (Light.DARK, False), (Light.FLASH, True)):
        led.show(light, 4.0)
        assert pins.level(27) == shines


def test_the_radio_s_lines_are_let_go_at_first_and_active_low() -> None:
    pins = VirtualPins(pulled={23: 1, 24: 1})
    lines = RadioPins(
        prepare(VirtualGpio(pins), reads_outputs=True), Pin(gpio=23, active="low"), Pin(gpio=24, active="low")
    )
    assert pins.history == []
    lines.set_dtr(True)
    lines.set_rts(True)
    lines.set_rts(False)
    assert pins.history == [(24, 0), (23, 0), (23, 1)]


# --- the stand-in itself ----------------------------------------------------------------------------------------------


def test_the_stand_in_is_as_strict_as_the_library() -> None:
    module = VirtualGpio(VirtualPins())
    with pytest.raises(RuntimeError, match="set pin numbering mode"):
        module.gpio_function(RELAY)
    with pytest.raises(ValueError, match="invalid mode"):
        module.setmode(module.BOARD)
    module.setmode(module.BCM)
    with pytest.raises(RuntimeError, match=r"setup\(\) the GPIO channel first"):
        module.input(RELAY)
    with pytest.raises(RuntimeError, match="not been set up as an OUTPUT"):
        module.output(RELAY, 1)
    with pytest.raises(ValueError, match="invalid direction"):
        module.setup(RELAY, 7)
    with pytest.raises(ValueError, match="not valid for inputs"):
        module.setup(RELAY, IN, initial=1)
    with pytest.raises(ValueError, match="invalid on a Raspberry Pi"):
        module.setup(54, IN)


def test_cleanup_is_what_would_move_a_relay(tmp_path: Path) -> None:
    pins = VirtualPins()
    module = VirtualGpio(pins)
    PinRelay(prepare(module, reads_outputs=True), RelayPin(gpio=RELAY), LevelMemory(tmp_path, RELAY)).set(True)
    module.cleanup()
    assert pins.history == [(RELAY, 1), (RELAY, 0)]


@pytest.mark.parametrize("content", ["{", "[]", '{"17": {"level": 1}}', '{"x": {"level": 1, "output": true}}'])
def test_a_pins_file_that_is_none_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "pins.json").write_text(content)
    with pytest.raises(StorageError, match="not the virtual board's pins"):
        VirtualPins(tmp_path / "pins.json")


def test_a_pins_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "in-the-way").write_text("")
    pins = VirtualPins(tmp_path / "in-the-way" / "pins.json")
    with pytest.raises(StorageError, match="cannot be written"):
        pins.change(RELAY, OUT, 1)


def test_no_code_of_ours_calls_cleanup() -> None:
    root = Path(__file__).parents[1]
    for folder in ("agent", "boards/raspberry_pi", "flash"):
        for path in (root / folder).rglob("*.py"):
            code = path.read_text(encoding="utf-8").replace("``cleanup()``", "")
            assert "cleanup(" not in code, path
