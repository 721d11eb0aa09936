"""Which slot runs: the truth table of the first stage, as data and pure functions.

`decide` looks at a `Situation` and answers with the first rule of `RULES` that applies: what to make durable, and then
to go on, to verify a slot, to run one, or to start the factory agent. The caller carries it out and asks again with
what it learned. Every path ends after a few steps, because each rule removes its own reason to apply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from agent.boot.mark import ConfirmedMark
from agent.boot.state import BootState, EndReason, Slot, SlotRecord, SlotState, TryProgress

WATCHDOG_RESULT = "watchdog"  # systemd's $SERVICE_RESULT


@dataclass(frozen=True, slots=True)
class Look:
    """What the copy of a slot in RAM showed. ``refusal`` None: hash, signature and security counter hold."""

    refusal: str | None
    image_hash: bytes = b""
    image_octets: int = 0
    security_counter: int = 0


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a decision depends on. ``state`` None: both copies are lost."""

    state: BootState | None
    marks: Mapping[Slot, ConfirmedMark | None] = field(default_factory=dict)
    looks: Mapping[Slot, Look] = field(default_factory=dict)
    try_counted: bool = False  # in this start
    boot_id: bytes = bytes(16)
    service_result: str = ""  # how the unit's last run ended, "" when nobody said

    @property
    def known(self) -> BootState:
        """The state, where the rule for a lost one has been applied before."""
        if self.state is None:
            raise AssertionError("the first rule takes care of a lost state")
        return self.state

    @property
    def candidate(self) -> Slot | None:
        """The confirmed slot to run: the active one, or the other when that is not (or no longer) confirmed."""
        active = self.known.active
        order = (Slot.A, Slot.B) if active is None else (active, active.other)
        return next((slot for slot in order if self.known[slot].state is SlotState.CONFIRMED), None)

    @property
    def marked(self) -> Slot | None:
        """The best slot that bears a confirmed mark, unless its copy has shown something else than was marked."""
        ranked = [(mark.rank, -slot.value, slot) for slot, mark in self.marks.items() if mark]
        ranked.sort(reverse=True)
        return next((slot for _, _, slot in ranked if slot not in self.looks or self.bears_marked_image(slot)), None)

    def holds_recorded_image(self, slot: Slot) -> bool:
        """The copy verifies and is the image that the boot state names."""
        look = self.looks[slot]
        return look.refusal is None and look.image_hash == self.known[slot].image_hash

    def bears_marked_image(self, slot: Slot) -> bool:
        """The copy verifies and is the image that the confirmed mark names."""
        look, mark = self.looks[slot], self.marks.get(slot)
        return look.refusal is None and mark is not None and look.image_hash == mark.image_hash


class Action(Enum):
    """What to do once the decision's state is durable."""

    GO_ON = "decide again"
    VERIFY = "copy the slot to RAM, verify the copy, decide again"
    RUN = "run the verified copy"
    FACTORY = "start the factory agent"


@dataclass(frozen=True, slots=True)
class Decision:
    """``situation`` carries the state to make durable before ``action``. ``failure`` is to be logged as 0x8F1B."""

    rule: str
    action: Action
    situation: Situation
    slot: Slot | None = None
    failure: str | None = None


Outcome = tuple[Action, Situation, Slot | None, str | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the truth table. ``found`` and ``does`` are the words of the documentation."""

    name: str
    found: str
    does: str
    applies: Callable[[Situation], bool]
    act: Callable[[Situation], Outcome]


def decide(situation: Situation) -> Decision:
    """The first rule that applies. Total: the last one always does."""
    rule = next(rule for rule in RULES if rule.applies(situation))
    action, after, slot, failure = rule.act(situation)
    return Decision(rule.name, action, after, slot, failure)


def why_trial_ended(record: SlotRecord, situation: Situation) -> EndReason:
    """What is known of why the last try did not end in a confirm. What the image itself noted comes first.

    A machine that came up anew lost its power or was reset: from here the two look alike, and both are POWER.
    """
    if record.reason is not EndReason.NONE:
        return record.reason
    if record.boot_id != situation.boot_id:
        return EndReason.POWER
    if record.progress is not TryProgress.RUNNING:
        return EndReason.NEVER_STARTED
    return EndReason.WATCHDOG if situation.service_result == WATCHDOG_RESULT else EndReason.CRASHED


def rebuild(marks: Mapping[Slot, ConfirmedMark | None]) -> BootState:
    """The boot state that the confirmed marks alone tell: the highest counter first, then the highest version."""
    state = BootState()
    for slot in Slot:
        mark = marks.get(slot)
        record = SlotRecord(state=SlotState.UNKNOWN)
        if mark:
            record = SlotRecord(
                state=SlotState.CONFIRMED,
                image_octets=mark.image_octets,
                security_counter=mark.security_counter,
                image_hash=mark.image_hash,
            )
        state = state.with_slot(slot, record)
    counter = max((mark.security_counter for mark in marks.values() if mark), default=0)
    return replace(state, active=Situation(state, marks).marked, security_counter=counter)


def _rebuild(now: Situation) -> Outcome:
    return Action.GO_ON, replace(now, state=rebuild(now.marks)), None, None


def _trial_of(now: Situation) -> tuple[Slot, SlotRecord]:
    slot = _certain(now.known.trial)
    return slot, now.known[slot]


def _give_up_trial(now: Situation) -> Outcome:
    slot, record = _trial_of(now)
    return Action.GO_ON, _with_bad(now, slot, why_trial_ended(record, now)), slot, None


def _count_try(now: Situation) -> Outcome:
    slot, record = _trial_of(now)
    counted = replace(
        record,
        tries_left=record.tries_left - 1,
        reason=EndReason.NONE,
        progress=TryProgress.HANDED_OVER,
        boot_id=now.boot_id,
    )
    return Action.VERIFY, replace(now, state=now.known.with_slot(slot, counted), try_counted=True), slot, None


def _run_trial(now: Situation) -> Outcome:
    return Action.RUN, now, now.known.trial, None


def _refuse_trial(now: Situation) -> Outcome:
    slot, _ = _trial_of(now)
    return Action.GO_ON, _with_bad(now, slot, EndReason.VERIFY_FAILED), slot, why_refused(now, slot)


def _verify_candidate(now: Situation) -> Outcome:
    return Action.VERIFY, now, now.candidate, None


def _run_candidate(now: Situation) -> Outcome:
    slot = now.candidate
    state = now.known if now.known.active is slot else replace(now.known, active=slot)
    return Action.RUN, replace(now, state=state), slot, None


def _refuse_candidate(now: Situation) -> Outcome:
    slot = _certain(now.candidate)
    return Action.GO_ON, _with_bad(now, slot, EndReason.VERIFY_FAILED), slot, why_refused(now, slot)


def _verify_marked(now: Situation) -> Outcome:
    return Action.VERIFY, now, now.marked, None


def _run_marked(now: Situation) -> Outcome:
    slot = _certain(now.marked)
    look = now.looks[slot]
    record = SlotRecord(
        state=SlotState.CONFIRMED,
        image_octets=look.image_octets,
        security_counter=look.security_counter,
        image_hash=look.image_hash,
    )
    return Action.RUN, replace(now, state=replace(now.known.with_slot(slot, record), active=slot)), slot, None


def _fall_back(now: Situation) -> Outcome:
    return Action.FACTORY, now, None, None


def _with_bad(now: Situation, slot: Slot, reason: EndReason) -> Situation:
    record = replace(now.known[slot], state=SlotState.BAD, tries_left=0, reason=reason)
    return replace(now, state=now.known.with_slot(slot, record), try_counted=False)


def _certain(slot: Slot | None) -> Slot:
    if slot is None:
        raise AssertionError("a rule acted that does not apply")
    return slot


def why_refused(now: Situation, slot: Slot) -> str:
    """Of a copy that does not verify, or is not the recorded image."""
    look = now.looks[slot]
    if look.refusal is not None:
        return look.refusal
    return f"holds image {look.image_hash.hex()}, the boot state names {now.known[slot].image_hash.hex()}"


def _in_trial(now: Situation) -> bool:
    return now.known.trial is not None


def _candidate_looked_at(now: Situation) -> bool:
    return now.candidate is not None and now.candidate in now.looks


RULES: tuple[Rule, ...] = (
    Rule(
        "state lost",
        "both copies of the boot state are lost",
        "rebuild it: a slot with a confirmed mark counts as confirmed, the highest security counter (then version) "
        "as active; any other slot is unknown and does not run",
        lambda now: now.state is None,
        _rebuild,
    ),
    Rule(
        "trial spent",
        "a trial with no try left",
        "mark it bad with what is known of why, go on with the confirmed slot, or without one with the factory agent, "
        "which reports the failure",
        lambda now: _in_trial(now) and not now.try_counted and _trial_of(now)[1].tries_left == 0,
        _give_up_trial,
    ),
    Rule(
        "trial",
        "a trial with tries left",
        "count one try down and make it durable, then verify the copy in RAM",
        lambda now: _in_trial(now) and not now.try_counted,
        _count_try,
    ),
    Rule(
        "trial verified",
        "the trial's copy verifies and is the image that was activated",
        "run it as a trial",
        lambda now: _in_trial(now) and now.holds_recorded_image(_trial_of(now)[0]),
        _run_trial,
    ),
    Rule(
        "trial refused",
        "the trial's copy does not verify, or is another image",
        "mark it bad, log 0x8F1B, go on as with a spent one",
        _in_trial,
        _refuse_trial,
    ),
    Rule(
        "confirmed",
        "no trial, a confirmed slot (the active one first)",
        "verify the copy in RAM",
        lambda now: now.candidate is not None and not _candidate_looked_at(now),
        _verify_candidate,
    ),
    Rule(
        "confirmed verified",
        "its copy verifies and is the image that was confirmed",
        "run it; it is the active one from now on",
        lambda now: now.candidate is not None and now.holds_recorded_image(now.candidate),
        _run_candidate,
    ),
    Rule(
        "confirmed refused",
        "its copy does not verify, or is another image",
        "mark it bad, log 0x8F1B, go on with the other slot",
        _candidate_looked_at,
        _refuse_candidate,
    ),
    Rule(
        "marked",
        "no confirmed slot left, but one whose confirmed mark holds (the highest security counter first)",
        "verify the copy in RAM",
        lambda now: now.marked is not None and now.marked not in now.looks,
        _verify_marked,
    ),
    Rule(
        "marked verified",
        "its copy verifies and is the image that was marked",
        "run it; it is confirmed and active again",
        lambda now: now.marked is not None,
        _run_marked,
    ),
    Rule(
        "nothing",
        "no slot verifies",
        "start the factory agent: the base's own copy of the program, which says so and fetches an image",
        lambda now: True,
        _fall_back,
    ),
)


def truth_table() -> str:
    """The rules as a Markdown table, for the documentation (a test compares)."""
    rows = ["| rule | found | the first stage does |", "|---|---|---|"]
    rows += [f"| {rule.name} | {rule.found} | {rule.does} |" for rule in RULES]
    return "\n".join(rows) + "\n"
