"""Routes through other routers: a table, and discovery by route request and reply.

Source: ZigBee specification (05-3474) 3.6.3, with a constant cost of 1 a hop and without many-to-one routes, route
errors and repair: a route is forgotten when its next hop does not acknowledge, and looked for again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from boards.virtual.air import mac
from boards.virtual.air.octets import Reader
from boards.virtual.stack.core import Core
from boards.virtual.stack.interface import BROADCAST_ROUTERS
from boards.virtual.stack.network import CHILD, NO_ADDRESS, Network
from boards.virtual.stack.nwk_frames import (
    NwkFrame,
    NwkType,
    RouteReply,
    RouteRequest,
    decode_route_reply,
    decode_route_request,
)
from boards.virtual.stack.received import Received

REQUEST_RADIUS = 10
REQUEST_LIFETIME_S = 10.0  # nwkcRouteDiscoveryTime

Transmit = Callable[[int, NwkFrame, Callable[[int], None]], None]
Found = Callable[[int | None], None]


@dataclass(slots=True)
class _Route:
    hop: int
    cost: int


@dataclass(slots=True)
class _Seen:
    """The best copy of one route request so far."""

    cost: int
    expires: float


class Routes:
    """Which neighbour is the next hop to a short address."""

    def __init__(self, core: Core, transmit: Transmit) -> None:
        self._core = core
        self._transmit = transmit
        self._table: dict[int, _Route] = {}
        self._wanted: dict[int, list[Found]] = {}
        self._seen: dict[tuple[int, int], _Seen] = {}
        self._identifier = 0

    def reset(self) -> None:
        self._table.clear()
        self._wanted.clear()
        self._seen.clear()

    def next_hop(self, destination: int) -> int | None:
        """A neighbour's own address, the parent of an end device, a known route; None when it must be discovered."""
        network = self._core.network
        if network is None:
            return None
        if not network.is_router():
            return network.parent_short if network.parent_short != NO_ADDRESS else None
        neighbour = network.neighbour_at(destination)
        if neighbour is not None and (neighbour.direct or neighbour.sleepy_child()):
            return destination
        route = self._table.get(destination)
        return route.hop if route else None

    def forget_hop(self, hop: int) -> None:
        """A neighbour did not acknowledge: what went through it is looked for anew."""
        for destination in [destination for destination, route in self._table.items() if route.hop == hop]:
            del self._table[destination]

    def discover(self, destination: int, found: Found) -> None:
        """Ask the network; ``found`` gets the next hop, or None when nobody answers."""
        waiting = self._wanted.get(destination)
        if waiting is not None:
            waiting.append(found)
            return
        self._wanted[destination] = [found]
        self._ask(destination, self._wanted[destination], self._core.settings.route_attempts)

    def _ask(self, destination: int, waiting: list[Found], attempts: int) -> None:
        network = self._core.network
        if network is None or self._wanted.get(destination) is not waiting:
            return  # answered, and perhaps asked anew since
        if attempts == 0:
            self._conclude(destination, None)
            return
        self._core.later(self._core.settings.route_wait_s, lambda: self._ask(destination, waiting, attempts - 1))
        if not network.is_router():
            return
        self._identifier = (self._identifier + 1) & 0xFF
        self._note_request(network.short, self._identifier, 0)
        request = RouteRequest(self._identifier, destination, 0)
        self._broadcast(network.short, self._core.next_nwk_sequence(), REQUEST_RADIUS, request)

    def _conclude(self, destination: int, hop: int | None) -> None:
        for found in self._wanted.pop(destination, []):
            found(hop)

    def receive_request(self, received: Received, reader: Reader) -> None:
        """Somebody looks for a route: answer for ourselves and our children, else pass it on."""
        request = decode_route_request(reader)
        network, frame = self._core.network, received.frame
        if network is None or not network.is_router():
            return
        if not self._note_request(frame.source, request.identifier, request.cost):
            return
        cost = min(request.cost + 1, 0xFF)
        self._learn(frame.source, received.mac_source, cost)
        if _answers_for(network, request.destination):
            reply = RouteReply(request.identifier, frame.source, request.destination, 0)
            self._reply(network, received.mac_source, reply)
        elif frame.radius > 1:
            onward = RouteRequest(request.identifier, request.destination, cost)
            jitter_s = self._core.random.uniform(0.0, self._core.settings.broadcast_jitter_s)
            self._core.later(jitter_s, lambda: self._broadcast(frame.source, frame.sequence, frame.radius - 1, onward))

    def receive_reply(self, received: Received, reader: Reader) -> None:
        """A route was found: note it, and tell the one who asked."""
        reply = decode_route_reply(reader)
        network = self._core.network
        if network is None:
            return
        cost = min(reply.cost + 1, 0xFF)
        self._learn(reply.responder, received.mac_source, cost)
        if reply.originator == network.short:
            self._conclude(reply.responder, self.next_hop(reply.responder))
            return
        back = self.next_hop(reply.originator)
        if back is not None:
            self._reply(network, back, RouteReply(reply.identifier, reply.originator, reply.responder, cost))

    def _learn(self, destination: int, hop: int, cost: int) -> None:
        known = self._table.get(destination)
        if known is None or cost <= known.cost:
            self._table[destination] = _Route(hop, cost)

    def _note_request(self, originator: int, identifier: int, cost: int) -> bool:
        """Is this the first copy of the request, or a cheaper one?"""
        now = self._core.scheduler.now()
        self._seen = {key: seen for key, seen in self._seen.items() if seen.expires > now}
        seen = self._seen.get((originator, identifier))
        if seen is not None and seen.cost <= cost:
            return False
        self._seen[originator, identifier] = _Seen(cost, now + REQUEST_LIFETIME_S)
        return True

    def _broadcast(self, source: int, sequence: int, radius: int, request: RouteRequest) -> None:
        frame = NwkFrame(
            NwkType.COMMAND, BROADCAST_ROUTERS, source, radius, sequence, request.encode(), discover_route=False
        )
        self._transmit(mac.BROADCAST, frame, _ignore_status)

    def _reply(self, network: Network, hop: int, reply: RouteReply) -> None:
        sequence = self._core.next_nwk_sequence()
        frame = NwkFrame(
            NwkType.COMMAND, hop, network.short, REQUEST_RADIUS, sequence, reply.encode(), discover_route=False
        )
        self._transmit(hop, frame, _ignore_status)


def _answers_for(network: Network, destination: int) -> bool:
    """Ourselves, or an end device that is our child."""
    if destination == network.short:
        return True
    neighbour = network.neighbour_at(destination)
    return neighbour is not None and neighbour.relation == CHILD and not neighbour.relays()


def _ignore_status(_status: int) -> None:
    """The one who asked tries again when nothing comes."""
