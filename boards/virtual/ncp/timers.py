"""The four timers that SYS_OSAL_START_TIMER gives to a host."""

from __future__ import annotations

from collections.abc import Callable

from boards.virtual.stack.interface import Cancel, Scheduler


class Timers:
    """By number; starting one again moves it."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._running: dict[int, Cancel] = {}

    def start(self, number: int, timeout_s: float, expired: Callable[[], None]) -> None:
        """Call ``expired`` once, ``timeout_s`` from now."""
        self.stop(number)

        def run() -> None:
            del self._running[number]
            expired()

        self._running[number] = self._scheduler.call_later(timeout_s, run)

    def stop(self, number: int) -> bool:
        """False when that timer was not running."""
        timer = self._running.pop(number, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def stop_all(self) -> None:
        """The chip is reset."""
        for number in list(self._running):
            self.stop(number)
