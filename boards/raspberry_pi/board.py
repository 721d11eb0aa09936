"""The device's board, opened once at start: the relay and the status LED that its profile names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.errors import SettingsError
from agent.ports import Relay
from agent.settings import Settings
from boards.raspberry_pi.gpio import Gpio, PinRelay, open_gpio, prepare
from boards.raspberry_pi.led import StatusLed
from boards.raspberry_pi.memory import LevelMemory
from boards.raspberry_pi.profile import Profile, load_profile
from boards.virtual.gpio import VirtualGpio, VirtualPins

PINS_FILE = "virtual-pins.json"


@dataclass(frozen=True, slots=True)
class Board:
    """What the pins are for. None: not wired, or no profile."""

    relay: Relay | None = None
    led: StatusLed | None = None


def open_board(settings: Settings) -> Board:
    """The board of device.toml; an empty one without a profile. Raises SettingsError or StorageError."""
    if not settings.board.profile:
        return Board()
    profile = load_profile(settings.board.profile)
    gpio = open_pins(profile, settings.board.pins)
    pins, folder = profile.pins, settings.board.pins
    is_hcalcs = settings.role == "hcalcs"
    if is_hcalcs and pins.relay is None:
        raise SettingsError(f"board.profile: {profile.name} has no pins.relay, and an HCALCS switches a load with one")
    relay = PinRelay(gpio, pins.relay, LevelMemory(folder, pins.relay.gpio)) if is_hcalcs and pins.relay else None
    led = StatusLed(gpio.output_pin(pins.status_led)) if pins.status_led else None
    return Board(relay, led)


def open_pins(profile: Profile, folder: Path) -> Gpio:
    """The pins themselves: this machine's, or the virtual board's in ``folder``. Raises SettingsError, StorageError."""
    if profile.driver == "virtual":
        return prepare(VirtualGpio(VirtualPins(folder / PINS_FILE)), reads_outputs=True)
    return open_gpio()
