"""What was told, numbered, for whoever asks later: the last few thousand happenings and whoever waits for the next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from boards.bench.happenings import TransferProgress

Event = dict[str, object]
LIMIT = 10_000  # our choice: days of a quiet network, and every percent of a few dozen transfers


class History:
    """``mark`` is the number of the next event; an event older than the limit is forgotten."""

    def __init__(self) -> None:
        self._events: deque[tuple[int, Event]] = deque(maxlen=LIMIT)
        self._news = asyncio.Event()
        self.mark = 0

    def append(self, event: Event) -> None:
        """Number it and wake who waits."""
        self._events.append((self.mark, event))
        self.mark += 1
        self._news.set()

    def since(self, mark: int) -> Iterator[tuple[int, Event]]:
        """Every event from ``mark`` on."""
        return ((number, event) for number, event in list(self._events) if number >= mark)

    async def next_from(self, mark: int) -> None:
        """Return as soon as there is an event numbered ``mark`` or above."""
        while self.mark <= mark:
            self._news.clear()
            await self._news.wait()

    async def find(self, wanted: Callable[[Event], bool], mark: int, timeout_s: float) -> tuple[int, Event] | None:
        """The first event from ``mark`` on that is wanted, and the mark behind it; None when none came in time."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    for number, event in self.since(mark):
                        mark = number + 1
                        if wanted(event):
                            return mark, event
                    await self.next_from(mark)
        except TimeoutError:
            return None


class ProgressFilter:
    """Lets a transfer's progress through once a percent: a block a line helps nobody."""

    def __init__(self) -> None:
        self._percent: dict[int, int] = {}

    def passes(self, happening: object) -> bool:
        """False for progress within the same percent as the one before."""
        if not isinstance(happening, TransferProgress):
            return True
        percent = 100 * happening.offset // happening.size if happening.size else 100
        if self._percent.get(happening.device_eui) == percent:
            return False
        self._percent[happening.device_eui] = percent
        return True
