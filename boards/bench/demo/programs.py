"""The programs of a demo as child processes: JSON lines in, log files out, ended by their own process id."""

from __future__ import annotations

import asyncio
import ctypes
import json
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from agent.errors import HanError

PR_SET_PDEATHSIG = 1  # linux/prctl.h
STOP_S = 5.0
LINE_LIMIT = 1 << 20

Heard = Callable[[dict[str, object]], None]


class ProgramError(HanError):
    """A program of the demo ended by itself; the message says which, and shows its last words."""


class Program:
    """One ``han-agent`` command. ``heard`` gets every JSON line; everything also goes to ``log``."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path, heard: Heard) -> None:
        self.name = name
        self.log = log
        self._arguments = arguments
        self._heard = heard
        self._process: Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._last_words = ""

    async def start(self) -> None:
        """Start it; its standard output and error are read until it ends."""
        command = [sys.executable, "-m", "agent.cli", *self._arguments]
        self._process = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, limit=LINE_LIMIT, preexec_fn=_die_with_parent
        )
        file = self.log.open("ab", buffering=0)
        streams = [stream for stream in (self._process.stdout, self._process.stderr) if stream is not None]
        readers = [asyncio.create_task(self._read(stream, file)) for stream in streams]
        self._tasks = [*readers, asyncio.create_task(_close_after(readers, file))]

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid if self._process is not None else 0

    def send(self, number: signal.Signals) -> None:
        """A signal to it, if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    def check(self) -> None:
        """Raises ProgramError when it has ended."""
        if self._process is not None and self._process.returncode is not None:
            words = self._last_words or f"exit code {self._process.returncode}"
            raise ProgramError(f"{self.name} ended by itself: {words} (whole log: {self.log})")

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when that does not help."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), STOP_S)
            except TimeoutError:
                process.kill()
                await process.wait()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self, stream: asyncio.StreamReader, file: BinaryIO) -> None:
        while line := await stream.readline():
            file.write(line)
            self._last_words = line.decode(errors="replace").strip() or self._last_words
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                self._heard(event)


async def _close_after(readers: list[asyncio.Task[None]], file: BinaryIO) -> None:
    await asyncio.gather(*readers, return_exceptions=True)
    file.close()


def _die_with_parent() -> None:
    """In the child: whatever ends the demo, ends its programs."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
