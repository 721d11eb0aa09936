"""Where joining stands, and what it tells its owner: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from agent.events import JoinNetwork, NetworkInfo, RadioStatus
from agent.zigbee.cbke.hub_key import LinkKeyFailed, LinkKeyForgotten, LinkKeyMade
from agent.zigbee.peer import Peer
from agent.zigbee.whereabouts import AddressChanged, NetworkSought


class JoinState(Enum):
    """See the picture in ``agent.zigbee.joining``."""

    DOWN = "down"
    RESTORING = "restoring"
    JOINING = "joining"
    BACK_OFF = "backing off"
    DISCOVERING = "discovering networks"
    MOVING = "following the network"
    SEARCHING = "searching the hub"
    KEYING = "establishing a key"
    ONLINE = "online"
    LEAVING = "leaving"
    APART = "apart, as it was told"


ON_A_NETWORK = (JoinState.SEARCHING, JoinState.KEYING, JoinState.ONLINE)


@dataclass(frozen=True, slots=True)
class NetworkUp:
    """On a network; ``joined`` when it was entered just now by install code."""

    network: NetworkInfo
    joined: bool


@dataclass(frozen=True, slots=True)
class JoinFailed:
    """Restore or join did not work; the next attempt is in ``retry_s`` seconds, None: when told."""

    status: RadioStatus
    detail: str
    retry_s: float | None


@dataclass(frozen=True, slots=True)
class HubFound:
    """The hub's endpoint that has the OTA server."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class HubAnswered:
    """The hub answered a read of its Time cluster: the network lives. ``utc``: its UTCTime, None when it has none."""

    utc: int | None


@dataclass(frozen=True, slots=True)
class HubLost:
    """No network, or a hub that has become silent."""

    reason: str


@dataclass(frozen=True, slots=True)
class LeftNetwork:
    """On no network any more, for a reason; the next attempt is in ``retry_s`` seconds, None: when told."""

    reason: str
    retry_s: float | None


@dataclass(frozen=True, slots=True)
class JoinedAsTold:
    """What ``join`` was given has worked: to be remembered for every later join."""

    request: JoinNetwork


@dataclass(frozen=True, slots=True)
class SwapOutTried:
    """The hub seems to have been replaced: the device joins its network with the hash of the link key as its key."""

    network: str


JoinEvent = (
    NetworkUp | NetworkSought | AddressChanged | JoinFailed | HubFound | HubAnswered | HubLost | LeftNetwork
    | JoinedAsTold | SwapOutTried
    | LinkKeyMade | LinkKeyForgotten | LinkKeyFailed
)  # fmt: skip
