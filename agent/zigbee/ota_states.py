"""The OTA client's states as one table (ZCL 11.13; the names of ImageUpgradeStatus where it has one).

What is not in the table is illegal: it changes nothing. ``ota_client`` moves by this table only.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where one image is on its way."""

    NORMAL = "normal"
    DOWNLOADING = "downloading"  # a block is asked for, or will be as soon as the block period allows
    WAITING = "waiting for data"  # the server said WAIT_FOR_DATA
    PAUSED = "paused"  # the server is silent or gone; a probe now and then
    COMPLETE = "complete"  # all octets are here; the owner verifies
    REPORTING = "reporting"  # Upgrade End with a status other than SUCCESS is on its way
    ENDING = "ending"  # Upgrade End SUCCESS is on its way
    HOLDING = "holding"  # told to wait for a further command
    COUNTDOWN = "countdown"  # told a time to upgrade at
    ACTIVATING = "activating"  # the owner activates; normally ends with a restart
    WAIT_FOR_MORE = "waiting for more"  # REQUIRE_MORE_IMAGE was reported


class Input(Enum):
    """What can happen to an image on its way."""

    BEGIN = "owner begins a download"
    BEGIN_AT_END = "owner has all octets already"
    BLOCK = "the next octets"
    LAST_BLOCK = "the last octets"
    WAIT_FOR_DATA = "server asks to wait"
    WAIT_OVER = "the wait is over"
    SILENCE = "server silent or gone"
    COME_BACK = "server is back"
    REFUSED = "server ends the transfer"
    GIVE_UP = "client ends the transfer"
    CANCEL = "owner cancels"
    VERIFIED = "owner accepts the image"
    REJECTED = "owner rejects the image"
    REPORTED = "the report arrived or was tried enough"
    REPORTED_MORE = "the same, for REQUIRE_MORE_IMAGE"
    ANSWER_NOW = "upgrade now"
    ANSWER_LATER = "upgrade at a time"
    ANSWER_HOLD = "wait for a further command, or no answer"
    TIME_REACHED = "the time to upgrade"


_S, _I = State, Input

_ANSWERS = {
    _I.ANSWER_NOW: _S.ACTIVATING,
    _I.ANSWER_LATER: _S.COUNTDOWN,
    _I.ANSWER_HOLD: _S.HOLDING,
}
_BEGIN = {_I.BEGIN: _S.DOWNLOADING, _I.BEGIN_AT_END: _S.COMPLETE}
_TRANSFER = {
    **_BEGIN,  # another image replaces this one
    _I.BLOCK: _S.DOWNLOADING,
    _I.LAST_BLOCK: _S.COMPLETE,
    _I.WAIT_FOR_DATA: _S.WAITING,
    _I.SILENCE: _S.PAUSED,
    _I.REFUSED: _S.NORMAL,
    _I.GIVE_UP: _S.REPORTING,
    _I.REJECTED: _S.REPORTING,  # what has come so far is enough to refuse the image
    _I.CANCEL: _S.REPORTING,
}

TABLE: dict[State, dict[Input, State]] = {
    _S.NORMAL: _BEGIN,
    _S.WAIT_FOR_MORE: {**_BEGIN, _I.CANCEL: _S.NORMAL},
    _S.DOWNLOADING: _TRANSFER,
    _S.WAITING: {**_TRANSFER, _I.WAIT_OVER: _S.DOWNLOADING},
    _S.PAUSED: {**_TRANSFER, _I.COME_BACK: _S.DOWNLOADING},
    _S.COMPLETE: {_I.VERIFIED: _S.ENDING, _I.REJECTED: _S.REPORTING, _I.CANCEL: _S.REPORTING},
    _S.REPORTING: {_I.REPORTED: _S.NORMAL, _I.REPORTED_MORE: _S.WAIT_FOR_MORE},
    _S.ENDING: {**_ANSWERS, _I.CANCEL: _S.REPORTING},
    _S.HOLDING: {**_ANSWERS, **_BEGIN, _I.CANCEL: _S.NORMAL},
    _S.COUNTDOWN: {**_ANSWERS, **_BEGIN, _I.TIME_REACHED: _S.ACTIVATING, _I.CANCEL: _S.NORMAL},
    _S.ACTIVATING: {_I.CANCEL: _S.NORMAL},
}

TRANSFER_STATES = frozenset({_S.DOWNLOADING, _S.WAITING, _S.PAUSED})
ANSWERABLE_STATES = frozenset({_S.ENDING, _S.HOLDING, _S.COUNTDOWN})  # an Upgrade End Response means something
QUERY_STATES = frozenset({_S.NORMAL, _S.WAIT_FOR_MORE, _S.HOLDING, _S.COUNTDOWN})  # the daily query goes out

# Attribute 0x0006 ImageUpgradeStatus
UPGRADE_STATUS: dict[State, int] = {
    _S.NORMAL: 0,
    _S.DOWNLOADING: 1,
    _S.WAITING: 1,
    _S.PAUSED: 1,
    _S.COMPLETE: 2,
    _S.REPORTING: 0,
    _S.ENDING: 3,
    _S.HOLDING: 3,
    _S.COUNTDOWN: 4,
    _S.ACTIVATING: 4,
    _S.WAIT_FOR_MORE: 5,
}
WAITING_FOR_EXTERNAL_EVENT = 6  # instead of 3 where activation is out of band (an HCALCS)


def next_state(state: State, happened: Input) -> State | None:
    """Where ``happened`` leads; None where it is illegal."""
    return TABLE[state].get(happened)
