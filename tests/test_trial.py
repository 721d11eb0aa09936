"""The health clock of a trial, walked in virtual time, and the update machine on it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.boot.state import EndReason, Slot, SlotState
from agent.errors import StorageError
from agent.update.commands import Note
from agent.update.trial import RETEST_S, HealthClock, SelfTest, TrialLimits, first_failure
from tests.test_update_machine import on_trial
from tests.update_rig import NEW, OLD, UTC, Rig

LIMITS = TrialLimits(minimum_uptime_s=5.0, limit_s=180.0, max_silence_s=21_600.0)
HOUR = 3_600.0


@dataclass
class Checks:
    """One self-test whose outcome a test sets."""

    reason: str = ""
    asked: int = 0
    tests: tuple[SelfTest, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.tests = (SelfTest("slot", self._check),)

    def _check(self) -> str:
        self.asked += 1
        return self.reason


def clock(checks: Checks | None = None, now: float = 0.0) -> HealthClock:
    return HealthClock(LIMITS, (checks or Checks()).tests, now)


def test_contact_uptime_and_self_tests_make_a_trial_healthy() -> None:
    checks = Checks()
    health = clock(checks)
    health.hub_answered(1.0)
    assert not health.handle_timer(4.9)
    assert (checks.asked, health.next_deadline()) == (0, 5.0)
    assert health.handle_timer(5.0)
    assert checks.asked == 1


def test_without_an_answer_it_fails_at_its_limit() -> None:
    health = clock()
    assert health.next_deadline() == 180.0
    assert not health.handle_timer(100.0)
    assert health.failure(179.9) == ""
    assert health.failure(180.0) == "the hub did not answer within 180 s (health.limit_s)"


def test_the_clock_stands_still_while_the_hub_sends_no_beacon() -> None:
    health = clock()
    health.hub_is_off(40.0)
    assert health.next_deadline() == 40.0 + LIMITS.max_silence_s
    assert health.failure(3 * HOUR) == ""
    health.hub_may_answer(3 * HOUR)
    assert health.next_deadline() == 3 * HOUR + 140.0, "what was left of it when it was stopped"
    assert health.failure(3 * HOUR + 140.0)


def test_silence_adds_up_and_has_an_end() -> None:
    health = clock()
    health.hub_is_off(10.0)
    health.hub_may_answer(10.0 + 4 * HOUR)
    health.hub_is_off(20.0 + 4 * HOUR)
    end = 20.0 + 4 * HOUR + 2 * HOUR
    assert health.next_deadline() == end
    assert health.failure(end - 1) == ""
    assert health.failure(end) == "no beacon of the hub for 21600 s (health.max_silence_s)"


def test_a_hub_that_goes_off_after_it_answered_does_not_stop_the_clock() -> None:
    health = clock(Checks("not whole"))
    health.hub_answered(1.0)
    health.hub_is_off(2.0)
    assert not health.stands_still


def test_a_self_test_that_does_not_pass_is_tried_again_and_is_the_reason_in_the_end() -> None:
    checks = Checks("slot B does not hold the image that runs")
    health = clock(checks)
    health.hub_answered(1.0)
    now = 0.0
    while not health.failure(now):
        now = health.next_deadline()
        assert not health.handle_timer(now)
    assert now == 180.0
    assert health.failure(now) == "self-test slot: slot B does not hold the image that runs"
    assert checks.asked == 18
    healed = clock(checks)
    healed.hub_answered(1.0)
    assert not healed.handle_timer(5.0)
    checks.reason = ""
    assert not healed.handle_timer(5.0 + RETEST_S / 2)
    assert healed.handle_timer(5.0 + RETEST_S)


def test_a_self_test_may_fail_with_an_error() -> None:
    def broken() -> str:
        raise StorageError("the journal cannot be written")

    def never() -> str:
        raise AssertionError

    tests = (SelfTest("radio", lambda: ""), SelfTest("journal", broken), SelfTest("keys", never))
    assert first_failure(tests) == "self-test journal: the journal cannot be written"


STEPS = st.lists(st.tuples(st.sampled_from(["off", "may", "answer", "wait"]), st.floats(0.0, 5_000.0)), max_size=30)


@given(STEPS, st.floats(0.0, 1e6))
def test_any_sequence(steps: list[tuple[str, float]], started: float) -> None:
    """It ends in a bounded time; it fails only after limit_s of running or max_silence_s of standing still."""
    health, now, ran, stood, contact = clock(now=started), started, 0.0, 0.0, False
    for step, seconds in steps:
        end = min(now + seconds, health.next_deadline())
        (stood, ran) = (stood + end - now, ran) if health.stands_still else (stood, ran + end - now)
        now = end
        if health.handle_timer(now):
            assert contact
            assert now >= started + LIMITS.minimum_uptime_s
            return
        if health.failure(now):
            spent = stood >= LIMITS.max_silence_s - 1e-3 if health.stands_still else ran >= LIMITS.limit_s - 1e-3
            assert spent
            return
        if step == "off":
            health.hub_is_off(now)
        elif step == "may":
            health.hub_may_answer(now)
        elif step == "answer":
            contact = True
            health.hub_answered(now)
    assert ran <= LIMITS.limit_s + 1e-3
    assert stood <= LIMITS.max_silence_s + 1e-3
    assert health.next_deadline() <= now + LIMITS.max_silence_s + LIMITS.limit_s
    last = health.next_deadline()
    assert health.handle_timer(last) or health.failure(last)


# --- the update machine


def notes(rig: Rig, event: str) -> list[dict[str, object]]:
    return [note.facts for note in rig.of(Note) if isinstance(note, Note) and note.event == event]


def test_a_hub_that_is_off_for_three_hours_fails_no_good_image() -> None:
    rig = on_trial(Rig())
    machine = rig.machine
    machine.hub_sought(is_off=True, now=40.0)
    machine.hub_sought(is_off=True, now=90.0)  # once more, no news
    assert len(notes(rig, "trial waits for the hub")) == 1
    machine.handle_timer(3 * HOUR)
    machine.hub_sought(is_off=False, now=3 * HOUR)
    machine.hub_answered(3 * HOUR + 1, UTC)
    assert rig.slot_state(Slot.B) is SlotState.CONFIRMED
    assert [report.split()[:2] for report in rig.reports] == [["activated", "True"]]


def test_a_hub_that_is_off_for_too_long_is_the_reason_of_the_old_slots_report() -> None:
    rig = on_trial(Rig())
    rig.machine.hub_sought(is_off=True, now=40.0)
    deadline = rig.machine.next_deadline()
    assert deadline == 40.0 + LIMITS.max_silence_s
    rig.machine.handle_timer(deadline)
    assert rig.restarting
    assert rig.slot_record(Slot.B).reason is EndReason.UNHEALTHY
    assert notes(rig, "trial failed") == [{"reason": "no beacon of the hub for 21600 s (health.max_silence_s)"}]
    rig.start(deadline + 1)
    assert rig.running.version == OLD
    rig.machine.hub_answered(deadline + 2, UTC)
    reason = "unhealthy: no beacon of the hub for 21600 s (health.max_silence_s)"
    assert notes(rig, "update reverted") == [{"version": str(OLD), "reason": reason}]
    assert [report.split()[:2] for report in rig.reports] == [["activated", "False"]]


@pytest.mark.parametrize("is_off", [None, False])
def test_a_discovery_that_fails_or_shows_the_hub_lets_the_clock_run(is_off: bool | None) -> None:
    rig = on_trial(Rig())
    if is_off is not None:
        rig.machine.hub_sought(is_off=is_off, now=40.0)
    assert rig.machine.next_deadline() == 190.0  # it began at 10 s
    rig.machine.handle_timer(190.0)
    assert rig.slot_state(Slot.B) is SlotState.BAD


def test_a_self_test_that_never_passes_goes_back_with_its_name() -> None:
    rig = on_trial(Rig(self_tests=Checks("no supplier's key").tests))
    rig.machine.hub_answered(16.0, UTC)
    while not rig.restarting:
        deadline = rig.machine.next_deadline()
        assert deadline is not None
        rig.machine.handle_timer(deadline)
    assert len(notes(rig, "self-test failed")) == 1
    assert notes(rig, "trial failed") == [{"reason": "self-test slot: no supplier's key"}]
    rig.start(1_000.0)
    assert rig.running.version == OLD


def test_every_start_of_a_trial_begins_with_a_full_clock_and_the_tries_bound_the_starts() -> None:
    rig = on_trial(Rig())
    rig.machine.handle_timer(100.0)
    for number in range(2):
        rig.start(1_000.0 * (number + 1), new_boot=True)  # the power went
        assert rig.running.version == NEW
        assert rig.machine.next_deadline() == 1_000.0 * (number + 1) + 180.0
    rig.start(3_000.0, new_boot=True)
    assert rig.running.version == OLD
    assert rig.slot_record(Slot.B).reason is EndReason.POWER_OR_RESET
