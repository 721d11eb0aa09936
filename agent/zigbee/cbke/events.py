"""What a key establishment is given and what it tells its owner."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.zigbee.cbke.messages import KeyFrame
from agent.zigbee.cbke.states import Reason


@dataclass(frozen=True, slots=True)
class CbkeTimes:
    """Seconds. Our choice; the first two go over the air and allow for a slow Pi."""

    ephemeral_s: int = 10
    confirm_s: int = 15
    initiate_timeout_s: float = 20.0  # until the responder has told its own times
    margin_s: float = 5.0  # beyond the partner's announced times: the air and its retries
    wait_s: int = 10  # that we ask a partner to wait after a failure, and wait ourselves


@dataclass(frozen=True, slots=True)
class LinkKeyEstablished:
    """Both sides have proved that they hold the key, which replaces the one used until now."""

    partner: int
    suite: int
    initiator: bool
    link_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyEstablishmentFailed:
    """``retry_after_s`` counts from now; ``partner_suites`` where a Terminate told them.

    After UNKNOWN_ISSUER a joining device leaves; after UNSUPPORTED_SUITE it may start again with ``partner_suites``.
    """

    partner: int
    reason: Reason
    by_partner: bool
    detail: str
    retry_after_s: float
    partner_suites: int | None = None


@dataclass(frozen=True, slots=True)
class OutgoingKeyFrame:
    """One frame for the partner; APS acknowledged, without APS security."""

    partner: int
    frame: KeyFrame


Event = LinkKeyEstablished | KeyEstablishmentFailed
