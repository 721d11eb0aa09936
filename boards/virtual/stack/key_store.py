"""The link keys of one chip, with their APS frame counters, and the Trust Center's policy about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from boards.virtual.stack.interface import DEFAULT_CENTRALIZED_KEY, LinkKeyEntry

RESERVE_STEP = 1024  # our choice: a counter's reserve is persisted once in so many frames


class ReservedCounter:
    """A frame counter with a persisted reserve: ``on_reserve`` runs before a value beyond the reserve is used."""

    __slots__ = ("_on_reserve", "next_value", "reserve")

    def __init__(self, first: int, on_reserve: Callable[[], None]) -> None:
        self.next_value = first
        self.reserve = first
        self._on_reserve = on_reserve

    def take(self) -> int:
        """The next value, never used before."""
        value = self.next_value
        self.next_value = value + 1
        if value >= self.reserve:
            self.reserve = value + RESERVE_STEP
            self._on_reserve()
        return value


@dataclass(slots=True)
class LinkKey:
    """One live entry. ``incoming`` is the lowest counter still acceptable."""

    key: bytes = field(repr=False)
    outgoing: ReservedCounter
    established: bool = False
    incoming: int = 0


class KeyStore:
    """Link keys by EUI. ``on_change`` runs, synchronously, whenever what must be persisted has changed."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.default_key = DEFAULT_CENTRALIZED_KEY
        self.install_code_required = False
        self._entries: dict[int, LinkKey] = {}
        self._on_change = on_change

    def get(self, eui: int) -> LinkKey | None:
        """The entry for a partner, or None."""
        return self._entries.get(eui)

    def set(self, eui: int, key: bytes, established: bool = False) -> LinkKey:
        """A new key for a partner; its counters start at 0."""
        entry = LinkKey(key, ReservedCounter(0, self._on_change), established)
        self._entries[eui] = entry
        self._on_change()
        return entry

    def joining_key(self, eui: int) -> LinkKey | None:
        """The key under which a joining device gets the network key; None when it is refused.

        A device that joins anew counts from 0 again, so what came in before is forgotten.
        """
        entry = self._entries.get(eui)
        if entry is None and not self.install_code_required:
            entry = self.set(eui, self.default_key)
        if entry is not None:
            entry.incoming = 0
        return entry

    def clear(self) -> None:
        """Forget every key and go back to the defaults."""
        self._entries.clear()
        self.default_key = DEFAULT_CENTRALIZED_KEY
        self.install_code_required = False

    def load(self, entries: tuple[LinkKeyEntry, ...]) -> None:
        """Take over persisted entries; an entry made since then stays."""
        for entry in entries:
            counter = ReservedCounter(entry.outgoing_counter, self._on_change)
            live = LinkKey(entry.key, counter, entry.established, entry.incoming_counter)
            self._entries.setdefault(entry.eui, live)

    def export(self) -> tuple[LinkKeyEntry, ...]:
        """What to persist, outgoing counters as their reserve."""
        return tuple(
            LinkKeyEntry(eui, entry.key, entry.established, entry.outgoing.reserve, entry.incoming)
            for eui, entry in self._entries.items()
        )
