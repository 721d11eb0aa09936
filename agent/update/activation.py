"""An activation, from the armed trial to its one report: confirmed or reverted, and durable before it is told."""

from __future__ import annotations

from collections.abc import Sequence

from agent.errors import StorageRefusedError
from agent.update.commands import CancelTransfer, Policy, Reporter, Running, Slots
from agent.update.course import NOTHING_STORED, Course
from agent.update.failed_version import FailedVersion
from agent.update.states import State
from agent.update.trial import HealthClock, SelfTest

FIRMWARE_VERSION_CHANGED = 0x8F43
IMAGE_VERIFICATION_FAILED = 0x8F1B


class Activation:
    """See the module. ``utc`` arguments are seconds of Unix time on the hub's clock."""

    def __init__(self, course: Course, slots: Slots, reporter: Reporter, running: Running, policy: Policy) -> None:
        self._course = course
        self._slots = slots
        self._reporter = reporter
        self._running = running
        self._policy = policy
        self._health: HealthClock | None = None  # of the trial that runs
        self._failure = ""  # a reverted activation whose report waits for the hub's time
        self._not_judged = False  # and no other reason
        self._owes_report = False  # the confirm was durable, its report was not

    @property
    def on_trial(self) -> bool:
        """Whether the running program has yet to prove itself."""
        return self._health is not None

    def next_deadline(self) -> float | None:
        """When ``handle_timer`` is next needed."""
        return None if self._health is None else self._health.next_deadline()

    def start(self, now: float, self_tests: Sequence[SelfTest]) -> None:
        """The first act after a start: on trial, confirmed before, reverted, or not even armed."""
        record = self._course.record
        if self._running.image_hash == record.image_hash:
            if self._running.trial:
                self._slots.report_running()
                self._course.move(State.TRIAL)
                self._health = HealthClock(self._policy.trial, self_tests, now)
                self._course.note("trial started", slot=record.slot, version=str(self._running.version))
            else:
                # Power fell after the confirm: its mark is put right now, its report follows with the hub's time.
                self._slots.confirm()
                self._owes_report = True
            return
        facts = self._slots.facts(record.slot)
        if facts.bad:
            detail = self._course.journal.trial_failure(record.update_id) if facts.unhealthy else ""
            self._failure = f"{facts.reason}: {detail}" if detail else facts.reason
            self._not_judged = facts.not_judged
        elif record.state is State.ACTIVATING and self._is_held():
            self.arm()  # power fell between the decision and the arming
        else:
            self._failure = "the image is no longer in its slot"
        if self._failure:
            self._course.note("activation failed", IMAGE_VERIFICATION_FAILED, slot=record.slot, reason=self._failure)

    def _is_held(self) -> bool:
        """A slot that cannot be opened holds nothing; one that cannot be read now is asked again by the next start."""
        try:
            return self._slots.holds(self._course.record.slot, self._course.record.image_hash)
        except StorageRefusedError:
            return False

    def arm(self) -> None:
        """Arm the trial of the decided image and restart into it."""
        try:
            self._slots.activate(self._course.record.slot)
        except StorageRefusedError as error:
            self._failure = str(error)
            self._course.note("activation failed", reason=self._failure)
            self._course.command(CancelTransfer())  # no restart ends the OTA client's wait for this image
            return
        self._course.restart("activation")

    def hub_answered(self, now: float, utc: int) -> None:
        """The hub answered a request of the running program: what waited for its time is reported."""
        if self._health is not None:
            self._health.hub_answered(now)
        if self._failure:
            self._report(success=False, utc=utc)
        elif self._owes_report:
            self._report(success=True, utc=utc)

    def hub_sought(self, *, is_off: bool, now: float) -> None:
        """What a network discovery showed; a failed one, and a lost radio, show nothing: ``is_off`` False."""
        health = self._health
        if health is None or health.stands_still == is_off:
            return
        (health.hub_is_off if is_off else health.hub_may_answer)(now)
        if health.stands_still == is_off:
            seconds_left = int(health.next_deadline() - now)
            self._course.note("trial waits for the hub" if is_off else "trial goes on", seconds_left=seconds_left)

    def handle_timer(self, now: float) -> None:
        """A trial's time."""
        health = self._health
        if health is None:
            return
        before = health.last_failure
        if health.handle_timer(now):
            self._confirm(now)
            return
        if health.last_failure not in ("", before):
            self._course.note("self-test failed", reason=health.last_failure)
        if reason := health.failure(now):
            self._health = None
            self._course.note("trial failed", reason=reason)
            self._course.journal.note_trial_failure(self._course.record.update_id, self._running.version, reason)
            self._slots.give_up()
            self._course.restart("the trial failed")

    def _confirm(self, now: float) -> None:
        """Commit first, then report: a report that cannot be delivered never undoes a good update."""
        self._slots.confirm()
        self._health = None
        self._report(success=True, utc=self._course.utc(now))

    def _report(self, *, success: bool, utc: int) -> None:
        record = self._course.record
        with self._course.journal.transaction():
            self._reporter.activated(success=success, record=record, version=self._running.version, utc=utc)
            if not success:
                self._remember_failure(utc)
            self._course.move(State.IDLE, **NOTHING_STORED)
        version = str(self._running.version)
        if success:
            self._course.note("update confirmed", FIRMWARE_VERSION_CHANGED, version=version)
        else:
            self._course.note("update reverted", 0, version=version, reason=self._failure)
        self._failure = ""
        self._owes_report = False

    def _remember_failure(self, utc: int) -> None:
        before, version = self._course.journal.failed_version(), self._course.record.file_version
        failed = FailedVersion.after(before, version, self._failure, utc, not_judged=self._not_judged)
        self._course.journal.set_failed_version(failed)
