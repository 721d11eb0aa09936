"""Joining a network: scan, associate, wait for the network key. And coming back to the parent as an end device.

Source: ZigBee specification (05-3474) 3.6.1.4 (association, rejoin) and 4.6.3.2 (authentication by Transport-Key).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.errors import FormatError
from agent.events import COORDINATOR
from boards.virtual.air import mac
from boards.virtual.air.mac import FrameType, MacCommand, MacFrame, Mode
from boards.virtual.air.octets import Reader
from boards.virtual.air.radio import MacStatus
from boards.virtual.air.scheduler import Cancel
from boards.virtual.stack import aps_frames
from boards.virtual.stack.aps_frames import ApsCommand, ApsType, TransportKey
from boards.virtual.stack.aps_security import open_transport
from boards.virtual.stack.core import Core
from boards.virtual.stack.interface import FoundNetwork, JoinFailure, LogicalType, Neighbour, NetworkState
from boards.virtual.stack.network import PARENT
from boards.virtual.stack.nwk_frames import Capability, NwkType
from boards.virtual.stack.received import Received
from boards.virtual.stack.scan import Scanner

POLLS = 3  # for the association response
KEY_POLL_S = 0.1  # a sleepy joiner asks its parent this often for the network key


@dataclass(frozen=True, slots=True)
class JoinOrder:
    """What to join, and as what."""

    channels: tuple[int, ...]
    link_key: bytes
    logical_type: LogicalType
    extended_pan_id: int | None
    receiver_on_when_idle: bool
    first_counter: int

    def capability(self) -> Capability:
        return Capability(self.logical_type == LogicalType.ROUTER, self.receiver_on_when_idle)


class Joiner:
    """One attempt to join. ``joined`` gets the new state, ``failed`` the reason; then it is of no more use."""

    def __init__(
        self,
        core: Core,
        scanner: Scanner,
        order: JoinOrder,
        joined: Callable[[NetworkState], None],
        failed: Callable[[JoinFailure], None],
    ) -> None:
        self._core = core
        self._scanner = scanner
        self._order = order
        self._joined = joined
        self._failed = failed
        self._parent: FoundNetwork | None = None
        self._short = mac.BROADCAST
        self._parent_eui = 0
        self._attempts_left = core.settings.join_attempts
        self._timer: Cancel | None = None
        self._finished = False
        self._wrong_key = False  # a Transport-Key came that our link key does not open

    def start(self) -> None:
        """Look for a network; several times, since a beacon is lost for good when it is lost."""
        self._scan(self._core.settings.scan_attempts)

    def _scan(self, attempts: int) -> None:
        def done(found: list[FoundNetwork]) -> None:
            wanted = self._order.extended_pan_id
            matching = [one for one in found if wanted in (None, 0, one.extended_pan_id)]
            open_ones = [one for one in matching if one.permits_joining and self._has_room(one)]
            if open_ones:
                self._parent = max(open_ones, key=lambda one: (one.lqi, -one.depth))
                self._associate()
            elif attempts > 1:
                self._scan(attempts - 1)
            else:
                self._fail(JoinFailure.NOT_PERMITTED if matching else JoinFailure.NO_NETWORK)

        self._scanner.start(self._order.channels, done)

    def _has_room(self, found: FoundNetwork) -> bool:
        router = self._order.logical_type == LogicalType.ROUTER
        return found.router_capacity if router else found.end_device_capacity

    def _associate(self) -> None:
        """Association request, then fetch the answer from the parent."""
        parent, radio = self._parent, self._core.radio
        if parent is None:
            return
        self._attempts_left -= 1
        radio.channel, radio.pan_id, radio.short = parent.channel, parent.pan_id, mac.BROADCAST
        radio.receiver_on = True
        self._short = mac.BROADCAST
        payload = bytes((MacCommand.ASSOCIATION_REQUEST, self._order.capability().encode()))
        request = MacFrame(
            FrameType.COMMAND,
            radio.next_sequence(),
            parent.pan_id,
            parent.sender,
            Mode.SHORT,
            mac.BROADCAST,
            radio.eui,
            Mode.EXTENDED,
            payload,
            ack_request=True,
        )

        def sent(status: MacStatus) -> None:
            if status == MacStatus.SUCCESS:
                self._core.later(self._core.settings.association_wait_s, lambda: self._fetch(POLLS))
            else:
                self._again(JoinFailure.NO_NETWORK)

        radio.send(request, sent)

    def _fetch(self, polls: int) -> None:
        """Poll for the association response."""
        if self._finished or self._short != mac.BROADCAST:
            return
        if polls == 0:
            self._again(JoinFailure.NO_NETWORK)
            return
        self._poll()
        self._core.later(self._core.settings.association_wait_s, lambda: self._fetch(polls - 1))

    def _poll(self) -> None:
        parent, radio = self._parent, self._core.radio
        if parent is None:
            return
        addressed = self._short != mac.BROADCAST
        frame = MacFrame(
            FrameType.COMMAND,
            radio.next_sequence(),
            parent.pan_id,
            parent.sender,
            Mode.SHORT,
            parent.pan_id,
            self._short if addressed else radio.eui,
            Mode.SHORT if addressed else Mode.EXTENDED,
            bytes((MacCommand.DATA_REQUEST,)),
            ack_request=True,
        )
        radio.poll(frame, _ignore_status)

    def receive_association_response(self, frame: MacFrame) -> None:
        """Our address, or a refusal."""
        reader = Reader(frame.payload[1:], "association response")
        try:
            short, status = reader.u16(), reader.u8()
        except FormatError:
            self._core.statistics.malformed += 1
            return
        if self._finished or self._short != mac.BROADCAST:
            return
        if status != 0:
            self._fail(JoinFailure.NOT_PERMITTED)
            return
        self._short = self._core.radio.short = short
        self._parent_eui = frame.source
        self._timer = self._core.later(self._core.settings.key_wait_s, lambda: self._again(JoinFailure.KEY_EXCHANGE))
        if not self._order.receiver_on_when_idle:
            self._poll_for_key()

    def _poll_for_key(self) -> None:
        if not self._finished and self._short != mac.BROADCAST:
            self._poll()
            self._core.later(KEY_POLL_S, self._poll_for_key)

    def receive_unsecured(self, received: Received) -> None:
        """Perhaps the Transport-Key. One that our link key does not open leaves us waiting, as if it had not come."""
        if self._finished or self._short == mac.BROADCAST or received.frame.destination != self._short:
            return
        try:
            frame, header = aps_frames.decode(received.frame.payload)
            if frame.kind != ApsType.COMMAND or not frame.secured or received.frame.kind != NwkType.DATA:
                return
            plain = open_transport(self._core, frame, header, self._order.link_key)
            if plain is None:
                self._wrong_key = True
                return
            reader = Reader(plain, "APS command")
            if reader.u8() == ApsCommand.TRANSPORT_KEY:
                self._take_key(aps_frames.decode_transport_key(reader))
        except FormatError:
            self._core.statistics.malformed += 1

    def _take_key(self, transport: TransportKey) -> None:
        parent = self._parent
        if parent is None or transport.destination != self._core.eui:
            return
        self._finish()
        entry = self._core.keys.set(transport.source, self._order.link_key)
        entry.outgoing.skip_to(
            self._order.first_counter
        )  # each secured frame before took a number of the NWK layer too
        kind = LogicalType.COORDINATOR if parent.sender == COORDINATOR else LogicalType.ROUTER
        self._joined(
            NetworkState(
                self._order.logical_type,
                self._short,
                parent.channel,
                parent.pan_id,
                parent.extended_pan_id,
                transport.key,
                transport.source,
                transport.sequence,
                self._order.first_counter,
                parent.update_id,
                parent.sender,
                self._parent_eui,
                parent.depth + 1,
                (Neighbour(self._parent_eui, parent.sender, kind, PARENT, True),),
                ((transport.source, 0),),
            )
        )

    def _again(self, reason: JoinFailure) -> None:
        """Associate once more, or give up with ``reason``."""
        if self._finished:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._attempts_left > 0 and not self._wrong_key:
            self._associate()
        else:
            self._fail(reason)

    def _fail(self, reason: JoinFailure) -> None:
        if not self._finished:
            self._finish()
            self._failed(reason)

    def _finish(self) -> None:
        self._finished = True
        if self._timer is not None:
            self._timer.cancel()


def _ignore_status(_status: int) -> None:
    """Silence is noticed by the wait."""
