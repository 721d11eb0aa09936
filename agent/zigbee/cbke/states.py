"""States of a key establishment, as a table: each state awaits one message and nothing else.

::

    initiator                                        responder
    IDLE -> Initiate ----------------------------->  IDLE
    INITIATE_RESPONSE  <------------------ Initiate
                       Ephemeral Data ------------>  EPHEMERAL_REQUEST
    EPHEMERAL_RESPONSE <------------ Ephemeral Data
                       Confirm Key --------------->  CONFIRM_REQUEST
    CONFIRM_RESPONSE   <--------------- Confirm Key
    established                                      established (with the Confirm Key that it sends)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from agent.zigbee.cbke.messages import KeyCommand


class State(Enum):
    """Named after the message that is awaited."""

    IDLE = "idle"
    INITIATE_RESPONSE = "initiate response"
    EPHEMERAL_RESPONSE = "ephemeral response"
    CONFIRM_RESPONSE = "confirm response"
    EPHEMERAL_REQUEST = "ephemeral request"
    CONFIRM_REQUEST = "confirm request"


@dataclass(frozen=True, slots=True)
class Awaits:
    """The message that a state awaits, and the state after it."""

    command: KeyCommand
    to_client: bool
    then: State


AWAITED = {
    State.IDLE: Awaits(KeyCommand.INITIATE, False, State.EPHEMERAL_REQUEST),
    State.INITIATE_RESPONSE: Awaits(KeyCommand.INITIATE, True, State.EPHEMERAL_RESPONSE),
    State.EPHEMERAL_RESPONSE: Awaits(KeyCommand.EPHEMERAL_DATA, True, State.CONFIRM_RESPONSE),
    State.CONFIRM_RESPONSE: Awaits(KeyCommand.CONFIRM_KEY, True, State.IDLE),
    State.EPHEMERAL_REQUEST: Awaits(KeyCommand.EPHEMERAL_DATA, False, State.CONFIRM_REQUEST),
    State.CONFIRM_REQUEST: Awaits(KeyCommand.CONFIRM_KEY, False, State.IDLE),
}


class Reason(Enum):
    """Why an exchange failed. The first six are Terminate statuses, ours or the partner's."""

    UNKNOWN_ISSUER = 1
    BAD_KEY_CONFIRM = 2
    BAD_MESSAGE = 3
    NO_RESOURCES = 4
    UNSUPPORTED_SUITE = 5
    INVALID_CERTIFICATE = 6
    TIME_OUT = "time-out"
    NOT_DELIVERED = "not delivered"
    UNKNOWN_STATUS = "unknown status"
    RESTARTED = "the partner began again"
