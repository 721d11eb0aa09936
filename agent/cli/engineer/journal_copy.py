"""A copy of the journal that may leave the device: what is known to be harmless, and nothing else.

The copy is a new file, so that nothing of a deleted row is in it. A table or a fact that this list does not name (of a
newer program, or one with a key in it) is left out.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from agent.errors import StorageError
from agent.update.facts import FactName

TABLES = ("journal", "outbox", "activation_order", "counter", "tunnel", "event", "fact")
FACTS = tuple(str(name) for name in FactName)


def copy_journal(source: Path, target: Path) -> list[str]:
    """Write the copy; the names of the tables that were left out. Raises StorageError."""
    try:
        with closing(sqlite3.connect(target, isolation_level=None)) as copy:
            copy.execute("ATTACH ? AS device", (f"{source.absolute().as_uri()}?mode=ro",))
            return _copy(copy)
    except sqlite3.Error as error:
        raise StorageError(f"{source}: cannot be copied: {error}") from None


def _copy(copy: sqlite3.Connection) -> list[str]:
    copy.execute("BEGIN")  # one state of it, though the device writes
    (schema_version,) = copy.execute("PRAGMA device.user_version").fetchone()
    copy.execute(f"PRAGMA main.user_version = {int(schema_version)}")
    schema = copy.execute("SELECT name, sql FROM device.sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    left_out: list[str] = []
    for name, sql in schema:
        if name not in TABLES:
            left_out.append(name)
            continue
        copy.execute(sql)
        known = f" WHERE name IN ({', '.join('?' * len(FACTS))})" if name == "fact" else ""
        copy.execute(
            f"INSERT INTO main.{name} SELECT * FROM device.{name}{known}",  # noqa: S608  (names from TABLES)
            FACTS if known else (),
        )
    copy.execute("COMMIT")
    return left_out
