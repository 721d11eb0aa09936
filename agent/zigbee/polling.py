"""How often a sleepy end device asks its parent for frames: fast while an answer may be on its way, rarely at rest.

::

    OFF --network up--> FAST --quiet--> REST          OFF: no network, or a chip that cannot be told
                         ^ '--unheard--> REST
                         '----news-------'

*News*: a request of ours went out, or a frame came in. *Quiet*: what was asked is answered (or ANSWER_S is over) and
nothing came for LINGER_S. *Unheard*: nothing came for SILENCE_S since the first of the requests without an answer, so
that a hub which is away costs no battery: what it says then waits in the parent until the poll at rest, and only that
makes us fast again.

Pure: time is an argument. A change of rate is a write into the chip's NV memory, so it stays fast over the pauses of an
exchange. At rest the period must be below the parent's 7.68 s (macTransactionPersistenceTime), after which it drops
what it holds; Smart Energy wants no shorter one than 7.5 s there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from agent.events import RadioResult, RadioStatus, SetPollRate

# Our choices.
ANSWER_S = 10.0  # above the parent's 7.68 s: nothing that was asked comes later
LINGER_S = 3.0
SILENCE_S = 30.0


class PollState(Enum):
    """See the module's picture."""

    OFF = "off"
    FAST = "fast"
    REST = "at rest"


class PollInput(Enum):
    """What can happen."""

    UP = "network up"
    DOWN = "no network, or no chip"
    NEWS = "asked or heard"
    QUIET = "all answered, nothing comes"
    UNHEARD = "nothing heard for too long"
    REFUSED = "the chip cannot be told"


_S, _I = PollState, PollInput
_ALWAYS = {_I.UP: _S.FAST, _I.DOWN: _S.OFF}
TABLE: dict[PollState, dict[PollInput, PollState]] = {
    _S.OFF: _ALWAYS,
    _S.FAST: {**_ALWAYS, _I.QUIET: _S.REST, _I.UNHEARD: _S.REST, _I.REFUSED: _S.OFF},
    _S.REST: {**_ALWAYS, _I.NEWS: _S.FAST, _I.REFUSED: _S.OFF},
}


@dataclass(frozen=True, slots=True)
class PollRates:
    """Seconds between polls."""

    rest_s: float
    fast_s: float


@dataclass(frozen=True, slots=True)
class PollRateChanged:
    """The chip polls so often from now on. ``fast_s``: how long it was asked to be fast since the device started."""

    period_s: float
    polling: str
    fast_s: float


@dataclass(frozen=True, slots=True)
class PollRateRefused:
    """The chip polls as it likes: see its own NV item 0x0035."""

    status: RadioStatus
    detail: str


class Polling:
    """See the module. Every call takes ``now``."""

    def __init__(self, rates: PollRates) -> None:
        self._rates = rates
        self.state = PollState.OFF
        self._told = PollState.OFF  # what the chip does, as far as it has said so
        self._asking: PollState | None = None  # what it is being told
        self._asked_s: float | None = None  # of what has no answer yet, the last
        self._first_asked_s: float | None = None  # and the first
        self._heard_s = 0.0
        self._fast_since: float | None = None
        self._fast_s = 0.0
        self._events: list[PollRateChanged | PollRateRefused] = []

    def network_up(self, now: float) -> None:
        """On a network: what comes first (searching the hub, a key) is an exchange."""
        self._note_heard(now)
        self._told, self._asking = PollState.OFF, None
        self._happen(PollInput.UP, now)

    def network_down(self, now: float) -> None:
        """No network, or no chip."""
        self._asking = None
        self._happen(PollInput.DOWN, now)

    def asked(self, now: float) -> None:
        """A request went out that will be answered."""
        if self._first_asked_s is None:
            self._first_asked_s = now
        if now < self._first_asked_s + SILENCE_S:
            self._asked_s = now
            self._happen(PollInput.NEWS, now)

    def heard(self, now: float) -> None:
        """A frame came in: an answer, or the begin of an exchange."""
        self._note_heard(now)
        self._happen(PollInput.NEWS, now)

    def next_deadline(self) -> float | None:
        """When it is quiet or unheard, should nothing happen."""
        return min(self._quiet_at(), self._unheard_at()) if self.state is PollState.FAST else None

    def handle_timer(self, now: float) -> None:
        """Time goes by."""
        if self.state is PollState.FAST and now >= self._unheard_at():
            self._asked_s = None
            self._happen(PollInput.UNHEARD, now)
        elif self.state is PollState.FAST and now >= self._quiet_at():
            self._asked_s = None
            self._happen(PollInput.QUIET, now)

    def request_to_send(self) -> SetPollRate | None:
        """What the chip must be told now; one at a time."""
        if self._asking is not None or self.state in (PollState.OFF, self._told):
            return None
        self._asking = self.state
        return SetPollRate(self._period_s(self.state), self._rates.fast_s)

    def request_done(self, result: RadioResult, now: float) -> None:
        """The chip's answer. One that cannot be told is not asked again on this network."""
        asking, self._asking = self._asking, None
        if asking is None:
            return
        if result.status is RadioStatus.RADIO_LOST:
            self._happen(PollInput.DOWN, now)
            return
        if result.status is not RadioStatus.OK:
            self._events.append(PollRateRefused(result.status, result.detail))
            self._happen(PollInput.REFUSED, now)
            return
        self._told = asking
        self._events.append(PollRateChanged(self._period_s(asking), asking.value, round(self.fast_s(now), 1)))

    def next_event(self) -> PollRateChanged | PollRateRefused | None:
        """The oldest event not yet taken."""
        return self._events.pop(0) if self._events else None

    def fast_s(self, now: float) -> float:
        """How long it was to be fast, all in all."""
        return self._fast_s + (0.0 if self._fast_since is None else now - self._fast_since)

    def _period_s(self, state: PollState) -> float:
        return self._rates.fast_s if state is PollState.FAST else self._rates.rest_s

    def _quiet_at(self) -> float:
        answered_s = self._heard_s + LINGER_S
        return answered_s if self._asked_s is None else max(answered_s, self._asked_s + ANSWER_S)

    def _unheard_at(self) -> float:
        return math.inf if self._first_asked_s is None else self._first_asked_s + SILENCE_S

    def _note_heard(self, now: float) -> None:
        self._asked_s = self._first_asked_s = None
        self._heard_s = now

    def _happen(self, happened: PollInput, now: float) -> None:
        """By the table; what is not in it changes nothing."""
        self.state = TABLE[self.state].get(happened, self.state)
        fast = self.state is PollState.FAST
        if fast and self._fast_since is None:
            self._fast_since = now
        elif not fast and self._fast_since is not None:
            self._fast_s += now - self._fast_since
            self._fast_since = None
