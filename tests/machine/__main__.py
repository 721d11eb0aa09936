"""``make machine-test``: a whole machine is booted, updated over the air, reset, and given an image that hangs.

Debian under QEMU, its processors in software. Needs root, mmdebstrap, qemu-system-x86, e2fsprogs, fdisk and mtools.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from agent.cli.demo_text import Screen
from agent.errors import EXIT_USAGE, HanError
from boards.bench.demo.play import Said
from boards.bench.demo.prepare import MARKER
from tests.machine.base import check_tools
from tests.machine.story import REPOSITORY, Story
from tests.system.lab import Event

CACHE = REPOSITORY / "build" / "machine"
LOGS = CACHE / "logs"
LAST_LINES = 25


def main(argv: list[str] | None = None) -> int:
    """0: all of it was seen; 1: something was not, and the log says what; 2: the machine cannot be made here."""
    parser = argparse.ArgumentParser(prog="python -m tests.machine", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the moment at which the power is pulled")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything is cleaned up
    try:
        check_tools()
    except HanError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    folder = Path(tempfile.mkdtemp(prefix="han-"))  # a control socket's path may have 107 octets only
    try:
        (folder / MARKER).touch()
        return _tell(folder, args.seed)
    finally:
        _keep_logs(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _tell(folder: Path, seed: int) -> int:
    console = Console(highlight=False, soft_wrap=True)
    started = time.monotonic()
    with Screen(console) as screen:

        def say(words: str) -> None:
            console.print(f"{time.monotonic() - started:6.1f} s  {'test':<8}  {words}", markup=False)

        def heard(who: str, event: Event) -> None:
            screen.show(Said(time.monotonic() - started, who, event))

        story = Story(folder, CACHE, seed, say, heard)
        try:
            story.tell()
        except (HanError, AssertionError) as error:
            say(f"FAILED: {error}")
            _print_last_lines(console, folder)
            return 1
    console.print(f"\na machine under QEMU, {time.monotonic() - started:.0f} s, seed {seed}:")
    for words in story.proved:
        console.print(f"  {words}", markup=False)
    console.print(f"logs: {LOGS}", markup=False)
    return 0


def _print_last_lines(console: Console, folder: Path) -> None:
    for name in ("console.log", "journal.log"):
        path = folder / name
        lines = path.read_text(errors="replace").splitlines()[-LAST_LINES:] if path.exists() else []
        console.print(f"\nthe last lines of {LOGS / name}:", markup=False)
        for line in lines:
            console.print(f"  {line}", markup=False)


def _keep_logs(folder: Path) -> None:
    """Of the last run only."""
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    for log in folder.rglob("*.log"):
        shutil.copy(log, LOGS / log.name)


if __name__ == "__main__":
    sys.exit(main())
