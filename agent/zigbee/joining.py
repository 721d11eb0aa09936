"""Getting onto the network, to a key and to the hub: restore or join, discover, read the hub's time, and again.

::

    DOWN --start--> RESTORING --no network--> JOINING --ok--> SEARCHING --found--> ONLINE
                     ^  ^ |'-----ok------------------------------^ ^ |  ^--silent----'
                     |  | |                                  made| '-|----key rejected
                     |  | |                                      KEYING (while no key is held for this hub)
                     |  '-+-- BACK_OFF <-- failures, network lost    '--unknown issuer--> LEAVING --> BACK_OFF (an hour)
                     |    |
                     |    '--not taken back--> DISCOVERING <--two searches without any answer-- SEARCHING
                     '--heard where we are, or not at all--' '--heard elsewhere--> MOVING --ok--> SEARCHING
    any --the engineer: leave--> LEAVING --> APART --the engineer: join--> JOINING

Pure: time is an argument. With a ``HubKey``, HubFound comes only once a key is held for the hub that answers, so that
nothing which needs APS security goes out before. A chip state restored from NV is no proof of a network: HubAnswered
is, the hub's answer to a read of its Time cluster. A silent hub is looked for by network discovery (``whereabouts``)
before every search from the third on: its pauses grow with theirs, to an hour. A key is believed in until the hub says
NOT_AUTHORIZED, or several secured frames in a row found no acknowledgement while it answers others: *our choice*.
Our choice too: a device that was told to leave stays APART until it is told to join, or its program starts anew.
"""

from __future__ import annotations

from collections import deque

from agent.events import (
    COORDINATOR,
    JoinNetwork,
    LeaveNetwork,
    LogicalType,
    NetworkInfo,
    RadioRequest,
    RadioResult,
    RadioStatus,
    RestoreNetwork,
)
from agent.zigbee import zdo
from agent.zigbee.cbke.hub_key import HubKey, LinkKeyFailed, LinkKeyMade, MustLeave
from agent.zigbee.clusters import Cluster
from agent.zigbee.foundation import Value
from agent.zigbee.join_events import (
    ON_A_NETWORK,
    HubAnswered,
    HubFound,
    HubLost,
    JoinedAsTold,
    JoinEvent,
    JoinFailed,
    JoinState,
    LeftNetwork,
    NetworkUp,
    SwapOutTried,
)
from agent.zigbee.pause import LONGEST_BACK_OFF_S, Pause
from agent.zigbee.peer import UNKNOWN_EUI, OutgoingZcl, Peer
from agent.zigbee.questions import Questions
from agent.zigbee.swap_out import hub_is_open_here, swap_request
from agent.zigbee.time_cluster import HubClock
from agent.zigbee.whereabouts import Whereabouts, describe
from agent.zigbee.zcl import ZclFrame

__all__ = [
    "ON_A_NETWORK", "HubAnswered", "HubFound", "HubLost", "JoinEvent", "JoinFailed", "JoinState", "JoinedAsTold",
    "Joining", "LeftNetwork", "NetworkUp", "SwapOutTried",
]  # fmt: skip

# Our choices.
ANSWER_TIMEOUT_S = 5.0
TIME_REFRESH_S = 600.0  # so soon an idle device misses its hub; ZigBee's Keep-Alive cluster has the same base
TIME_READS_TO_LOSE_HUB = 4
SECURED_FAILURES = 5  # in a row, before the key is doubted


class Joining:
    """See the module. ``request`` None: no install code is at hand, only a restore can succeed.

    ``key`` None: no key establishment, the hub is taken as it is.
    """

    def __init__(
        self,
        request: JoinNetwork | None,
        profile: int,
        logical_type: LogicalType,
        clock: HubClock,
        key: HubKey | None = None,
    ) -> None:
        self.key = key
        self._where = Whereabouts()
        self._join_request = request
        self._ask = Questions(profile)
        self.logical_type = logical_type  # as which it joins; on a network that it comes back to, the chip's counts
        self._clock = clock
        self.state = JoinState.DOWN
        self.network: NetworkInfo | None = None
        self.hub: Peer | None = None
        self._hub_eui = UNKNOWN_EUI if key is None else key.hub_eui
        self._join_pause = Pause()
        self._search_pause = Pause()
        self._read_pause = Pause()
        self._wake: float | None = None
        self._silent_reads = 0  # of the hub's time, since it last said anything
        self._searched = float("-inf")
        self._secured_failures = 0  # in a row
        self._not_before = float("-inf")  # after a leave that was the hub's wish
        self._leaving = ""  # why
        self._apart = ""  # why the engineer wants the device on no network
        self._told: JoinNetwork | None = None  # by the engineer: to be joined with as soon as the chip is free
        self._tried: JoinNetwork | None = None  # that, while it is being tried
        self._by_hash = True  # the last join was: the next one goes by the install code
        self._commissioning: int | None = None  # handle of the Restore, Join, Move ... that is awaited
        self._key_handles: dict[int, int] = {}
        self._events: deque[JoinEvent] = deque()

    @property
    def key_held(self) -> bool:
        """Whether frames that need APS security may come from and go to this hub."""
        return self.key is None or self.key.holds(self._hub_eui)

    # --- what happens

    def start(self, now: float) -> None:
        """The radio is open (again)."""
        self._stop_key(now)
        self._lose_hub("the radio was opened anew")
        self._where.forget()
        self._commission(RestoreNetwork(), JoinState.RESTORING)

    def network_lost(self, reason: str, now: float) -> None:
        """The chip is on no network any more. No news where it was told to leave."""
        if self.state in (JoinState.LEAVING, JoinState.BACK_OFF, JoinState.APART, JoinState.DOWN):
            return
        self._stop_key(now)
        self._lose_hub(reason)
        self._forget_key(reason, now)
        self.state, self._commissioning = JoinState.BACK_OFF, None
        pause_s = self._join_pause.next()
        self._wake = self._not_before = now + pause_s
        self._events.append(LeftNetwork(reason, pause_s))

    def network_changed(self, network: NetworkInfo, now: float) -> None:
        """The chip follows its network by itself, or took another short address: who knew the old one must hear it."""
        before, self.network = self.network, network
        if before is not None and before != network:
            self._events.append(self._where.changed(before, network))
            self.announce()

    def radio_lost(self, reason: str, now: float = 0.0) -> None:
        """The radio is gone; ``start`` comes when it is back."""
        self._stop_key(now)
        self._lose_hub(reason)
        self.state, self._wake, self._commissioning, self._tried = JoinState.DOWN, None, None, None
        self._ask.take()

    def request_done(self, handle: int, result: RadioResult, now: float) -> None:
        """The outcome of one request. Of our own APS requests only the answer counts, not the delivery."""
        key_handle = self._key_handles.pop(handle, None)
        if key_handle is not None and self.key is not None:
            self.key.request_done(key_handle, result, now)
            self._take_key_events(now)
        if handle != self._commissioning:
            return
        self._commissioning = None
        if result.status is RadioStatus.RADIO_LOST:
            self.radio_lost(result.detail, now)
        elif self.state is JoinState.LEAVING:
            self._left(now)
        elif self.state is JoinState.DISCOVERING:
            self._discovered(result, now)
        elif result.status is RadioStatus.OK and result.network is not None:
            self._network_up(result.network, now)
        else:
            self._not_up(result, now)

    def _not_up(self, result: RadioResult, now: float) -> None:
        """Restore, join or move failed. Only a chip whose NV holds no network joins: joining costs the one in NV."""
        restoring = self.state is JoinState.RESTORING
        if self._told is not None:
            self._join_as_told()
        elif restoring and not self._apart and result.status is RadioStatus.NO_NETWORK and (how := self._next_join()):
            if now < self._not_before:  # the chip has reset itself since it was told to leave
                self.state, self._wake = JoinState.BACK_OFF, self._not_before
                return
            self._commission(how, JoinState.JOINING)
        elif self._apart or result.status is not RadioStatus.NOT_TAKEN_BACK:
            self._back_off(result, now)
        elif self._where.sought is None:
            self.network = result.network or self.network
            self._commission(self._where.discover(result.detail or result.status.value), JoinState.DISCOVERING)
        else:
            detail = f"{self._where.sought.detail}; it does not take us: {result.detail}"
            self._back_off(RadioResult(result.status, detail=detail), now)

    def _discovered(self, result: RadioResult, now: float) -> None:
        """Go where our network is now; else back to where it was, or wait where it would not take us just now."""
        if self._told is not None:
            self._join_as_told()
            return
        if self.network is None:
            self._back_off(result, now)
            return
        sought, place = self._where.discovered(result, self.network)
        self._events.append(sought)
        swap = None if self._apart else self._swap_request()
        if place is not None:
            self._commission(place, JoinState.MOVING)
        elif swap is not None and hub_is_open_here(result, self.network):
            self._by_hash = True
            self._events.append(SwapOutTried(describe(self.network)))
            self._commission(swap, JoinState.JOINING)
        elif self._where.refused:
            self._back_off(RadioResult(RadioStatus.NOT_TAKEN_BACK, detail=sought.detail), now)
        else:
            self._commission(RestoreNetwork(), JoinState.RESTORING)

    def _swap_request(self) -> JoinNetwork | None:
        return swap_request(self.key, self.network, self.logical_type)

    def _next_join(self) -> JoinNetwork | None:
        """By the install code; in turn with the hash of a key that no network answers to, see ``swap_out``."""
        swap = self._swap_request()
        self._by_hash = swap is not None and (self._join_request is None or not self._by_hash)
        return swap if self._by_hash else self._join_request

    # --- what the engineer says

    def join(self, request: JoinNetwork, now: float) -> None:
        """Join by this now, or as soon as the chip is free. Where it does not work, all is as before."""
        self._told = request
        self._stop_key(now)
        self._lose_hub("told to join")
        if self._commissioning is None:
            self._join_as_told()

    def leave(self, reason: str, now: float) -> None:
        """Leave now, or as soon as the chip is free, and join no more until ``join``."""
        self._apart, self._told, self._tried = reason, None, None
        self._stop_key(now)
        if self._commissioning is None:
            self._leave(reason)

    def _join_as_told(self) -> None:
        self._tried, self._told = self._told, None
        if self._tried is not None:
            self._commission(self._tried, JoinState.JOINING)

    # --- what the hub says

    def receive_zdo(self, sequence: int, command: zdo.ZdoCommand, source: int, now: float) -> None:
        """A ZDO response; only the coordinator's count. A Match_Desc_rsp must be to the question asked last.

        And somebody who announces our own short address.
        """
        if isinstance(command, zdo.DeviceAnnce) and self.network is not None:
            self._where.announced(command.eui, command.short_address, self.network)
        if self.state not in ON_A_NETWORK or source != COORDINATOR:
            return
        self._where.hub_heard()
        match command:
            case zdo.IeeeAddrRsp(status=zdo.ZdpStatus.SUCCESS, eui=eui) if eui != self._hub_eui:
                self._hub_named(eui, now)
            case zdo.MatchDescRsp(status=zdo.ZdpStatus.SUCCESS, endpoints=(endpoint, *_)):
                if self.state is JoinState.SEARCHING and self._ask.is_about_endpoint(sequence):
                    self._endpoint_found(endpoint, now)
            case _:
                pass

    def _hub_named(self, eui: int, now: float) -> None:
        """The coordinator's EUI is known now, or is another one than before: another hub needs another key."""
        self._hub_eui = eui
        if self.key is not None:
            self._stop_key(now)
            self._lose_hub("another hub has taken its place")
            self._search(now)
        elif self.hub is not None:
            self.hub = Peer(COORDINATOR, self.hub.endpoint, eui)
            self._events.append(HubFound(self.hub))

    def _endpoint_found(self, endpoint: int, now: float) -> None:
        if self.key_held:
            self._hub_found(endpoint, now)
        elif self.key is not None and self._ask.wanted is Cluster.KEY_ESTABLISHMENT:
            self.state, self._wake = JoinState.KEYING, None
            self._search_pause.reset()
            self.key.begin(Peer(COORDINATOR, endpoint, self._hub_eui), now)
            self._take_key_events(now)

    def heard(self, source: int, now: float) -> None:
        """Anything from this short address: a hub that speaks is not lost, and is searched at once when it was."""
        if source == COORDINATOR:
            self._silent_reads = 0
            self._where.hub_heard()
        if self.state is JoinState.SEARCHING and source == COORDINATOR and now >= self._searched + ANSWER_TIMEOUT_S:
            self._search_pause.reset()
            self._search(now)

    def time_answered(self, values: dict[int, Value], source: int, now: float) -> None:
        """A Read Attributes Response (or, with nothing in it, a Default Response) of the hub's Time cluster."""
        if self.state is not JoinState.ONLINE or self.hub is None or source != self.hub.short_address:
            return
        utc = self._clock.utc(now) if self._clock.learn(values, now) else None
        self._read_pause.reset()
        self._join_pause.reset()  # only now: a network that comes and goes is no success
        self._wake = now + TIME_REFRESH_S
        self._events.append(HubAnswered(None if utc is None else int(utc)))
        if self._secured_failures >= SECURED_FAILURES:
            self.key_rejected("secured frames do not reach the hub, others do", now)

    # --- the key

    def receive_key(self, frame: ZclFrame, source: int, now: float) -> bool:
        """A Key Establishment command; False where it is not the hub's to the device."""
        if self.key is None or source != COORDINATOR or self.state not in (JoinState.KEYING, JoinState.ONLINE):
            return False
        self.key.receive(frame, now)
        self._take_key_events(now)
        return True

    def suites_answered(self, values: dict[int, Value], source: int, now: float) -> None:
        """Attributes of the hub's Key Establishment cluster, none after a Default Response."""
        if self.key is not None and source == COORDINATOR:
            self.key.suites_answered(values, now)
            self._take_key_events(now)

    def hub_sent(self, status: RadioStatus, now: float) -> None:
        """How a frame to the hub went. A hub that takes none is not waited for until its time is read next."""
        if self._where.delivered(ok=status is RadioStatus.OK):
            self.doubt(now)

    def doubt(self, now: float) -> None:
        """Something speaks against the hub being there, or being the same: ask for its EUI and its time now."""
        if self.state is JoinState.ONLINE and self._silent_reads == 0:
            self._ask.ask_eui()
            self._read_time(now)

    def secured_sent(self, status: RadioStatus, now: float) -> None:
        """How a frame under the hub's key went. The hub's clock, read without APS security, tells key from network."""
        if self.key is None or self.state is not JoinState.ONLINE:
            return
        if status is RadioStatus.OK:
            self.secured_heard()
            return
        self._secured_failures += 1
        if self._secured_failures == SECURED_FAILURES:
            self._read_time(now)

    def secured_heard(self) -> None:
        """A frame under the hub's key went through."""
        self._secured_failures = 0
        if self.key is not None:
            self.key.proved()

    def key_rejected(self, reason: str, now: float) -> None:
        """The hub has no such key (any more): a new one."""
        if self.key is None or self.state is not JoinState.ONLINE:
            return
        self.key.forget(reason, now)
        self._take_key_events(now)
        self._lose_hub(reason)
        self._search(now)

    def _take_key_events(self, now: float) -> None:
        while self.key is not None and (event := self.key.next_event()) is not None:
            if isinstance(event, MustLeave):
                self._leave(event.reason)
            else:
                self._events.append(event)
            if isinstance(event, LinkKeyFailed) and self._where.in_vain():  # nor anything else of the hub
                self._stop_key(now)
                self.state, self._wake = JoinState.SEARCHING, now + event.retry_s
            elif isinstance(event, LinkKeyMade) and self.state is JoinState.KEYING:
                self._search(now)

    def _stop_key(self, now: float) -> None:
        if self.key is not None:
            self.key.stop(now)
            self._key_handles.clear()

    def _forget_key(self, reason: str, now: float) -> None:
        """The chip has forgotten it with its network."""
        if self.key is not None:
            self.key.forget_network(reason)
            self._take_key_events(now)

    def _leave(self, reason: str) -> None:
        self._leaving = reason
        self._lose_hub(reason)
        self._commission(LeaveNetwork(), JoinState.LEAVING)

    def _left(self, now: float) -> None:
        self._forget_key("left the network", now)
        if self._apart:
            self.state, self._wake = JoinState.APART, None
        else:
            self.state, self._wake = JoinState.BACK_OFF, now + LONGEST_BACK_OFF_S
        self._events.append(LeftNetwork(self._leaving, None if self._apart else LONGEST_BACK_OFF_S))
        if self._told is not None:
            self._join_as_told()

    # --- time

    def next_deadline(self) -> float | None:
        """When ``handle_timer`` is next needed."""
        keys = None if self.key is None else self.key.next_deadline()
        return min((at for at in (self._wake, keys) if at is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Try again what failed or stayed without answer."""
        if self.key is not None:
            self.key.handle_timer(now)
            self._take_key_events(now)
        if self._wake is None or now < self._wake:
            return
        if self.state is JoinState.BACK_OFF:
            self._where.forget()
            self._commission(RestoreNetwork(), JoinState.RESTORING)
        elif self.state is JoinState.SEARCHING and self._where.is_in_doubt:
            self._commission(self._where.discover(), JoinState.DISCOVERING)
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
        for key_handle, request in self.key.requests_to_send() if self.key is not None else ():
            self._key_handles[self._ask.put(request)] = key_handle
        return self._ask.take()

    def next_event(self) -> JoinEvent | None:
        """The oldest event not yet taken."""
        return self._events.popleft() if self._events else None

    def _commission(self, request: RadioRequest, state: JoinState) -> None:
        self.state, self._wake = state, None
        self._commissioning = self._ask.put(request)

    def _back_off(self, result: RadioResult, now: float) -> None:
        self._tried = None
        if self._apart:
            self.state, self._wake = JoinState.APART, None
            self._events.append(JoinFailed(result.status, result.detail, None))
            return
        self.state, self._commissioning = JoinState.BACK_OFF, None
        pause_s = self._join_pause.next()
        self._events.append(JoinFailed(result.status, result.detail, pause_s))
        self._wake = now + pause_s

    def _network_up(self, network: NetworkInfo, now: float) -> None:
        joined, restored = self.state is JoinState.JOINING, self.state is JoinState.RESTORING
        self._told, tried, self._tried = None, self._tried, None
        if tried is not None:
            self._join_request, self._apart, self._by_hash = tried, "", False
            self._events.append(JoinedAsTold(tried))
        elif self._apart:
            self._leave(self._apart)
            return
        if restored and self._where.sought is not None and network == self.network:
            self._search(now)  # back from a discovery, and nothing is new
            return
        self.network = network
        self._where.arrived()
        self._search_pause.reset()
        self._events.append(NetworkUp(network, joined))
        if joined and self.key is not None:
            self._hub_eui = UNKNOWN_EUI
            self._forget_key("Trust Center swap-out" if self._by_hash else "joined anew", now)
        # our choice: announced by ourselves too, since not every chip does after a restore and the hub waits for it
        self.announce()
        self._search(now)

    def announce(self) -> None:
        """Device_annce, on which a hub opens the tunnel anew."""
        if self.network is not None:
            self._ask.announce(self.network)

    def _search(self, now: float) -> None:
        self.state, self._searched = JoinState.SEARCHING, now
        self._where.searched()
        self._ask.ask_eui()  # first, so that HubFound mostly knows the EUI
        if self.key is None or self._hub_eui != UNKNOWN_EUI:
            self._ask.ask_endpoint(Cluster.OTA if self.key_held else Cluster.KEY_ESTABLISHMENT)
        self._wake = now + self._search_pause.next()

    def _hub_found(self, endpoint: int, now: float) -> None:
        self.state = JoinState.ONLINE
        self.hub = Peer(COORDINATOR, endpoint, self._hub_eui)
        self._search_pause.reset()
        self._read_pause.reset()
        self._silent_reads = self._secured_failures = 0
        self._events.append(HubFound(self.hub))
        self._read_time(now)

    def _read_time(self, now: float) -> None:
        if self.hub is None:
            return
        self._ask.read_time(self.hub)
        self._silent_reads += 1
        self._wake = now + self._read_pause.next()

    def _lose_hub(self, reason: str) -> None:
        if self.hub is not None:
            self.hub = None
            self._events.append(HubLost(reason))
