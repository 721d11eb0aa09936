"""What the device remembers of its update, its counters and its reports, as typed reads and writes.

The image itself is never here: it is in the slot. Whatever must change together changes in one
``journal.transaction()``: an alert's outbox row, its originator counter and the state that it reports.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from agent.errors import StorageError
from agent.image.version import Version
from agent.update.database import Database
from agent.update.facts import FactName, Facts
from agent.update.failed_version import FailedVersion
from agent.update.states import State, allowed

COUNTER_STEP_BITS = 20  # a new journal starts its counter at (Unix seconds << 20): above all that was used before


@dataclass(frozen=True, slots=True)
class Record:
    """The one update. ``offset_octets`` counts in the OTA file and is durable in the slot up to there."""

    state: State = State.IDLE
    update_id: str = ""
    file_version: int = 0
    total_octets: int = 0
    offset_octets: int = 0
    image_octets: int = 0  # of which the slot holds this many
    stream: bytes = b""  # the OTA reader's checkpoint, taken there
    slot: str = ""
    image_hash: bytes = b""
    activate_at_utc: int | None = None
    version_before: int = 0

    def outline(self) -> dict[str, str | int]:
        """What people ask of it."""
        return {
            "state": self.state.value,
            "update_id": self.update_id,
            "version": str(Version.from_file_version(self.file_version)),
            "slot": self.slot,
            "offset_octets": self.offset_octets,
            "total_octets": self.total_octets,
        }


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One GBCS message on its way up. The same octets go out however often it is tried.

    ``key`` is the own counter of an alert, or originator and counter of the command that a response answers.
    """

    key: str
    kind: str
    message: bytes
    update_id: str


@dataclass(frozen=True, slots=True)
class Order:
    """A CS06 command that was accepted: the whole message, and what the device must know of it."""

    message: bytes
    image_hash: bytes
    execution_utc: int | None
    update_id: str = ""


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One line of the event or security log."""

    log: str
    utc: int | None
    code: int
    what: str
    update_id: str


class Journal:
    """Typed access to the database. Raises StorageError."""

    def __init__(self, database: Database, wall_clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._wall_clock = wall_clock
        self.facts = Facts(database)
        database.migrate()

    def transaction(self) -> AbstractContextManager[None]:
        """Everything inside is durable together, or not at all."""
        return self._database.transaction()

    # --- the update -------------------------------------------------------------------------------------------------

    def load(self) -> Record:
        """The record, IDLE when there never was an update."""
        row = self._database.row(
            "SELECT state, update_id, file_version, total_octets, offset_octets, image_octets, stream, slot,"
            " image_hash, activate_at_utc, version_before FROM journal WHERE id = 1"
        )
        return Record(State(row[0]), *row[1:]) if row else Record()

    def move(self, record: Record, state: State, **changes: object) -> Record:
        """Go to ``state`` with ``changes`` and store it. A step that the table does not have is a defect of ours."""
        if not allowed(record.state, state):
            raise AssertionError(f"no transition from {record.state.value} to {state.value}")
        after = replace(record, state=state, **changes)  # type: ignore[arg-type]  # the fields are checked by replace
        self._database.execute(
            "INSERT OR REPLACE INTO journal (id, state, update_id, file_version, total_octets, offset_octets,"
            " image_octets, stream, slot, image_hash, activate_at_utc, version_before)"
            " VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            after.state.value,
            after.update_id,
            after.file_version,
            after.total_octets,
            after.offset_octets,
            after.image_octets,
            after.stream,
            after.slot,
            after.image_hash,
            after.activate_at_utc,
            after.version_before,
        )
        return after

    def own_utc(self) -> int:
        """Unix seconds by our own clock, which may be wrong."""
        return int(self._wall_clock())

    # --- counters ---------------------------------------------------------------------------------------------------

    def next_own_counter(self, utc: int) -> int:
        """A new originator counter, larger than any before. Call it inside the transaction that uses it.

        ``utc``: Unix seconds, where a new journal begins. The hub's, once they are known: an own clock may be behind
        what a lost journal had used.
        """
        last = self.counter("own")
        value = last + 1 if last else utc << COUNTER_STEP_BITS
        self.set_counter("own", value)
        return value

    def last_accepted(self, originator: int, use: int) -> int:
        """The last counter accepted from this EUI for this message code; -1 before the first."""
        return self.counter(_counter_name(originator, use), -1)

    def accept(self, originator: int, use: int, counter: int) -> None:
        """From now on only larger ones. Call it inside the transaction that stores what the command asked."""
        self.set_counter(_counter_name(originator, use), counter)

    def counter(self, name: str, none: int = 0) -> int:
        """The stored value, ``none`` when there is none."""
        row = self._database.row("SELECT value FROM counter WHERE name = ?", name)
        return int(row[0]) if row else none

    def accepted_counters(self) -> dict[tuple[int, int], int]:
        """The last accepted counters by originator and message code."""
        rows = self._database.rows("SELECT name, value FROM counter WHERE name LIKE '____/%' ORDER BY name")
        return {(int(name[5:], 16), int(name[:4], 16)): int(value) for name, value in rows}

    def set_counter(self, name: str, value: int) -> None:
        """GBCS counters have 64 unsigned bits, SQLite integers 63: so stored as text."""
        self._database.execute("INSERT OR REPLACE INTO counter (name, value) VALUES (?, ?)", name, str(value))

    # --- the version that failed here -------------------------------------------------------------------------------

    def failed_version(self) -> FailedVersion | None:
        """The one whose activation failed last, unless it was forgotten since."""
        fact = self.facts.read(FactName.FAILED_VERSION)
        if fact is None:
            return None
        values = fact.values
        return FailedVersion(
            int(values["file_version"] or 0), str(values["reason"]), int(values["unjudged_attempts"] or 0), fact.utc
        )

    def set_failed_version(self, failed: FailedVersion) -> None:
        """Call it inside the transaction that reports the failure."""
        self.facts.record(
            FactName.FAILED_VERSION,
            failed.utc,
            file_version=failed.file_version,
            reason=failed.reason,
            unjudged_attempts=failed.unjudged_attempts,
        )

    def forget_failed_version(self) -> None:
        """Another one is fetched, or the engineer wants it tried again."""
        self.facts.forget(FactName.FAILED_VERSION)

    def note_trial_failure(self, update_id: str, version: Version, reason: str) -> None:
        """For the program that takes over: why this one gave its trial up. Left out where the medium takes nothing."""
        utc = self._wall_clock()
        self.facts.note(FactName.TRIAL_FAILED, utc, update_id=update_id, version=str(version), reason=reason)

    def trial_failure(self, update_id: str) -> str:
        """Why the trial of this update was given up, empty where nobody noted it."""
        fact = self.facts.read(FactName.TRIAL_FAILED)
        return str(fact.values.get("reason")) if fact and fact.values.get("update_id") == update_id else ""

    def prove_writable(self) -> None:
        """Write and read back. Raises StorageError."""
        utc = self.own_utc()
        self.facts.record(FactName.SELF_TESTED, utc)
        fact = self.facts.read(FactName.SELF_TESTED)
        if fact is None or fact.utc != utc:
            raise StorageError("the journal does not keep what is written to it; check the medium")

    # --- reports ----------------------------------------------------------------------------------------------------

    def post(self, row: OutboxRow) -> None:
        """Put a message into the outbox."""
        self._database.execute(
            "INSERT INTO outbox (key, kind, message, update_id) VALUES (?, ?, ?, ?)",
            row.key,
            row.kind,
            row.message,
            row.update_id,
        )

    def undelivered(self) -> list[OutboxRow]:
        """What still has to go up, oldest first."""
        rows = self._database.rows("SELECT key, kind, message, update_id FROM outbox WHERE delivered = 0 ORDER BY id")
        return [OutboxRow(*row) for row in rows]

    def delivered(self, key: str) -> None:
        """The chip reported that the other side acknowledged it."""
        self._database.execute("UPDATE outbox SET delivered = 1 WHERE key = ?", key)

    # --- orders -----------------------------------------------------------------------------------------------------

    def order(self, phase: str) -> Order | None:
        """The CS06 in this phase: ``dated`` waits for its time, ``running`` has been decided and owes its report."""
        row = self._database.row(
            "SELECT message, image_hash, execution_utc, update_id FROM activation_order WHERE phase = ?", phase
        )
        return Order(*row) if row else None

    def set_order(self, phase: str, order: Order) -> None:
        """Record it; a newer one replaces an older one of the same phase."""
        self._database.execute(
            "INSERT OR REPLACE INTO activation_order (phase, message, image_hash, execution_utc, update_id)"
            " VALUES (?, ?, ?, ?, ?)",
            phase,
            order.message,
            order.image_hash,
            order.execution_utc,
            order.update_id,
        )

    def forget_order(self, phase: str) -> None:
        """It was reported, cancelled or replaced."""
        self._database.execute("DELETE FROM activation_order WHERE phase = ?", phase)

    # --- tunnel -----------------------------------------------------------------------------------------------------

    def tunnel(self) -> str:
        """The open tunnel as its machine serialised it, empty when there is none."""
        row = self._database.row("SELECT state FROM tunnel WHERE id = 1")
        return row[0] if row else ""

    def set_tunnel(self, state: str) -> None:
        """Remember the open tunnel across a restart; empty forgets it."""
        self._database.execute("INSERT OR REPLACE INTO tunnel (id, state) VALUES (1, ?)", state)

    # --- key establishment ------------------------------------------------------------------------------------------

    def hub_key(self) -> str:
        """With which hub the chip shares a link key, as its machine serialised it; empty when with none."""
        row = self._database.row("SELECT state FROM hub_key WHERE id = 1")
        return row[0] if row else ""

    def set_hub_key(self, state: str) -> None:
        """Remember it across a restart (never the key itself); empty forgets it."""
        self._database.execute("INSERT OR REPLACE INTO hub_key (id, state) VALUES (1, ?)", state)

    def given_code(self) -> str:
        """The install code that ``han-agent join`` was given (``agent.install_codes``); empty when none was."""
        if not self._database.has_table("given_code"):  # of an older program, opened for reading only
            return ""
        row = self._database.row("SELECT state FROM given_code WHERE id = 1")
        return row[0] if row else ""

    def set_given_code(self, state: str) -> None:
        """Remember it across restarts and factory resets. It is a secret: this table leaves the device with nobody."""
        self._database.execute("INSERT OR REPLACE INTO given_code (id, state) VALUES (1, ?)", state)

    # --- logs -------------------------------------------------------------------------------------------------------

    def log(self, event: LoggedEvent) -> None:
        """Append to the event or security log; what bears no time gets that of the device's own clock."""
        self._database.execute(
            "INSERT INTO event (log, utc, code, what, update_id) VALUES (?, ?, ?, ?, ?)",
            event.log,
            self.own_utc() if event.utc is None else event.utc,
            event.code,
            event.what,
            event.update_id,
        )

    def events(self, log: str | None = None, limit: int = 1000) -> list[LoggedEvent]:
        """The newest ``limit`` lines, oldest first, of one log or of all."""
        rows = self._database.rows(
            "SELECT log, utc, code, what, update_id FROM event WHERE ? IS NULL OR log = ? ORDER BY id DESC LIMIT ?",
            log,
            log,
            limit,
        )
        return [LoggedEvent(*row) for row in reversed(rows)]


def _counter_name(originator: int, use: int) -> str:
    return f"{use:04X}/{originator:016X}"
