"""Bugs to be planted: the sweep is worth its time only if it finds each of them. Each is a patch of production code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
from Crypto.Hash import SHA256
from Crypto.Signature import DSS

from agent.boot import control, slots, store
from agent.boot.area import Medium
from agent.boot.mark import ConfirmedMark, read_mark, write_mark
from agent.boot.state import BootState, encode
from agent.boot.store import COPY_OFFSETS
from agent.errors import StorageError
from agent.gbcs.certificate import KeyUse
from agent.gbcs.keystore import KeyStore
from agent.gbcs.message import decode
from agent.gbcs.protection import signed_octets
from agent.update import activation, database, journal, outbox, reception, staging
from agent.update.commands import Decline
from agent.update.course import NOTHING_STORED
from agent.update.states import State
from agent.update.trial import SelfTest
from agent.zigbee import joining
from boards.virtual.stack import key_store
from tests import update_rig
from tests.home import identity

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True)
class Mutant:
    """``scenario`` is where it must show, with cuts that end in one of ``ways``."""

    plant: Plant
    scenario: str
    ways: tuple[str, ...]


def checkpoint_without_fsync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(slots.SlotWriter, "checkpoint", lambda self: self._written_octets)


def journal_before_fsync_at_a_checkpoint(patch: pytest.MonkeyPatch) -> None:
    """The checkpoint is in the journal, and its octets are not on the medium."""
    syncs: list[Callable[[], int]] = []
    real = slots.SlotWriter.checkpoint
    save = reception.Reception._save

    def save_first(self: reception.Reception, checkpoint: staging.Checkpoint) -> None:
        save(self, checkpoint)
        syncs.pop()()

    patch.setattr(slots.SlotWriter, "checkpoint", lambda self: syncs.append(lambda: real(self)) or 0)
    patch.setattr(reception.Reception, "_save", save_first)


def both_copies_of_the_boot_state_before_one_fsync(patch: pytest.MonkeyPatch) -> None:
    def write_copy(self: store.BootStateStore, index: int, state: BootState) -> None:
        for offset in COPY_OFFSETS:
            self._area.write(offset, encode(state))
        self._area.sync()

    patch.setattr(store.BootStateStore, "_write_copy", write_copy)


def written_before_the_slot_is_durable(patch: pytest.MonkeyPatch) -> None:
    """The order of writes: the boot state calls a slot whole whose octets are still in the cache."""
    finish = slots.SlotWriter.finish

    def finish_unsynced(self: slots.SlotWriter, look: slots.Look | None = None) -> slots.WrittenImage:
        area, patched = self._area, _Unsynced(self._area)
        self._area = patched
        try:
            return finish(self, look)
        finally:
            self._area = area

    patch.setattr(slots.SlotWriter, "finish", finish_unsynced)


class _Unsynced:
    """An area that forgets to sync and reads back from the cache."""

    def __init__(self, area: slots.Medium) -> None:
        self._area = area
        self.size_octets = area.size_octets
        self.read = self.read_medium = area.read
        self.write, self.erase = area.write, area.erase

    def sync(self) -> None:
        """Forgotten."""


def confirm_before_the_health_check(patch: pytest.MonkeyPatch) -> None:
    start = activation.Activation.start

    def confirm_at_once(self: activation.Activation, now: float, self_tests: Sequence[SelfTest]) -> None:
        if self._running.trial:
            self._slots.confirm()
        start(self, now, self_tests)

    patch.setattr(activation.Activation, "start", confirm_at_once)


def report_outside_of_the_transaction(patch: pytest.MonkeyPatch) -> None:
    """First the state, then the row that tells of it."""

    def report(self: activation.Activation, *, success: bool, utc: int) -> None:
        record = self._course.record
        self._course.move(State.IDLE, **NOTHING_STORED)
        self._reporter.activated(success=success, record=record, version=self._running.version, utc=utc)
        self._failure, self._owes_report = "", False

    patch.setattr(activation.Activation, "_report", report)


def report_before_the_transaction(patch: pytest.MonkeyPatch) -> None:
    """First the row, then the state that it tells of: reported twice, under two counters."""
    real = activation.Activation._report

    def report(self: activation.Activation, *, success: bool, utc: int) -> None:
        self._reporter.activated(success=success, record=self._course.record, version=self._running.version, utc=utc)
        reporter, self._reporter = self._reporter, _Silent()
        try:
            real(self, success=success, utc=utc)
        finally:
            self._reporter = reporter

    patch.setattr(activation.Activation, "_report", report)


class _Silent:
    def activated(self, **facts: object) -> None:
        """Told before."""


def commits_without_fsync(patch: pytest.MonkeyPatch) -> None:
    real = database.Database.__init__

    def init(self: database.Database, connection: database.Connection, **options: object) -> None:
        real(self, connection, **options)
        connection.execute("PRAGMA synchronous = NORMAL").fetchall()

    patch.setattr(database.Database, "__init__", init)


def acknowledged_is_delivered(patch: pytest.MonkeyPatch) -> None:
    """What went by a tunnel that the hub had forgotten is never sent again."""
    patch.setattr(outbox.Outbox, "tunnel_changed", lambda self, now: None)


def report_without_the_confirm(patch: pytest.MonkeyPatch) -> None:
    """Alert first, commit afterwards."""
    real = activation.Activation._confirm

    def confirm(self: activation.Activation, now: float) -> None:
        slots_, self._slots = self._slots, _NotYet(self._slots)
        try:
            real(self, now)
        finally:
            self._slots = slots_
        self._slots.confirm()

    patch.setattr(activation.Activation, "_confirm", confirm)


class _NotYet:
    def __init__(self, slots_: object) -> None:
        self._slots = slots_

    def confirm(self) -> None:
        """Later."""


def own_counter_stored_when_delivered(patch: pytest.MonkeyPatch) -> None:
    """An alert leaves under a counter that the journal does not know yet."""
    used: list[int] = []
    settled = outbox.Outbox.take_settled

    def next_own_counter(self: journal.Journal, utc: int) -> int:
        value = (self.counter("own") or utc << journal.COUNTER_STEP_BITS) + 1
        used.append(value)
        return value

    def take_settled(self: outbox.Outbox, now: float) -> list[journal.OutboxRow]:
        rows = settled(self, now)
        if rows and used:
            self._journal.set_counter("own", used.pop())
        return rows

    patch.setattr(journal.Journal, "next_own_counter", next_own_counter)
    patch.setattr(outbox.Outbox, "take_settled", take_settled)


def accepted_counter_stored_after_the_answer(patch: pytest.MonkeyPatch) -> None:
    """The command is carried out and answered in one transaction, its counter follows with the delivery."""
    late: list[tuple[int, int, int]] = []
    settled, real = outbox.Outbox.take_settled, journal.Journal.accept

    def take_settled(self: outbox.Outbox, now: float) -> list[journal.OutboxRow]:
        rows = settled(self, now)
        while rows and late:
            real(self._journal, *late.pop())
        return rows

    patch.setattr(journal.Journal, "accept", lambda self, *which: late.append(which))
    patch.setattr(outbox.Outbox, "take_settled", take_settled)


def signed_anew_for_every_sending(patch: pytest.MonkeyPatch) -> None:
    """With a signature that is not deterministic: other octets under a counter that has left before."""
    real, keys = outbox.Outbox.to_send, KeyStore.load(identity("ppmid").device_keys)

    def anew(row: journal.OutboxRow) -> journal.OutboxRow:
        message = decode(row.message)
        key = keys.private_key(message.originator, KeyUse.DIGITAL_SIGNING)
        assert key is not None
        signature = DSS.new(key, "fips-186-3", encoding="binary").sign(SHA256.new(signed_octets(message)))
        return replace(row, message=replace(message, signature=signature).encode())

    patch.setattr(outbox.Outbox, "to_send", lambda self, now: [(handle, anew(row)) for handle, row in real(self, now)])


def chip_counter_not_reserved_ahead(patch: pytest.MonkeyPatch) -> None:
    """The chip writes NV when a reserve is used up, not before its first number leaves."""

    def take(self: key_store.ReservedCounter) -> int:
        value = self.next_value
        self.next_value = value + 1
        if self.next_value >= self.reserve + self._step:
            self.reserve = self.next_value
            self._on_reserve()
        return value

    patch.setattr(key_store.ReservedCounter, "take", take)


def link_key_not_journalled(patch: pytest.MonkeyPatch) -> None:
    """Every start makes a new key, and every partner with a limit on them shuts the door one day."""
    patch.setattr(journal.Journal, "set_hub_key", lambda self, state: None)


def journalled_key_never_doubted(patch: pytest.MonkeyPatch) -> None:
    """The journal has the key, the chip lost it with its power, and nobody notices."""
    patch.setattr(joining.Joining, "secured_sent", lambda self, status, now: None)


# --- found by a medium that fails -------------------------------------------------------------------------------------


def log_is_trusted_after_a_failed_sync(patch: pytest.MonkeyPatch) -> None:
    """SQLite reads what no sync has written, goes on behind it, and the power takes all of it away."""
    patch.setattr(update_rig, "renew", lambda _wal: None)


def failed_arming_ends_the_activation(patch: pytest.MonkeyPatch) -> None:
    """The report says that it failed, and the boot state may say that the trial comes."""
    patch.setattr(activation, "StorageRefusedError", StorageError)


def mark_that_is_there_is_only_synced(patch: pytest.MonkeyPatch) -> None:
    def put(area: Medium, mark: ConfirmedMark) -> None:
        if read_mark(area) == mark:
            area.sync()
        else:
            write_mark(area, mark)

    patch.setattr(control, "write_mark", put)


def error_of_a_commit_is_swallowed(patch: pytest.MonkeyPatch) -> None:
    run = database.Database._run

    def forgiving(self: database.Database, sql: str, *parameters: object) -> object:
        try:
            return run(self, sql, *parameters)
        except StorageError:
            if sql != "COMMIT":
                raise
            self._roll_back()
            return None

    patch.setattr(database.Database, "_run", forgiving)


def full_medium_declines_the_offer(patch: pytest.MonkeyPatch) -> None:
    """The OTA client goes on waiting for the image that was pending before, and asks for none any more."""

    def cannot_begin(self: reception.Reception, error: StorageError, *, other_may_do: bool) -> None:
        del other_may_do
        self._drop("download cannot start", reason=str(error))
        self._course.command(Decline(str(error)))

    patch.setattr(reception.Reception, "_cannot_begin", cannot_begin)


FAULT_MUTANTS = (
    Mutant(log_is_trusted_after_a_failed_sync, "ppmid-confirm", ("eio-lasting",)),
    Mutant(failed_arming_ends_the_activation, "hcalcs-activate", ("eio",)),
    Mutant(mark_that_is_there_is_only_synced, "ppmid-confirm", ("eio",)),
    Mutant(error_of_a_commit_is_swallowed, "ppmid-confirm", ("eio",)),
    Mutant(full_medium_declines_the_offer, "ppmid-replace", ("enospc",)),
)

MUTANTS: tuple[Mutant, ...] = (
    Mutant(checkpoint_without_fsync, "ppmid-resume", ("lost",)),
    Mutant(journal_before_fsync_at_a_checkpoint, "ppmid-resume", ("lost",)),
    Mutant(both_copies_of_the_boot_state_before_one_fsync, "ppmid-confirm", ("torn",)),
    Mutant(written_before_the_slot_is_durable, "ppmid-resume", ("lost",)),
    Mutant(confirm_before_the_health_check, "ppmid-unhealthy", ("lost",)),
    Mutant(report_outside_of_the_transaction, "ppmid-confirm", ("kill",)),
    Mutant(report_before_the_transaction, "ppmid-confirm", ("kill",)),
    Mutant(commits_without_fsync, "ppmid-dated", ("lost",)),
    Mutant(acknowledged_is_delivered, "ppmid-confirm", ("lost",)),
    Mutant(report_without_the_confirm, "ppmid-confirm", ("lost",)),
    Mutant(own_counter_stored_when_delivered, "ppmid-confirm", ("lost",)),
    Mutant(accepted_counter_stored_after_the_answer, "hcalcs-dated", ("lost",)),
    Mutant(signed_anew_for_every_sending, "ppmid-confirm", ("lost",)),
    Mutant(chip_counter_not_reserved_ahead, "ppmid-restart", ("lost",)),
    Mutant(link_key_not_journalled, "ppmid-join", ("kill",)),
    Mutant(journalled_key_never_doubted, "ppmid-join-lag", ("lost",)),
)
