"""The device's one SQLite file: WAL, synchronous FULL, STRICT tables, transactions that are explicit.

Migrations only ever add (columns with a default), and statements name their columns: a trial migrates too, and a
rollback brings an older program to the same file. ``execute`` is all that is asked of a connection, so that the
power-cut sweep can put its own underneath.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from agent.boot.area import REMEDIES, FileArea
from agent.errors import StorageError

RENEWED_OCTETS = 64 * 1024
SQLITE_REMEDIES = {
    sqlite3.SQLITE_FULL: REMEDIES[errno.ENOSPC],
    sqlite3.SQLITE_IOERR: REMEDIES[errno.EIO],
    sqlite3.SQLITE_READONLY: REMEDIES[errno.EROFS],
    sqlite3.SQLITE_CANTOPEN: "its folder must exist, belong to the agent's user and have free space: correct [storage]",
    sqlite3.SQLITE_CORRUPT: "move it away and the device starts with a new one",
    sqlite3.SQLITE_NOTADB: "move it away and the device starts with a new one",
}

#: One entry a schema version; version n is entry n - 1. Never change one that was released: append.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE journal (
        id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT NOT NULL, update_id TEXT NOT NULL,
        file_version INTEGER NOT NULL, total_octets INTEGER NOT NULL, offset_octets INTEGER NOT NULL,
        image_octets INTEGER NOT NULL, stream BLOB NOT NULL, slot TEXT NOT NULL,
        image_hash BLOB NOT NULL, activate_at_utc INTEGER, version_before INTEGER NOT NULL) STRICT;
    CREATE TABLE outbox (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, message BLOB NOT NULL,
        update_id TEXT NOT NULL, delivered INTEGER NOT NULL DEFAULT 0) STRICT;
    CREATE TABLE activation_order (
        phase TEXT PRIMARY KEY, message BLOB NOT NULL, image_hash BLOB NOT NULL, execution_utc INTEGER,
        update_id TEXT NOT NULL) STRICT;
    CREATE TABLE counter (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE tunnel (id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT NOT NULL) STRICT;
    CREATE TABLE event (
        id INTEGER PRIMARY KEY, log TEXT NOT NULL, utc INTEGER, code INTEGER NOT NULL, what TEXT NOT NULL,
        update_id TEXT NOT NULL) STRICT;
    """,
    """
    CREATE TABLE fact (name TEXT PRIMARY KEY, utc INTEGER NOT NULL, state TEXT NOT NULL) STRICT;
    """,
    """
    CREATE TABLE hub_key (id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT NOT NULL) STRICT;
    """,
)


class Connection(Protocol):
    """What the journal needs of a database connection: sqlite3's, or one on another VFS."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Any:
        """Run one statement; rows come from the result's ``fetchone`` and ``fetchall``. Raises sqlite3.Error."""

    def close(self) -> None:
        """Let go of the file."""


class WalFile(Protocol):
    """The write-ahead log as a file: ``agent.boot.area.FileArea``, or one on another disk."""

    @property
    def size_octets(self) -> int:
        """Its length."""

    def read(self, offset: int, length: int) -> bytes:
        """Octets of it."""

    def write(self, offset: int, data: bytes) -> None:
        """Put octets there."""

    def sync(self) -> None:
        """Make all that was written durable."""


def renew(wal: WalFile) -> None:
    """Write what stands in a log that nobody has closed once more, before SQLite trusts it.

    The program before may have ended because a sync failed. Linux keeps such pages as clean: SQLite would read them as
    committed, go on behind them, and a power cut would then leave a hole with everything after it lost.
    """
    for offset in range(0, wal.size_octets, RENEWED_OCTETS):
        wal.write(offset, wal.read(offset, min(RENEWED_OCTETS, wal.size_octets - offset)))
    wal.sync()


class Database:
    """Transactions on one connection, nested ones joining the outer. ``read_only``: the connection cannot write.

    ``name``: of the file, for errors. Raises StorageError.
    """

    def __init__(self, connection: Connection, *, name: str = "the journal", read_only: bool = False) -> None:
        self._connection = connection
        self._name = name
        self._depth = 0
        self._read_only = read_only
        self._spoilt: StorageError | None = None  # a statement of the open transaction failed
        if read_only:
            return
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self._run(f"PRAGMA {pragma}").fetchall()

    def migrate(self) -> None:
        """Bring the schema to what this program knows. Older programs go on reading: steps only ever add."""
        if self._read_only:
            return
        (version,) = self._run("PRAGMA user_version").fetchone()
        for number, step in enumerate(MIGRATIONS[version:], start=version + 1):
            with self.transaction():
                for statement in filter(str.strip, step.split(";")):
                    self._run(statement)
                self._run(f"PRAGMA user_version = {number}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, durable when the outermost one ends. Raises StorageError, also for a statement in it that
        failed and whose error somebody kept to himself: SQLite may have rolled back what was before it."""
        if self._depth:
            yield
            return
        self._run("BEGIN" if self._read_only else "BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
        except BaseException:
            self._depth -= 1
            self._roll_back()
            raise
        self._depth -= 1
        try:
            if self._spoilt is not None:
                raise self._spoilt
            self._run("COMMIT")
        except StorageError:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        """After a full disk or an I/O error SQLite may have done it by itself, or may have left it to us."""
        self._spoilt = None
        with suppress(sqlite3.Error):
            self._connection.execute("ROLLBACK")

    def execute(self, sql: str, *parameters: Any) -> None:
        """One statement that returns nothing."""
        self._run(sql, *parameters)

    def row(self, sql: str, *parameters: Any) -> tuple[Any, ...] | None:
        """The first row, or None."""
        found: tuple[Any, ...] | None = self._run(sql, *parameters).fetchone()
        return found

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """All rows."""
        found: list[tuple[Any, ...]] = self._run(sql, *parameters).fetchall()
        return found

    def has_table(self, name: str) -> bool:
        """Whether the schema has come that far."""
        return self.row("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", name) is not None

    def close(self) -> None:
        """Let go of the file; what was committed is in it."""
        self._connection.close()

    def _run(self, sql: str, *parameters: Any) -> Any:
        if self._spoilt is not None:
            raise self._spoilt
        try:
            return self._connection.execute(sql, parameters)
        except sqlite3.Error as error:
            told = explain(error, self._name)
            self._spoilt = told if self._depth else None
            raise told from error


def explain(error: sqlite3.Error, name: str) -> StorageError:
    """What SQLite says as a StorageError: which file, what to do."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the extension
    remedy = SQLITE_REMEDIES.get(code, "check the medium; what was committed is in it")
    return StorageError(f"{name}: the journal cannot be read or written: {error}; {remedy}")


def open_database(path: Path) -> Database:
    """Open (or create) the file. Raises StorageError naming it."""
    wal = path.with_name(f"{path.name}-wal")
    if wal.exists():
        with FileArea.open(wal) as area:
            renew(area)
    try:
        connection = sqlite3.connect(path, isolation_level=None)
    except sqlite3.Error as error:
        raise explain(error, str(path)) from error
    try:
        return Database(connection, name=str(path))
    except StorageError:
        connection.close()
        raise


def read_database(path: Path) -> Database:
    """Open what is there for reading only, beside a device that may be running. Raises StorageError naming it."""
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        connection.execute("SELECT count(*) FROM journal").fetchall()
        return Database(connection, name=str(path), read_only=True)
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise StorageError(
            f"{path}: not a journal that can be read: {error}; read it as the agent's user, or move it away and the "
            "device starts with a new one"
        ) from error
