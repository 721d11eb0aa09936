"""A medium that fails: how the disk models it, and what each keeper of something durable makes of it."""

from __future__ import annotations

import errno
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from boot_factory import Board, image_hash, small_image
from image_factory import HEADER, ota

from agent.boot.places import MissingArea
from agent.boot.state import Slot, SlotState
from agent.boot.store import Finding
from agent.errors import StorageError
from agent.update.commands import BeginDownload, CancelTransfer, Decline, EndUpgrade, Note
from agent.update.database import Database, open_database
from agent.update.journal import Journal, LoggedEvent
from agent.update.reception import STALLED_STARTS
from agent.update.states import State
from boards.virtual.disk import Disk, Fault, MediumFault, Survival
from boards.virtual.disk.files import DiskFiles
from boards.virtual.disk.sqlite import DiskConnection
from tests.update_rig import NEW, NEWER, UTC, Rig, image, ota_file

FILE = ota_file(NEW)
SIZE = 4096


# --- the model --------------------------------------------------------------------------------------------------------


def test_one_operation_fails_and_the_next_one_works() -> None:
    disk = Disk()
    area = disk.area("slot", SIZE)
    disk.fail_at(1, Fault.EIO)
    with pytest.raises(StorageError, match=r"slot: cannot write at octet 7: Input/output error.*replace the card"):
        area.write(7, b"new")
    assert area.read(7, 3) == bytes(3)
    area.write(7, b"new")
    assert (area.read(7, 3), disk.faults) == (b"new", 1)


def test_a_lasting_fault_lasts_until_the_medium_is_healed() -> None:
    disk = Disk()
    area = disk.area("slot", SIZE)
    disk.fail_at(2, Fault.ENOSPC, lasting=True)
    area.write(0, b"1")
    for attempt in (area.sync, lambda: area.erase(0, 9), lambda: area.write(0, b"2")):
        with pytest.raises(StorageError, match="is full: free space"):
            attempt()
    disk.heal()
    area.write(0, b"3")
    assert area.read(0, 1) == b"3"


def test_a_short_write_leaves_its_first_half() -> None:
    disk = Disk()
    area = disk.area("slot", SIZE)
    file = DiskFiles(disk).open("journal", create=True)
    disk.fail_at(2, Fault.SHORT, lasting=True)
    with pytest.raises(StorageError):
        area.write(0, b"abcdef")
    with pytest.raises(MediumFault) as caught:
        file.write(0, b"abcdef")
    assert (area.read(0, 6), file.read(0, 9), caught.value.errno) == (b"abc\0\0\0", b"abc", errno.ENOSPC)


def test_what_a_failed_sync_should_have_written_is_never_made_up_for() -> None:
    disk = Disk()
    area = disk.area("slot", SIZE)
    area.write(0, b"lost")
    disk.fail_at(2, Fault.EIO)
    with pytest.raises(StorageError, match="cannot fsync"):
        area.sync()
    area.sync()
    assert (area.read(0, 4), area.read_medium(0, 4)) == (b"lost", bytes(4))
    area.write(2, b"!")  # the sector is dirty again, with all that is in the cache
    area.sync()
    assert area.read_medium(0, 4) == b"lo!t"


def test_the_power_takes_what_a_failed_sync_left_in_the_cache() -> None:
    disk = Disk()
    area = disk.area("slot", SIZE)
    area.write(0, b"lost")
    disk.fail_at(2, Fault.EIO)
    with pytest.raises(StorageError):
        area.sync()
    disk.lose_power(Survival.KEPT)
    disk.power_on()
    assert area.read(0, 4) == bytes(4)


# --- the boot state ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", list(Fault))
def test_a_change_of_the_boot_state_that_fails_anywhere_leaves_the_old_or_the_new_one(fault: Fault) -> None:
    """And then the power may go at every operation of the next change."""
    operations = 6
    for failing in range(1, operations + 1):
        for cut in range(operations + 1):
            board = Board(seed=100 * failing + cut)
            board.provision(small_image(1))
            board.write(Slot.A, Slot.B, small_image(2))
            board.disk.power_on()
            board.disk.fail_at(failing, fault)
            with pytest.raises(StorageError):
                board.control(Slot.A).activate(Slot.B, 3)
            board.disk.power_on()
            assert board.store.repair().finding in (Finding.WHOLE, Finding.BEHIND, Finding.ONE_TORN)
            if cut:
                board.disk.lose_power(Survival.TORN)
            else:
                board.disk.lose_power(Survival.LOST)
            board.disk.power_on()
            state = board.store.load().state
            assert state is not None
            assert state.active is Slot.A
            assert state.b.state in (SlotState.WRITTEN, SlotState.TRIAL)
            assert state.b.image_hash == image_hash(small_image(2))


# --- the journal ------------------------------------------------------------------------------------------------------


@contextmanager
def opened(files: DiskFiles) -> Iterator[Journal]:
    with closing(Database(DiskConnection(files, "journal.db"), name="journal.db")) as database:
        yield Journal(database, wall_clock=lambda: 1.0)


def count_twice(journal: Journal, value: int) -> None:
    with journal.transaction():
        journal.set_counter("a", value)
        journal.set_counter("b", value)


@pytest.mark.parametrize("kind", ["write", "sync"])
@pytest.mark.parametrize(
    ("fault", "remedy"), [(Fault.EIO, "replace the card"), (Fault.ENOSPC, "free space"), (Fault.SHORT, "free space")]
)
def test_a_transaction_fails_as_a_whole_with_file_and_remedy_and_the_next_one_works(
    fault: Fault, remedy: str, kind: str
) -> None:
    disk = Disk()
    with opened(DiskFiles(disk)) as journal:
        count_twice(journal, 1)
        disk.power_on()
        count_twice(journal, 2)
        number = next(one.number for one in disk.operations if one.kind == kind)
        disk.power_on()
        disk.fail_at(number, fault)
        told = remedy if kind == "write" else "replace the card"  # a sync that fails is an I/O error to SQLite
        with pytest.raises(StorageError, match=rf"journal\.db: .*{told}"):
            count_twice(journal, 3)
        assert disk.faults == 1
        assert (journal.counter("a"), journal.counter("b")) == (2, 2)
        count_twice(journal, 4)
        assert (journal.counter("a"), journal.counter("b")) == (4, 4)


def test_a_statement_whose_error_was_kept_back_spoils_its_transaction(tmp_path: Path) -> None:
    """SQLite may have rolled back what came before it, and would then commit what comes after it by itself."""
    database = open_database(tmp_path / "agent.db")
    journal = Journal(database)

    def swallow() -> None:
        with journal.transaction():
            journal.set_counter("before", 1)
            with pytest.raises(StorageError, match="no such table"):
                database.execute("INSERT INTO absent VALUES (1)")
            with pytest.raises(StorageError, match="no such table"):
                journal.set_counter("after", 1)

    with pytest.raises(StorageError, match=r"agent\.db: .*no such table"):
        swallow()
    assert (journal.counter("before"), journal.counter("after")) == (0, 0)
    journal.set_counter("after", 2)
    assert journal.counter("after") == 2
    database.close()


def test_the_log_of_a_program_that_was_killed_is_written_anew_before_it_is_trusted(tmp_path: Path) -> None:
    """A kill leaves the write-ahead log; its octets stay what they are."""
    path = tmp_path / "agent.db"
    left = open_database(path)
    Journal(left).log(LoggedEvent("event", 1, 0, "before", ""))
    wal = path.with_name("agent.db-wal")
    octets = wal.read_bytes()
    assert octets
    with closing(open_database(path)) as database:
        assert [event.what for event in Journal(database).events()] == ["before"]
        assert wal.read_bytes()[: len(octets)] == octets
    left.close()


def test_a_folder_that_is_not_there_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"absent/agent\.db: .*correct \[storage\]"):
        open_database(tmp_path / "absent" / "agent.db")


def test_sqlite_counts_its_codes_as_we_do() -> None:
    assert {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN} == {13, 10, 14}


# --- the update -------------------------------------------------------------------------------------------------------


def halfway(rig: Rig) -> Rig:
    rig.start()
    rig.machine.offered(NEW.file_version, len(FILE))
    rig.feed(FILE, 0, 5000)
    return rig


def test_a_slot_that_fails_ends_the_program_and_the_next_start_goes_on_at_the_checkpoint() -> None:
    rig = halfway(Rig())
    rig.disk.fail_at(len(rig.disk.operations) + 1, Fault.EIO)
    with pytest.raises(StorageError, match="slot B: cannot write"):
        rig.feed(FILE, 5000)
    assert rig.of(EndUpgrade) == []
    rig.start(1.0)
    assert (rig.machine.state, rig.machine.resume_offset) == (State.DOWNLOADING, 60 + 4096)
    rig.feed(FILE, 60 + 4096)
    assert rig.machine.state is State.STAGED
    assert rig.journal.counter("stalled starts") == 0


def test_a_slot_that_fails_again_and_again_at_one_checkpoint_ends_the_transfer() -> None:
    rig = halfway(Rig())
    for _ in range(STALLED_STARTS - 1):
        rig.disk.fail_at(len(rig.disk.operations) + 1, Fault.EIO)
        with pytest.raises(StorageError):
            rig.feed(FILE, rig.machine.resume_offset or 0)
        rig.start(1.0)
    rig.disk.fail_at(len(rig.disk.operations) + 1, Fault.EIO)
    rig.feed(FILE, rig.machine.resume_offset or 0)
    assert rig.of(EndUpgrade) == [EndUpgrade(0x95, NEW.file_version)]
    (note,) = [one for one in rig.of(Note) if isinstance(one, Note) and one.event == "image refused"]
    assert note.facts["reason"] == "storage"
    assert rig.machine.state is State.IDLE
    rig.disk.heal()
    rig.download(FILE)
    assert rig.machine.state is State.STAGED, "the next transfer has its own count"


def test_a_full_slot_does_not_end_the_program_and_the_next_offer_goes_on_at_the_checkpoint() -> None:
    rig = halfway(Rig())
    for times in (1, 2):
        rig.disk.fail_at(len(rig.disk.operations) + 1, Fault.ENOSPC, lasting=True)
        rig.feed(FILE, rig.machine.resume_offset or 0)
        assert rig.of(EndUpgrade) == [EndUpgrade(0x95, NEW.file_version)] * times, "the head end hears of each attempt"
        notes = [one for one in rig.of(Note) if isinstance(one, Note) and one.event == "download waits"]
        assert "slot B: cannot write" in str(notes[-1].facts["reason"])
        assert "free space on it" in str(notes[-1].facts["reason"])
        assert (rig.machine.state, rig.machine.resume_offset) == (State.DOWNLOADING, 60 + 4096)
        rig.disk.heal()
        rig.machine.offered(NEW.file_version, len(FILE))
        assert rig.of(BeginDownload)[-1] == BeginDownload(60 + 4096, len(FILE), NEW.file_version)
    rig.feed(FILE, 60 + 4096)
    assert rig.machine.state is State.STAGED


def test_a_transfer_that_waits_for_space_goes_on_after_a_restart_and_gives_way_to_another_image() -> None:
    rig = halfway(Rig())
    rig.disk.fail_at(len(rig.disk.operations) + 1, Fault.ENOSPC)
    rig.feed(FILE, 5000)
    rig.start(1.0)
    assert rig.machine.resume_offset == 60 + 4096
    rig.disk.fail_at(len(rig.disk.operations) + 1, Fault.ENOSPC)
    rig.feed(FILE, 60 + 4096)
    rig.download(ota_file(NEWER), NEWER)
    assert (rig.machine.state, rig.machine.record.file_version) == (State.STAGED, NEWER.file_version)


def test_a_medium_that_is_full_before_the_first_octet_is_waited_out_as_well() -> None:
    rig = Rig()
    rig.start()
    rig.disk.fail_at(len(rig.disk.operations) + 1, Fault.ENOSPC, lasting=True)
    rig.machine.offered(NEW.file_version, len(FILE))
    assert rig.of(EndUpgrade) == [EndUpgrade(0x95, NEW.file_version)], "the hub hears of it"
    assert rig.machine.resume_offset == 0
    rig.disk.heal()
    rig.download(FILE)
    assert rig.machine.state is State.STAGED


def test_a_slot_that_takes_nothing_lets_go_of_the_image_that_was_pending() -> None:
    """The OTA client is told: it would wait for the activation of an image that is no more."""
    rig = Rig()
    rig.start()
    rig.download(FILE)
    rig.areas[Slot.B] = MissingArea("slot B: no such partition; see lsblk")  # type: ignore[assignment]
    rig.machine.offered(NEWER.file_version, len(FILE))
    rig.collect()
    assert rig.machine.state is State.IDLE
    assert [type(one) for one in rig.commands if not isinstance(one, Note)][-2:] == [Decline, CancelTransfer]


def file_filled_with(octet: int) -> bytes:
    """Its image has 8191, 8192 or 8193 octets, as long as the signature comes out."""
    return ota(image(NEW, bytes([octet]) * 7996), header=HEADER)


def test_an_image_whose_last_octet_fell_on_a_checkpoint_is_judged_after_a_restart() -> None:
    whole = next(file for file in map(file_filled_with, range(99)) if (len(file) - 60) % 4096 == 0)
    rig = Rig()
    rig.start()
    rig.machine.offered(NEW.file_version, len(whole))
    rig.feed(whole, 0, len(whole) - 1)
    before = len(rig.disk.operations)
    rig.disk.fail_at(before + 3, Fault.EIO)  # the write and the sync of the checkpoint, then the slot's tail
    with pytest.raises(StorageError):
        rig.feed(whole, len(whole) - 1)
    rig.start(1.0)
    assert rig.machine.resume_offset == len(whole)
    rig.machine.transfer_complete(1.0)
    assert rig.machine.state is State.STAGED


def test_a_receipt_before_the_hub_has_told_its_time_bears_our_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    rig.start()
    dated: list[int] = []
    monkeypatch.setattr(rig.reporter, "received", lambda *, utc, **_facts: dated.append(utc))
    rig.download(FILE)
    assert dated == [UTC]


def test_an_arming_that_fails_is_done_at_the_next_start() -> None:
    """It has not failed: the report would say so, and the boot state might say that the trial comes."""
    rig = Rig()
    rig.start()
    rig.download(FILE)
    for failing in range(1, 7):
        rig.disk.power_on()
        rig.disk.fail_at(failing, Fault.EIO)
        with pytest.raises(StorageError, match="boot state"):
            rig.machine.activate_now() if failing == 1 else rig.start(float(failing))
        rig.disk.heal()
        if rig.slot_state(Slot.B) is SlotState.TRIAL:
            break
    rig.start(10.0)
    if not rig.running.trial:
        assert rig.restarting
        rig.start(11.0)
    assert rig.running.version == NEW
    assert rig.reports == []


@pytest.mark.parametrize("seed", range(20))
def test_an_image_that_is_refused_has_one_receipt_whatever_fails_at_its_end(seed: int) -> None:
    """The receipt and the state that it tells of are durable together."""
    bad = bytearray(FILE)
    bad[5000] ^= 1
    choose = random.Random(seed)
    rig = Rig(on_disk=True)
    told: list[bool] = []

    def start() -> None:
        rig.start(1.0)
        reporter = rig.reporter
        received = reporter.received

        def count(**facts: object) -> None:
            rig.journal.log(LoggedEvent("receipt", 1, 0, str(facts["verified"]), ""))
            received(**facts)  # type: ignore[arg-type]

        reporter.received = count  # type: ignore[method-assign]

    start()
    rig.machine.offered(NEW.file_version, len(bad))
    rig.feed(bytes(bad), 0, len(bad) - 1)
    rig.disk.fail_at(len(rig.disk.operations) + choose.randint(1, 12), choose.choice(list(Fault)))
    for _ in range(3):
        try:
            offset = rig.machine.resume_offset
            rig.feed(bytes(bad), len(bad) - 1 if offset is None or not told else offset)
            if rig.machine.state is State.IDLE:
                break
            rig.disk.heal()
            rig.machine.offered(NEW.file_version, len(bad))
        except StorageError:
            rig.disk.heal()
            start()
        told.append(False)
    assert rig.machine.state is State.IDLE
    assert [event.what for event in rig.journal.events("receipt")] == ["False"]
    rig.close_database()
