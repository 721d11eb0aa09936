"""Files and SQLite on the disk whose power can be cut."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from agent.update.database import Database
from agent.update.journal import Journal, LoggedEvent
from boards.virtual.disk import Cut, Disk, PowerCut, Survival
from boards.virtual.disk.files import DiskFiles
from boards.virtual.disk.sqlite import DiskConnection


def cut_and_on(disk: Disk, survival: Survival = Survival.LOST) -> None:
    disk.lose_power(survival)
    disk.power_on()


def test_a_file_has_its_name_its_length_and_its_octets() -> None:
    files = DiskFiles(Disk())
    with pytest.raises(FileNotFoundError):
        files.open("a", create=False)
    file = files.open("a", create=True)
    file.write(3, b"xy")
    assert (file.size_octets, file.read(0, 100)) == (5, b"\0\0\0xy")
    file.truncate(4)
    file.truncate(6)
    assert files.open("a", create=False).read(2, 10) == b"\0x\0\0"
    files.delete("a")
    assert not files.exists("a")
    assert file.read(3, 1) == b"x", "open files outlive their name"


def test_octets_without_a_durable_name_are_lost_with_it() -> None:
    disk = Disk()
    files = DiskFiles(disk)
    file = files.open("a", create=True)
    file.write(0, b"x")
    file.sync()
    cut_and_on(disk)
    assert not files.exists("a")


def test_a_durable_name_without_a_sync_of_the_file_has_nothing_in_it() -> None:
    disk = Disk()
    files = DiskFiles(disk)
    files.open("a", create=True).write(0, b"x")
    files.sync_names()
    cut_and_on(disk)
    assert files.open("a", create=False).size_octets == 0


def test_a_name_taken_away_comes_back_with_its_octets_until_the_folder_is_synced() -> None:
    disk = Disk()
    files = DiskFiles(disk)
    file = files.open("a", create=True)
    file.write(0, b"x")
    file.sync()
    files.sync_names()
    files.delete("a")
    cut_and_on(disk)
    assert files.open("a", create=False).read(0, 9) == b"x"
    files.delete("a")
    files.sync_names()
    cut_and_on(disk)
    assert not files.exists("a")


def test_lengths_and_names_settle_each_by_itself() -> None:
    seen = set()
    for seed in range(80):
        disk = Disk(seed)
        files = DiskFiles(disk)
        kept = files.open("kept", create=True)
        kept.write(0, b"12345678")
        kept.sync()
        files.sync_names()
        kept.truncate(2)
        files.open("new", create=True)
        cut_and_on(disk, Survival.MIXED)
        seen.add((files.open("kept", create=False).size_octets, files.exists("new")))
    assert seen == {(8, False), (8, True), (2, False), (2, True)}


def test_what_is_cut_off_does_not_come_back_when_the_file_grows() -> None:
    disk = Disk()
    files = DiskFiles(disk)
    file = files.open("a", create=True)
    file.write(0, b"x" * 2000)
    files.sync_names()
    cut_and_on(disk)  # the octets were lost, the name was not
    file = files.open("a", create=False)
    file.write(1999, b"y")
    assert file.read(0, 2000) == bytes(1999) + b"y"


def event(number: int) -> LoggedEvent:
    return LoggedEvent("event", None, 0, str(number), "")


@contextmanager
def opened(files: DiskFiles) -> Iterator[Journal]:
    connection = DiskConnection(files, "journal.db")
    try:
        yield Journal(Database(connection), wall_clock=lambda: 1.0)
    finally:
        connection.close()


def write_and_reopen(files: DiskFiles, committed: list[int]) -> None:
    """Two lives; every number is appended to ``committed`` once its transaction has returned."""
    for life in range(2):
        with opened(files) as journal:
            for number in range(life * 10, life * 10 + 10):
                with journal.transaction():
                    journal.log(event(number))
                    journal.set_counter("last", number)
                committed.append(number)


@pytest.mark.parametrize("survival", Survival)
def test_what_sqlite_committed_is_there_after_a_cut_anywhere(survival: Survival) -> None:
    disk = Disk()
    write_and_reopen(DiskFiles(disk), [])
    operations = len(disk.operations)
    kinds = {(one.area, one.kind) for one in disk.operations}
    assert {("journal.db", "sync"), ("journal.db-wal", "sync"), ("journal.db-wal", "delete")} <= kinds
    for number in range(1, operations + 1):
        disk = Disk(number)
        files = DiskFiles(disk)
        committed: list[int] = []
        disk.cut_at(number, survival)
        with suppress(PowerCut):
            write_and_reopen(files, committed)
        disk.power_on()
        with opened(files) as journal:
            found = [int(one.what) for one in journal.events()]
            assert found[: len(committed)] == committed
            assert len(found) <= len(committed) + 1
            assert journal.counter("last", -1) == (found[-1] if found else -1), "a transaction came apart"


def test_a_killed_program_loses_nothing_that_it_wrote() -> None:
    disk = Disk()
    files = DiskFiles(disk)
    with opened(files) as journal:
        journal.log(event(0))
    disk.cut_at(4, cut=Cut.KILL)
    with suppress(PowerCut), opened(files) as journal:
        for number in range(1, 9):
            journal.log(event(number))
    disk.power_on()
    with opened(files) as journal:
        assert [one.what for one in journal.events()][:1] == ["0"]


def test_a_statement_that_sqlite_refuses_is_an_error_of_sqlite3() -> None:
    connection = DiskConnection(DiskFiles(Disk()), "journal.db")
    with pytest.raises(sqlite3.Error, match="no such table"):
        connection.execute("SELECT * FROM absent")
    connection.close()


def test_a_cut_while_nothing_is_written_shows_at_the_next_statement() -> None:
    disk = Disk()
    connection = DiskConnection(DiskFiles(disk), "journal.db")
    disk.lose_power()
    with pytest.raises(PowerCut):
        connection.execute("SELECT 1")
    with pytest.raises(PowerCut):
        connection.close()
