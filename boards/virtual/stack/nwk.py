"""The NWK layer: protection with the network key, replay check, delivery, forwarding.

Source: ZigBee specification (05-3474) 3.6 and 4.3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from agent.errors import FormatError
from boards.virtual.air import mac
from boards.virtual.air.mac import MacFrame
from boards.virtual.air.octets import Reader
from boards.virtual.stack import nwk_frames
from boards.virtual.stack.broadcast import Broadcasts
from boards.virtual.stack.core import Core
from boards.virtual.stack.interface import LogicalType, Status
from boards.virtual.stack.network import FAILURES_LIMIT, NeighbourRecord, Network
from boards.virtual.stack.nwk_frames import NwkCommand, NwkFrame, NwkType
from boards.virtual.stack.received import Received
from boards.virtual.stack.routing import Routes
from boards.virtual.stack.security import Auxiliary, KeyId, decode_auxiliary, protect, unprotect

DEFAULT_RADIUS = 30  # twice nwkMaxDepth

NwkConfirm = Callable[[int], None]
CommandHandler = Callable[[Received, Reader], None]


@dataclass(frozen=True, slots=True)
class NwkEvents:
    """Who hears of what the layer receives."""

    aps: Callable[[Received], None]  # an APS frame under the network key
    unsecured_aps: Callable[[Received], None]  # an APS frame without NWK security: the Trust Center's to a joiner
    authenticated: Callable[[NeighbourRecord], None]  # a child's first frame under the network key


class Nwk:
    """Sends and receives NWK frames of one chip. ``events`` and ``commands`` are set by the stack."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.events: NwkEvents | None = None
        self.commands: dict[int, CommandHandler] = {}
        self.routes = Routes(core, self.transmit)
        self.broadcasts = Broadcasts(core, self.transmit)
        self.commands[NwkCommand.ROUTE_REQUEST] = self.routes.receive_request
        self.commands[NwkCommand.ROUTE_REPLY] = self.routes.receive_reply

    def reset(self) -> None:
        """The network is gone: forget routes and broadcasts."""
        self.routes.reset()
        self.broadcasts.reset()

    def send(
        self,
        kind: NwkType,
        destination: int,
        payload: bytes,
        done: NwkConfirm,
        radius: int = DEFAULT_RADIUS,
        secured: bool = True,
    ) -> None:
        """One frame of our own. ``done`` gets a Z-Stack status, as an event of its own."""
        network = self._core.network
        if network is None:
            self._core.later(0.0, lambda: done(Status.APS_FAIL))
            return
        sequence = self._core.next_nwk_sequence()
        frame = NwkFrame(kind, destination, network.short, radius, sequence, payload, secured, secured)
        if destination >= nwk_frames.FIRST_BROADCAST:
            self.broadcasts.send(frame, done)
        else:
            self._send_unicast(frame, done)

    def transmit(self, next_hop: int, frame: NwkFrame, done: NwkConfirm) -> None:
        """Over one hop: protect, then send, or hold for a sleepy child."""
        network = self._core.network
        if network is None:
            return
        mac_frame = self._core.radio.data_frame(next_hop, self._protect(network, frame))
        neighbour = network.neighbour_at(next_hop)
        if neighbour is None:
            self._core.radio.send(mac_frame, done)
            return

        def sent(status: int) -> None:
            self._note_delivery(neighbour, status)
            done(status)

        if neighbour.sleepy_child():
            self._core.radio.hold(mac_frame, sent)
        else:
            self._core.radio.send(mac_frame, sent)

    def receive(self, mac_frame: MacFrame, lqi: int) -> None:
        """A MAC data frame came in."""
        try:
            frame, header = nwk_frames.decode(mac_frame.payload)
            if not frame.secured:
                self._receive_unsecured(Received(frame, mac_frame.source, None, lqi))
                return
            received = self._open(frame, header, mac_frame.source, lqi)
            if received is not None:
                self._dispatch(received)
        except FormatError:
            self._core.statistics.malformed += 1

    def _send_unicast(self, frame: NwkFrame, done: NwkConfirm) -> None:
        hop = self.routes.next_hop(frame.destination)
        if hop is not None:
            self.transmit(hop, frame, done)
            return

        def found(hop: int | None) -> None:
            if hop is None:
                done(Status.NO_ROUTE)
            else:
                self.transmit(hop, frame, done)

        self.routes.discover(frame.destination, found)

    def _protect(self, network: Network, frame: NwkFrame) -> bytes:
        header = nwk_frames.encode_header(frame)
        if not frame.secured:
            return header + frame.payload
        counter = network.outgoing.take()
        auxiliary = Auxiliary(KeyId.NETWORK, counter, self._core.eui, network.network_key_sequence)
        return protect(network.network_key, header, auxiliary, self._core.eui, frame.payload)

    def _note_delivery(self, neighbour: NeighbourRecord, status: int) -> None:
        """A neighbour that stays silent counts as out of range, so that the next frame looks for a route."""
        if status == Status.SUCCESS:
            neighbour.failures = 0
        elif status == Status.MAC_NO_ACK:
            neighbour.failures += 1
            self.routes.forget_hop(neighbour.short)
            if neighbour.failures >= FAILURES_LIMIT:
                neighbour.direct = False

    def _receive_unsecured(self, received: Received) -> None:
        if self.events is not None and received.frame.kind == NwkType.DATA:
            self.events.unsecured_aps(received)
        else:
            self._core.statistics.unsecured += 1

    def _open(self, frame: NwkFrame, header: bytes, mac_source: int, lqi: int) -> Received | None:
        """Check the counter, then the MIC; what passes makes its sender a neighbour. None for a refused frame."""
        network = self._core.network
        if network is None:
            return None
        reader = Reader(frame.payload, "NWK auxiliary header")
        auxiliary = decode_auxiliary(reader)
        sender = auxiliary.source
        if (
            auxiliary.key_id != KeyId.NETWORK
            or sender is None
            or auxiliary.key_sequence != network.network_key_sequence
        ):
            self._core.statistics.mic_failures += 1
            return None
        neighbour = network.neighbours.get(sender)
        if neighbour is not None and auxiliary.counter < neighbour.incoming:
            self._core.statistics.replays += 1
            return None
        plain = unprotect(network.network_key, header, auxiliary, sender, reader.rest())
        if plain is None:
            self._core.statistics.mic_failures += 1
            return None
        self._note_sender(network, neighbour or _new_neighbour(network, sender, mac_source), mac_source, auxiliary, lqi)
        return Received(replace(frame, payload=plain), mac_source, sender, lqi)

    def _note_sender(
        self, network: Network, neighbour: NeighbourRecord, mac_source: int, auxiliary: Auxiliary, lqi: int
    ) -> None:
        neighbour.incoming = auxiliary.counter + 1
        neighbour.lqi = lqi
        neighbour.failures = 0
        neighbour.direct = True
        if neighbour.short != mac_source:
            network.learn_address(neighbour.eui, mac_source)
        if not neighbour.authenticated and self.events is not None:
            neighbour.authenticated = True
            self.events.authenticated(neighbour)

    def _dispatch(self, received: Received) -> None:
        network, frame = self._core.network, received.frame
        if network is None:
            return
        if frame.destination < nwk_frames.FIRST_BROADCAST:
            if frame.destination == network.short:
                self._deliver(received)
            elif network.is_router() and frame.radius > 1:
                self._send_unicast(replace(frame, radius=frame.radius - 1), _ignore_status)
            return
        if frame.source == network.short:
            self.broadcasts.note_relay(received)
        elif _is_route_request(frame):
            self._deliver(received)  # routing relays these itself, with the cost added
        elif self.broadcasts.receive(received) and _addressed(network, frame.destination):
            self._deliver(received)

    def _deliver(self, received: Received) -> None:
        if received.frame.kind == NwkType.DATA:
            if self.events is not None:
                self.events.aps(received)
            return
        reader = Reader(received.frame.payload, "NWK command")
        handler = self.commands.get(reader.u8())
        if handler is not None:
            handler(received, reader)


def _new_neighbour(network: Network, eui: int, short: int) -> NeighbourRecord:
    kind = LogicalType.COORDINATOR if short == 0 else None
    return network.add_neighbour(NeighbourRecord(eui, short, kind))


def _is_route_request(frame: NwkFrame) -> bool:
    return frame.kind == NwkType.COMMAND and frame.payload[:1] == bytes((NwkCommand.ROUTE_REQUEST,))


def _addressed(network: Network, broadcast: int) -> bool:
    """0xFFFC is for routers, 0xFFFD for those whose receiver is on (a sleepy child gets none of these)."""
    return network.is_router() or broadcast in (0xFFFD, mac.BROADCAST)


def _ignore_status(_status: int) -> None:
    """A forwarded frame has nobody here who waits for its outcome."""
