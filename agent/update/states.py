"""The update's states and the only transitions between them: one table, from which DESIGN.md's picture is checked.

::

    IDLE ──offer accepted──▶ DOWNLOADING ──whole and verified──▶ STAGED ──hub: wait──▶ HELD ──CS06──┐
                                  │  ▲                              ├──hub: at a time──▶ COUNTDOWN ──┤
                                  └──┘ checkpoint                   └──hub: now──────────────────────┤
                                                                                                     ▼
    IDLE ◀──confirmed: result 0── TRIAL ◀──────────── restart into the new slot ──────────────── ACTIVATING
    IDLE ◀──reverted: result 1─────┴──────────────────────────────────────────────────────────────┘
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where the one update of this device stands. The value is what the journal stores."""

    IDLE = "idle"
    DOWNLOADING = "downloading"  # blocks go to the slot that is not running
    STAGED = "staged"  # whole and verified; the hub has not yet said when
    HELD = "held"  # the hub said: wait for a further command (CS06)
    COUNTDOWN = "countdown"  # the hub said: at this time
    ACTIVATING = "activating"  # decided; the trial is armed, or is about to be, and the device restarts
    TRIAL = "trial"  # the new image runs and is not yet confirmed


TRANSITIONS: dict[State, frozenset[State]] = {
    State.IDLE: frozenset({State.DOWNLOADING}),
    # a new offer replaces what was being fetched; a refusal or a cancel drops it
    State.DOWNLOADING: frozenset({State.DOWNLOADING, State.STAGED, State.IDLE}),
    State.STAGED: frozenset({State.HELD, State.COUNTDOWN, State.ACTIVATING, State.DOWNLOADING, State.IDLE}),
    State.HELD: frozenset({State.COUNTDOWN, State.ACTIVATING, State.DOWNLOADING, State.IDLE}),
    State.COUNTDOWN: frozenset({State.HELD, State.COUNTDOWN, State.ACTIVATING, State.DOWNLOADING, State.IDLE}),
    State.ACTIVATING: frozenset({State.TRIAL, State.IDLE}),
    State.TRIAL: frozenset({State.IDLE}),
}

#: A pending image exists in these states; a CS06 that names its hash may activate it.
PENDING = frozenset({State.STAGED, State.HELD, State.COUNTDOWN})


def allowed(before: State, after: State) -> bool:
    """Whether the table has this step. Staying where one is, is always allowed."""
    return before is after or after in TRANSITIONS[before]
