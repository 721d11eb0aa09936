"""The status LED: one light, five things to say."""

from __future__ import annotations

from enum import Enum

from boards.raspberry_pi.gpio import OutputPin

TICK_S = 0.25  # how often ``show`` is to be called


class Light(Enum):
    """Seconds on, seconds off. Our choice; told in boards/README.md."""

    DARK = (0.0, 1.0)
    STEADY = (1.0, 0.0)  # on the network, the hub answers
    SLOW = (1.0, 1.0)  # looking for the network or the hub
    QUICK = (0.25, 0.25)  # an image is coming in
    FLASH = (0.25, 1.75)  # a new image is on trial, or about to be
    WINK = (1.75, 0.25)  # no slot verifies: the factory agent

    def is_on(self, now: float) -> bool:
        """Whether it shines at this moment."""
        on_s, off_s = self.value
        return now % (on_s + off_s) < on_s


class StatusLed:
    """Driven by ``show``, called often; the line is only touched when its level changes."""

    def __init__(self, pin: OutputPin) -> None:
        self._pin = pin
        self._shines: bool | None = None

    def show(self, light: Light, now: float) -> None:
        """``now`` in seconds, any origin."""
        shines = light.is_on(now)
        if shines != self._shines:
            self._shines = shines
            self._pin.set(shines)
