"""The asyncio driver: moves events and requests between a pure Node and a RadioPort. Decides nothing.

The device and the bench's hub are driven by the same loop; in virtual time ``boards.virtual.world`` takes its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from agent.errors import RadioError
from agent.events import RadioEvent, RadioLost, RadioRequest, RadioResult, RadioStatus
from agent.ports import Node, RadioPort

REOPEN_FIRST_S = 0.5  # our choice: a stick that was pulled is looked for soon, then ever more rarely
REOPEN_LIMIT_S = 30.0
REOPEN_TURN_S = 1.0  # meanwhile the node's own time goes on: a trial whose radio has gone must fail
LOST = RadioResult(RadioStatus.RADIO_LOST, detail="the radio went away before the chip answered")


class Driver:
    """One node on one radio, until ``stop`` is set or the node's owner raises out of ``on_progress``.

    ``turn_s``: a turn, and with it ``on_progress``, at least so often; None: only when there is something to do.
    ``on_no_radio(error, again_s)``: a radio that is not there at the start is waited for; without it, ``run`` raises.
    """

    def __init__(
        self,
        node: Node,
        radio: RadioPort,
        clock: Callable[[], float],
        on_progress: Callable[[], None] = lambda: None,
        turn_s: float | None = None,
        on_no_radio: Callable[[RadioError, float], None] | None = None,
    ) -> None:
        self._node = node
        self._radio = radio
        self._clock = clock
        self._on_progress = on_progress
        self._turn_s = turn_s
        self._on_no_radio = on_no_radio
        self._wake = asyncio.Event()
        self._events: list[RadioEvent] = []
        self._running: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None  # of the node, in a request's task

    async def run(self, stop: asyncio.Event) -> None:
        """Open the radio and drive until ``stop``. Raises RadioError when nobody wants to wait for it."""
        watcher = asyncio.create_task(self._wake_on(stop))
        try:
            if self._on_no_radio is None:
                await self._radio.open(self._event)
                self._node.start(self._clock())
            else:
                await self._reopen(stop)
            while not stop.is_set():
                self._step()
                self._raise_failure()
                self._on_progress()
                await self._sleep_until_needed()
                await self._take_events(stop)
        finally:
            watcher.cancel()
            await self._finish_requests()
            await self._radio.close()

    def wake(self) -> None:
        """Something outside (a control socket) changed the node: look at it now."""
        self._wake.set()

    def _event(self, event: RadioEvent) -> None:
        self._events.append(event)
        self._wake.set()

    def _step(self) -> None:
        for handle, request in self._turn():
            task = asyncio.create_task(self._execute(handle, request))
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """What the node raised when it was told a result ends the driver as everything else does that it raises."""
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = self._failure or task.exception()
            self._wake.set()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _turn(self) -> list[tuple[int, RadioRequest]]:
        """The node's own time, and what it asks of the radio since."""
        now = self._clock()
        deadline = self._node.next_deadline()
        if deadline is not None and deadline <= now:
            self._node.handle_timer(now)
        return self._node.radio_requests(now)

    async def _execute(self, handle: int, request: RadioRequest) -> None:
        try:
            result = await self._radio.execute(request)
        except asyncio.CancelledError:
            result = LOST
        self._node.radio_done(handle, result, self._clock())
        self._wake.set()

    async def _sleep_until_needed(self) -> None:
        deadline = self._node.next_deadline()
        delays = [] if deadline is None else [max(0.0, deadline - self._clock())]
        if self._turn_s is not None:
            delays.append(self._turn_s)
        delay = min(delays, default=None)
        try:
            await asyncio.wait_for(self._wake.wait(), delay)
        except TimeoutError:
            return
        finally:
            self._wake.clear()

    async def _take_events(self, stop: asyncio.Event) -> None:
        events, self._events = self._events, []
        for event in events:
            self._node.receive(event, self._clock())
            if isinstance(event, RadioLost):
                await self._reopen(stop)

    async def _reopen(self, stop: asyncio.Event) -> None:
        """The radio went away: look for it with growing pauses, then start the node again on it."""
        await self._finish_requests()
        await self._radio.close()
        pause_s = REOPEN_FIRST_S
        while not stop.is_set():
            try:
                await self._radio.open(self._event)
            except RadioError as error:
                if self._on_no_radio is not None:
                    self._on_no_radio(error, pause_s)
                await self._pause(pause_s, stop)
                pause_s = min(2 * pause_s, REOPEN_LIMIT_S)
                continue
            self._events.clear()  # what the old connection still said is about a radio that is gone
            self._node.start(self._clock())
            return

    async def _pause(self, pause_s: float, stop: asyncio.Event) -> None:
        """No radio for a while: the node's time goes on, and what it asks of the radio is answered as lost."""
        end = self._clock() + pause_s
        while not stop.is_set():
            self._raise_failure()
            for handle, _ in self._turn():
                self._node.radio_done(handle, LOST, self._clock())
            self._on_progress()
            left_s = end - self._clock()
            if left_s <= 0:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), min(left_s, REOPEN_TURN_S))

    async def _finish_requests(self) -> None:
        """No request outlives its radio: each is cancelled, and the node hears that it was lost."""
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _wake_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()


async def drive(
    node: Node,
    radio: RadioPort,
    clock: Callable[[], float],
    stop: asyncio.Event,
    on_progress: Callable[[], None] = lambda: None,
    turn_s: float | None = None,
) -> None:
    """Drive one node to the end. ``on_progress`` is called after every step: print, journal, decide to stop."""
    await Driver(node, radio, clock, on_progress, turn_s).run(stop)
