"""The guided pin test: one function after the other, with a person who looks and presses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.errors import HanError
from boards.raspberry_pi.gpio import Gpio, PinRelay, RadioPins
from boards.raspberry_pi.memory import LevelMemory
from boards.raspberry_pi.profile import Pins

BLINKS = 5
BLINK_S = 0.3
PRESS_S = 15.0
SETTLE_S = 0.2  # a relay's contact needs some ten milliseconds
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Outcome:
    """``result``: ``ok``, ``failed`` or ``skipped``."""

    function: str
    gpio: int
    result: str
    detail: str


@dataclass(frozen=True, slots=True)
class Guide:
    """The person: ``ask`` is answered yes or no, ``tell`` is only read. ``wait`` lets seconds pass."""

    ask: Callable[[str], bool]
    tell: Callable[[str], None]
    wait: Callable[[float], None] = time.sleep


def walk_pins(gpio: Gpio, pins: Pins, memory_folder: Path | None, guide: Guide) -> Iterator[Outcome]:
    """Every function that is wired. ``memory_folder`` is the agent's own (board.pins); without it no relay is moved."""
    tests: list[tuple[str, int, Callable[[], tuple[str, str]]]] = []
    if pins.status_led:
        tests.append(("status_led", pins.status_led.gpio, lambda: _led(gpio, pins, guide)))
    if pins.button:
        tests.append(("button", pins.button.gpio, lambda: _button(gpio, pins, guide)))
    if pins.relay:
        tests.append(("relay", pins.relay.gpio, lambda: _relay(gpio, pins, memory_folder, guide)))
    if pins.radio_reset and pins.radio_boot:
        tests.append(("radio_reset", pins.radio_reset.gpio, lambda: _radio(gpio, pins, guide)))
    for function, number, run in tests:
        try:
            result, detail = run()
        except HanError as error:
            result, detail = "failed", str(error)
        yield Outcome(function, number, result, detail)


def _led(gpio: Gpio, pins: Pins, guide: Guide) -> tuple[str, str]:
    assert pins.status_led is not None  # noqa: S101 (asked by the caller)
    led = gpio.output_pin(pins.status_led)
    before = led.read()
    for _ in range(BLINKS):
        for on in (True, False):
            led.set(on)
            guide.wait(BLINK_S)
    led.set(before)
    return ("ok", "seen to blink") if guide.ask("Did the status LED blink?") else ("failed", "not seen to blink")


def _button(gpio: Gpio, pins: Pins, guide: Guide) -> tuple[str, str]:
    assert pins.button is not None  # noqa: S101
    button = gpio.input_pin(pins.button)
    if button.read():
        return "failed", "reads as pressed before anybody pressed it: wrong active level or pull?"
    guide.tell(f"Press the button within {PRESS_S:.0f} s.")
    for _ in range(int(PRESS_S / POLL_S)):
        if button.read():
            return "ok", "pressed"
        guide.wait(POLL_S)
    return "failed", f"not pressed within {PRESS_S:.0f} s"


def _relay(gpio: Gpio, pins: Pins, folder: Path | None, guide: Guide) -> tuple[str, str]:
    assert pins.relay is not None  # noqa: S101
    if folder is None:
        return "skipped", "needs --config: its board.pins is where the relay's level is remembered"
    if not guide.ask("The relay will be switched over and back, with whatever load is on it. Go on?"):
        return "skipped", "not wanted"
    relay = PinRelay(gpio, pins.relay, LevelMemory(folder, pins.relay.gpio))
    before = relay.read()
    try:
        relay.set(not before)
        guide.wait(SETTLE_S)
        moved = relay.read() is not before
        heard = guide.ask("Has the relay switched over?")
    finally:
        relay.set(before)
    guide.wait(SETTLE_S)
    if not moved or relay.read() is not before:
        return "failed", "the level read back does not follow"
    return ("ok", "switched over and back") if heard else ("failed", "the pin moved, the relay was not seen to")


def _radio(gpio: Gpio, pins: Pins, guide: Guide) -> tuple[str, str]:
    assert pins.radio_reset is not None  # noqa: S101
    assert pins.radio_boot is not None  # noqa: S101
    if not guide.ask("The radio on the header will be reset once. Go on?"):
        return "skipped", "not wanted"
    lines = RadioPins(gpio, pins.radio_reset, pins.radio_boot)
    lines.set_rts(True)
    guide.wait(SETTLE_S)
    lines.set_rts(False)
    return "ok", "reset pulsed; han-agent board probe shows whether the radio is back"
