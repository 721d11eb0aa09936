"""SQLite on a ``Disk``: an apsw VFS whose files share the power supply of slots and boot state.

What differs from SQLite's own ``unix`` VFS, which the device uses: one connection at a time, so locks do nothing and
the WAL index lies in the heap (``locking_mode = EXCLUSIVE``) instead of in a ``-shm`` file, which no start trusts after
a crash anyway; and the WAL goes back into the database every ``CHECKPOINT_PAGES`` pages, so that a short run meets it.
The same: what it promises of the medium (a write leaves octets beside it alone), when a file's name is synced, and that
a failing operation raises ``sqlite3.Error``, which is all that ``agent.update.database`` knows of.

Needs apsw, which only development installs.
"""

from __future__ import annotations

import errno
import itertools
import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

import apsw

from boards.virtual.disk.disk import PowerCut
from boards.virtual.disk.faults import MediumFault
from boards.virtual.disk.files import DiskFile, DiskFiles

CHECKPOINT_PAGES = 60
SECTOR_OCTETS = 4096  # what the unix VFS says
NAMES_SYNCED = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL

CODES = {
    apsw.FullError: sqlite3.SQLITE_FULL,
    apsw.IOError: sqlite3.SQLITE_IOERR,
    apsw.CantOpenError: sqlite3.SQLITE_CANTOPEN,
}

_numbers = itertools.count()

# No mutexes: a disk belongs to one thread, and a process that forks in the midst of a statement, as the sweep's does,
# would wait for those of its parent for ever. apsw has an SQLite of its own: Python's sqlite3 is not touched.
apsw.shutdown()
apsw.config(apsw.SQLITE_CONFIG_SINGLETHREAD)
apsw.initialize()


class DiskConnection:
    """An ``agent.update.database.Connection``. Close it, after a power cut too: the next one needs the file."""

    def __init__(self, files: DiskFiles, name: str) -> None:
        """Raises sqlite3.Error, or PowerCut."""
        self._disk = files.disk
        self._disk.check_power()
        self._vfs = _Vfs(files)
        self._database: apsw.Connection | None = None
        try:
            with self._told_apart():
                self._database = apsw.Connection(name, vfs=self._vfs.name)
            for pragma in ("locking_mode = EXCLUSIVE", f"wal_autocheckpoint = {CHECKPOINT_PAGES}"):
                self.execute(f"PRAGMA {pragma}")
        except BaseException:
            self._let_go()
            raise

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Rows:
        """Run one statement to its end. Raises sqlite3.Error, or PowerCut where the power went."""
        self._disk.check_power()
        if self._database is None:
            raise sqlite3.ProgrammingError("this connection is closed")
        with self._told_apart():
            return Rows(list(self._database.execute(sql, tuple(parameters))))

    @contextmanager
    def _told_apart(self) -> Iterator[None]:
        """What went wrong was the power, or it is an error of SQLite."""
        try:
            yield
        except apsw.Error as error:
            self._disk.check_power()
            told = sqlite3.OperationalError(str(error))
            told.sqlite_errorcode = next((code for kind, code in CODES.items() if isinstance(error, kind)), 0)
            raise told from error

    def close(self) -> None:
        """Let go of the file; the last octets go from the WAL into the database, unless the power is off."""
        self._let_go()
        self._disk.check_power()

    def _let_go(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with suppress(apsw.Error):  # the power went, or goes now
                database.close(True)
        if self._vfs.name in apsw.vfs_names():
            self._vfs.unregister()


class Rows:
    """What a statement returned."""

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self._rows = rows

    def fetchone(self) -> tuple[Any, ...] | None:
        return self._rows[0] if self._rows else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._rows


class _Vfs(apsw.VFS):
    """SQLite takes an I/O error where the power went; ``DiskConnection`` tells the two apart afterwards. An operation
    that fails is SQLITE_FULL for a write without room and SQLITE_IOERR else, as in the unix VFS."""

    def __init__(self, files: DiskFiles) -> None:
        self.name = f"han-disk-{next(_numbers)}"
        self._files = files
        self._random = random.Random(1)  # salts: the same in every run, so that a cut can be repeated
        super().__init__(self.name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        text = name.filename() if isinstance(name, apsw.URIFilename) else name
        if text is None:
            raise apsw.CantOpenError("no temporary files here: PRAGMA temp_store = MEMORY")
        create = bool(flags[0] & apsw.SQLITE_OPEN_CREATE)
        try:
            file = self._files.open(text, create=create)
        except (PowerCut, OSError) as error:
            raise apsw.CantOpenError(str(error)) from None
        flags[1] = flags[0]
        # As the unix VFS: whoever may have made a journal syncs its name, also when a killed process made it before.
        opened = _File(self._files, file, names_to_sync=create and bool(flags[0] & NAMES_SYNCED))
        return cast(apsw.VFSFile, opened)  # apsw asks for its methods only; the class itself opens a real file

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        try:
            self._files.delete(filename)
            if syncdir:
                self._files.sync_names()
        except (PowerCut, OSError) as error:
            raise apsw.IOError(str(error)) from None

    def xAccess(self, pathname: str, flags: int) -> bool:  # noqa: N802
        del flags
        try:
            return self._files.exists(pathname)
        except PowerCut as error:
            raise apsw.IOError(str(error)) from None

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        return name

    def xRandomness(self, numbytes: int) -> bytes:  # noqa: N802
        return self._random.randbytes(numbytes)


class _File:
    """The methods of apsw.VFSFile, without a base file."""

    def __init__(self, files: DiskFiles, file: DiskFile, *, names_to_sync: bool) -> None:
        self._files = files
        self._file = file
        self._names_to_sync = names_to_sync

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        try:
            return self._file.read(offset, amount)
        except PowerCut as error:
            raise apsw.IOError(str(error)) from None

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        try:
            self._file.write(offset, bytes(data))
        except MediumFault as fault:
            raise (apsw.FullError if fault.errno == errno.ENOSPC else apsw.IOError)(str(fault)) from None
        except PowerCut as error:
            raise apsw.IOError(str(error)) from None

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        try:
            self._file.truncate(newsize)
        except (PowerCut, MediumFault) as error:
            raise apsw.IOError(str(error)) from None

    def xSync(self, flags: int) -> None:  # noqa: N802
        del flags
        try:
            self._file.sync()
            if self._names_to_sync:
                self._files.sync_names()
                self._names_to_sync = False
        except (PowerCut, MediumFault) as error:
            raise apsw.IOError(str(error)) from None

    def xFileSize(self) -> int:  # noqa: N802
        try:
            return self._file.size_octets
        except PowerCut as error:
            raise apsw.IOError(str(error)) from None

    def xLock(self, level: int) -> None:  # noqa: N802
        del level

    def xUnlock(self, level: int) -> None:  # noqa: N802
        del level

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        return False

    def xFileControl(self, op: int, ptr: int) -> bool:  # noqa: N802
        del op, ptr
        return False

    def xSectorSize(self) -> int:  # noqa: N802
        return SECTOR_OCTETS

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE

    def xClose(self) -> None:  # noqa: N802
        """Nothing to give back."""
