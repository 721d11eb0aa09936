"""What a measurement is: a figure with its unit and what it is compared with; and what a process costs."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from agent.errors import HanError

SAMPLE_S = 0.002  # between two looks at a process's memory


class BenchError(HanError):
    """Something that was to be measured did not run."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. ``ratio`` is value / reference."""

    part: str
    what: str
    value: float
    unit: str
    reference: float | None = None
    against: str = ""

    @property
    def ratio(self) -> float | None:
        """None where there is nothing to compare with."""
        return self.value / self.reference if self.reference else None

    def as_object(self) -> dict[str, object]:
        """For ``--json``."""
        return {**asdict(self), "ratio": self.ratio}


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one process with all that it started: seconds on the clock and of CPU, and the most memory of one of them.

    Memory is VmHWM as the kernel keeps it (resident, shared libraries included), looked at every 2 ms: what a process
    takes after the last look is missed. wait4's ru_maxrss cannot serve, since exec hands on the parent's.
    """

    wall_s: float
    cpu_s: float
    peak_octets: int
    output: str


def cost_of(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None, limit_s: float = 300.0
) -> Cost:
    """Run it to its end. Raises BenchError with its last words when it fails."""
    start = time.monotonic()
    process = subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(environment or {})},
    )
    watch = PeakMemory(process.pid)
    timer = threading.Timer(limit_s, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        with process.stdout as stream:
            output = stream.read().decode(errors="replace")
        _, status, usage = os.wait4(process.pid, 0)
    finally:
        timer.cancel()
        watch.stop()
    wall_s = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        words = "\n".join(output.strip().splitlines()[-5:])
        raise BenchError(f"{command[0]} ended with {process.returncode}: {words}")
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, watch.peak_octets, output)


class PeakMemory:
    """Watches a process and its children until stopped."""

    def __init__(self, pid: int) -> None:
        self.peak_octets = 0
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more looks."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:  # the first look at once: Popen comes back only when the program is loaded
            for pid in [self._pid, *_children_of(self._pid)]:
                self.peak_octets = max(self.peak_octets, peak_octets_of(pid))
            if self._stop.wait(SAMPLE_S):
                return


def peak_octets_of(pid: int) -> int:
    """VmHWM; 0 for a process that is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def _children_of(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    return []


def cpu_s_of(act: Callable[[], object], repeats: int, rounds: int = 5) -> float:
    """CPU seconds of one call: the median of ``rounds`` means over ``repeats`` calls."""
    means = []
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(repeats):
            act()
        means.append((time.process_time() - start) / repeats)
    return median(means)
