"""The device's policy about the key it shares with the hub: is there one, and how it gets one.

::

    IDLE --begin--> ASKING --suites--> AGREEING --established--> GIVING --the chip has it--> IDLE, and the key is held
                      ^    `--silence----' failed '--refused--------'
                      '-- WAITING <--------'            unknown issuer: MustLeave

Pure, around ``KeyEstablishment`` as initiator. A key is held for one hub, by EUI; the chip holds the key itself, the
owner remembers ``HeldKey`` over a restart. *Our choices*: a frame that was not acknowledged is sent twice more before
the exchange counts as failed; pauses double from 5 s to an hour until a frame under the new key has gone through.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from agent.events import RadioRequest, RadioResult, RadioStatus, SetLinkKey
from agent.zigbee.cbke.events import KeyEstablishmentFailed, LinkKeyEstablished
from agent.zigbee.cbke.machine import KeyEstablishment
from agent.zigbee.cbke.messages import ATTRIBUTE_SUITES, KeyFrame
from agent.zigbee.cbke.mmo import mmo
from agent.zigbee.cbke.states import Reason, State
from agent.zigbee.clusters import Cluster
from agent.zigbee.foundation import ReadAttributes, Value
from agent.zigbee.pause import Pause
from agent.zigbee.peer import UNKNOWN_EUI, OutgoingZcl, Peer
from agent.zigbee.zcl import ZclFrame

ANSWER_TIMEOUT_S = 5.0
FRAME_TRIES = 3


class KeyState(Enum):
    """See the module's picture."""

    IDLE = "idle"
    ASKING = "asking the hub's suites"
    AGREEING = "agreeing on a key"
    GIVING = "giving the key to the chip"
    WAITING = "waiting to try again"


@dataclass(frozen=True, slots=True)
class HeldKey:
    """Whose key the chip holds. ``key_hash`` is AES-MMO of the key in hex: what a Trust Center swap-out goes by.

    It serves as a key then, so it is a secret: for the journal, never for a log.
    """

    hub_eui: int
    suite: int
    key_hash: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LinkKeyMade:
    """The chip has a new link key for this hub; to be remembered."""

    held: HeldKey


@dataclass(frozen=True, slots=True)
class LinkKeyForgotten:
    """The key is worth nothing any more; to be forgotten."""

    reason: str


@dataclass(frozen=True, slots=True)
class LinkKeyFailed:
    """No key yet; the next attempt is in ``retry_s`` seconds."""

    reason: str
    detail: str
    retry_s: float


@dataclass(frozen=True, slots=True)
class MustLeave:
    """Device and hub have certificates of different issuers: no key will ever come of this (Smart Energy 5.4.2.2)."""

    reason: str


HubKeyEvent = LinkKeyMade | LinkKeyForgotten | LinkKeyFailed | MustLeave


@dataclass(slots=True)
class _Frame:
    """A frame of the exchange on its way."""

    machine_handle: int
    frame: OutgoingZcl
    awaiting: State  # what the machine awaited after it: once that has come, nothing is sent again
    tries: int = 1


class HubKey:
    """See the module."""

    def __init__(self, machine: KeyEstablishment, held: HeldKey | None = None) -> None:
        self.state = KeyState.IDLE
        self._machine = machine
        self._held = held
        self._hub: Peer | None = None
        self._told_suites: int | None = None  # by a Terminate, which knows better than the attribute
        self._pause = Pause()
        self._wake: float | None = None
        self._not_before = float("-inf")
        self._next_handle = 1
        self._frames: dict[int, _Frame] = {}
        self._giving: tuple[int, HeldKey] | None = None
        self._outbox: list[tuple[int, RadioRequest | OutgoingZcl]] = []
        self._events: deque[HubKeyEvent] = deque()

    @property
    def suites(self) -> int:
        """Attribute 0x0000 of the device's own Key Establishment cluster."""
        return self._machine.suites

    @property
    def hub_eui(self) -> int:
        """The hub that a key is held for, UNKNOWN_EUI where none is."""
        return UNKNOWN_EUI if self._held is None else self._held.hub_eui

    @property
    def swap_key(self) -> bytes:
        """The pre-shared key for a hub that has taken the place of the one a key is held for; empty: none is held."""
        return bytes.fromhex(self._held.key_hash) if self._held else b""

    def holds(self, hub_eui: int) -> bool:
        """Whether the chip has a key for this hub that key establishment made."""
        return self._held is not None and self._held.hub_eui == hub_eui

    # --- what the owner says

    def begin(self, hub: Peer, now: float) -> None:
        """Get a key from the hub at this Key Establishment endpoint."""
        if self._hub is not None and self._hub.eui != hub.eui:
            self.stop(now)
        self._hub = hub
        if self.state is KeyState.IDLE:
            if now < self._not_before:
                self.state, self._wake = KeyState.WAITING, self._not_before
            else:
                self._ask(now)

    def stop(self, now: float) -> None:
        """The network is gone: no exchange is going on any more. A key that is held stays so."""
        del now
        self.state, self._wake, self._giving = KeyState.IDLE, None, None
        self._machine.cancel()
        self._frames.clear()
        self._outbox.clear()

    def forget(self, reason: str, now: float) -> None:
        """The key is no longer shared. The next one is not asked for at once: a hub may refuse every key."""
        if self._held is not None:
            self._held = None
            self._not_before = now + self._pause.next()
            self._events.append(LinkKeyForgotten(reason))

    def forget_network(self, reason: str) -> None:
        """Joined anew, or left: the chip forgot its keys with the network, and the next hub is asked at once."""
        if self._held is not None:
            self._held = None
            self._events.append(LinkKeyForgotten(reason))

    def proved(self) -> None:
        """A frame under the key went through."""
        self._pause.reset()

    # --- what the hub says

    def receive(self, frame: ZclFrame, now: float) -> None:
        """A command of the cluster from the hub; what it deserves is for the machine to say."""
        if self._hub is None:
            return
        self._machine.receive(KeyFrame(frame.command, frame.payload, frame.to_client), self._hub.eui, now)
        self._collect(now)

    def suites_answered(self, values: dict[int, Value], now: float) -> None:
        """Attribute 0x0000; where the hub does not have it, our own suites are tried."""
        if self.state is not KeyState.ASKING or self._hub is None:
            return
        told = values.get(ATTRIBUTE_SUITES)
        suites = self._told_suites or (told if isinstance(told, int) else self.suites)
        self._told_suites = None
        if self._machine.start(self._hub.eui, suites, now):
            self.state, self._wake = KeyState.AGREEING, None
            self._collect(now)
        else:
            wait_s = self._machine.earliest_start(self._hub.eui) - now
            self._retry("busy", "the last attempt is too recent", wait_s, now)

    def request_done(self, handle: int, result: RadioResult, now: float) -> None:
        """The outcome of one request."""
        if self._giving is not None and handle == self._giving[0]:
            self._given(self._giving[1], result, now)
            return
        sent = self._frames.pop(handle, None)
        if sent is None:
            return
        delivered = result.status is RadioStatus.OK
        awaited = sent.awaiting is self._machine.state and result.status is not RadioStatus.RADIO_LOST
        if not delivered and awaited and sent.tries < FRAME_TRIES:
            sent.tries += 1
            self._frames[self._put(sent.frame)] = sent
            return
        self._machine.frame_sent(sent.machine_handle, delivered, now)
        self._collect(now)

    # --- time

    def next_deadline(self) -> float | None:
        """When ``handle_timer`` is next needed."""
        return min((at for at in (self._wake, self._machine.next_deadline()) if at is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Silence, or a pause that is over."""
        self._machine.handle_timer(now)
        self._collect(now)
        if self._wake is None or now < self._wake:
            return
        if self.state is KeyState.ASKING:
            self._retry("time-out", "the hub does not tell its suites", 0.0, now)
        elif self.state is KeyState.WAITING:
            self._ask(now)

    # --- what goes out

    def requests_to_send(self) -> list[tuple[int, RadioRequest | OutgoingZcl]]:
        """New requests, each with the handle that ``request_done`` brings back."""
        requests, self._outbox = self._outbox, []
        return requests

    def next_event(self) -> HubKeyEvent | None:
        """The oldest event not yet taken."""
        return self._events.popleft() if self._events else None

    # --- the steps

    def _ask(self, now: float) -> None:
        if self._hub is None:
            return
        self.state, self._wake = KeyState.ASKING, now + ANSWER_TIMEOUT_S
        request = ReadAttributes((ATTRIBUTE_SUITES,))
        self._put(
            OutgoingZcl(self._hub, Cluster.KEY_ESTABLISHMENT, request.COMMAND, request.encode(), cluster_specific=False)
        )

    def _collect(self, now: float) -> None:
        """Take over what the machine wants to send and to say."""
        for handle, out in self._machine.frames_to_send(now):
            if self._hub is not None:
                key_frame = out.frame
                frame = OutgoingZcl(
                    self._hub,
                    Cluster.KEY_ESTABLISHMENT,
                    key_frame.command,
                    key_frame.payload,
                    to_client=key_frame.to_client,
                )
                self._frames[self._put(frame)] = _Frame(handle, frame, self._machine.state)
        while (event := self._machine.next_event()) is not None:
            if isinstance(event, LinkKeyEstablished):
                self._established(event)
            elif self.state is KeyState.AGREEING:
                self._failed(event, now)

    def _established(self, event: LinkKeyEstablished) -> None:
        if self._hub is None:
            return
        self.state, self._wake = KeyState.GIVING, None
        held = HeldKey(event.partner, event.suite, mmo(event.link_key).hex())
        self._giving = self._put(SetLinkKey(event.partner, self._hub.short_address, event.link_key)), held

    def _given(self, held: HeldKey, result: RadioResult, now: float) -> None:
        self._giving = None
        if result.status is not RadioStatus.OK:
            detail = result.detail or result.status.value
            self._retry("set link key", f"the chip did not take the key: {detail}", 0.0, now)
            return
        self.state, self._held = KeyState.IDLE, held
        self._events.append(LinkKeyMade(held))

    def _failed(self, event: KeyEstablishmentFailed, now: float) -> None:
        if event.reason is Reason.UNKNOWN_ISSUER:
            self.state, self._wake = KeyState.IDLE, None
            whose = "the hub does not know the issuer of our certificate" if event.by_partner else (
                f"the hub's certificate is of an issuer that is not ours ({event.detail})"
            )  # fmt: skip
            self._events.append(MustLeave(whose))
            return
        if event.reason is Reason.UNSUPPORTED_SUITE and event.by_partner:
            self._told_suites = event.partner_suites
        reason = event.reason.name.lower().replace("_", " ")
        self._retry(reason, event.detail, event.retry_after_s, now)

    def _retry(self, reason: str, detail: str, at_least_s: float, now: float) -> None:
        retry_s = max(at_least_s, self._pause.next())
        self.state, self._wake = KeyState.WAITING, now + retry_s
        self._events.append(LinkKeyFailed(reason, detail, retry_s))

    def _put(self, request: RadioRequest | OutgoingZcl) -> int:
        handle = self._next_handle
        self._next_handle += 1
        self._outbox.append((handle, request))
        return handle
