"""The update as one journalled machine: a decision is durable before it is carried out, and may be carried out twice.

A medium that does not take what it must is a StorageError that ends the program: what was decided in memory only is
gone with it, and the next start decides anew from what is durable. What the medium will never take ends a transfer. A
full one does not end the program: the hub hears ABORT, and the next offer of the image goes on at the checkpoint.

It owns the journal's record, the slot under writing and the boot control; it never sees a radio. Its owner (the device)
brings in what the OTA client, the hub's clock and GBCS say, and carries out the commands of ``next_command``.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from agent.errors import FormatError, StorageError, StorageFullError, StorageRefusedError
from agent.image.refusal import ABORT, Reason, Refusal
from agent.image.version import Version
from agent.update.commands import (
    BeginDownload,
    CancelTransfer,
    Command,
    Decline,
    EndUpgrade,
    Note,
    Policy,
    Reporter,
    Restart,
    Running,
    Slots,
)
from agent.update.failed_version import FailedVersion
from agent.update.journal import Journal, LoggedEvent
from agent.update.staging import Checkpoint, SlotSink, Staging
from agent.update.states import PENDING, State
from agent.update.trial import HealthClock, SelfTest

FIRMWARE_VERSION_CHANGED = 0x8F43
IMAGE_VERIFICATION_FAILED = 0x8F1B
SUCCESS = 0x00
STALLED_STARTS = 20  # our choice: so often in a row a transfer goes on at the same checkpoint, then it has failed
STALLED = "stalled starts"
NOTHING_STORED = {"offset_octets": 0, "image_octets": 0, "stream": b"", "activate_at_utc": None}


class UpdateMachine:
    """See the module. ``utc`` arguments are seconds of Unix time on the hub's clock, None while it is not known."""

    def __init__(
        self,
        journal: Journal,
        slots: Slots,
        reporter: Reporter,
        running: Running,
        policy: Policy,
        rng: random.Random,
    ) -> None:
        self._journal = journal
        self._slots = slots
        self._reporter = reporter
        self._running = running
        self._policy = policy
        self._rng = rng
        self.self_tests: Sequence[SelfTest] = ()  # of a trial; the owner's to set before ``start``
        self._commands: deque[Command] = deque()
        self._staging: Staging | None = None
        self._health: HealthClock | None = None  # of the trial that runs
        self._failure = ""  # a reverted activation whose report waits for the hub's time
        self._not_judged = False  # and no other reason
        self._restarting = False
        self._activate_at: float | None = None
        self._utc_minus_now = 0.0
        self._decided = False
        self._owes_report = False  # the confirm was durable, its report was not
        self.record = journal.load()

    # --- what the owner may ask ---------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where the update stands."""
        return self.record.state

    @property
    def is_factory(self) -> bool:
        """Whether the factory agent runs, and no image."""
        return self._running.is_factory

    @property
    def other_slot(self) -> str:
        """The slot that does not run. The factory agent takes turns, so that a slot which fails is not its only one."""
        return "B" if (self._running.slot or self.record.slot) == "A" else "A"

    @property
    def resume_offset(self) -> int | None:
        """Where the OTA client goes on after a restart: a transfer's checkpoint, a pending image's end; else None."""
        if self.state is State.DOWNLOADING:
            return self.record.offset_octets
        return self.record.total_octets if self.state in PENDING else None

    def next_command(self) -> Command | None:
        """What to do now; None when nothing is left."""
        return self._commands.popleft() if self._commands else None

    def next_deadline(self) -> float | None:
        """When ``handle_timer`` is next needed."""
        if self._restarting:
            return None
        return self._activate_at if self._health is None else self._health.next_deadline()

    # --- the first act after a start: confirm, revert or resume -------------------------------------------------------

    def start(self, now: float) -> None:
        """Decide from the journal, the boot state and what runs. Call once, before anything else."""
        match self.record.state:
            case State.ACTIVATING | State.TRIAL:
                self._start_after_activation(now)
            case State.DOWNLOADING:
                self._resume_download()
            case State.STAGED | State.HELD | State.COUNTDOWN:
                self._check_pending()

    def _check_pending(self) -> None:
        """A boot state that was lost, or a slot that was spoilt, makes it an image that can only be fetched again."""
        record = self.record
        try:
            if self._slots.holds(record.slot, record.image_hash):
                return
        except StorageError:
            return  # what cannot be read now may be readable when it is activated, and is verified then
        self._drop("pending image lost", slot=record.slot, version=str(Version.from_file_version(record.file_version)))
        self._command(CancelTransfer())

    def _start_after_activation(self, now: float) -> None:
        record = self.record
        if self._running.image_hash == record.image_hash:
            if self._running.trial:
                self._slots.report_running()
                self._move(State.TRIAL)
                self._health = HealthClock(self._policy.trial, self.self_tests, now)
                self._note("trial started", slot=record.slot, version=str(self._running.version))
            else:
                # Power fell after the confirm: its mark is put right now, its report follows with the hub's time.
                self._slots.confirm()
                self._owes_report = True
            return
        facts = self._slots.facts(record.slot)
        if facts.bad:
            detail = self._journal.trial_failure(record.update_id) if facts.unhealthy else ""
            self._failure = f"{facts.reason}: {detail}" if detail else facts.reason
            self._not_judged = facts.not_judged
        elif record.state is State.ACTIVATING and self._is_held():
            self._arm()  # power fell between the decision and the arming
        else:
            self._failure = "the image is no longer in its slot"
        if self._failure:
            self._note("activation failed", IMAGE_VERIFICATION_FAILED, slot=record.slot, reason=self._failure)

    def _is_held(self) -> bool:
        """A slot that cannot be opened holds nothing; one that cannot be read now is asked again by the next start."""
        try:
            return self._slots.holds(self.record.slot, self.record.image_hash)
        except StorageRefusedError:
            return False

    def _resume_download(self) -> None:
        record = self.record
        try:
            staging = self._reopen_slot()
        except StorageFullError as error:
            self._wait_for_space(error)
            return
        except (StorageError, FormatError) as error:
            if isinstance(error, StorageError):
                self._raise_unless_final(error)
            self._drop("cannot resume", reason=str(error))
            self._command(CancelTransfer())  # the OTA client begins anew with its next query
            return
        self._staging = staging
        self._note("download resumes", offset_octets=record.offset_octets, total_octets=record.total_octets)

    def _reopen_slot(self) -> Staging:
        record = self.record
        if not record.offset_octets:
            return self._new_staging(self._slots.begin(record.slot))
        sink, head = self._slots.resume(record.slot, record.image_octets)
        staging = self._new_staging(sink)
        staging.resume(Checkpoint(record.offset_octets, record.image_octets, record.stream), head)
        return staging

    def _new_staging(self, sink: SlotSink) -> Staging:
        policy = self._policy
        return Staging(sink, policy.form, policy.requirements, policy.checkpoint_octets, policy.supplier_check)

    # --- from the OTA client ------------------------------------------------------------------------------------------

    def offered(self, file_version: int, total_octets: int, utc: int | None = None) -> None:
        """Query Next Image was answered with an image."""
        record = self.record
        failed = self._journal.failed_version()
        version = Version.from_file_version(file_version)
        same = (record.file_version, record.total_octets) == (file_version, total_octets)
        if self.state in (State.ACTIVATING, State.TRIAL):
            self._command(Decline("an activation is going on"))
        elif version <= self._running.version:
            self._command(Decline(f"version {version} is not above {self._running.version}, which runs"))
        elif failed and failed.file_version == file_version and (refusal := failed.refusal(utc)):
            self._command(Decline(refusal))
        elif same and self.state is State.DOWNLOADING:
            self._go_on()
        elif same and self.state in PENDING:
            self._command(Decline(f"version {version} is already held"))
        else:
            self._begin(file_version, total_octets)

    def _go_on(self) -> None:
        """With the transfer that is under way, or waits for space."""
        if self._staging is None:
            self._resume_download()
        if self._staging is not None:
            record = self.record
            self._command(BeginDownload(self._staging.offset_octets, record.total_octets, record.file_version))

    def _begin(self, file_version: int, total_octets: int, *, other_may_do: bool = True) -> None:
        """Journal first: from here on a CS06 finds no image, whatever the slot still holds."""
        self._activate_at = None
        with self._journal.transaction():
            self._journal.set_counter(STALLED, 0)
            failed = self._journal.failed_version()
            if failed and failed.file_version != file_version:
                self._journal.forget_failed_version()
            self._move(
                State.DOWNLOADING,
                **NOTHING_STORED,
                update_id=f"{self._rng.getrandbits(48):012x}",
                file_version=file_version,
                total_octets=total_octets,
                slot=self.other_slot,
                image_hash=b"",
                version_before=self._running.version.file_version,
            )
        try:
            self._staging = self._new_staging(self._slots.begin(self.record.slot))
        except StorageError as error:
            if not (self.is_factory and other_may_do):
                self._raise_unless_final(error)
            self._drop("download cannot start", reason=str(error))
            if self.is_factory and other_may_do:
                self._begin(file_version, total_octets, other_may_do=False)
            else:
                self._command(Decline(str(error)))
            return
        self._note("download starts", version=str(Version.from_file_version(file_version)), total_octets=total_octets)
        self._command(BeginDownload(0, total_octets, file_version))

    def block(self, octets: bytes, now: float) -> None:
        """The next octets of the OTA file, in order."""
        if self.state is not State.DOWNLOADING or self._staging is None:
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
        with self._journal.transaction():
            if self._journal.counter(STALLED):
                self._journal.set_counter(STALLED, 0)
            self._move(
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
        self._note("download waits", offset_octets=self.record.offset_octets, reason=str(error))
        self._command(EndUpgrade(ABORT, self.record.file_version))

    def _raise_unless_final(self, error: StorageError) -> None:
        """The next start goes on at the checkpoint: raises ``error``, unless asking again at once is of no use."""
        if isinstance(error, StorageRefusedError | StorageFullError):
            return
        stalled = 0
        with suppress(StorageError):  # the medium of the slot is told of, not the journal's
            stalled = self._journal.counter(STALLED) + 1
            self._journal.set_counter(STALLED, stalled)
        if stalled < STALLED_STARTS:
            raise error

    def _judge(self, staging: Staging, now: float) -> None:
        try:
            verdict = staging.finish()
        except StorageError as error:
            self._storage_failed(error)
            return
        utc = int(now + self._utc_minus_now)
        refused = isinstance(verdict, Refusal)
        with self._journal.transaction():  # a receipt and what it tells of, or neither
            self._reporter.received(
                verified=not refused, image_hash=staging.image_hash, update_id=self.record.update_id, utc=utc
            )
            if isinstance(verdict, Refusal):
                self._refuse(verdict)
            else:
                self._move(State.STAGED, image_hash=staging.image_hash, offset_octets=self.record.total_octets)
        if isinstance(verdict, Refusal):
            return
        self._staging = None
        self._note("image verified", version=str(verdict.version), manufacturer_image_hash=staging.image_hash.hex())
        self._command(EndUpgrade(SUCCESS, self.record.file_version))

    def _refuse(self, refusal: Refusal) -> None:
        self._end_badly(refusal.wire_status, refusal.reason.value, refusal.message)

    def _end_badly(self, wire_status: int, reason: str, message: str) -> None:
        version = self.record.file_version
        self._drop("image refused", reason=reason, message=message, wire_status=f"0x{wire_status:02X}")
        self._command(EndUpgrade(wire_status, version))

    def transfer_complete(self, now: float) -> None:
        """The OTA client has all octets; after a restart, of a pending image: tell the server again, and of one whose
        last octet fell on a checkpoint: the verdict.

        Octets that the file's own header promises and the server's offer did not have never come: size.
        """
        if self.state in PENDING:
            self._command(EndUpgrade(SUCCESS, self.record.file_version))
        elif self.state is State.DOWNLOADING and self._staging is not None and self._staging.finished:
            self._judge(self._staging, now)
        elif self.state is State.DOWNLOADING and self._staging is not None:
            total = self.record.total_octets
            self._refuse(Refusal(Reason.SIZE, f"the OTA file ends after {total} octets, its own header promises more"))

    def transfer_aborted(self, reason: str) -> None:
        """The server ended the transfer."""
        if self.state is State.DOWNLOADING:
            self._drop("download aborted", reason=reason)

    def cancel(self, reason: str) -> bool:
        """The engineer drops a transfer or a pending image. False when there is none to drop."""
        if self.state is not State.DOWNLOADING and self.state not in PENDING:
            return False
        pending = self.state in PENDING
        self._drop("update cancelled", reason=reason)
        if pending:
            self._slots.cancel(self.record.slot)
        self._command(CancelTransfer())
        return True

    def _drop(self, event: str, **facts: object) -> None:
        """Back to IDLE; the slot stays unusable until the next image is written into it."""
        self._move(State.IDLE, **NOTHING_STORED)
        self._staging = None
        self._activate_at = None
        self._note(event, 0, **facts)

    # --- when to activate ---------------------------------------------------------------------------------------------

    def activate_now(self) -> None:
        """The hub's Upgrade End Response said now."""
        if self.state in PENDING:
            self._hold_or(lambda: self._activate("the hub said now"))

    def activate_at(self, now: float, delay_s: float, utc: int | None) -> None:
        """The hub said in ``delay_s``, which is ``utc`` on its clock (None: not known, so not kept over a restart)."""
        if self.state in PENDING:
            self._hold_or(lambda: self._count_down(now + delay_s, utc))

    def hold(self) -> None:
        """The hub said: wait for a further command."""
        if self.state in (State.STAGED, State.COUNTDOWN):
            self._activate_at = None
            self._move(State.HELD, activate_at_utc=None)
            self._note("image held", reason="the hub said wait")

    def _hold_or(self, act: Callable[[], None]) -> None:
        if self._policy.by_command_only:
            self.hold()
        else:
            act()

    def _count_down(self, at: float, utc: int | None) -> None:
        self._activate_at = at
        if utc is not None:
            self._move(State.COUNTDOWN, activate_at_utc=utc)
        self._note("activation is timed", activate_at_utc=utc)

    def decide(self, cause: str) -> None:
        """Decide to activate the pending image; the caller's transaction may hold more. Then ``carry_out``."""
        self._activate_at = None
        self._move(State.ACTIVATING)
        self._note("activation decided", cause=cause, slot=self.record.slot)
        self._decided = True

    def carry_out(self) -> None:
        """Arm the trial and restart, when that was decided and has not been done."""
        if self._decided:
            self._decided = False
            self._arm()

    def _activate(self, cause: str) -> None:
        self.decide(cause)
        self.carry_out()

    def _arm(self) -> None:
        try:
            self._slots.activate(self.record.slot)
        except StorageRefusedError as error:
            self._failure = str(error)
            self._note("activation failed", reason=self._failure)
            return
        self._restart("activation")

    def _restart(self, reason: str) -> None:
        self._restarting = True
        self._command(Restart(reason))

    # --- time and the hub ---------------------------------------------------------------------------------------------

    def hub_answered(self, now: float, utc: int, *, clock_known: bool = True) -> None:
        """The hub answered a request of the running code, and this is its time.

        ``clock_known`` False: the hub has none, ``utc`` is our own clock's. It dates a report, and activates nothing.
        """
        if self._health is not None:
            self._health.hub_answered(now)
        if self._failure:
            self._report(success=False, utc=utc)
        elif self._owes_report:
            self._report(success=True, utc=utc)
        elif clock_known and self.state is State.COUNTDOWN and self.record.activate_at_utc is not None:
            self._activate_at = now + max(0, self.record.activate_at_utc - utc)
        self._utc_minus_now = utc - now
        self.handle_timer(now)

    def handle_timer(self, now: float) -> None:
        """A trial's time, or the time to activate."""
        if self._restarting:
            return
        if self._health is not None:
            self._watch_trial(self._health, now)
        elif self._activate_at is not None and self._activate_at <= now and self.state in PENDING:
            self._activate("its time has come")

    def hub_sought(self, *, is_off: bool, now: float) -> None:
        """What a network discovery showed; a failed one, and a lost radio, show nothing: ``is_off`` False."""
        health = self._health
        if health is None or health.stands_still == is_off:
            return
        (health.hub_is_off if is_off else health.hub_may_answer)(now)
        if health.stands_still == is_off:
            self._note("trial waits for the hub" if is_off else "trial goes on", seconds_left=self._seconds_left(now))

    def _seconds_left(self, now: float) -> int:
        return 0 if self._health is None else int(self._health.next_deadline() - now)

    def _watch_trial(self, health: HealthClock, now: float) -> None:
        before = health.last_failure
        if health.handle_timer(now):
            self._confirm(now)
            return
        if health.last_failure not in ("", before):
            self._note("self-test failed", reason=health.last_failure)
        if reason := health.failure(now):
            self._health = None
            self._note("trial failed", reason=reason)
            self._journal.note_trial_failure(self.record.update_id, self._running.version, reason)
            self._slots.give_up()
            self._restart("the trial failed")

    def _confirm(self, now: float) -> None:
        """Commit first, then report: a report that cannot be delivered never undoes a good update."""
        self._slots.confirm()
        self._health = None
        self._report(success=True, utc=int(now + self._utc_minus_now))

    def _report(self, *, success: bool, utc: int) -> None:
        record = self.record
        with self._journal.transaction():
            self._reporter.activated(success=success, record=record, version=self._running.version, utc=utc)
            if not success:
                self._remember_failure(utc)
            self._move(State.IDLE, **NOTHING_STORED)
        version = str(self._running.version)
        if success:
            self._note("update confirmed", FIRMWARE_VERSION_CHANGED, version=version)
        else:
            self._note("update reverted", 0, version=version, reason=self._failure)
        self._failure = ""
        self._owes_report = False

    def _remember_failure(self, utc: int) -> None:
        before, version = self._journal.failed_version(), self.record.file_version
        failed = FailedVersion.after(before, version, self._failure, utc, not_judged=self._not_judged)
        self._journal.set_failed_version(failed)

    def retry(self) -> FailedVersion | None:
        """The engineer wants the failed version fetched again: what is forgotten by that, None when nothing is."""
        failed = self._journal.failed_version()
        if failed is not None:
            self._journal.forget_failed_version()
            version = Version.from_file_version(failed.file_version)
            self._note("failed version may be fetched again", version=str(version))
        return failed

    # --- small things -------------------------------------------------------------------------------------------------

    def _move(self, state: State, **changes: object) -> None:
        with self._journal.transaction():
            after = self._journal.move(self.record, state, **changes)
        self.record = after

    def _command(self, command: Command) -> None:
        self._commands.append(command)

    def _note(self, event: str, code: int = 0, **facts: object) -> None:
        words = " ".join([event, *(f"{name}={value}" for name, value in facts.items())])
        with suppress(StorageError):  # a log line must not end an update; the console has it all the same
            self._journal.log(LoggedEvent("event", None, code, words, self.record.update_id))
        self._command(Note(event, code, facts))
