"""The truth table of the first stage: each row, and that no path runs what is not verified."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_factory import steady

from agent.boot.decide import RULES, Action, Look, Situation, decide, truth_table, why_trial_ended
from agent.boot.mark import ConfirmedMark
from agent.boot.reset_cause import ResetCause
from agent.boot.state import BootState, EndReason, Slot, SlotRecord, SlotState, TryProgress

HASHES = (bytes(32), b"\x01" * 32, b"\x02" * 32)
README = Path(__file__).parents[1] / "agent" / "boot" / "README.md"

hashes = st.sampled_from(HASHES)
records = st.builds(
    SlotRecord,
    state=st.sampled_from(SlotState),
    tries_left=st.integers(0, 3),
    reason=st.sampled_from(EndReason),
    progress=st.sampled_from(TryProgress),
    image_hash=hashes,
    boot_id=st.sampled_from([bytes(16), b"\x01" * 16]),
)
boot_states = st.builds(
    BootState,
    active=st.sampled_from([None, *Slot]),
    security_counter=st.integers(0, 2),
    a=records,
    b=records,
)
marks = st.none() | st.builds(
    ConfirmedMark,
    image_hash=hashes,
    image_octets=st.just(100),
    security_counter=st.integers(0, 2),
    file_version=st.integers(0, 2),
)
looks = st.builds(Look, refusal=st.sampled_from([None, "damaged"]), image_hash=hashes)


def walk(now: Situation, shown: dict[Slot, Look]) -> tuple[list[str], Situation, Slot | None]:
    """Carry out decisions with slots that show ``shown``. Returns the rules, the end, and what runs."""
    rules: list[str] = []
    for _ in range(20):
        decision = decide(now)
        rules.append(decision.rule)
        now = decision.situation
        if decision.action is Action.VERIFY:
            assert decision.slot is not None
            now = replace(now, looks={**now.looks, decision.slot: shown[decision.slot]})
        elif decision.action is not Action.GO_ON:
            return rules, now, decision.slot
    raise AssertionError(f"no end: {rules}")


@steady
@given(st.none() | boot_states, st.fixed_dictionaries(dict.fromkeys(Slot, marks)), st.data())
def test_every_path_ends_and_runs_only_what_is_verified_and_accepted(
    state: BootState | None, found: dict[Slot, ConfirmedMark | None], data: st.DataObject
) -> None:
    shown = {slot: data.draw(looks) for slot in Slot}
    rules, end, slot = walk(Situation(state, found), shown)
    if slot is None:
        assert rules[-1] == "nothing"
        assert end.candidate is None
        return
    assert shown[slot].refusal is None
    record, mark = end.known[slot], found[slot]
    assert record.state in (SlotState.TRIAL, SlotState.CONFIRMED)
    assert record.image_hash == shown[slot].image_hash
    was_to_run = state is not None and state[slot].state in (SlotState.TRIAL, SlotState.CONFIRMED)
    assert was_to_run or (mark is not None and mark.image_hash == shown[slot].image_hash)
    if record.state is SlotState.TRIAL:
        assert state is not None
        assert record.tries_left == state[slot].tries_left - 1
    else:
        assert end.known.active is slot
    assert state is None or end.known.security_counter == state.security_counter


@steady
@given(boot_states, st.fixed_dictionaries(dict.fromkeys(Slot, marks)), st.data())
def test_a_good_confirmed_slot_is_never_left_standing_still(
    state: BootState, found: dict[Slot, ConfirmedMark | None], data: st.DataObject
) -> None:
    shown = {slot: data.draw(looks) for slot in Slot}
    good = [
        slot
        for slot in Slot
        if state[slot].state is SlotState.CONFIRMED
        and shown[slot].refusal is None
        and shown[slot].image_hash == state[slot].image_hash
    ]
    _, _, runs = walk(Situation(state, found), shown)
    assert not good or runs is not None


CONFIRMED = SlotRecord(SlotState.CONFIRMED, image_hash=HASHES[1])
TRIAL = SlotRecord(SlotState.TRIAL, tries_left=2, tries_given=3, image_hash=HASHES[2])
GOOD = {Slot.A: Look(None, HASHES[1]), Slot.B: Look(None, HASHES[2])}
BAD_A = GOOD | {Slot.A: Look("damaged", HASHES[1])}
BAD_B = GOOD | {Slot.B: Look("damaged", HASHES[2])}
STEADY = BootState(active=Slot.A, a=CONFIRMED)
MARK_A = ConfirmedMark(HASHES[1], 100, 1, 1)
MARK_B = ConfirmedMark(HASHES[2], 100, 1, 2)


@pytest.mark.parametrize(
    ("state", "found", "shown", "rules", "runs"),
    [
        (STEADY, {}, GOOD, ["confirmed", "confirmed verified"], Slot.A),
        (STEADY.with_slot(Slot.B, TRIAL), {}, GOOD, ["trial", "trial verified"], Slot.B),
        (
            STEADY.with_slot(Slot.B, replace(TRIAL, tries_left=0)),
            {},
            GOOD,
            ["trial spent", "confirmed", "confirmed verified"],
            Slot.A,
        ),
        (
            STEADY.with_slot(Slot.B, TRIAL),
            {},
            BAD_B,
            ["trial", "trial refused", "confirmed", "confirmed verified"],
            Slot.A,
        ),
        (STEADY, {}, BAD_A, ["confirmed", "confirmed refused", "nothing"], None),
        (
            STEADY.with_slot(Slot.B, replace(CONFIRMED, image_hash=HASHES[2])),
            {},
            BAD_A,
            ["confirmed", "confirmed refused", "confirmed", "confirmed verified"],
            Slot.B,
        ),
        (None, {Slot.A: MARK_A}, GOOD, ["state lost", "confirmed", "confirmed verified"], Slot.A),
        (None, {Slot.A: MARK_A, Slot.B: MARK_B}, GOOD, ["state lost", "confirmed", "confirmed verified"], Slot.B),
        (None, {}, GOOD, ["state lost", "nothing"], None),
        (
            STEADY.with_slot(Slot.B, replace(TRIAL, state=SlotState.WRITTEN)),
            {},
            BAD_A,
            ["confirmed", "confirmed refused", "nothing"],
            None,
        ),
        (
            replace(STEADY, a=replace(CONFIRMED, image_hash=HASHES[0])),
            {Slot.A: MARK_A},
            GOOD,
            ["confirmed", "confirmed refused", "marked verified"],
            Slot.A,
        ),
        (
            BootState(a=SlotRecord(SlotState.BAD), b=SlotRecord(SlotState.UNKNOWN)),
            {Slot.A: MARK_A},
            GOOD,
            ["marked", "marked verified"],
            Slot.A,
        ),
    ],
)
def test_a_row_of_the_table(
    state: BootState | None,
    found: dict[Slot, ConfirmedMark | None],
    shown: dict[Slot, Look],
    rules: list[str],
    runs: Slot | None,
) -> None:
    taken, _, slot = walk(Situation(state, found), shown)
    assert taken == rules
    assert slot is runs


def test_every_rule_has_a_row() -> None:
    named = {"marked"} | {rule.name for rule in RULES}
    assert len(named) == len(RULES)
    assert all(rule.found and rule.does for rule in RULES)


def test_the_documentation_holds_the_table() -> None:
    assert truth_table() in README.read_text(encoding="utf-8"), (
        "put the output of agent.boot.decide.truth_table() there"
    )


@pytest.mark.parametrize(
    ("record", "boot_id", "result", "reason"),
    [
        (SlotRecord(boot_id=b"\x01" * 16, progress=TryProgress.RUNNING), b"\x02" * 16, "", EndReason.POWER_OR_RESET),
        (SlotRecord(earlier=EndReason.CRASHED), b"\x02" * 16, "", EndReason.CRASHED),
        (SlotRecord(progress=TryProgress.HANDED_OVER), bytes(16), "exit-code", EndReason.NEVER_STARTED),
        (SlotRecord(progress=TryProgress.RUNNING), bytes(16), "watchdog", EndReason.WATCHDOG),
        (SlotRecord(progress=TryProgress.RUNNING), bytes(16), "signal", EndReason.CRASHED),
        (SlotRecord(reason=EndReason.UNHEALTHY), b"\x02" * 16, "watchdog", EndReason.UNHEALTHY),
    ],
)
def test_why_a_trial_ended(record: SlotRecord, boot_id: bytes, result: str, reason: EndReason) -> None:
    assert why_trial_ended(record, Situation(None, boot_id=boot_id, service_result=result)) is reason


@pytest.mark.parametrize(
    ("cause", "reason", "after_a_crash"),
    [
        (ResetCause.UNKNOWN, EndReason.POWER_OR_RESET, EndReason.CRASHED),
        (ResetCause.POWER, EndReason.POWER, EndReason.CRASHED),
        (ResetCause.RESET, EndReason.RESET, EndReason.RESET),
    ],
)
def test_a_machine_that_came_up_anew_is_asked_why(
    cause: ResetCause, reason: EndReason, after_a_crash: EndReason
) -> None:
    now = Situation(None, boot_id=b"\x02" * 16, reset_cause=cause)
    assert why_trial_ended(SlotRecord(boot_id=b"\x01" * 16), now) is reason
    assert why_trial_ended(SlotRecord(boot_id=b"\x01" * 16, earlier=EndReason.CRASHED), now) is after_a_crash
    noted = SlotRecord(boot_id=b"\x01" * 16, reason=EndReason.UNHEALTHY)
    assert why_trial_ended(noted, now) is EndReason.UNHEALTHY
