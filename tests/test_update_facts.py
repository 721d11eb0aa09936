"""Facts: replaced by name, durable, harmless where the medium is full or the journal is an older program's."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from agent.errors import StorageError
from agent.update.database import MIGRATIONS, open_database, read_database
from agent.update.facts import Fact, FactName
from agent.update.journal import Journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.db"


def test_a_fact_is_replaced_by_the_next_of_its_name_and_survives(path: Path) -> None:
    facts = Journal(open_database(path)).facts
    facts.record(FactName.NETWORK, 100.7, channel=11)
    facts.record(FactName.NETWORK, 200, channel=20, short_address="0x1234")
    facts.record(FactName.HUB, 201, eui="02DB000000000C4F")
    again = Journal(open_database(path)).facts
    assert again.read(FactName.NETWORK) == Fact(200, {"channel": 20, "short_address": "0x1234"})
    assert list(again.all()) == ["hub", "network"]
    again.forget(FactName.HUB)
    assert again.read(FactName.HUB) is None


def test_facts_of_a_read_only_journal_beside_the_writer(path: Path) -> None:
    writer = Journal(open_database(path))
    reader = Journal(read_database(path))
    writer.facts.record(FactName.CONTACT, 5, link_quality=77)
    assert reader.facts.read(FactName.CONTACT) == Fact(5, {"link_quality": 77})
    with pytest.raises(StorageError):
        reader.facts.record(FactName.CONTACT, 6)
    reader.facts.note(FactName.CONTACT, 6)  # for people only: nothing happens
    assert reader.facts.read(FactName.CONTACT) == Fact(5, {"link_quality": 77})


def test_a_journal_of_the_first_schema_has_no_facts_and_can_be_read(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(MIGRATIONS[0] + "PRAGMA user_version = 1;")
    connection.close()
    assert Journal(read_database(path)).facts.all() == {}
    Journal(open_database(path)).facts.record(FactName.STARTED, 1, slot="A")
    assert Journal(read_database(path)).facts.all() == {"started": Fact(1, {"slot": "A"})}


@pytest.mark.parametrize("octets", [b"", b"not a database, but long enough to be looked at as one" * 40])
def test_what_is_no_journal_is_named(path: Path, octets: bytes) -> None:
    path.write_bytes(octets)
    with pytest.raises(StorageError, match=r"agent\.db: not a journal"):
        read_database(path)
