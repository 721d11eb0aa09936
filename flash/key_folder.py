"""A device's folder of keys as files: what is there, and writing into it without ever leaving half a file.

::

    <eui>-ds.pem, <eui>-ka.pem     certificates
    <eui>-ds.key, <eui>-ka.key     the device's private keys
    <eui>-ds-pending.key, ...      private keys whose certificates were asked for and have not come yet
    <eui>-ds.csr, ...              the requests for them
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from agent.errors import StorageError
from agent.presence import give_to_owner

KEY_FILE = re.compile(r"([0-9A-Fa-f]{16})-(ds|ka)(-pending)?\.(pem|key|csr)")


class KeyFile(NamedTuple):
    """One file: whose, for what (``ds`` or ``ka``), and which kind."""

    eui: int
    use: str
    pending: bool
    suffix: str

    @property
    def name(self) -> str:
        """As we write it; an existing one may be in capitals."""
        return f"{self.eui:016x}-{self.use}{'-pending' if self.pending else ''}.{self.suffix}"


def make_folder(folder: Path) -> None:
    """Make it where it is not there yet, for its owner alone. Raises StorageError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made: {error.strerror}") from None


def find_files(folder: Path) -> dict[KeyFile, Path]:
    """The key files of a folder. Raises StorageError when there is no such folder."""
    try:
        return dict(_find(folder))
    except OSError as error:
        raise StorageError(f"{folder}: no folder of keys: {error.strerror}; name one with --directory DIR") from None


def _find(folder: Path) -> Iterator[tuple[KeyFile, Path]]:
    for path in sorted(folder.iterdir()):
        match = KEY_FILE.fullmatch(path.name)
        if match:
            yield KeyFile(int(match[1], 16), match[2], bool(match[3]), match[4]), path


def write_file(path: Path, octets: bytes, mode: int) -> None:
    """Put a whole file in place, durable, over what is there. Raises StorageError."""
    temporary = path.with_name(path.name + ".new")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(octets)
            give_to_owner(descriptor, path.parent)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from None


def remove_file(path: Path) -> None:
    """Remove it, if it is there. Raises StorageError."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path}: cannot be removed: {error.strerror}") from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
