"""The link keys of one chip, with their APS frame counters, and the Trust Center's policy about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from boards.virtual.stack.interface import DEFAULT_CENTRALIZED_KEY, LinkKeyEntry

RESERVE_STEP = 1024  # our choice: a counter's reserve is persisted once in so many frames


class ReservedCounter:
    """A frame counter with a persisted reserve: ``on_reserve`` runs before a value beyond the reserve is used."""

    __slots__ = ("_on_reserve", "_step", "next_value", "reserve")

    def __init__(self, first: int, on_reserve: Callable[[], None], step: int) -> None:
        self.next_value = first
        self.reserve = first
        self._on_reserve = on_reserve
        self._step = step

    def take(self) -> int:
        """The next value, never used before."""
        value = self.next_value
        self.next_value = value + 1
        if value >= self.reserve:
            self.reserve = value + self._step
            self._on_reserve()
        return value

    def skip_to(self, first: int) -> None:
        """Use no value below ``first`` any more."""
        self.next_value = max(self.next_value, first)
        self.reserve = max(self.reserve, first)


@dataclass(slots=True)
class LinkKey:
    """One live entry. ``incoming`` is the lowest counter still acceptable."""

    key: bytes = field(repr=False)
    outgoing: ReservedCounter
    established: bool = False
    incoming: int = 0


class KeyStore:
    """Link keys by EUI. ``on_change`` runs, synchronously, whenever what must be persisted has changed."""

    def __init__(self, on_change: Callable[[], None], step: int) -> None:
        self.default_key = DEFAULT_CENTRALIZED_KEY
        self.install_code_required = False
        self._entries: dict[int, LinkKey] = {}
        self._on_change = on_change
        self._step = step

    def get(self, eui: int) -> LinkKey | None:
        """The entry for a partner, or None."""
        return self._entries.get(eui)

    def set(self, eui: int, key: bytes, established: bool = False) -> LinkKey:
        """A new key for a partner. The outgoing counter goes on where the last key's stopped.

        So no counter is used twice with one key when a partner gets a key that it had before (an install code that is
        permitted again after a restart of the host).
        """
        former = self._entries.get(eui)
        first = 0 if former is None else former.outgoing.reserve
        entry = LinkKey(key, self._counter(first), established)
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
        """Take over persisted entries; an entry made since then stays, and counts on from the persisted reserve."""
        for entry in entries:
            made = self._entries.get(entry.eui)
            if made is not None:
                made.outgoing.skip_to(entry.outgoing_counter)
                continue
            counter = self._counter(entry.outgoing_counter)
            self._entries[entry.eui] = LinkKey(entry.key, counter, entry.established, entry.incoming_counter)

    def export(self) -> tuple[LinkKeyEntry, ...]:
        """What to persist, outgoing counters as their reserve."""
        return tuple(
            LinkKeyEntry(eui, entry.key, entry.established, entry.outgoing.reserve, entry.incoming)
            for eui, entry in self._entries.items()
        )

    def _counter(self, first: int) -> ReservedCounter:
        return ReservedCounter(first, self._on_change, self._step)
