"""The device's one SQLite file: WAL, synchronous FULL, STRICT tables, transactions that are explicit.

Migrations are additive and run only when the running image is confirmed: an A/B rollback brings an older program to the
same file. ``execute`` is all that is asked of a connection, so that the power-cut sweep can put its own underneath.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from agent.errors import StorageError

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
    """
    CREATE TABLE given_code (id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT NOT NULL) STRICT;
    """,
)


class Connection(Protocol):
    """What the journal needs of a database connection: sqlite3's, or one on another VFS."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Any:
        """Run one statement; rows come from the result's ``fetchone`` and ``fetchall``. Raises sqlite3.Error."""

    def close(self) -> None:
        """Let go of the file."""


class Database:
    """Transactions on one connection, nested ones joining the outer. ``read_only``: the connection cannot write."""

    def __init__(self, connection: Connection, *, read_only: bool = False) -> None:
        self._connection = connection
        self._depth = 0
        self._read_only = read_only
        if read_only:
            return
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}").fetchall()

    def migrate(self) -> None:
        """Bring the schema to what this program knows. Older programs go on reading: steps only ever add."""
        if self._read_only:
            return
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        for number, step in enumerate(MIGRATIONS[version:], start=version + 1):
            with self.transaction():
                for statement in filter(str.strip, step.split(";")):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {number}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, durable when the outermost one ends. Raises StorageError."""
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
            self._run("COMMIT")
        except StorageError:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        """After a full disk or an I/O error SQLite may have done it by itself, or may have left it to us."""
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
        try:
            return self._connection.execute(sql, parameters)
        except sqlite3.Error as error:
            raise StorageError(
                f"the journal cannot be written: {error}; free space or check the medium, nothing was lost"
            ) from error


def open_database(path: Path) -> Database:
    """Open (or create) the file. Raises StorageError naming it."""
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        return Database(connection)
    except sqlite3.Error as error:
        raise StorageError(
            f"{path}: not a usable journal: {error}; move it away and the device starts with a new one"
        ) from error


def read_database(path: Path) -> Database:
    """Open what is there for reading only, beside a device that may be running. Raises StorageError naming it."""
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        connection.execute("SELECT count(*) FROM journal").fetchall()
        return Database(connection, read_only=True)
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise StorageError(
            f"{path}: not a journal that can be read: {error}; read it as the agent's user, or move it away and the "
            "device starts with a new one"
        ) from error
