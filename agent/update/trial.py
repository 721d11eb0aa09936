"""The health clock of a trial: until when it may prove itself, and when it has.

::

    running --a completed discovery without the hub's beacon--> standing still
       ^------- the hub's beacon, a discovery that fails, a lost radio, ---'
                the hub's answer

A trial is healthy once the hub has answered a request of this very program, the program stayed up for
``minimum_uptime_s``, and every self-test passes. It has failed when the clock ran for ``limit_s`` before that, or stood
still for ``max_silence_s``: a hub that is off must not fail a good image, and code whose radio part is broken must not
stay. The clock runs unless a discovery proves that no answer can be expected.

Pure; ``now`` in seconds. Nothing of it is durable (*our choice*): every start of a trial begins with a full clock, and
the boot state bounds the starts (``health.tries``, one spent by every power cut or crash).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from agent.errors import HanError

RETEST_S = 10.0  # our choice: after a self-test that did not pass


@dataclass(frozen=True, slots=True)
class SelfTest:
    """``check`` returns why it does not pass, empty when it does; a HanError is a reason too."""

    name: str
    check: Callable[[], str]


@dataclass(frozen=True, slots=True)
class TrialLimits:
    """``[health]`` of device.toml."""

    minimum_uptime_s: float
    limit_s: float
    max_silence_s: float


class HealthClock:
    """See the module. It is of no more use once ``handle_timer`` says True, or ``failure`` anything."""

    def __init__(self, limits: TrialLimits, self_tests: Sequence[SelfTest], now: float) -> None:
        self._limits = limits
        self._self_tests = self_tests
        self._test_at = now + limits.minimum_uptime_s
        self._run_until = now + limits.limit_s  # while the clock runs
        self._stand_until: float | None = None  # while it stands still
        self._silence_left_s = limits.max_silence_s
        self._run_left_s = limits.limit_s  # when the clock was stopped
        self._contact = False
        self.last_failure = ""  # of a self-test

    @property
    def stands_still(self) -> bool:
        """Whether no answer can be expected at present."""
        return self._stand_until is not None

    def hub_answered(self, now: float) -> None:
        """To a request of the running program. From now on only the self-tests and the uptime are waited for."""
        self._contact = True
        self.hub_may_answer(now)

    def hub_is_off(self, now: float) -> None:
        """A network discovery came to its end and showed no beacon of the hub's."""
        if self._stand_until is None and not self._contact:
            self._run_left_s = self._run_until - now
            self._stand_until = now + self._silence_left_s

    def hub_may_answer(self, now: float) -> None:
        """The hub is heard, or nobody can tell whether it is there."""
        if self._stand_until is not None:
            self._silence_left_s = self._stand_until - now
            self._run_until = now + self._run_left_s
            self._stand_until = None

    def next_deadline(self) -> float:
        """When ``handle_timer`` is next needed."""
        end = self._run_until if self._stand_until is None else self._stand_until
        return min(self._test_at, end) if self._contact else end

    def handle_timer(self, now: float) -> bool:
        """Whether the trial is healthy now."""
        if not self._contact or now < self._test_at:
            return False
        self._test_at = now + RETEST_S
        self.last_failure = first_failure(self._self_tests)
        return not self.last_failure

    def failure(self, now: float) -> str:
        """Why the trial has failed, empty while it has not."""
        limits = self._limits
        if self._stand_until is not None:
            off = f"no beacon of the hub for {limits.max_silence_s:g} s (health.max_silence_s)"
            return off if now >= self._stand_until else ""
        if now < self._run_until:
            return ""
        if self._contact:
            return self.last_failure or f"not up for {limits.minimum_uptime_s:g} s within {limits.limit_s:g} s"
        return f"the hub did not answer within {limits.limit_s:g} s (health.limit_s)"


def first_failure(tests: Iterable[SelfTest]) -> str:
    """The first self-test that does not pass, with its reason; empty when all do."""
    for test in tests:
        try:
            reason = test.check()
        except HanError as error:
            reason = str(error)
        if reason:
            return f"self-test {test.name}: {reason}"
    return ""
