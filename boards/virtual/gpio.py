"""Pins that are not there: the functions of RPi.GPIO on lines kept in a file, or in memory for the tests.

``VirtualPins`` is the hardware and outlives programs as a Pi's pin controller does; ``VirtualGpio`` is what one program
imports. It behaves as RPi.GPIO, or as rpi-lgpio where that differs (see ``boards.raspberry_pi.gpio``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from agent.errors import StorageError
from boards.raspberry_pi.memory import write_durably

IN, OUT = 1, 0


class VirtualPins:
    """The lines. ``pulled`` gives the level of a line that nobody drives; others read low then."""

    def __init__(self, path: Path | None = None, pulled: Mapping[int, int] | None = None) -> None:
        """Raises StorageError when the file is there and is not ours."""
        self._path = path
        self.pulled = dict(pulled or {})
        self._lines: dict[int, tuple[int, int]] = {}  # gpio -> (function, latch)
        self.history: list[tuple[int, int]] = []  # every change of a level on a wire: (gpio, level)
        if path and path.exists():
            self._lines = _parse(path)

    def level(self, gpio: int) -> int:
        """What a meter on the wire shows."""
        function, latch = self._lines.get(gpio, (IN, 0))
        return latch if function == OUT else self.pulled.get(gpio, 0)

    def function(self, gpio: int) -> int:
        """IN or OUT."""
        return self._lines.get(gpio, (IN, 0))[0]

    def latch(self, gpio: int) -> int:
        """What would be driven."""
        return self._lines.get(gpio, (IN, 0))[1]

    def change(self, gpio: int, function: int, latch: int) -> None:
        """Set direction and latch at once. Raises StorageError when the file cannot be written."""
        before = self.level(gpio)
        self._lines[gpio] = (function, latch)
        if self.level(gpio) != before:
            self.history.append((gpio, self.level(gpio)))
        self._save()

    def lose_power(self) -> None:
        """All lines are inputs, as after every reset of the machine."""
        for gpio in self._lines:
            self.change(gpio, IN, 0)

    def _save(self) -> None:
        if self._path is None:
            return
        lines = {str(gpio): {"output": line[0] == OUT, "level": line[1]} for gpio, line in sorted(self._lines.items())}
        try:
            write_durably(self._path, json.dumps(lines, indent=1).encode() + b"\n")
        except OSError as error:
            raise StorageError(f"{self._path}: the virtual pins cannot be written: {error.strerror}") from None


class VirtualGpio:
    """One program's view. ``lgpio`` True: behaves as rpi-lgpio."""

    BCM, BOARD = 11, 10
    IN, OUT = IN, OUT
    LOW, HIGH = 0, 1
    PUD_OFF, PUD_DOWN, PUD_UP = 20, 21, 22

    def __init__(self, pins: VirtualPins, *, lgpio: bool = False) -> None:
        self.pins = pins
        self._lgpio = lgpio
        self._mode: int | None = None
        self._taken: dict[int, int] = {}

    def setwarnings(self, value: bool, /) -> None:
        """There are none."""

    def setmode(self, mode: int, /) -> None:
        """Only BCM numbers are modelled."""
        if mode != self.BCM:
            raise ValueError("An invalid mode was passed to setmode()")
        self._mode = mode

    def gpio_function(self, channel: int, /) -> int:
        """Disturbs nothing."""
        self._check(channel)
        return self.pins.function(channel)

    def setup(self, channel: int, direction: int, pull_up_down: int | None = None, initial: int | None = None) -> None:
        """Take a line."""
        self._check(channel)
        if direction == self.IN:
            if initial is not None:
                raise ValueError("initial parameter is not valid for inputs")
            if pull_up_down in (self.PUD_UP, self.PUD_DOWN):
                self.pins.pulled.setdefault(channel, int(pull_up_down == self.PUD_UP))
            self.pins.change(channel, IN, self.pins.latch(channel))
        elif direction == self.OUT:
            if initial is None and self._lgpio and channel not in self._taken:
                self.pins.change(channel, IN, self.pins.latch(channel))
                initial = self.pins.level(channel)
            self.pins.change(channel, OUT, self.pins.latch(channel) if initial is None else int(bool(initial)))
        else:
            raise ValueError("An invalid direction was passed to setup()")
        self._taken[channel] = direction

    def input(self, channel: int, /) -> int:
        """The level on the wire."""
        self._check(channel)
        if channel not in self._taken:
            raise RuntimeError("You must setup() the GPIO channel first")
        return self.pins.level(channel)

    def output(self, channel: int, level: int, /) -> None:
        """Drive it."""
        self._check(channel)
        if self._taken.get(channel) != self.OUT:
            raise RuntimeError("The GPIO channel has not been set up as an OUTPUT")
        self.pins.change(channel, OUT, int(bool(level)))

    def cleanup(self) -> None:
        """Every line that this program took becomes an input: what must never happen to a relay."""
        for channel in self._taken:
            self.pins.change(channel, IN, self.pins.latch(channel))
        self._taken.clear()

    def _check(self, channel: int) -> None:
        if self._mode is None:
            raise RuntimeError("Please set pin numbering mode using GPIO.setmode(GPIO.BOARD) or GPIO.setmode(GPIO.BCM)")
        if not 0 <= channel < 54:
            raise ValueError("The channel sent is invalid on a Raspberry Pi")


def _parse(path: Path) -> dict[int, tuple[int, int]]:
    try:
        lines = json.loads(path.read_text(encoding="ascii"))
        return {int(gpio): (OUT if line["output"] else IN, int(bool(line["level"]))) for gpio, line in lines.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{path}: not the virtual board's pins ({error!r}); remove it") from None
