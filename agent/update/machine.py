"""The update as one journalled machine: a decision is durable before it is carried out, and may be carried out twice.

A medium that does not take what it must is a StorageError that ends the program: what was decided in memory only is
gone with it, and the next start decides anew from what is durable. What the medium will never take ends a transfer.

It owns the journal's record, the slot under writing and the boot control; it never sees a radio. Its owner (the device)
brings in what the OTA client, the hub's clock and GBCS say, and carries out the commands of ``next_command``. Here is
when to activate; how an image comes in is ``reception``'s, what comes of its activation ``activation``'s.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from agent.image.version import Version
from agent.update.activation import Activation
from agent.update.commands import Command, Policy, Reporter, Running, Slots
from agent.update.course import Course
from agent.update.failed_version import FailedVersion
from agent.update.journal import Journal, Record
from agent.update.reception import Reception
from agent.update.states import PENDING, State
from agent.update.trial import SelfTest


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
        self._running = running
        self._policy = policy
        self.self_tests: Sequence[SelfTest] = ()  # of a trial; the owner's to set before ``start``
        self._course = Course(journal)
        self._reception = Reception(self._course, slots, reporter, running, policy, rng)
        self._activation = Activation(self._course, slots, reporter, running, policy)
        self._decided = False

    # --- what the owner may ask ---------------------------------------------------------------------------------------

    @property
    def record(self) -> Record:
        """The one update, as the journal has it."""
        return self._course.record

    @property
    def state(self) -> State:
        """Where the update stands."""
        return self._course.state

    @property
    def is_factory(self) -> bool:
        """Whether the factory agent runs, and no image."""
        return self._running.is_factory

    @property
    def resume_offset(self) -> int | None:
        """Where the OTA client goes on after a restart: a transfer's checkpoint, a pending image's end; else None."""
        if self.state is State.DOWNLOADING:
            return self.record.offset_octets
        return self.record.total_octets if self.state in PENDING else None

    def next_command(self) -> Command | None:
        """What to do now; None when nothing is left."""
        return self._course.next_command()

    def next_deadline(self) -> float | None:
        """When ``handle_timer`` is next needed."""
        if self._course.restarting:
            return None
        return self._activation.next_deadline() if self._activation.on_trial else self._course.activate_at

    # --- the first act after a start: confirm, revert or resume -------------------------------------------------------

    def start(self, now: float) -> None:
        """Decide from the journal, the boot state and what runs. Call once, before anything else."""
        match self.state:
            case State.ACTIVATING | State.TRIAL:
                self._activation.start(now, self.self_tests)
            case State.DOWNLOADING:
                self._reception.resume()
            case State.STAGED | State.HELD | State.COUNTDOWN:
                self._reception.check_pending()

    # --- from the OTA client ------------------------------------------------------------------------------------------

    def offered(self, file_version: int, total_octets: int, utc: int | None = None) -> None:
        """Query Next Image was answered with an image."""
        self._reception.offered(file_version, total_octets, utc)

    def block(self, octets: bytes, now: float) -> None:
        """The next octets of the OTA file, in order."""
        self._reception.block(octets, now)

    def transfer_complete(self, now: float) -> None:
        """The OTA client has all octets, or tells after a restart that it had."""
        self._reception.transfer_complete(now)

    def transfer_aborted(self, reason: str) -> None:
        """The server ended the transfer."""
        self._reception.transfer_aborted(reason)

    # --- from the engineer --------------------------------------------------------------------------------------------

    def cancel(self, reason: str) -> bool:
        """The engineer drops a transfer or a pending image. False when there is none to drop."""
        return self._reception.cancel(reason)

    def retry(self) -> FailedVersion | None:
        """The engineer wants the failed version fetched again: what is forgotten by that, None when nothing is."""
        failed = self._course.journal.failed_version()
        if failed is not None:
            self._course.journal.forget_failed_version()
            version = Version.from_file_version(failed.file_version)
            self._course.note("failed version may be fetched again", version=str(version))
        return failed

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
            self._course.activate_at = None
            self._course.move(State.HELD, activate_at_utc=None)
            self._course.note("image held", reason="the hub said wait")

    def _hold_or(self, act: Callable[[], None]) -> None:
        if self._policy.by_command_only:
            self.hold()
        else:
            act()

    def _count_down(self, at: float, utc: int | None) -> None:
        self._course.activate_at = at
        if utc is not None:
            self._course.move(State.COUNTDOWN, activate_at_utc=utc)
        self._course.note("activation is timed", activate_at_utc=utc)

    def decide(self, cause: str) -> None:
        """Decide to activate the pending image; the caller's transaction may hold more. Then ``carry_out``."""
        self._course.activate_at = None
        self._course.move(State.ACTIVATING)
        self._course.note("activation decided", cause=cause, slot=self._course.record.slot)
        self._decided = True

    def carry_out(self) -> None:
        """Arm the trial and restart, when that was decided and has not been done."""
        if self._decided:
            self._decided = False
            self._activation.arm()

    def _activate(self, cause: str) -> None:
        self.decide(cause)
        self.carry_out()

    # --- time and the hub ---------------------------------------------------------------------------------------------

    def hub_answered(self, now: float, utc: int, *, clock_known: bool = True) -> None:
        """The hub answered a request of the running code, and this is its time.

        ``clock_known`` False: the hub has none, ``utc`` is our own clock's. It dates a report, and activates nothing.
        """
        self._activation.hub_answered(now, utc)
        record = self.record
        if clock_known and record.state is State.COUNTDOWN and record.activate_at_utc is not None:
            self._course.activate_at = now + max(0, record.activate_at_utc - utc)
        self._course.learn_utc(now, utc)
        self.handle_timer(now)

    def handle_timer(self, now: float) -> None:
        """A trial's time, or the time to activate."""
        at = self._course.activate_at
        if self._course.restarting:
            return
        if self._activation.on_trial:
            self._activation.handle_timer(now)
        elif at is not None and at <= now and self.state in PENDING:
            self._activate("its time has come")

    def hub_sought(self, *, is_off: bool, now: float) -> None:
        """What a network discovery showed; a failed one, and a lost radio, show nothing: ``is_off`` False."""
        self._activation.hub_sought(is_off=is_off, now=now)
