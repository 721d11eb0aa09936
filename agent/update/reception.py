"""The reception of an image: from the offer, through every block, to the verdict and the slot that holds it whole.

A medium that does not take what it must is a StorageError that ends the program, and the next start goes on at the
checkpoint. What the medium will never take, and what fails at one checkpoint again and again, ends the transfer. A full
one does not end the program: the hub hears ABORT, and the next offer of the image goes on at the checkpoint.
"""

from __future__ import annotations

import random
from contextlib import suppress

from agent.errors import FormatError, StorageError, StorageFullError, StorageRefusedError
from agent.image.refusal import ABORT, Reason, Refusal
from agent.image.version import Version
from agent.update.commands import BeginDownload, CancelTransfer, Decline, EndUpgrade, Policy, Reporter, Running, Slots
from agent.update.course import NOTHING_STORED, Course
from agent.update.staging import Checkpoint, SlotSink, Staging
from agent.update.states import PENDING, State

SUCCESS = 0x00
STALLED_STARTS = 20  # our choice: so often in a row a transfer goes on at the same checkpoint, then it has failed
STALLED = "stalled starts"


class Reception:
    """See the module. ``utc`` arguments are seconds of Unix time on the hub's clock, None while it is not known."""

    def __init__(
        self, course: Course, slots: Slots, reporter: Reporter, running: Running, policy: Policy, rng: random.Random
    ) -> None:
        self._course = course
        self._slots = slots
        self._reporter = reporter
        self._running = running
        self._policy = policy
        self._rng = rng
        self._staging: Staging | None = None

    @property
    def _other_slot(self) -> str:
        """The slot that does not run. The factory agent takes turns, so that a slot which fails is not its only one."""
        return "B" if (self._running.slot or self._course.record.slot) == "A" else "A"

    # --- the first act after a start

    def resume(self) -> None:
        """A start in the middle of a transfer: go on at its checkpoint, or drop it."""
        record = self._course.record
        try:
            staging = self._reopen_slot()
        except StorageFullError as error:
            self._wait_for_space(error)
            return
        except (StorageError, FormatError) as error:
            if isinstance(error, StorageError):
                self._raise_unless_final(error)
            self._drop("cannot resume", reason=str(error))
            self._course.command(CancelTransfer())  # the OTA client begins anew with its next query
            return
        self._staging = staging
        self._course.note("download resumes", offset_octets=record.offset_octets, total_octets=record.total_octets)

    def _reopen_slot(self) -> Staging:
        record = self._course.record
        if not record.offset_octets:
            return self._new_staging(self._slots.begin(record.slot))
        sink, head = self._slots.resume(record.slot, record.image_octets)
        staging = self._new_staging(sink)
        staging.resume(Checkpoint(record.offset_octets, record.image_octets, record.stream), head)
        return staging

    def _new_staging(self, sink: SlotSink) -> Staging:
        policy = self._policy
        return Staging(sink, policy.form, policy.requirements, policy.checkpoint_octets, policy.supplier_check)

    def check_pending(self) -> None:
        """A boot state that was lost, or a slot that was spoilt, makes it an image that can only be fetched again."""
        record = self._course.record
        try:
            if self._slots.holds(record.slot, record.image_hash):
                return
        except StorageError:
            return  # what cannot be read now may be readable when it is activated, and is verified then
        self._drop("pending image lost", slot=record.slot, version=_text(record.file_version))
        self._course.command(CancelTransfer())

    # --- from the OTA client

    def offered(self, file_version: int, total_octets: int, utc: int | None = None) -> None:
        """Query Next Image was answered with an image."""
        record = self._course.record
        failed = self._course.journal.failed_version()
        version = Version.from_file_version(file_version)
        same = (record.file_version, record.total_octets) == (file_version, total_octets)
        if self._course.state in (State.ACTIVATING, State.TRIAL):
            self._course.command(Decline("an activation is going on"))
        elif version <= self._running.version:
            self._course.command(Decline(f"version {version} is not above {self._running.version}, which runs"))
        elif failed and failed.file_version == file_version and (refusal := failed.refusal(utc)):
            self._course.command(Decline(refusal))
        elif same and self._course.state is State.DOWNLOADING:
            self._go_on()
        elif same and self._course.state in PENDING:
            self._course.command(Decline(f"version {version} is already held"))
        else:
            self._begin(file_version, total_octets)

    def _go_on(self) -> None:
        """With the transfer that is under way, or waits for space."""
        if self._staging is None:
            self.resume()
        if self._staging is not None:
            record = self._course.record
            self._course.command(BeginDownload(self._staging.offset_octets, record.total_octets, record.file_version))

    def _begin(self, file_version: int, total_octets: int, *, other_may_do: bool = True) -> None:
        """Also in the middle of another transfer, which the OTA client drops for this one."""
        before = self._course.record
        self._take_on(file_version, total_octets)
        if other_may_do:
            facts: dict[str, object] = {"version": _text(file_version), "total_octets": total_octets}
            if before.state is State.DOWNLOADING:
                facts["replaces"] = _text(before.file_version)
            self._course.note("download starts", 0, **facts)
        try:
            self._staging = self._new_staging(self._slots.begin(self._course.record.slot))
        except StorageError as error:
            self._cannot_begin(error, other_may_do=other_may_do)
            return
        self._course.command(BeginDownload(0, total_octets, file_version))

    def _take_on(self, file_version: int, total_octets: int) -> None:
        """Journal first: from here on a CS06 finds no image, whatever the slot still holds."""
        self._course.activate_at = None
        journal = self._course.journal
        with journal.transaction():
            journal.set_counter(STALLED, 0)
            failed = journal.failed_version()
            if failed and failed.file_version != file_version:
                journal.forget_failed_version()
            self._course.move(
                State.DOWNLOADING,
                **NOTHING_STORED,
                update_id=f"{self._rng.getrandbits(48):012x}",
                file_version=file_version,
                total_octets=total_octets,
                slot=self._other_slot,
                image_hash=b"",
                version_before=self._running.version.file_version,
            )

    def _cannot_begin(self, error: StorageError, *, other_may_do: bool) -> None:
        """The image that was pending before is gone all the same: the OTA client is not to wait for its activation."""
        record = self._course.record
        if self._running.is_factory and other_may_do:
            self._drop("download cannot start", reason=str(error))
            self._begin(record.file_version, record.total_octets, other_may_do=False)
        elif isinstance(error, StorageFullError):
            self._course.command(BeginDownload(0, record.total_octets, record.file_version))
            self._wait_for_space(error)
        else:
            self._raise_unless_final(error)
            self._drop("download cannot start", reason=str(error))
            self._course.command(Decline(str(error)))
            self._course.command(CancelTransfer())

    def block(self, octets: bytes, now: float) -> None:
        """The next octets of the OTA file, in order."""
        if self._course.state is not State.DOWNLOADING or self._staging is None:
            return
        try:
            refusal = self._staging.feed(octets, self._save)
        except StorageError as error:
            self._storage_failed(error)
            return
        if refusal is not None:
            self._refuse(refusal)
        elif self._staging.finished:
            self._judge(self._staging, now)

    def _save(self, checkpoint: Checkpoint) -> None:
        with self._course.journal.transaction():
            if self._course.journal.counter(STALLED):
                self._course.journal.set_counter(STALLED, 0)
            self._course.move(
                State.DOWNLOADING,
                offset_octets=checkpoint.offset_octets,
                image_octets=checkpoint.image_octets,
                stream=checkpoint.stream,
            )

    def _storage_failed(self, error: StorageError) -> None:
        if isinstance(error, StorageFullError):
            self._wait_for_space(error)
            return
        self._raise_unless_final(error)
        self._end_badly(ABORT, "storage", str(error))

    def _wait_for_space(self, error: StorageFullError) -> None:
        """The checkpoint stays. Nothing is asked of the hub until it offers the image again: by its head end, when the
        client asks once more, or to the next start."""
        self._staging = None
        record = self._course.record
        self._course.note("download waits", offset_octets=record.offset_octets, reason=str(error))
        self._course.command(EndUpgrade(ABORT, record.file_version))

    def _raise_unless_final(self, error: StorageError) -> None:
        """The next start goes on at the checkpoint: raises ``error``, unless asking again at once is of no use."""
        if isinstance(error, StorageRefusedError | StorageFullError):
            return
        stalled = 0
        with suppress(StorageError):  # the medium of the slot is told of, not the journal's
            stalled = self._course.journal.counter(STALLED) + 1
            self._course.journal.set_counter(STALLED, stalled)
        if stalled < STALLED_STARTS:
            raise error

    def _judge(self, staging: Staging, now: float) -> None:
        try:
            verdict = staging.finish()
        except StorageError as error:
            self._storage_failed(error)
            return
        utc = self._course.utc(now)
        refused = isinstance(verdict, Refusal)
        with self._course.journal.transaction():  # a receipt and what it tells of, or neither
            self._reporter.received(
                verified=not refused, image_hash=staging.image_hash, update_id=self._course.record.update_id, utc=utc
            )
            if isinstance(verdict, Refusal):
                self._refuse(verdict)
            else:
                self._course.move(
                    State.STAGED, image_hash=staging.image_hash, offset_octets=self._course.record.total_octets
                )
        if isinstance(verdict, Refusal):
            return
        self._staging = None
        self._course.note(
            "image verified", version=str(verdict.version), manufacturer_image_hash=staging.image_hash.hex()
        )
        self._course.command(EndUpgrade(SUCCESS, self._course.record.file_version))

    def _refuse(self, refusal: Refusal) -> None:
        self._end_badly(refusal.wire_status, refusal.reason.value, refusal.message)

    def _end_badly(self, wire_status: int, reason: str, message: str) -> None:
        version = self._course.record.file_version
        self._drop("image refused", reason=reason, message=message, wire_status=f"0x{wire_status:02X}")
        self._course.command(EndUpgrade(wire_status, version))

    def transfer_complete(self, now: float) -> None:
        """The OTA client has all octets; after a restart, of a pending image: tell the server again, and of one whose
        last octet fell on a checkpoint: the verdict.

        Octets that the file's own header promises and the server's offer did not have never come: size.
        """
        if self._course.state in PENDING:
            self._course.command(EndUpgrade(SUCCESS, self._course.record.file_version))
        elif self._course.state is State.DOWNLOADING and self._staging is not None and self._staging.finished:
            self._judge(self._staging, now)
        elif self._course.state is State.DOWNLOADING and self._staging is not None:
            total = self._course.record.total_octets
            self._refuse(Refusal(Reason.SIZE, f"the OTA file ends after {total} octets, its own header promises more"))

    def transfer_aborted(self, reason: str) -> None:
        """The server ended the transfer."""
        if self._course.state is State.DOWNLOADING:
            self._drop("download aborted", reason=reason)

    def cancel(self, reason: str) -> bool:
        """The engineer drops a transfer or a pending image. False when there is none to drop."""
        if self._course.state is not State.DOWNLOADING and self._course.state not in PENDING:
            return False
        pending = self._course.state in PENDING
        self._drop("update cancelled", reason=reason)
        if pending:
            self._slots.cancel(self._course.record.slot)
        self._course.command(CancelTransfer())
        return True

    def _drop(self, event: str, **facts: object) -> None:
        """Back to IDLE; the slot stays unusable until the next image is written into it."""
        self._course.move(State.IDLE, **NOTHING_STORED)
        self._staging = None
        self._course.activate_at = None
        self._course.note(event, 0, **facts)


def _text(file_version: int) -> str:
    return str(Version.from_file_version(file_version))
