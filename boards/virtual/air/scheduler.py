"""Virtual time of the air: a scheduler for tests that never wait, and one that follows asyncio's clock.

Both keep one heap of events, and while a callback runs ``now()`` is the time for which it was scheduled. So a chain of
short delays is exact even where the operating system wakes us a millisecond late.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol

BATCH_LIMIT_S = 0.005  # our choice: after this long the asyncio scheduler lets sockets be served


class Cancel(Protocol):
    """What ``call_later`` returns."""

    def cancel(self) -> None:
        """The callback will not run. Harmless after it ran."""


class Scheduler(Protocol):
    """Virtual seconds on the air, monotonic, from 0."""

    @property
    def speed(self) -> float:
        """Virtual seconds in one second of the hosts. What a host counts on in its own seconds is multiplied by it."""

    def now(self) -> float:
        """The virtual time in seconds."""

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Cancel:
        """Run ``callback`` once, ``delay_s`` virtual seconds from ``now()``."""


class Timer:
    """One entry of the heap; cancelled entries stay there until their time comes."""

    __slots__ = ("callback", "deadline")

    def __init__(self, deadline: float, callback: Callable[[], None]) -> None:
        self.deadline = deadline
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class EventHeap:
    """Timers in order of time, then of creation."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Timer]] = []
        self._serial = itertools.count()

    def push(self, deadline: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(deadline, callback)
        heapq.heappush(self._entries, (deadline, next(self._serial), timer))
        return timer

    def next_deadline(self) -> float | None:
        """The time of the first timer that is still wanted, or None."""
        while self._entries and self._entries[0][2].callback is None:
            heapq.heappop(self._entries)
        return self._entries[0][0] if self._entries else None

    def pop(self) -> Timer:
        """The first entry. IndexError when there is none."""
        return heapq.heappop(self._entries)[2]


class ManualScheduler:
    """Time moves only when a test says so."""

    speed = 1.0

    def __init__(self) -> None:
        self._heap = EventHeap()
        self._now = 0.0

    def now(self) -> float:
        return self._now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Cancel:
        return self._heap.push(self._now + max(0.0, delay_s), callback)

    def next_deadline(self) -> float | None:
        """When the next callback is due, or None when nothing is left to happen."""
        return self._heap.next_deadline()

    def run_next(self) -> bool:
        """Go to the next event and run it. False when there is none."""
        if self._heap.next_deadline() is None:
            return False
        timer = self._heap.pop()
        self._now = timer.deadline
        if timer.callback is not None:
            timer.callback()
        return True

    def run_until(self, end_s: float) -> None:
        """Run every event up to and including ``end_s``, then stand at ``end_s``."""
        while (deadline := self._heap.next_deadline()) is not None and deadline <= end_s:
            self.run_next()
        self._now = max(self._now, end_s)

    def run_for(self, duration_s: float) -> None:
        """``run_until`` that many seconds from now."""
        self.run_until(self._now + duration_s)

    def run_while(self, condition: Callable[[], bool], limit_s: float) -> bool:
        """Run events while ``condition()`` holds; False when ``limit_s`` went by or nothing is left to happen."""
        end_s = self._now + limit_s
        while condition():
            deadline = self._heap.next_deadline()
            if deadline is None or deadline > end_s:
                return False
            self.run_next()
        return True


class AsyncioScheduler:
    """Virtual time = real time x ``speed``. Late wake-ups are caught up with in order, in batches.

    Virtual time never passes an event that has not run yet: when the machine is overloaded the air as a whole slows
    down, and no acknowledgement is late only because Python was.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, speed: float = 1.0) -> None:
        self._loop = loop
        self.speed = speed
        self._origin_s = loop.time()
        self._heap = EventHeap()
        self._now = 0.0
        self._running = False
        self._wake: asyncio.TimerHandle | None = None

    def now(self) -> float:
        if not self._running:
            deadline = self._heap.next_deadline()
            real = self._real_now()
            self._now = max(self._now, real if deadline is None else min(real, deadline))
        return self._now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Cancel:
        timer = self._heap.push(self.now() + max(0.0, delay_s), callback)
        self._arm()
        return timer

    def close(self) -> None:
        """Run nothing any more."""
        if self._wake is not None:
            self._wake.cancel()
        self._heap = EventHeap()

    def _real_now(self) -> float:
        return (self._loop.time() - self._origin_s) * self.speed

    def _arm(self) -> None:
        """Ask the loop to wake us for the first event; not while a batch runs, which arms at its end."""
        deadline = self._heap.next_deadline()
        if self._running or deadline is None:
            return
        when = self._origin_s + deadline / self.speed
        if self._wake is not None and not self._wake.cancelled():
            if self._wake.when() <= when:
                return
            self._wake.cancel()
        self._wake = self._loop.call_at(when, self._run_due)

    def _run_due(self) -> None:
        self._wake = None
        self._running = True
        stop_s = time.perf_counter() + BATCH_LIMIT_S
        try:
            while (deadline := self._heap.next_deadline()) is not None and deadline <= self._real_now():
                timer = self._heap.pop()
                self._now = max(self._now, deadline)
                if timer.callback is not None:
                    timer.callback()
                if time.perf_counter() > stop_s:
                    break
        finally:
            self._running = False
            self._arm()
