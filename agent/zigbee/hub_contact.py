"""Contact with the hub, once the device is on its network: searched, a key agreed, found, its time read, silent, lost.

The states SEARCHING, KEYING and ONLINE of the picture in ``agent.zigbee.joining``.
"""

from __future__ import annotations

from collections.abc import Callable

from agent.events import COORDINATOR, LogicalType, RadioResult, RadioStatus
from agent.zigbee import zdo
from agent.zigbee.cbke.hub_key import HubKey, LinkKeyFailed, LinkKeyMade, MustLeave
from agent.zigbee.clusters import Cluster
from agent.zigbee.foundation import Value
from agent.zigbee.join_course import JoinCourse
from agent.zigbee.join_events import ON_A_NETWORK, HubAnswered, HubFound, HubLost, JoinState
from agent.zigbee.pause import Pause
from agent.zigbee.peer import UNKNOWN_EUI, Peer
from agent.zigbee.time_cluster import HubClock
from agent.zigbee.zcl import ZclFrame

# Our choices.
ANSWER_TIMEOUT_S = 5.0
# So soon an idle device misses its hub; ZigBee's Keep-Alive cluster has the router's as its base.
TIME_REFRESH_S = {LogicalType.ROUTER: 600.0, LogicalType.END_DEVICE: 3_600.0}
TIME_READS_TO_LOSE_HUB = 4
SECURED_FAILURES = 5  # in a row, before the key is doubted


class HubContact:
    """``key`` None: no key establishment. ``leave`` ends the membership, for a reason."""

    def __init__(
        self,
        course: JoinCourse,
        logical_type: LogicalType,
        clock: HubClock,
        key: HubKey | None,
        leave: Callable[[str], None],
    ) -> None:
        self.key = key
        self._logical_type = logical_type
        self.hub: Peer | None = None
        self._course = course
        self._where = course.where
        self._ask = course.ask
        self._clock = clock
        self._leave = leave
        self._hub_eui = UNKNOWN_EUI if key is None else key.hub_eui
        self._search_pause = Pause()
        self._read_pause = Pause()
        self._silent_reads = 0  # of the hub's time, since it last said anything
        self._searched = float("-inf")
        self._secured_failures = 0  # in a row
        self._key_handles: dict[int, int] = {}

    @property
    def key_held(self) -> bool:
        """Whether frames that need APS security may come from and go to this hub."""
        return self.key is None or self.key.holds(self._hub_eui)

    # --- what the hub says

    def receive_zdo(self, sequence: int, command: zdo.ZdoCommand, source: int, now: float) -> None:
        """A ZDO response; only the coordinator's count. A Match_Desc_rsp must be to the question asked last."""
        if self._course.state not in ON_A_NETWORK or source != COORDINATOR:
            return
        self._where.hub_heard()
        match command:
            case zdo.IeeeAddrRsp(status=zdo.ZdpStatus.SUCCESS, eui=eui) if eui != self._hub_eui:
                self._hub_named(eui, now)
            case zdo.MatchDescRsp(status=zdo.ZdpStatus.SUCCESS, endpoints=(endpoint, *_)):
                if self._course.state is JoinState.SEARCHING and self._ask.is_about_endpoint(sequence):
                    self._endpoint_found(endpoint, now)
            case _:
                pass

    def _hub_named(self, eui: int, now: float) -> None:
        """The coordinator's EUI is known now, or is another one than before: another hub needs another key."""
        self._hub_eui = eui
        if self.key is not None:
            self.stop_key(now)
            self.lose_hub("another hub has taken its place")
            self.search(now)
        elif self.hub is not None:
            self.hub = Peer(COORDINATOR, self.hub.endpoint, eui)
            self._course.tell(HubFound(self.hub))

    def _endpoint_found(self, endpoint: int, now: float) -> None:
        if self.key_held:
            self._hub_found(endpoint, now)
        elif self.key is not None and self._ask.wanted is Cluster.KEY_ESTABLISHMENT:
            self._course.go(JoinState.KEYING)
            self._search_pause.reset()
            self.key.begin(Peer(COORDINATOR, endpoint, self._hub_eui), now)
            self._take_key_events(now)

    def heard(self, source: int, now: float) -> None:
        """Anything from this short address: a hub that speaks is not lost, and is searched at once when it was."""
        if source != COORDINATOR:
            return
        self._silent_reads = 0
        self._where.hub_heard()
        if self._course.state is JoinState.SEARCHING and now >= self._searched + ANSWER_TIMEOUT_S:
            self._search_pause.reset()
            self.search(now)

    def time_answered(self, values: dict[int, Value], source: int, now: float) -> None:
        """A Read Attributes Response (or, with nothing in it, a Default Response) of the hub's Time cluster."""
        if self._course.state is not JoinState.ONLINE or self.hub is None or source != self.hub.short_address:
            return
        utc = self._clock.utc(now) if self._clock.learn(values, now) else None
        self._read_pause.reset()
        self._course.join_pause.reset()  # only now: a network that comes and goes is no success
        self._course.wake = now + TIME_REFRESH_S[self._logical_type]
        self._course.tell(HubAnswered(None if utc is None else int(utc)))
        if self._secured_failures >= SECURED_FAILURES:
            self.key_rejected("secured frames do not reach the hub, others do", now)

    # --- the key

    def receive_key(self, frame: ZclFrame, source: int, now: float) -> bool:
        """A Key Establishment command; False where it is not the hub's to the device."""
        if self.key is None or source != COORDINATOR or self._course.state not in (JoinState.KEYING, JoinState.ONLINE):
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
        if self._course.state is JoinState.ONLINE and self._silent_reads == 0:
            self._ask.ask_eui()
            self._read_time(now)

    def secured_sent(self, status: RadioStatus, now: float) -> None:
        """How a frame under the hub's key went. The hub's clock, read without APS security, tells key from network."""
        if self.key is None or self._course.state is not JoinState.ONLINE:
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
        if self.key is None or self._course.state is not JoinState.ONLINE:
            return
        self.key.forget(reason, now)
        self._take_key_events(now)
        self.lose_hub(reason)
        self.search(now)

    def _take_key_events(self, now: float) -> None:
        while self.key is not None and (event := self.key.next_event()) is not None:
            if isinstance(event, MustLeave):
                self._leave(event.reason)
            else:
                self._course.tell(event)
            if isinstance(event, LinkKeyFailed) and self._where.in_vain():  # nor anything else of the hub
                self.stop_key(now)
                self._course.go(JoinState.SEARCHING, now + event.retry_s)
            elif isinstance(event, LinkKeyMade) and self._course.state is JoinState.KEYING:
                self.search(now)

    def stop_key(self, now: float) -> None:
        """End an exchange that is going on; a key that is held stays so."""
        if self.key is not None:
            self.key.stop(now)
            self._key_handles.clear()

    def forget_key(self, reason: str, now: float) -> None:
        """The chip has forgotten it with its network."""
        if self.key is not None:
            self.key.forget_network(reason)
            self._take_key_events(now)

    def joined_anew(self, reason: str, now: float) -> None:
        """The network may have another hub than before, and has no key with this device."""
        if self.key is not None:
            self._hub_eui = UNKNOWN_EUI
            self.forget_key(reason, now)

    def request_done(self, handle: int, result: RadioResult, now: float) -> None:
        """The outcome of one request of the key establishment."""
        key_handle = self._key_handles.pop(handle, None)
        if key_handle is not None and self.key is not None:
            self.key.request_done(key_handle, result, now)
            self._take_key_events(now)

    def ask_for_key(self) -> None:
        """Pass on what the key establishment wants to send."""
        for key_handle, request in self.key.requests_to_send() if self.key is not None else ():
            self._key_handles[self._ask.put(request)] = key_handle

    # --- time

    def key_deadline(self) -> float | None:
        """When ``handle_key_timer`` is next needed."""
        return None if self.key is None else self.key.next_deadline()

    def handle_key_timer(self, now: float) -> None:
        """Of the key establishment."""
        if self.key is not None:
            self.key.handle_timer(now)
            self._take_key_events(now)

    def handle_timer(self, now: float) -> None:
        """The hub did not answer the last question, or is to be asked its time again."""
        if self._course.state is JoinState.SEARCHING:
            self.search(now)
        elif self._silent_reads >= TIME_READS_TO_LOSE_HUB:
            self.lose_hub("the hub is silent")
            self.search(now)
        else:
            self._read_time(now)

    # --- the steps

    def search(self, now: float, *, afresh: bool = False) -> None:
        """Ask for the hub's endpoint. ``afresh``: what was in vain elsewhere makes no pause longer here."""
        if afresh:
            self._search_pause.reset()
        self._course.state, self._searched = JoinState.SEARCHING, now
        self._where.searched()
        self._ask.ask_eui()  # first, so that HubFound mostly knows the EUI
        if self.key is None or self._hub_eui != UNKNOWN_EUI:
            self._ask.ask_endpoint(Cluster.OTA if self.key_held else Cluster.KEY_ESTABLISHMENT)
        self._course.wake = now + self._search_pause.next()

    def _hub_found(self, endpoint: int, now: float) -> None:
        self._course.state = JoinState.ONLINE
        self.hub = Peer(COORDINATOR, endpoint, self._hub_eui)
        self._search_pause.reset()
        self._read_pause.reset()
        self._silent_reads = self._secured_failures = 0
        self._course.tell(HubFound(self.hub))
        self._read_time(now)

    def _read_time(self, now: float) -> None:
        if self.hub is None:
            return
        self._ask.read_time(self.hub)
        self._silent_reads += 1
        self._course.wake = now + self._read_pause.next()

    def lose_hub(self, reason: str) -> None:
        """It is not to be talked to any more, for a reason."""
        if self.hub is not None:
            self.hub = None
            self._course.tell(HubLost(reason))
