"""What the head end asked for and what came back: one JSON object a line, appended and synced.

``kind`` is ``request`` (what was asked, with the octets sent) or ``message`` (what came up and whether it verified).
The log is also the memory: counters never go back and a message is shown once, across restarts.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from agent.errors import StorageError

Entry = dict[str, object]


class RequestLog:
    """Append-only. ``entries`` are those read at the start and those written since."""

    def __init__(self, path: Path | None = None) -> None:
        self.entries: list[Entry] = []
        self._path = path
        if path is not None and path.exists():
            self.entries = _read(path)

    def write(self, entry: Entry) -> None:
        """Durable when this returns. Raises StorageError."""
        self.entries.append(entry)
        if self._path is None:
            return
        line = json.dumps(entry, separators=(",", ":")) + "\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written: {error.strerror}") from None


def _read(path: Path) -> list[Entry]:
    """Raises StorageError for a line that is no JSON object, but for a last one that a lost power cut short."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{path}: cannot be read: {error}") from None
    entries: list[Entry] = []
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line) if line else None
        except json.JSONDecodeError as error:
            if number == len(lines):
                _cut(path, len(text.encode()) - len(line.encode()))
                break
            remedy = "move the file away to start anew"
            raise StorageError(f"{path}: line {number} is not JSON ({error}); {remedy}") from None
        if isinstance(entry, dict):
            entries.append(entry)
    return entries


def _cut(path: Path, octets: int) -> None:
    """Take an unfinished last line away, so that the next one starts on its own."""
    try:
        os.truncate(path, octets)
    except OSError as error:
        raise StorageError(f"{path}: cannot be mended: {error.strerror}") from None
