"""A sleepy device against a router: how much slower its transfer is, and how much of the time its radio is awake.

The share is the emulated radio's own account (``boards.virtual.air.awake``) of a window in the transfer, at the speed
of real air; at rest it is that of two stacks in virtual time.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from pathlib import Path

from stack_world import DEVICE_EUI as STACK_EUI
from stack_world import LINK_KEY, World

from agent.events import LogicalType, format_eui
from agent.settings import RadioSettings
from boards.virtual.air.awake import RadioUse
from boards.virtual.stack.interface import PollRates
from tests.bench.chain import FIRST_BLOCKS, WINDOW_S, running_lab
from tests.bench.measure import BenchError, Row
from tests.system.lab import DEVICE_EUI, Running

REST_S = 75_000.0  # ten thousand polls
FAST_RATES_S = (0.1, 0.03)  # the default, and one that asks more often


@dataclass(frozen=True, slots=True)
class Transfer:
    """Of one window."""

    octets_per_s: float
    use: RadioUse

    @property
    def awake_s_per_kib(self) -> float:
        """What 1024 octets cost."""
        return self.use.share * 1024 / self.octets_per_s


def measure(base: Path, window_s: float = WINDOW_S) -> list[Row]:
    """Router and end device in turn. ``base`` is the Python that the device runs on."""
    router = transfer(base, window_s)
    rows = []
    for fast_s in FAST_RATES_S:
        changes = f'\nlogical_type = "end-device"\nfast_poll_rate_s = {fast_s}'
        sleepy = transfer(base, window_s, changes)
        part = f"sleepy, polls every {fast_s:g} s"
        rows += [
            Row(part, "octets a second", sleepy.octets_per_s, "B/s", router.octets_per_s, "a router"),
            Row(part, "awake share, transfer", 100 * sleepy.use.share, "%", 100 * router.use.share, "a router"),
            Row(
                part, "awake for 1 KiB", 1000 * sleepy.awake_s_per_kib, "ms", 1000 * router.awake_s_per_kib, "a router"
            ),
            Row(part, "polls for 1 KiB", sleepy.use.polls / (sleepy.use.seconds * sleepy.octets_per_s / 1024), ""),
        ]
    rest = at_rest(RadioSettings(path="").poll_rate_s)
    rows.append(Row("sleepy, at rest", "awake share", 100 * rest.share, "%", 100.0, "a router"))
    return rows


def transfer(base: Path, window_s: float, radio: str = "") -> Transfer:
    """At the speed of real air. ``radio``: more lines for the device's [radio]."""
    with running_lab(base, 1.0, (r"^logical_type = .*$", radio.strip() or 'logical_type = "router"')) as (lab, hub):
        air = next(program for program in lab.programs if program.name == "air")
        lab.update(lab.device.images.new)
        hub.until(lambda: len(hub.said("transfer-progress")) >= FIRST_BLOCKS, "the first blocks")
        before, first, start = _use(air), hub.said("transfer-progress")[-1], time.monotonic()
        time.sleep(window_s)  # a bench, not a test: this is the window
        last, seconds, after = hub.said("transfer-progress")[-1], time.monotonic() - start, _use(air)
    moved = int(str(last["offset"])) - int(str(first["offset"]))
    if moved <= 0:
        raise BenchError("no block came in the window")
    return Transfer(moved / seconds, after.since(before))


def _use(air: Running) -> RadioUse:
    def told() -> list[dict[str, object]]:
        return [event for event in air.events if event.get("radio") == format_eui(DEVICE_EUI)]

    count = len(told())
    air.process.send_signal(signal.SIGUSR1)
    air.until(lambda: len(told()) > count, "how long the radio was awake")
    last = told()[-1]
    return RadioUse(float(str(last["seconds"])), float(str(last["awake_s"])), int(str(last["polls"])))


def at_rest(period_s: float) -> RadioUse:
    """A stack with nothing to do."""
    world = World()
    world.form()
    world.hub.stack.allow_link_key(STACK_EUI, LINK_KEY)
    world.hub.stack.permit_join(255)
    device = world.chip(STACK_EUI)
    device.stack.set_poll_rates(PollRates(period_s))
    world.join(device, LogicalType.END_DEVICE, receiver_on=False)
    world.scheduler.run_for(60.0)
    before = world.air.meter(STACK_EUI).use()
    world.scheduler.run_for(REST_S)
    return world.air.meter(STACK_EUI).use().since(before)
