"""Whether the device runs: a lock beside the journal that the running program holds and the kernel gives back.

Two programs on one journal and one radio would spoil both, so the second is refused; and what an engineer may only do
to a device at rest holds the same lock meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.boot.area import explain
from agent.errors import StorageError

TRIES = 5  # who only looks (``holder``) has the lock for an instant: our choice to try again over a fifth of a second
PAUSE_S = 0.05


def lock_path(database: Path) -> Path:
    """The lock file of the device with this journal."""
    return database.with_name(database.name + ".lock")


def holder(database: Path) -> int | None:
    """The process that holds the device now, None when it is at rest. Raises StorageError when nobody can tell."""
    path = lock_path(database)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explain(error, path, "open") from None
    try:
        return None if _take(descriptor, fcntl.LOCK_SH) else _read_process(descriptor)
    finally:
        os.close(descriptor)


def check_at_rest(database: Path) -> None:
    """Raises StorageError naming the process that has the device; one that was killed has a moment to be gone."""
    for _ in range(TRIES):
        if (process := holder(database)) is None:
            return
        time.sleep(PAUSE_S)
    raise _in_use(lock_path(database), process or 0)


@contextmanager
def hold(database: Path) -> Iterator[None]:
    """Be the one that has the device. Raises StorageError naming the process that has it."""
    path = lock_path(database)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise explain(error, path, "make") from None
    try:
        give_to_owner(descriptor, path.parent)
        for _ in range(TRIES):
            if _take(descriptor, fcntl.LOCK_EX):
                break
            time.sleep(PAUSE_S)
        else:
            raise _in_use(path, _read_process(descriptor))
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def give_to_owner(descriptor: int, folder: Path) -> None:
    """A file that root makes in the device's folder is the device's, or the device could not use it."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _in_use(path: Path, process: int) -> StorageError:
    return StorageError(f"{path}: the device is in use by process {process}: stop that first")


def _take(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_process(descriptor: int) -> int:
    """0 when the holder has not written it yet."""
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else 0
