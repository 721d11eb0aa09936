"""Which level was driven last on a line, for a library that cannot read an output without taking it.

One small file a line, valid for one boot of the machine only: after a power-up, or a reboot, lines are what firmware
and ``config.txt`` made of them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from agent.errors import StorageError

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def read_boot_id() -> str:
    """Changes whenever the machine comes up; empty where the kernel does not tell."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


class LevelMemory:
    """The last level of one line, durable."""

    def __init__(self, folder: Path, gpio: int, boot_id: str | None = None) -> None:
        self._path = folder / f"gpio-{gpio}.json"
        self._boot_id = read_boot_id() if boot_id is None else boot_id

    def recall(self) -> int | None:
        """0 or 1 as driven last since the machine came up; None when that is not known."""
        try:
            fields = json.loads(self._path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None
        if not isinstance(fields, dict) or fields.get("boot_id") != self._boot_id or not self._boot_id:
            return None
        level = fields.get("level")
        return level if type(level) is int and level in (0, 1) else None

    def remember(self, level: int) -> None:
        """Durable when this returns. Raises StorageError naming the file."""
        octets = json.dumps({"boot_id": self._boot_id, "level": level}).encode()
        try:
            write_durably(self._path, octets)
        except OSError as error:
            raise StorageError(
                f"{self._path}: cannot be written: {error.strerror}; board.pins must name a folder that the agent may "
                "write to"
            ) from None


def write_durably(path: Path, octets: bytes) -> None:
    """All of the old file or all of the new one, whenever power fails. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
