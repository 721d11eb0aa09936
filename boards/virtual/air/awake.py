"""How long a radio was awake: what a battery pays for, measured where it is true, in the radio itself.

Awake means that the receiver is on or something is being transmitted. What is counted while the receiver is off: the
clear channel assessments, the frame, and the wait for its acknowledgement. Not counted, since it is the silicon's and
not the protocol's: start-up of the oscillator, turnaround before the first symbol, the processor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RadioUse:
    """Since the radio was made, in seconds of the air. ``polls``: MAC data requests, their repetitions not counted."""

    seconds: float = 0.0
    awake_s: float = 0.0
    polls: int = 0

    @property
    def share(self) -> float:
        """Of the time, 0 to 1."""
        return self.awake_s / self.seconds if self.seconds > 0 else 0.0

    def since(self, earlier: RadioUse) -> RadioUse:
        """What came after ``earlier``."""
        return RadioUse(self.seconds - earlier.seconds, self.awake_s - earlier.awake_s, self.polls - earlier.polls)


class AwakeMeter:
    """One radio's, over every restart of its chip."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.polls = 0
        self._now = now
        self._made_s = now()
        self._awake_s = 0.0
        self._since_s: float | None = None  # the receiver is on since then

    def set_receiver(self, on: bool) -> None:
        """The receiver goes on or off. Harmless when it is so already."""
        if on and self._since_s is None:
            self._since_s = self._now()
        elif not on and self._since_s is not None:
            self._awake_s += self._now() - self._since_s
            self._since_s = None

    def transmitted(self, seconds: float) -> None:
        """So long for one attempt of a frame; part of the receiver's time where that is on."""
        if self._since_s is None:
            self._awake_s += seconds

    def use(self) -> RadioUse:
        """Until now."""
        now = self._now()
        receiving_s = 0.0 if self._since_s is None else now - self._since_s
        return RadioUse(now - self._made_s, self._awake_s + receiving_s, self.polls)
