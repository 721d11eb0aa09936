"""Virtual time: exact and in order, with nobody's clock or with asyncio's."""

from __future__ import annotations

import asyncio
import itertools

from boards.virtual.air.scheduler import AsyncioScheduler, ManualScheduler


def test_manual_time_runs_events_in_order_and_stands_where_it_was_sent() -> None:
    scheduler, seen = ManualScheduler(), []

    def note(name: str) -> None:
        seen.append((name, scheduler.now()))

    scheduler.call_later(2.0, lambda: note("late"))
    scheduler.call_later(1.0, lambda: note("first"))
    scheduler.call_later(1.0, lambda: note("second"))
    cancelled = scheduler.call_later(1.5, lambda: note("never"))
    cancelled.cancel()
    scheduler.run_until(1.9)
    assert seen == [("first", 1.0), ("second", 1.0)]
    assert scheduler.now() == 1.9
    assert scheduler.next_deadline() == 2.0
    assert scheduler.run_next()
    assert seen[-1] == ("late", 2.0)
    assert not scheduler.run_next()
    assert not scheduler.run_while(lambda: True, 10.0)


def test_a_chain_on_asyncio_is_exact_however_late_the_loop_wakes() -> None:
    """A thousand steps of 1 ms virtual time each at 100 times real time: waking takes longer than a step."""
    times: list[float] = []

    async def run() -> None:
        scheduler = AsyncioScheduler(asyncio.get_running_loop(), speed=100.0)
        finished = asyncio.Event()

        def step() -> None:
            times.append(scheduler.now())
            if len(times) < 1000:
                scheduler.call_later(0.001, step)
            else:
                finished.set()

        scheduler.call_later(0.5, step)
        async with asyncio.timeout(30):
            await finished.wait()
        scheduler.close()

    asyncio.run(run())
    steps = [after - before for before, after in itertools.pairwise(times)]
    assert max(abs(step - 0.001) for step in steps) < 1e-9


def test_asyncio_time_never_goes_back_nor_past_an_event_that_has_not_run() -> None:
    seen: list[float] = []

    async def run() -> None:
        scheduler = AsyncioScheduler(asyncio.get_running_loop(), speed=1000.0)
        done = asyncio.Event()

        def due() -> None:
            seen.append(scheduler.now())
            done.set()

        scheduler.call_later(1.0, due)
        outside = [scheduler.now() for _ in range(1000)]
        assert outside == sorted(outside)
        async with asyncio.timeout(30):
            await done.wait()
        assert outside[-1] <= seen[0] <= scheduler.now()
        scheduler.close()

    asyncio.run(run())
    assert len(seen) == 1


def test_cancelled_and_closed_asyncio_timers_do_not_run() -> None:
    seen: list[str] = []

    async def run() -> None:
        scheduler = AsyncioScheduler(asyncio.get_running_loop(), speed=1000.0)
        ran = asyncio.Event()
        scheduler.call_later(0.5, lambda: seen.append("cancelled")).cancel()
        scheduler.call_later(1.0, ran.set)
        async with asyncio.timeout(30):
            await ran.wait()
        scheduler.call_later(0.001, lambda: seen.append("closed"))
        scheduler.close()
        again = asyncio.Event()
        asyncio.get_running_loop().call_later(0.01, again.set)
        await again.wait()

    asyncio.run(run())
    assert seen == []
