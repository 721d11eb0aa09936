"""Word to the service manager: ready, alive, stopping. systemd's own protocol (sd_notify(3)) over its socket.

Without ``NOTIFY_SOCKET`` in the environment every word goes nowhere: the program was not started by a manager that
listens.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class ServiceManager:
    """Who started us. ``watchdog_s`` is how long it waits for a sign of life; None when it does not."""

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_s = watchdog_s if address else None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], process: int | None = None) -> ServiceManager:
        """``WATCHDOG_PID`` must be ours, for the variables are inherited; what is garbled counts as absent."""
        process = os.getpid() if process is None else process
        try:
            watchdog_s = int(environment.get("WATCHDOG_USEC", "")) / 1e6
            meant = int(environment.get("WATCHDOG_PID", process))
        except ValueError:
            watchdog_s, meant = 0.0, process
        return cls(environment.get("NOTIFY_SOCKET", ""), watchdog_s if watchdog_s > 0 and meant == process else None)

    def ready(self, status: str) -> None:
        """The service works."""
        self._say(f"READY=1\nSTATUS={status}")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._say("WATCHDOG=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._say("STOPPING=1")

    def _say(self, text: str) -> None:
        """One datagram. A manager that does not take it will notice our silence by itself: nothing to raise."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
            line.setblocking(False)
            try:
                line.sendto(text.encode(), self._address)
            except OSError:
                return


class Pulse:
    """Feeds the watchdog while the machines answer: after a turn of the driver, and only if none of them is overdue.

    A machine that was called at its deadline and still wants to be called at a time long gone does not answer; a driver
    that hangs takes no turn at all. Both end in silence, and the manager starts the program anew.
    """

    def __init__(self, manager: ServiceManager, overdue_s: float = 10.0) -> None:
        self._manager = manager
        self._overdue_s = overdue_s
        self._last: float | None = None

    @property
    def interval_s(self) -> float | None:
        """How often a turn is needed at least; None without a watchdog."""
        return None if self._manager.watchdog_s is None else self._manager.watchdog_s / 4

    def beat(self, deadline: float | None, now: float) -> bool:
        """After a turn: ``deadline`` is what the node wants next. True when a sign of life went out."""
        interval_s = self.interval_s
        if interval_s is None or (deadline is not None and now - deadline > self._overdue_s):
            return False
        if self._last is not None and now - self._last < interval_s:
            return False
        self._last = now
        self._manager.alive()
        return True
