"""Text files in a FAT file system inside an image, through mtools: no mount, no root."""

from __future__ import annotations

import os
from pathlib import Path

from agent.errors import StorageError
from flash.sd.tools import run_tool


class FatFiles:
    """The file system at ``offset_octets`` of ``image``. What is written bears ``date``."""

    def __init__(self, image: Path, offset_octets: int, scratch: Path, date: int) -> None:
        self._drive = f"{image}@@{offset_octets}"
        self._scratch = scratch
        self._date = date

    def read(self, name: str) -> str | None:
        """None when it is not there. Raises StorageError when the file system cannot be read."""
        copy = self._scratch / "fat-file"
        copy.unlink(missing_ok=True)
        if name.lower() not in self._names():
            return None
        run_tool("mcopy", "-n", "-i", self._drive, f"::{name}", copy)
        return copy.read_text(encoding="utf-8", errors="surrogateescape")

    def write(self, name: str, text: str) -> None:
        """Replace it. Raises StorageError."""
        copy = self._scratch / "fat-file"
        copy.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
        os.utime(copy, (self._date, self._date))
        run_tool("mcopy", "-o", "-m", "-i", self._drive, copy, f"::{name}", date=self._date)
        copy.unlink()

    def _names(self) -> set[str]:
        try:
            listed = run_tool("mdir", "-b", "-i", self._drive, "::").stdout
        except StorageError as error:
            raise StorageError(f"boot partition: no FAT file system: {error}") from None
        return {line.strip().removeprefix("::/").lower() for line in listed.splitlines()}
