"""The running device under strace: each start may be killed at its N-th call of a kind, or told that the call failed.

::

    python -m tests.system.knife unit FOLDER device.toml     the unit; every start of it is a ``start``
    python -m tests.system.knife start FOLDER device.toml    takes its cuts from the plan, then becomes the first stage

The plan (FOLDER/plan.json) has a list of starts for each phase of an update, as the boot state tells it; each start has
its cuts. A start with no plan left runs untouched. What strace saw of every start is FOLDER/trace-NUMBER.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from agent.boot.places import Places, open_places
from agent.boot.state import BootState, Slot, SlotState
from boards.virtual.unit import RestartLimits, Unit, first_stage_command

CALLS = ("pwrite64", "fsync", "fdatasync", "ftruncate", "fallocate", "rename", "unlink")
KILL = "signal=KILL"
LIMITS = RestartLimits(first_pause_s=0.05, longest_pause_s=0.2, starts=1000)  # a killed device is no restart loop here
PLAN = "plan.json"
_CALL = re.compile(r"^\d+ +(\w+)\(.* = .*$")


@dataclass(frozen=True, slots=True)
class Cut:
    """What happens at the ``number``-th ``call`` of one start, in strace's words: ``signal=KILL``, ``error=EIO``,
    ``retval=0`` (nothing was written, and the caller is told so). ``lasting``: and at every one after it."""

    call: str
    number: int
    what: str = KILL
    lasting: bool = False

    def option(self) -> str:
        """Of strace's ``-e``."""
        return f"inject={self.call}:{self.what}:when={self.number}{'+' if self.lasting else ''}"


@dataclass(frozen=True, slots=True)
class Start:
    """The cuts of one start, at most one for each call; with ``path`` only calls on that file count."""

    cuts: tuple[Cut, ...]
    path: str = ""


@dataclass(slots=True)
class Plan:
    """The starts to cut, by phase."""

    download: list[Start] = field(default_factory=list)
    trial: list[Start] = field(default_factory=list)
    confirmed: list[Start] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Whole or not at all: a start may be killed while it takes its own."""
        new = folder / f"{PLAN}.new"
        new.write_text(json.dumps(asdict(self)), encoding="utf-8")
        new.replace(folder / PLAN)

    @classmethod
    def load(cls, folder: Path) -> Plan:
        """What is left of it."""
        phases = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        return cls(**{name: [_start(one) for one in starts] for name, starts in phases.items()})


def _start(fields: dict[str, object]) -> Start:
    cuts = fields["cuts"]
    assert isinstance(cuts, list)
    return Start(tuple(Cut(**cut) for cut in cuts), str(fields["path"]))


def absent() -> str:
    """Why strace cannot be used here; empty when it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-f", "-o", os.devnull, "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "strace may not trace here"


def strace(start: Start, trace: Path) -> list[str]:
    """The beginning of a command line. ``-D``: the unit's child is the device itself and not strace.

    Without ``--seccomp-bpf``: with it strace 6.1 records an injected signal and does not send it.
    """
    command = ["strace", "-D", "-f", "-qq", "-y", "-s", "0", "-o", str(trace), "-e", "signal=none"]
    command += ["-e", f"trace={','.join(CALLS)}"]
    for cut in start.cuts:
        command += ["-e", cut.option()]
    if start.path:
        command += ["-P", start.path]
    return [*command, "--"]


def phase(state: BootState | None) -> str:
    """Where the update stands for the first stage."""
    if state is None:
        return "download"
    if any(state[slot].state is SlotState.TRIAL for slot in Slot):
        return "trial"
    return "confirmed" if state.active is Slot.B else "download"


def become_first_stage(folder: Path, config: Path) -> None:
    """Never returns. The process id stays: the unit's child is what it would be without us."""
    with ExitStack() as stack:
        state = open_places(Places.load(config), stack, read_only=True).store.load().state
    plan = Plan.load(folder)
    starts: list[Start] = getattr(plan, phase(state))
    start = starts.pop(0) if starts else Start(())
    plan.save(folder)
    number = len(list(folder.glob("trace-*"))) + 1
    command = [*strace(start, folder / f"trace-{number:03}"), *first_stage_command(config)]
    os.execvp(command[0], command)  # noqa: S606 (the process id stays)


def calls(folder: Path) -> list[list[str]]:
    """The names of the calls of every start, in order."""
    found = []
    for trace in sorted(folder.glob("trace-*")):
        lines = trace.read_text(encoding="utf-8", errors="replace").splitlines()
        found.append([match[1] for line in lines if (match := _CALL.match(line))])
    return found


def main(argv: Sequence[str]) -> int:
    what, folder, config = argv[0], Path(argv[1]), Path(argv[2])
    if what == "unit":
        command = [sys.executable, "-m", "tests.system.knife", "start", str(folder), str(config)]
        return Unit(command, LIMITS).run()
    become_first_stage(folder, config)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
