"""The Trust Center's side of key establishment: a responder for each device, and who may use the secured clusters.

A device without a key is *waiting for one*: nothing secured is sent to it (``Member.peer`` is None), and what it sends
is refused with an unsecured NOT_AUTHORIZED, which tells a device that lost its hub's trust to ask for a new key.

*Our choices*: a key that was made is told to the rest of the hub with the first frame that comes in under it, or after
``KEY_SETTLE_S``, since the device's chip takes its key only after our Confirm Key; a frame without acknowledgement is
sent twice more while its answer is still awaited.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agent.events import ApsIndication, RadioResult, RadioStatus, SetLinkKey, format_eui
from agent.zigbee.cbke.ecqv import Credentials
from agent.zigbee.cbke.events import LinkKeyEstablished
from agent.zigbee.cbke.machine import KeyEstablishment
from agent.zigbee.cbke.messages import KeyFrame
from agent.zigbee.clusters import Cluster, is_secured
from agent.zigbee.zcl import ZclFrame
from boards.bench.desk import Desk, Peer
from boards.bench.members import Member
from boards.bench.memory import HubMemory

KEY_SETTLE_S = 5.0
FRAME_TRIES = 3

CredentialsOf = Mapping[int, Mapping[int, Credentials]]  # by EUI, then by suite


@dataclass(frozen=True, slots=True)
class KeyEstablished:
    """This device has a link key of its own now; it replaces that of its install code."""

    device_eui: int
    suite: int

    def line(self) -> str:
        return f"device {format_eui(self.device_eui)} and hub agreed on a link key (suite {self.suite})"


@dataclass(frozen=True, slots=True)
class KeyNotEstablished:
    """An attempt at key establishment failed."""

    device_eui: int
    reason: str

    def line(self) -> str:
        return f"no link key with {format_eui(self.device_eui)}: {self.reason}"


@dataclass(frozen=True, slots=True)
class SecurityRefused:
    """A frame of a secured cluster came without a key that key establishment made."""

    device_eui: int
    cluster: int
    reason: str

    def line(self) -> str:
        where = f"cluster 0x{self.cluster:04X}"
        return f"device {format_eui(self.device_eui)} is refused {where}: {self.reason}"


@dataclass(frozen=True, slots=True)
class NoCertificates:
    """The hub's radio has an EUI that no certificate set was made for: no device will get a key."""

    hub_eui: int

    def line(self) -> str:
        return (
            f"hub {format_eui(self.hub_eui)} has no certificate set: make one with han-agent keys hub, restart the hub"
        )


@dataclass(slots=True)
class _Responder:
    """One device's exchange."""

    member: Member
    machine: KeyEstablishment
    peer: Peer


class TrustCenter:
    """See the module. ``credentials`` None: a hub without key establishment, which takes everything as it comes.

    ``on_key(member, now)``: from now on secured frames reach this device.
    """

    def __init__(
        self,
        desk: Desk,
        credentials: CredentialsOf | None,
        rng: random.Random,
        on_key: Callable[[Member, float], None],
        memory: HubMemory,
    ) -> None:
        self.established: set[int] = set()
        self._memory = memory
        self._desk = desk
        self._credentials = credentials
        self._rng = rng
        self._on_key = on_key
        self._hub_eui = 0
        self._responders: dict[int, _Responder] = {}
        self._settling: dict[int, float] = {}  # by EUI: until when the device may still be taking its key

    @property
    def required(self) -> bool:
        """Whether secured clusters need a key."""
        return self._credentials is not None

    @property
    def suites(self) -> int | None:
        """Attribute 0x0000 of Key Establishment; None where the hub has none."""
        return None if self._credentials is None else sum(self._credentials.get(self._hub_eui, {}))

    # the network

    def network_up(self, hub_eui: int, *, restored: bool) -> None:
        """The hub's EUI is known; the chip has the keys that it had, and on a network formed anew none."""
        self._hub_eui = hub_eui
        self.established = self.established | self._memory.holders() if restored else set()
        if self._credentials is not None and not self._credentials.get(hub_eui):
            self._desk.tell(NoCertificates(hub_eui))

    def network_gone(self) -> None:
        """No exchange is going on any more."""
        self._responders.clear()
        self._settling.clear()

    def greet(self, member: Member) -> None:
        """A device is there: whether it has to get a key before anything else."""
        member.waits_for_key = self.required and (member.eui not in self.established or member.eui in self._settling)

    def forget(self, eui: int) -> None:
        """This device has no key with the hub any more."""
        self.established.discard(eui)
        self._memory.key_gone(eui)
        self._responders.pop(eui, None)
        self._settling.pop(eui, None)

    # frames

    def admits(self, member: Member, event: ApsIndication, now: float) -> bool:
        """Whether a frame may be taken. One under a fresh key proves that the device has it."""
        if not self.required or not is_secured(event.cluster, self._desk.profile):
            return True
        if member.eui in self.established and event.aps_security:
            if member.eui in self._settling:
                self._settled(member, now)
            return True
        return False

    def refuse(self, member: Member, peer: Peer, frame: ZclFrame, event: ApsIndication) -> None:
        """As a real hub does: dropped, with NOT_AUTHORIZED for an asker."""
        reason = "not APS secured" if member.eui in self.established else "no key is established"
        self._desk.tell(SecurityRefused(member.eui, event.cluster, reason))
        if not event.broadcast:
            self._desk.not_authorized(peer, frame)

    def receive(self, member: Member, peer: Peer, frame: ZclFrame, now: float) -> bool:
        """One Key Establishment command; False where the hub has no certificates to answer it with."""
        credentials = (self._credentials or {}).get(self._hub_eui)
        if not credentials:
            return False
        responder = self._responders.get(member.eui)
        if responder is None:
            machine = KeyEstablishment(self._hub_eui, credentials, self._rng)
            responder = self._responders[member.eui] = _Responder(member, machine, peer)
        responder.peer = peer
        responder.machine.receive(KeyFrame(frame.command, frame.payload, frame.to_client), member.eui, now)
        self._collect(responder, now)
        return True

    # time

    def next_deadline(self) -> float | None:
        """The earliest of all exchanges."""
        dues = [responder.machine.next_deadline() for responder in self._responders.values()]
        return min((due for due in (*dues, *self._settling.values()) if due is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """What is due."""
        for responder in list(self._responders.values()):
            responder.machine.handle_timer(now)
            self._collect(responder, now)
            due = self._settling.get(responder.member.eui)
            if due is not None and now >= due:
                self._settled(responder.member, now)

    # the steps

    def _collect(self, responder: _Responder, now: float) -> None:
        """Take over what a responder wants to send and to say."""
        member = responder.member
        for handle, out in responder.machine.frames_to_send(now):
            self._send(responder, handle, out.frame, FRAME_TRIES)
        while (event := responder.machine.next_event()) is not None:
            if isinstance(event, LinkKeyEstablished):
                self._established(member, event, now)
            else:
                whose = "the device ended it: " if event.by_partner else ""
                name = event.reason.name.lower().replace("_", " ")
                self._desk.tell(KeyNotEstablished(member.eui, f"{whose}{name}, {event.detail}"))

    def _send(self, responder: _Responder, handle: int, key_frame: KeyFrame, tries: int) -> None:
        machine, awaiting = responder.machine, responder.machine.state

        def done(result: RadioResult, now: float) -> None:
            delivered = result.status is RadioStatus.OK
            lost = result.status is RadioStatus.RADIO_LOST
            if not delivered and not lost and tries > 1 and machine.state is awaiting:
                self._send(responder, handle, key_frame, tries - 1)
                return
            machine.frame_sent(handle, delivered, now)
            self._collect(responder, now)

        cluster = Cluster.KEY_ESTABLISHMENT
        frame = self._desk.command(cluster, key_frame.command, key_frame.payload, to_client=key_frame.to_client)
        self._desk.send(responder.peer, frame, done)

    def _established(self, member: Member, event: LinkKeyEstablished, now: float) -> None:
        short = member.short if member.short is not None else self._responders[member.eui].peer.short

        def done(result: RadioResult, now: float) -> None:
            if result.status is not RadioStatus.OK:
                detail = result.detail or result.status.value
                self._desk.tell(KeyNotEstablished(member.eui, f"the hub's chip did not take the key: {detail}"))
                return
            self.established.add(member.eui)
            self._memory.key_made(member.eui, event.suite, event.link_key)
            self._settling[member.eui] = now + KEY_SETTLE_S
            self._desk.tell(KeyEstablished(member.eui, event.suite))

        del now
        member.waits_for_key = True
        self._desk.ask(SetLinkKey(member.eui, short, event.link_key), done)

    def _settled(self, member: Member, now: float) -> None:
        del self._settling[member.eui]
        self.greet(member)
        self._on_key(member, now)
