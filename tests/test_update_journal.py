"""The journal: what changes together is durable together, counters only rise, and an older program reads on."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from agent.errors import StorageError
from agent.update.database import MIGRATIONS, Database, open_database
from agent.update.journal import Journal, LoggedEvent, Order, OutboxRow, Record
from agent.update.states import State


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.db"


def open_journal(path: Path) -> Journal:
    return Journal(open_database(path), wall_clock=lambda: 1_700_000_000.0)


def test_a_new_journal_is_idle(path: Path) -> None:
    assert open_journal(path).load() == Record()


def test_the_record_survives_reopening(path: Path) -> None:
    journal = open_journal(path)
    moved = journal.move(
        Record(), State.DOWNLOADING, update_id="u1", file_version=0x01010000, total_octets=9, slot="B", stream=b"\1\2"
    )
    again = open_journal(path).load()
    assert again == moved
    assert (again.state, again.slot, again.stream) == (State.DOWNLOADING, "B", b"\1\2")


def test_a_step_that_the_table_does_not_have_is_refused_and_not_stored(path: Path) -> None:
    journal = open_journal(path)
    with pytest.raises(AssertionError, match="idle to trial"):
        journal.move(Record(), State.TRIAL)
    assert journal.load() == Record()


def test_a_transaction_is_all_or_nothing(path: Path) -> None:
    journal = open_journal(path)

    def cut_short() -> None:
        with journal.transaction():
            journal.post(OutboxRow("1", "CS09", b"x", "u"))
            journal.set_counter("own", 1)
            raise RuntimeError("power")

    with pytest.raises(RuntimeError):
        cut_short()
    assert journal.undelivered() == []
    assert journal.counter("own") == 0


def test_the_outbox_gives_the_same_octets_until_delivered_and_refuses_a_key_twice(path: Path) -> None:
    journal = open_journal(path)
    row = OutboxRow("77", "CS09", b"\xdf\x09", "u1")
    journal.post(row)
    assert open_journal(path).undelivered() == [row]
    with pytest.raises(StorageError, match="UNIQUE"):
        journal.post(row)
    journal.delivered("77")
    assert open_journal(path).undelivered() == []


def test_own_counters_rise_also_over_a_lost_journal(path: Path) -> None:
    journal = open_journal(path)
    first = [journal.next_own_counter(1_700_000_000) for _ in range(1000)]
    assert first == sorted(set(first))
    path.unlink()
    for extra in (path.with_name("agent.db-wal"), path.with_name("agent.db-shm")):
        extra.unlink(missing_ok=True)
    assert open_journal(path).next_own_counter(1_700_000_060) > first[-1]


def test_counters_hold_64_unsigned_bits(path: Path) -> None:
    journal = open_journal(path)
    journal.set_counter("CS06/90B3D51F30010000", 2**64 - 1)
    assert journal.counter("CS06/90B3D51F30010000") == 2**64 - 1


def test_orders_of_two_phases_stand_side_by_side(path: Path) -> None:
    journal = open_journal(path)
    dated, running = Order(b"a", b"h" * 32, 1_800_000_000, "u"), Order(b"b", b"i" * 32, None, "u")
    journal.set_order("dated", dated)
    journal.set_order("running", running)
    assert (journal.order("dated"), journal.order("running")) == (dated, running)
    journal.forget_order("dated")
    assert (journal.order("dated"), journal.order("running")) == (None, running)


def test_logs_are_told_apart_and_oldest_first(path: Path) -> None:
    journal = open_journal(path)
    journal.log(LoggedEvent("event", 5, 0, "one", "u"))
    journal.log(LoggedEvent("security", None, 0x8F3D, "two", ""))
    assert [event.what for event in journal.events()] == ["one", "two"]
    assert [event.code for event in journal.events("security")] == [0x8F3D]
    assert [event.utc for event in journal.events()] == [5, 1_700_000_000], "its own clock where nobody gave a time"


def test_a_file_that_is_no_database_is_named_with_the_remedy(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to be looked at as one" * 40)
    with pytest.raises(StorageError, match=r"agent\.db: the journal cannot be read or written.*move it away"):
        open_database(path)


def test_durability_pragmas_are_those_of_the_rules(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    Journal(Database(connection))
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    connection.close()


def test_an_older_program_reads_a_newer_schema(path: Path) -> None:
    journal = open_journal(path)
    journal.move(Record(), State.DOWNLOADING, update_id="u1")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE of_a_later_version (id INTEGER) STRICT")
    for table in ("journal", "outbox", "activation_order", "counter", "tunnel", "event", "fact", "hub_key"):
        connection.execute(f"ALTER TABLE {table} ADD COLUMN of_a_later_version TEXT NOT NULL DEFAULT 'x'")
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    older = open_journal(path)
    older.move(older.load(), State.STAGED)
    older.post(OutboxRow("1", "CS09", b"m", "u1"))
    older.set_order("dated", Order(b"m", b"h", None))
    older.set_counter("own", 7)
    older.set_tunnel("{}")
    older.set_hub_key("{}")
    older.log(LoggedEvent("event", 1, 2, "w", "u1"))
    older.facts.record("started", 1)
    assert (older.load().update_id, older.counter("own")) == ("u1", 7)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
    connection.close()


class FailingOnce:
    """A connection whose medium fails at the next COMMIT, as SQLite tells it: rolled back by itself, or not."""

    def __init__(self, *, rolls_back: bool) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.rolls_back = rolls_back
        self.fails = False

    def execute(self, sql: str, parameters: tuple[object, ...] = (), /) -> sqlite3.Cursor:
        if self.fails and sql == "COMMIT":
            self.fails = False
            if self.rolls_back:
                self.connection.execute("ROLLBACK")
            raise sqlite3.OperationalError("disk I/O error")
        return self.connection.execute(sql, parameters)

    def close(self) -> None:
        self.connection.close()


@pytest.mark.parametrize("rolls_back", [True, False])
def test_a_commit_that_fails_leaves_nothing_behind_and_the_next_one_works(rolls_back: bool) -> None:
    connection = FailingOnce(rolls_back=rolls_back)
    journal = Journal(Database(connection))
    connection.fails = True
    with pytest.raises(StorageError, match="disk I/O error"), journal.transaction():
        journal.set_counter("a", 1)
    with journal.transaction():
        journal.set_counter("b", 2)
    assert (journal.counter("a"), journal.counter("b")) == (0, 2)


def test_a_statement_that_fails_with_the_transaction_gone_tells_of_itself(path: Path) -> None:
    """Not of the ROLLBACK that finds nothing to take back."""
    database = open_database(path)

    def fail() -> None:
        with database.transaction():
            database._connection.execute("ROLLBACK")  # as SQLite may do by itself on a full disk
            database.execute("INSERT INTO absent VALUES (1)")

    with pytest.raises(StorageError, match="no such table"):
        fail()
