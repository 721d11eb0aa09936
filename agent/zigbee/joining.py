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
The states on a network, SEARCHING, KEYING and ONLINE, are ``hub_contact``'s.
Our choice too: a device that was told to leave stays APART until it is told to join, or its program starts anew.
"""

from __future__ import annotations

from agent.events import (
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
from agent.zigbee.cbke.hub_key import HubKey
from agent.zigbee.foundation import Value
from agent.zigbee.hub_contact import HubContact
from agent.zigbee.join_course import JoinCourse
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
from agent.zigbee.pause import LONGEST_BACK_OFF_S
from agent.zigbee.peer import OutgoingZcl, Peer
from agent.zigbee.swap_out import hub_is_open_here, swap_request
from agent.zigbee.time_cluster import HubClock
from agent.zigbee.whereabouts import describe
from agent.zigbee.zcl import ZclFrame

__all__ = [
    "ON_A_NETWORK", "HubAnswered", "HubFound", "HubLost", "JoinEvent", "JoinFailed", "JoinState",
    "JoinedAsTold", "Joining", "LeftNetwork", "NetworkUp", "SwapOutTried",
]  # fmt: skip


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
        self.logical_type = logical_type  # as which it joins; on a network that it comes back to, the chip's counts
        self._course = JoinCourse(profile)
        self._where = self._course.where
        self._ask = self._course.ask
        self._contact = HubContact(self._course, logical_type, clock, key, leave=self._leave)
        self._join_request = request
        self._not_before = float("-inf")  # after a leave that was the hub's wish
        self._leaving = ""  # why
        self._apart = ""  # why the engineer wants the device on no network
        self._told: JoinNetwork | None = None  # by the engineer: to be joined with as soon as the chip is free
        self._tried: JoinNetwork | None = None  # that, while it is being tried
        self._by_hash = True  # the last join was: the next one goes by the install code
        self._commissioning: int | None = None  # handle of the Restore, Join, Move ... that is awaited

    @property
    def state(self) -> JoinState:
        """See the module's picture."""
        return self._course.state

    @property
    def network(self) -> NetworkInfo | None:
        """The network that the device is on, or was on last."""
        return self._course.network

    @property
    def hub(self) -> Peer | None:
        """The hub while it is found."""
        return self._contact.hub

    @property
    def key(self) -> HubKey | None:
        """The policy about the key, None without key establishment."""
        return self._contact.key

    @property
    def key_held(self) -> bool:
        """Whether frames that need APS security may come from and go to this hub."""
        return self._contact.key_held

    # --- what happens

    def start(self, now: float) -> None:
        """The radio is open (again)."""
        self._contact.stop_key(now)
        self._contact.lose_hub("the radio was opened anew")
        self._where.forget()
        self._commission(RestoreNetwork(), JoinState.RESTORING)

    def network_lost(self, reason: str, now: float) -> None:
        """The chip is on no network any more. No news where it was told to leave."""
        if self.state in (JoinState.LEAVING, JoinState.BACK_OFF, JoinState.APART, JoinState.DOWN):
            return
        self._contact.stop_key(now)
        self._contact.lose_hub(reason)
        self._contact.forget_key(reason, now)
        self._course.state, self._commissioning = JoinState.BACK_OFF, None
        pause_s = self._course.join_pause.next()
        self._course.wake = self._not_before = now + pause_s
        self._course.tell(LeftNetwork(reason, pause_s))

    def network_changed(self, network: NetworkInfo, now: float) -> None:
        """The chip follows its network by itself, or took another short address: who knew the old one must hear it."""
        before, self._course.network = self.network, network
        if before is not None and before != network:
            self._course.tell(self._where.changed(before, network))
            self.announce()

    def radio_lost(self, reason: str, now: float = 0.0) -> None:
        """The radio is gone; ``start`` comes when it is back."""
        self._contact.stop_key(now)
        self._contact.lose_hub(reason)
        self._course.go(JoinState.DOWN)
        self._commissioning, self._tried = None, None
        self._ask.take()

    def request_done(self, handle: int, result: RadioResult, now: float) -> None:
        """The outcome of one request. Of our own APS requests only the answer counts, not the delivery."""
        self._contact.request_done(handle, result, now)
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
                self._course.go(JoinState.BACK_OFF, self._not_before)
                return
            self._commission(how, JoinState.JOINING)
        elif self._apart or result.status is not RadioStatus.NOT_TAKEN_BACK:
            self._back_off(result, now)
        elif self._where.sought is None:
            self._course.network = result.network or self.network
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
        self._course.tell(sought)
        swap = None if self._apart else self._swap_request()
        if place is not None:
            self._commission(place, JoinState.MOVING)
        elif swap is not None and hub_is_open_here(result, self.network):
            self._by_hash = True
            self._course.tell(SwapOutTried(describe(self.network)))
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
        self._contact.stop_key(now)
        self._contact.lose_hub("told to join")
        if self._commissioning is None:
            self._join_as_told()

    def leave(self, reason: str, now: float) -> None:
        """Leave now, or as soon as the chip is free, and join no more until ``join``."""
        self._apart, self._told, self._tried = reason, None, None
        self._contact.stop_key(now)
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
        self._contact.receive_zdo(sequence, command, source, now)

    def heard(self, source: int, now: float) -> None:
        """Anything from this short address: a hub that speaks is not lost, and is searched at once when it was."""
        self._contact.heard(source, now)

    def time_answered(self, values: dict[int, Value], source: int, now: float) -> None:
        """A Read Attributes Response (or, with nothing in it, a Default Response) of the hub's Time cluster."""
        self._contact.time_answered(values, source, now)

    def receive_key(self, frame: ZclFrame, source: int, now: float) -> bool:
        """A Key Establishment command; False where it is not the hub's to the device."""
        return self._contact.receive_key(frame, source, now)

    def suites_answered(self, values: dict[int, Value], source: int, now: float) -> None:
        """Attributes of the hub's Key Establishment cluster, none after a Default Response."""
        self._contact.suites_answered(values, source, now)

    def hub_sent(self, status: RadioStatus, now: float) -> None:
        """How a frame to the hub went. A hub that takes none is not waited for until its time is read next."""
        self._contact.hub_sent(status, now)

    def doubt(self, now: float) -> None:
        """Something speaks against the hub being there, or being the same: ask for its EUI and its time now."""
        self._contact.doubt(now)

    def secured_sent(self, status: RadioStatus, now: float) -> None:
        """How a frame under the hub's key went. The hub's clock, read without APS security, tells key from network."""
        self._contact.secured_sent(status, now)

    def secured_heard(self) -> None:
        """A frame under the hub's key went through."""
        self._contact.secured_heard()

    def key_rejected(self, reason: str, now: float) -> None:
        """The hub has no such key (any more): a new one."""
        self._contact.key_rejected(reason, now)

    # --- the steps

    def _leave(self, reason: str) -> None:
        self._leaving = reason
        self._contact.lose_hub(reason)
        self._commission(LeaveNetwork(), JoinState.LEAVING)

    def _left(self, now: float) -> None:
        self._contact.forget_key("left the network", now)
        if self._apart:
            self._course.go(JoinState.APART)
        else:
            self._course.go(JoinState.BACK_OFF, now + LONGEST_BACK_OFF_S)
        self._course.tell(LeftNetwork(self._leaving, None if self._apart else LONGEST_BACK_OFF_S))
        if self._told is not None:
            self._join_as_told()

    # --- time

    def next_deadline(self) -> float | None:
        """When ``handle_timer`` is next needed."""
        return min((at for at in (self._course.wake, self._contact.key_deadline()) if at is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Try again what failed or stayed without answer."""
        self._contact.handle_key_timer(now)
        if self._course.wake is None or now < self._course.wake:
            return
        if self.state is JoinState.BACK_OFF:
            self._where.forget()
            self._commission(RestoreNetwork(), JoinState.RESTORING)
        elif self.state is JoinState.SEARCHING and self._where.is_in_doubt:
            self._commission(self._where.discover(), JoinState.DISCOVERING)
        else:
            self._contact.handle_timer(now)

    # --- what goes out

    def requests_to_send(self) -> list[tuple[int, RadioRequest | OutgoingZcl]]:
        """New requests, each with the handle that ``request_done`` brings back."""
        self._contact.ask_for_key()
        return self._ask.take()

    def next_event(self) -> JoinEvent | None:
        """The oldest event not yet taken."""
        return self._course.next_event()

    def _commission(self, request: RadioRequest, state: JoinState) -> None:
        self._course.go(state)
        self._commissioning = self._ask.put(request)

    def _back_off(self, result: RadioResult, now: float) -> None:
        self._tried = None
        if self._apart:
            self._course.go(JoinState.APART)
            self._course.tell(JoinFailed(result.status, result.detail, None))
            return
        self._course.state, self._commissioning = JoinState.BACK_OFF, None
        pause_s = self._course.join_pause.next()
        self._course.tell(JoinFailed(result.status, result.detail, pause_s))
        self._course.wake = now + pause_s

    def _network_up(self, network: NetworkInfo, now: float) -> None:
        joined, restored = self.state is JoinState.JOINING, self.state is JoinState.RESTORING
        self._told, tried, self._tried = None, self._tried, None
        if tried is not None:
            self._join_request, self._apart, self._by_hash = tried, "", False
            self._course.tell(JoinedAsTold(tried))
        elif self._apart:
            self._leave(self._apart)
            return
        if restored and self._where.sought is not None and network == self.network:
            self._contact.search(now)  # back from a discovery, and nothing is new
            return
        self._course.network = network
        self._where.arrived()
        self._course.tell(NetworkUp(network, joined))
        if joined:
            self._contact.joined_anew("Trust Center swap-out" if self._by_hash else "joined anew", now)
        # our choice: announced by ourselves too, since not every chip does after a restore and the hub waits for it
        self.announce()
        self._contact.search(now, afresh=True)

    def announce(self) -> None:
        """Device_annce, on which a hub opens the tunnel anew."""
        if self.network is not None:
            self._ask.announce(self.network)
