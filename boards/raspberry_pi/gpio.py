"""The one place that talks to RPi.GPIO, or to what offers the same functions.

Two libraries bear that name. They differ in what a line sees while a program starts:

===========================  =========================================  ============================================
                             RPi.GPIO (Pi 3, 4, Zero 2 W, CM4)          rpi-lgpio (Pi 5, recent kernels)
===========================  =========================================  ============================================
``setup(OUT)``               direction only: the latch keeps its level  takes the line as an *input*, reads it, then
                                                                        drives that: an output floats meanwhile
``setup(OUT, initial=x)``    latch, then direction                      taken as an output at x: no moment between
the program's end            nothing                                    the kernel frees the line: Raspberry Pi's
                                                                        keeps an output as it is, unless told otherwise
                                                                        (``strict_gpiod``, ``persist_gpio_outputs=n``)
===========================  =========================================  ============================================

Hence: an output that is to keep its level is never set up as an input and, under rpi-lgpio, never without ``initial``;
its level comes from ``LevelMemory`` there. ``cleanup()`` makes an input of every line, and is never called.
(raspberry-gpio-python, ``setup_one``; lg, ``lgGpioRead``; raspberrypi/linux pull requests 6117 and 6150.)
"""

from __future__ import annotations

import importlib
import sys
import time
from dataclasses import dataclass
from typing import Protocol, cast

import structlog

from agent.errors import SettingsError, StorageError
from boards.raspberry_pi.memory import LevelMemory
from boards.raspberry_pi.profile import ButtonPin, Pin, RelayPin

MODULE = "RPi.GPIO"
CLASSIC = "RPi._GPIO"  # the extension module that only the original has

log = structlog.get_logger(__name__)


class GpioModule(Protocol):
    """The functions of RPi.GPIO that we use."""

    BCM: int
    IN: int
    OUT: int
    PUD_OFF: int
    PUD_DOWN: int
    PUD_UP: int

    def setwarnings(self, value: bool, /) -> None:
        """Warnings about lines that are outputs already: ours are meant to be."""

    def setmode(self, mode: int, /) -> None:
        """BCM or BOARD numbers."""

    def gpio_function(self, channel: int, /) -> int:
        """IN, OUT or another function; disturbs nothing."""

    def setup(self, channel: int, direction: int, pull_up_down: int = ..., initial: int = ...) -> None:
        """Take a line."""

    def input(self, channel: int, /) -> int:
        """The level of a line that was taken, also of an output."""

    def output(self, channel: int, level: int, /) -> None:
        """Drive a line that was taken as an output."""


@dataclass(frozen=True, slots=True)
class Gpio:
    """A module ready to use. ``reads_outputs``: an output can be taken as it is, without ``initial``."""

    module: GpioModule
    reads_outputs: bool

    def output_pin(self, pin: Pin, memory: LevelMemory | None = None, *, default: bool = False) -> OutputPin:
        """Take a line that keeps its level; ``default`` is for one that is no output yet. Raises SettingsError."""
        try:
            return OutputPin(self, pin, memory, default=default)
        except gpio_errors() as error:
            raise SettingsError(explain(error, pin.gpio)) from None

    def input_pin(self, pin: Pin) -> InputPin:
        """Take a line to read it. Raises SettingsError."""
        try:
            return InputPin(self, pin)
        except gpio_errors() as error:
            raise SettingsError(explain(error, pin.gpio)) from None


def open_gpio() -> Gpio:
    """This machine's pins. Raises SettingsError off a Raspberry Pi, or without the library, naming the remedy."""
    try:
        module = importlib.import_module(MODULE)
    except ImportError as error:
        raise SettingsError(f"{MODULE} cannot be imported ({error}): {_REMEDY}") from None
    except (RuntimeError, NotImplementedError) as error:
        raise SettingsError(f"this is not a Raspberry Pi that {MODULE} knows ({error}): {_REMEDY}") from None
    return prepare(cast(GpioModule, module), reads_outputs=CLASSIC in sys.modules)


def prepare(module: GpioModule, *, reads_outputs: bool) -> Gpio:
    """BCM numbers, no warnings. Raises SettingsError where the pins cannot be opened."""
    try:
        module.setwarnings(False)
        module.setmode(module.BCM)
    except gpio_errors() as error:
        raise SettingsError(explain(error)) from None
    return Gpio(module, reads_outputs)


_REMEDY = (
    "on a Raspberry Pi install it (pip install 'han-agent[pi]', or the package python3-rpi-lgpio for a Pi 5 and recent "
    'kernels); elsewhere use the virtual board: profile = "virtual" in [board]'
)


class OutputPin:
    """A line that is driven from the first moment on at the level that it had."""

    def __init__(self, gpio: Gpio, pin: Pin, memory: LevelMemory | None, *, default: bool) -> None:
        self._module = gpio.module
        self._pin = pin
        self._memory = memory
        module = gpio.module
        known = memory.recall() if memory else None
        if module.gpio_function(pin.gpio) != module.OUT:  # the machine has just come up
            module.setup(pin.gpio, module.OUT, initial=pin.level(default))
        elif gpio.reads_outputs:
            module.setup(pin.gpio, module.OUT)
        else:
            module.setup(pin.gpio, module.OUT, initial=pin.level(default) if known is None else known)
        if memory:
            memory.remember(module.input(pin.gpio))

    def read(self) -> bool:
        """True when it is on, as the line says."""
        return self._pin.is_on(self._module.input(self._pin.gpio))

    def set(self, on: bool) -> None:
        """Remembered, then driven: power that fails between finds the decision. The load goes before a full disk."""
        level = self._pin.level(on)
        try:
            if self._memory:
                self._memory.remember(level)
        except StorageError as error:
            log.error("pin level not remembered", gpio=self._pin.gpio, level=level, reason=str(error))
        self._module.output(self._pin.gpio, level)


class InputPin:
    """A line that is only read."""

    def __init__(self, gpio: Gpio, pin: Pin) -> None:
        self._module = gpio.module
        self._pin = pin
        pull = pin.pull if isinstance(pin, ButtonPin) else "none"
        module = gpio.module
        pulls = {"up": module.PUD_UP, "down": module.PUD_DOWN, "none": module.PUD_OFF}
        module.setup(pin.gpio, module.IN, pull_up_down=pulls[pull])

    def read(self) -> bool:
        """True when it is on (pressed)."""
        return self._pin.is_on(self._module.input(self._pin.gpio))


class PinRelay:
    """``agent.ports.Relay`` on one line, and its auxiliary contact where there is one."""

    def __init__(self, gpio: Gpio, pin: RelayPin, memory: LevelMemory) -> None:
        """Takes the line without moving it. Raises SettingsError or StorageError."""
        self._coil = gpio.output_pin(pin, memory, default=pin.default == "connected")
        self._contact = gpio.input_pin(pin.read_back) if pin.read_back else None

    def read(self) -> bool:
        """True when the load is connected."""
        return self._contact.read() if self._contact else self._coil.read()

    def set(self, connected: bool) -> None:
        """Only a load-control command, or a person at ``han-agent board test``, does this."""
        self._coil.set(connected)


class RadioPins:
    """``flash.cc2652.entry.Lines`` on the two pins of a HAT: DTR is BOOT, RTS is reset."""

    def __init__(self, gpio: Gpio, reset: Pin, boot: Pin) -> None:
        """Takes both lines, let go. Raises SettingsError."""
        self._module = gpio.module
        self._reset, self._boot = reset, boot
        try:
            for pin in (boot, reset):
                gpio.module.setup(pin.gpio, gpio.module.OUT, initial=pin.level(False))
        except gpio_errors() as error:
            raise SettingsError(explain(error, reset.gpio)) from None

    def set_dtr(self, asserted: bool) -> None:
        """The BOOT pin."""
        self._module.output(self._boot.gpio, self._boot.level(asserted))

    def set_rts(self, asserted: bool) -> None:
        """The reset pin."""
        self._module.output(self._reset.gpio, self._reset.level(asserted))

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)


def gpio_errors() -> tuple[type[Exception], ...]:
    """What both libraries raise; ``lgpio.error`` stands beside the built-in ones."""
    own = getattr(sys.modules.get("lgpio"), "error", None)
    return (RuntimeError, ValueError, OSError, *([own] if own else []))


def explain(error: Exception, gpio: int | None = None) -> str:
    """What a person can do about it."""
    where = "the GPIO pins" if gpio is None else f"GPIO {gpio}"
    text = str(error)
    if any(word in text.lower() for word in ("access", "permission", "can not open", "root")):
        return (
            f"{where}: no permission ({text}); join their group with: sudo usermod -aG gpio $USER, then log in again "
            "(the service: systemd/han-agent.sysusers and han-agent.rules)"
        )
    if "busy" in text.lower() or "not allocated" in text.lower():
        return f"{where}: another program holds it ({text}); gpioinfo says which; the agent: systemctl stop han-agent"
    return f"{where}: {text}"
