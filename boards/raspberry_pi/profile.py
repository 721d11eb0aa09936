"""Board profiles: which machine, which UART its radio HAT is on, which pin does what. One TOML a board.

Pins are BCM numbers (GPIO 17, not header pin 11). ``active`` is the level at which a thing is on, pressed, asserted.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from agent.errors import SettingsError
from agent.settings import load

HEADER_PINS = (2, 27)  # GPIO 0 and 1 belong to the HAT's identification EEPROM
SUFFIX = ".toml"

Level = Literal["high", "low"]
GpioNumber = Annotated[int, msgspec.Meta(ge=HEADER_PINS[0], le=HEADER_PINS[1])]


class Pin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One GPIO line."""

    gpio: GpioNumber
    active: Level = "high"

    def level(self, on: bool) -> int:
        """The wire's level for on or off: 1 or 0."""
        return int(on == (self.active == "high"))

    def is_on(self, level: int) -> bool:
        """The inverse of ``level``."""
        return bool(level) == (self.active == "high")


class ButtonPin(Pin, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An input with a push button."""

    active: Level = "low"
    pull: Literal["up", "down", "none"] = "up"


class RelayPin(Pin, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The HCALCS load switch. ``default``: how the load is when the machine has just come up."""

    default: Literal["connected", "disconnected"] = "disconnected"
    read_back: Pin | None = None  # an auxiliary contact; without one the driven level itself is read


class Pins(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is wired. Everything may be left out."""

    radio_reset: Pin | None = None
    radio_boot: Pin | None = None
    status_led: Pin | None = None
    button: ButtonPin | None = None
    relay: RelayPin | None = None


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One board."""

    title: str
    driver: Literal["rpi-gpio", "virtual"]
    models: list[str] = []  # beginnings of /proc/device-tree/model
    uart: str = ""  # where a radio HAT is, as a path
    boot_config: list[str] = []  # lines of config.txt that this UART needs
    console_on_uart: bool = False  # console=serial0 of cmdline.txt is this UART, and has to go
    gpt: bool = False  # the machine boots from a GPT too, not from an MBR only
    tried: str = ""  # on which metal, when and by whom; empty: untried
    pins: Pins = Pins()
    name: str = ""  # the file's, set by the loader

    def fits(self, model: str) -> bool:
        """Whether this is the profile of a machine that calls itself ``model``."""
        return any(re.match(re.escape(known) + r"(\W|$)", model) for known in self.models)


def load_profile(name: str) -> Profile:
    """By the name of a shipped one, or the path of a file. Raises SettingsError with the names there are."""
    if name.endswith(SUFFIX):
        return _check(load(Path(name), Profile), name, Path(name).stem)
    for shipped in profiles():
        if shipped.name == name:
            return shipped
    known = ", ".join(profile.name for profile in profiles())
    raise SettingsError(f"board.profile: {name!r} is not one of {known}, nor the path of a {SUFFIX} file")


def profiles() -> Iterator[Profile]:
    """Every shipped profile, by name."""
    folder = importlib.resources.files("boards") / "profiles"
    for item in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if item.name.endswith(SUFFIX):
            with importlib.resources.as_file(item) as path:
                yield _check(load(path, Profile), item.name, item.name.removesuffix(SUFFIX))


def used_pins(pins: Pins) -> Iterator[tuple[str, Pin]]:
    """Every pin with the name of its function, in the order of the file."""
    for name in pins.__struct_fields__:
        pin = getattr(pins, name)
        if pin is not None:
            yield name, pin
            if isinstance(pin, RelayPin) and pin.read_back is not None:
                yield f"{name}.read_back", pin.read_back


def _check(profile: Profile, where: str, name: str) -> Profile:
    owners: dict[int, str] = {}
    for function, pin in used_pins(profile.pins):
        if pin.gpio in owners:
            raise SettingsError(f"{where}: pins.{function}: GPIO {pin.gpio} is already pins.{owners[pin.gpio]}")
        owners[pin.gpio] = function
    return msgspec.structs.replace(profile, name=name)
