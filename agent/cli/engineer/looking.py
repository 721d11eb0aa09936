"""One look at a device from its files, running or not: nothing is written, nothing is asked of the device."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from agent import presence
from agent.boot import engineer
from agent.boot.engineer import Report
from agent.boot.places import Places
from agent.errors import HanError
from agent.gbcs.keystore import KeyStore
from agent.install_codes import given_code
from agent.settings import Settings, load_device
from agent.update.database import Database, read_database
from agent.update.facts import Fact
from agent.update.failed_version import FailedVersion
from agent.update.journal import Journal, LoggedEvent, Order, OutboxRow, Record

EVENTS_READ = 10_000  # our choice: as many as ``events`` and a bundle show at most


@dataclass(frozen=True, slots=True)
class Memory:
    """What the journal holds."""

    record: Record
    facts: dict[str, Fact]
    dated: Order | None
    running: Order | None
    own_counter: int
    accepted: dict[tuple[int, int], int]  # (originator, message code) to the last counter
    outbox: list[OutboxRow]
    events: list[LoggedEvent]
    failed: FailedVersion | None
    hub_key: dict[str, object]  # with which hub the chip shares a link key; empty when with none
    given_code: dict[str, object]  # what ``han-agent join`` was given, with its CRC; empty when nothing

    @property
    def key_material(self) -> list[bytes]:
        """What of it must not leave the device: a hash of the link key is the key of a Trust Center swap-out."""
        return [bytes.fromhex(str(self.hub_key["key_hash"]))] if "key_hash" in self.hub_key else []


@dataclass(slots=True)
class Look:
    """``memory`` None: the device has never run, or its journal is in ``problems``."""

    config: Path
    settings: Settings
    process: int | None = None
    firmware: Report | None = None
    memory: Memory | None = None
    keys: KeyStore | None = None
    problems: list[HanError] = field(default_factory=list)

    @property
    def has_run(self) -> bool:
        """Whether there is a journal."""
        return self.settings.storage.database.exists()


def look(config: Path) -> Look:
    """Everything that can be read; what cannot is a problem. Raises SettingsError for the configuration alone."""
    seen = Look(config, load_device(config))
    for part in (_look_at_process, _look_at_firmware, _look_at_memory, _look_at_keys):
        try:
            part(seen)
        except HanError as error:
            seen.problems.append(error)
    return seen


def _look_at_process(seen: Look) -> None:
    seen.process = presence.holder(seen.settings.storage.database)


def _look_at_firmware(seen: Look) -> None:
    seen.firmware = engineer.report(Places.load(seen.config))


def _look_at_memory(seen: Look) -> None:
    if seen.has_run:
        seen.memory = read_memory(seen.settings.storage.database)


def _look_at_keys(seen: Look) -> None:
    seen.keys = KeyStore.load(seen.settings.storage.keys)


def read_memory(database: Path) -> Memory:
    """The journal. Raises StorageError naming the file."""
    with closing(read_database(database)) as opened, opened.transaction():  # one state of it, though the device writes
        journal = Journal(opened)
        return Memory(
            record=journal.load(),
            facts=journal.facts.all(),
            dated=journal.order("dated"),
            running=journal.order("running"),
            own_counter=journal.counter("own"),
            accepted=journal.accepted_counters(),
            outbox=journal.undelivered(),
            events=journal.events(limit=EVENTS_READ),
            failed=journal.failed_version(),
            hub_key=_read_hub_key(opened),
            given_code=given_code(journal),
        )


def _read_hub_key(opened: Database) -> dict[str, object]:
    """Empty also for a journal of a program without key establishment."""
    row = opened.row("SELECT state FROM hub_key WHERE id = 1") if opened.has_table("hub_key") else None
    return json.loads(row[0]) if row and row[0] else {}
