"""Getting onto the network and finding the hub: restore or join, discover, read the hub's time, and again.

::

    DOWN --start--> RESTORING --no network--> JOINING --ok--> SEARCHING --found--> ONLINE
                        ^  '-----ok------------------------------^   ^-----silent-----'
                        '-- BACK_OFF <-- failures, network lost

Pure: time is an argument. Key establishment belongs between JOINING and SEARCHING (``_network_up``). A chip state
restored from NV is no proof of a network: HubAnswered is, the hub's answer to a read of its Time cluster.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum

from agent.events import (
    BROADCAST_AWAKE,
    COORDINATOR,
    ApsRequest,
    JoinNetwork,
    LogicalType,
    NetworkInfo,
    RadioRequest,
    RadioResult,
    RadioStatus,
    RestoreNetwork,
)
from agent.zigbee import zdo
from agent.zigbee.clusters import Cluster
from agent.zigbee.foundation import ReadAttributes, Value
from agent.zigbee.peer import UNKNOWN_EUI, OutgoingZcl, Peer
from agent.zigbee.time_cluster import ATTRIBUTE_TIME, ATTRIBUTE_TIME_STATUS, HubClock

# Our choices.
FIRST_BACK_OFF_S = 5.0
LONGEST_BACK_OFF_S = 3_600.0
ANSWER_TIMEOUT_S = 5.0
TIME_REFRESH_S = 3_600.0
TIME_READS_TO_LOSE_HUB = 4
_FIRST_BROADCAST = 0xFFF8  # R21: short addresses from here on are broadcasts
_CAPABILITY = {LogicalType.ROUTER: 0x8E, LogicalType.END_DEVICE: 0x8C}  # R21 2.3.2.3.6: mains powered, receiver on


class JoinState(Enum):
    """See the module's picture."""

    DOWN = "down"
    RESTORING = "restoring"
    JOINING = "joining"
    BACK_OFF = "backing off"
    SEARCHING = "searching the hub"
    ONLINE = "online"


@dataclass(frozen=True, slots=True)
class NetworkUp:
    """On a network; ``joined`` when it was entered just now by install code."""

    network: NetworkInfo
    joined: bool


@dataclass(frozen=True, slots=True)
class JoinFailed:
    """Restore or join did not work; the next attempt is in ``retry_s`` seconds."""

    status: RadioStatus
    detail: str
    retry_s: float


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


JoinEvent = NetworkUp | JoinFailed | HubFound | HubAnswered | HubLost


class _Pause:
    """A time that doubles with every failure in a row."""

    def __init__(self) -> None:
        self._seconds = FIRST_BACK_OFF_S

    def next(self) -> float:
        seconds = self._seconds
        self._seconds = min(seconds * 2, LONGEST_BACK_OFF_S)
        return seconds

    def reset(self) -> None:
        self._seconds = FIRST_BACK_OFF_S


class Joining:
    """See the module. ``request`` None: no install code is at hand, only a restore can succeed."""

    def __init__(self, request: JoinNetwork | None, profile: int, logical_type: LogicalType, clock: HubClock) -> None:
        self._join_request = request
        self._profile = profile
        self._logical_type = logical_type
        self._clock = clock
        self.state = JoinState.DOWN
        self.network: NetworkInfo | None = None
        self.hub: Peer | None = None
        self._hub_eui = UNKNOWN_EUI
        self._join_pause = _Pause()
        self._search_pause = _Pause()
        self._read_pause = _Pause()
        self._wake: float | None = None
        self._silent_reads = 0  # of the hub's time, since it last said anything
        self._searched = float("-inf")
        self._zdo_sequence = 0
        self._next_handle = 1
        self._commissioning: int | None = None  # handle of the Restore or Join that is awaited
        self._outbox: list[tuple[int, RadioRequest | OutgoingZcl]] = []
        self._events: deque[JoinEvent] = deque()

    # --- what happens

    def start(self, now: float) -> None:
        """The radio is open (again)."""
        del now
        self._lose_hub("the radio was opened anew")
        self._commission(RestoreNetwork(), JoinState.RESTORING)

    def network_lost(self, reason: str, now: float) -> None:
        """The chip is on no network any more."""
        self._lose_hub(reason)
        self._back_off(RadioResult(RadioStatus.NO_NETWORK, detail=reason), now)

    def radio_lost(self, reason: str) -> None:
        """The radio is gone; ``start`` comes when it is back."""
        self._lose_hub(reason)
        self.state, self._wake, self._commissioning = JoinState.DOWN, None, None
        self._outbox.clear()

    def request_done(self, handle: int, result: RadioResult, now: float) -> None:
        """The outcome of one request. Of APS requests only the answer counts, not the delivery."""
        if handle != self._commissioning:
            return
        self._commissioning = None
        joined = self.state is JoinState.JOINING
        if result.status is RadioStatus.OK and result.network is not None:
            self._network_up(result.network, joined, now)
        elif result.status is RadioStatus.RADIO_LOST:
            self.radio_lost(result.detail)
        elif not joined and result.status is RadioStatus.NO_NETWORK and self._join_request is not None:
            self._commission(self._join_request, JoinState.JOINING)
        else:
            self._back_off(result, now)

    def receive_zdo(self, command: zdo.ZdoCommand, source: int, now: float) -> None:
        """A ZDO response; only the coordinator's count."""
        if self.state not in (JoinState.SEARCHING, JoinState.ONLINE) or source != COORDINATOR:
            return
        match command:
            case zdo.IeeeAddrRsp(status=zdo.ZdpStatus.SUCCESS, eui=eui):
                self._hub_eui = eui
                if self.hub is not None and self.hub.eui != eui:
                    self.hub = Peer(COORDINATOR, self.hub.endpoint, eui)
                    self._events.append(HubFound(self.hub))
            case zdo.MatchDescRsp(status=zdo.ZdpStatus.SUCCESS, endpoints=(endpoint, *_)):
                if self.state is JoinState.SEARCHING:
                    self._hub_found(endpoint, now)
            case _:
                pass

    def heard(self, source: int, now: float) -> None:
        """Anything from this short address: a hub that speaks is not lost, and is searched at once when it was."""
        if source == COORDINATOR:
            self._silent_reads = 0
        if self.state is JoinState.SEARCHING and source == COORDINATOR and now >= self._searched + ANSWER_TIMEOUT_S:
            self._search_pause.reset()
            self._search(now)

    def time_answered(self, values: dict[int, Value], source: int, now: float) -> None:
        """A Read Attributes Response (or, with nothing in it, a Default Response) of the hub's Time cluster."""
        if self.state is not JoinState.ONLINE or self.hub is None or source != self.hub.short_address:
            return
        learnt = self._clock.learn(values, now)
        utc = self._clock.utc(now) if learnt else None
        self._read_pause.reset()
        self._join_pause.reset()  # only now: a network that comes and goes is no success
        self._wake = now + TIME_REFRESH_S
        self._events.append(HubAnswered(None if utc is None else int(utc)))

    # --- time

    def next_deadline(self) -> float | None:
        """When ``handle_timer`` is next needed."""
        return self._wake

    def handle_timer(self, now: float) -> None:
        """Try again what failed or stayed without answer."""
        if self._wake is None or now < self._wake:
            return
        if self.state is JoinState.BACK_OFF:
            self._commission(RestoreNetwork(), JoinState.RESTORING)
        elif self.state is JoinState.SEARCHING:
            self._search(now)
        elif self._silent_reads >= TIME_READS_TO_LOSE_HUB:
            self._lose_hub("the hub is silent")
            self._search(now)
        else:
            self._read_time(now)

    # --- what goes out

    def requests_to_send(self) -> list[tuple[int, RadioRequest | OutgoingZcl]]:
        """New requests, each with the handle that ``request_done`` brings back."""
        requests, self._outbox = self._outbox, []
        return requests

    def next_event(self) -> JoinEvent | None:
        """The oldest event not yet taken."""
        return self._events.popleft() if self._events else None

    # --- the steps

    def _commission(self, request: RadioRequest, state: JoinState) -> None:
        self.state, self._wake = state, None
        self._commissioning = self._put(request)

    def _back_off(self, result: RadioResult, now: float) -> None:
        self.state, self._commissioning = JoinState.BACK_OFF, None
        pause_s = self._join_pause.next()
        self._events.append(JoinFailed(result.status, result.detail, pause_s))
        self._wake = now + pause_s

    def _network_up(self, network: NetworkInfo, joined: bool, now: float) -> None:
        self.network = network
        self._search_pause.reset()
        self._events.append(NetworkUp(network, joined))
        # our choice: announced by ourselves too, since not every chip does after a restore and the hub waits for it
        self.announce()
        self._search(now)

    def announce(self) -> None:
        """Device_annce, on which a hub opens the tunnel anew."""
        network = self.network
        if network is not None:
            capability = _CAPABILITY[self._logical_type]
            self._zdo(zdo.DeviceAnnce(network.short_address, network.eui, capability), BROADCAST_AWAKE)

    def _search(self, now: float) -> None:
        self.state, self._searched = JoinState.SEARCHING, now
        self._zdo(zdo.IeeeAddrReq(COORDINATOR), COORDINATOR)  # first, so that HubFound mostly knows the EUI
        self._zdo(zdo.MatchDescReq(COORDINATOR, self._profile, (Cluster.OTA,), ()), COORDINATOR)
        self._wake = now + self._search_pause.next()

    def _hub_found(self, endpoint: int, now: float) -> None:
        self.state = JoinState.ONLINE
        self.hub = Peer(COORDINATOR, endpoint, self._hub_eui)
        self._search_pause.reset()
        self._read_pause.reset()
        self._silent_reads = 0
        self._events.append(HubFound(self.hub))
        self._read_time(now)

    def _read_time(self, now: float) -> None:
        if self.hub is None:
            return
        request = ReadAttributes((ATTRIBUTE_TIME, ATTRIBUTE_TIME_STATUS))
        frame = OutgoingZcl(self.hub, Cluster.TIME, request.COMMAND, request.encode(), cluster_specific=False)
        self._put(frame)
        self._silent_reads += 1
        self._wake = now + self._read_pause.next()

    def _lose_hub(self, reason: str) -> None:
        if self.hub is not None:
            self.hub = None
            self._events.append(HubLost(reason))

    def _zdo(self, command: zdo.ZdoCommand, destination: int) -> None:
        self._zdo_sequence = (self._zdo_sequence + 1) & 0xFF
        payload = zdo.pack(self._zdo_sequence, command)
        unicast = destination < _FIRST_BROADCAST
        self._put(ApsRequest(destination, 0, 0, 0, command.CLUSTER, payload, aps_ack=unicast))

    def _put(self, request: RadioRequest | OutgoingZcl) -> int:
        handle = self._next_handle
        self._next_handle += 1
        self._outbox.append((handle, request))
        return handle
