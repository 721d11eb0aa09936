"""The live counterpart of NetworkState: what a chip that is on a network knows and counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from boards.virtual.stack.interface import LogicalType, Neighbour, NetworkState
from boards.virtual.stack.key_store import KeyStore, ReservedCounter

NO_ADDRESS = 0xFFFF
FAILURES_LIMIT = 3  # our choice: so many unacknowledged frames in a row, and a neighbour counts as out of range

PARENT, CHILD, SIBLING, OTHER = range(4)  # Neighbour.relation


@dataclass(slots=True)
class NeighbourRecord:
    """A device in range. ``incoming`` is the lowest NWK frame counter still acceptable from it."""

    eui: int
    short: int
    logical_type: LogicalType | None = None
    relation: int = OTHER
    receiver_on_when_idle: bool = True
    lqi: int = 255
    authenticated: bool = True
    incoming: int = 0
    failures: int = 0
    direct: bool = True  # False while it seems out of range

    def relays(self) -> bool:
        """Does it pass broadcasts on, as far as we know?"""
        return self.direct and self.authenticated and self.logical_type in (LogicalType.ROUTER, LogicalType.COORDINATOR)

    def sleepy_child(self) -> bool:
        """Must frames for it be held until it polls?"""
        return self.relation == CHILD and not self.receiver_on_when_idle


class Network:
    """One network as seen from one chip. Made from a NetworkState, turns back into one."""

    def __init__(self, state: NetworkState, on_change: Callable[[], None], reserve: int) -> None:
        self.logical_type = state.logical_type
        self.short = state.short
        self.channel = state.channel
        self.pan_id = state.pan_id
        self.extended_pan_id = state.extended_pan_id
        self.network_key = state.network_key
        self.network_key_sequence = state.network_key_sequence
        self.update_id = state.update_id
        self.trust_center = state.trust_center
        self.parent_short = state.parent_short
        self.parent_eui = state.parent_eui
        self.depth = state.depth
        self.outgoing = ReservedCounter(state.outgoing_counter, on_change, reserve)
        self.neighbours: dict[int, NeighbourRecord] = {}
        self._by_short: dict[int, NeighbourRecord] = {}
        self._short_of: dict[int, int] = {}
        self._eui_of: dict[int, int] = {}
        for eui, short in state.addresses:
            self.learn_address(eui, short)
        for known in state.neighbours:
            self.add_neighbour(_record_of(known))

    def is_router(self) -> bool:
        """Coordinators route too."""
        return self.logical_type != LogicalType.END_DEVICE

    def is_coordinator(self) -> bool:
        return self.logical_type == LogicalType.COORDINATOR

    def learn_address(self, eui: int, short: int) -> None:
        """``eui`` has this short address now; whoever had it before has none that we know."""
        if self._eui_of.get(short) == eui:
            return
        self._short_of.pop(self._eui_of.get(short, -1), None)
        self._eui_of.pop(self._short_of.get(eui, -1), None)
        self._short_of[eui] = short
        self._eui_of[short] = eui
        neighbour = self.neighbours.get(eui)
        if neighbour is not None and neighbour.short != short:
            self._by_short.pop(neighbour.short, None)
            neighbour.short = short
            self._by_short[short] = neighbour

    def add_neighbour(self, record: NeighbourRecord) -> NeighbourRecord:
        """Enter or replace a neighbour."""
        self.remove_neighbour(record.eui)
        self.neighbours[record.eui] = record
        self._by_short[record.short] = record
        self.learn_address(record.eui, record.short)
        return record

    def remove_neighbour(self, eui: int) -> NeighbourRecord | None:
        """Forget that it is in range; its address stays known."""
        record = self.neighbours.pop(eui, None)
        if record is not None:
            self._by_short.pop(record.short, None)
        return record

    def neighbour_at(self, short: int) -> NeighbourRecord | None:
        """The neighbour with this short address."""
        return self._by_short.get(short)

    def short_of(self, eui: int) -> int | None:
        return self._short_of.get(eui)

    def eui_of(self, short: int) -> int | None:
        return self._eui_of.get(short)

    def sleepy_children(self) -> list[NeighbourRecord]:
        """Children that fetch their frames."""
        return [record for record in self.neighbours.values() if record.sleepy_child() and record.authenticated]

    def export(self, keys: KeyStore) -> NetworkState:
        """What to persist; the outgoing counter as its reserve."""
        return NetworkState(
            self.logical_type,
            self.short,
            self.channel,
            self.pan_id,
            self.extended_pan_id,
            self.network_key,
            self.trust_center,
            self.network_key_sequence,
            self.outgoing.reserve,
            self.update_id,
            self.parent_short,
            self.parent_eui,
            self.depth,
            tuple(describe(record) for record in self.neighbours.values() if record.relation in (PARENT, CHILD)),
            tuple(self._short_of.items()),
            keys.export(),
            keys.install_code_required,
            keys.default_key,
        )


def describe(record: NeighbourRecord) -> Neighbour:
    """The neighbour as the NCP sees it."""
    return Neighbour(
        record.eui,
        record.short,
        record.logical_type,
        record.relation,
        record.receiver_on_when_idle,
        record.lqi,
        record.authenticated,
    )


def _record_of(known: Neighbour) -> NeighbourRecord:
    return NeighbourRecord(
        known.eui,
        known.short,
        known.logical_type,
        known.relation,
        known.receiver_on_when_idle,
        known.lqi,
        known.authenticated,
    )
