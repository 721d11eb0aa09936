"""NWK broadcasts: each is relayed once by every router, and repeated while a neighbour has not been heard relaying.

Source: ZigBee specification (05-3474) 3.6.5. A transaction is known by source, sequence number *and* payload, so that a
device which restarted with a sequence number used seconds ago is still heard.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from boards.virtual.air import mac
from boards.virtual.stack.core import Core
from boards.virtual.stack.interface import BROADCAST_ALL
from boards.virtual.stack.network import Network
from boards.virtual.stack.nwk_frames import NwkFrame
from boards.virtual.stack.received import Received

Transmit = Callable[[int, NwkFrame, Callable[[int], None]], None]


@dataclass(slots=True)
class _Transaction:
    expires: float
    heard: set[int] = field(default_factory=set)  # short addresses of those who sent it to us


class Broadcasts:
    """The broadcast transaction table."""

    def __init__(self, core: Core, transmit: Transmit) -> None:
        self._core = core
        self._transmit = transmit
        self._transactions: dict[tuple[int, int, bytes], _Transaction] = {}

    def reset(self) -> None:
        self._transactions.clear()

    def send(self, frame: NwkFrame, done: Callable[[int], None]) -> None:
        """A broadcast of our own; ``done`` comes when it went out for the first time."""
        network = self._core.network
        if network is None:
            return
        if not network.is_router():
            self._transmit(network.parent_short, frame, done)
            return
        transaction = self._enter(frame)
        self._transmit_to_all(network, frame, done)
        if frame.radius > 1:
            self._watch(transaction, frame, 0)

    def receive(self, received: Received) -> bool:
        """Is it new to us? If so, and if we route, relay it."""
        frame = received.frame
        known = self._transactions.get(_key(frame))
        if known is not None and known.expires > self._core.scheduler.now():
            known.heard.add(received.mac_source)
            return False
        transaction = self._enter(frame)
        transaction.heard.add(received.mac_source)
        network = self._core.network
        if network is not None and network.is_router() and frame.radius > 1:
            jitter_s = self._core.random.uniform(0.0, self._core.settings.broadcast_jitter_s)
            self._core.later(jitter_s, lambda: self._relay(transaction, replace(frame, radius=frame.radius - 1)))
        return True

    def note_relay(self, received: Received) -> None:
        """A neighbour relays a broadcast of ours: a passive acknowledgement."""
        transaction = self._transactions.get(_key(received.frame))
        if transaction is not None:
            transaction.heard.add(received.mac_source)

    def _enter(self, frame: NwkFrame) -> _Transaction:
        now = self._core.scheduler.now()
        for key in [key for key, entry in self._transactions.items() if entry.expires <= now]:
            del self._transactions[key]
        transaction = _Transaction(now + self._core.settings.broadcast_lifetime_s)
        self._transactions[_key(frame)] = transaction
        return transaction

    def _relay(self, transaction: _Transaction, frame: NwkFrame) -> None:
        network = self._core.network
        if network is not None:
            self._transmit_to_all(network, frame, _ignore_status)
            self._watch(transaction, frame, 0)

    def _transmit_to_all(self, network: Network, frame: NwkFrame, done: Callable[[int], None]) -> None:
        self._transmit(mac.BROADCAST, frame, done)
        if frame.destination == BROADCAST_ALL:
            for child in network.sleepy_children():
                self._transmit(child.short, frame, _ignore_status)

    def _watch(self, transaction: _Transaction, frame: NwkFrame, retries: int) -> None:
        """Repeat while a neighbour that relays has not been heard, a few times."""

        def check() -> None:
            network = self._core.network
            if network is None or retries >= self._core.settings.broadcast_retries:
                return
            waited_for = {neighbour.short for neighbour in network.neighbours.values() if neighbour.relays()}
            if waited_for - transaction.heard - {frame.source}:
                self._transmit(mac.BROADCAST, frame, _ignore_status)
                self._watch(transaction, frame, retries + 1)

        self._core.later(self._core.settings.passive_ack_s, check)


def _key(frame: NwkFrame) -> tuple[int, int, bytes]:
    return frame.source, frame.sequence, frame.payload


def _ignore_status(_status: int) -> None:
    """Nobody waits: a lost broadcast is repeated by ``_watch``."""
