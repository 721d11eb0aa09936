"""The boot state on its area: two copies, 64 KiB apart, of which one is whole whatever is interrupted.

A copy is only overwritten while the other is durable and valid: write one, sync, write the other, sync. At rest both
say the same, so that the loss of either loses nothing; after a cut they may differ and the higher sequence holds.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from enum import Enum

from agent.boot.state import RECORD_OCTETS, BootState, decode, encode
from agent.errors import FormatError, StorageError
from agent.ports import Area

COPY_OFFSETS = (0, 64 * 1024)
MINIMUM_OCTETS = COPY_OFFSETS[1] + RECORD_OCTETS


class Finding(Enum):
    """What ``load`` met."""

    WHOLE = "both copies agree"
    BEHIND = "one copy is older: the last change was interrupted after it was durable"
    ONE_TORN = "one copy is torn"
    LOST = "both copies are lost"


@dataclass(frozen=True, slots=True)
class Loaded:
    """``state`` is None exactly when ``finding`` is LOST. ``newest`` is the index of the copy that was taken."""

    finding: Finding
    state: BootState | None
    newest: int = 0


class BootStateStore:
    """Reads and replaces the record. ``exclusive`` keeps other processes out while a change is made."""

    def __init__(self, area: Area, exclusive: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self._area = area
        self._exclusive = exclusive

    @property
    def size_octets(self) -> int:
        """Of the area; MINIMUM_OCTETS are needed."""
        return self._area.size_octets

    def load(self) -> Loaded:
        """The newest valid copy. Changes nothing. Raises StorageError when the area cannot be read."""
        copies = [self._read_copy(offset) for offset in COPY_OFFSETS]
        first, second = copies
        if first is None and second is None:
            return Loaded(Finding.LOST, None)
        if first is None or second is None:
            newest = 0 if second is None else 1
            return Loaded(Finding.ONE_TORN, copies[newest], newest)
        newest = 1 if second.sequence > first.sequence else 0
        return Loaded(Finding.WHOLE if first == second else Finding.BEHIND, copies[newest], newest)

    def repair(self) -> Loaded:
        """``load``, and bring the other copy up to the newest. Returns what was found before."""
        with self._exclusive():
            found = self.load()
            if found.state is not None and found.finding is not Finding.WHOLE:
                # What was read may be in the cache only: durable first, then touch the other copy.
                self._write_copy(found.newest, found.state)
                self._write_copy(1 - found.newest, found.state)
            return found

    def replace(self, state: BootState) -> BootState:
        """Make ``state`` the boot state, durably, with the next sequence. Returns it as stored."""
        with self._exclusive():
            return self._replace(self.load(), state)

    def update(self, change: Callable[[BootState | None], BootState]) -> BootState:
        """Read, change, write as one step. ``change`` gets None when the record is lost; it may raise to refuse.

        A change that changes nothing is not written.
        """
        with self._exclusive():
            found = self.load()
            state = change(found.state)
            if state == found.state and found.finding is Finding.WHOLE:
                return state
            return self._replace(found, state)

    def _replace(self, found: Loaded, state: BootState) -> BootState:
        sequence = found.state.sequence + 1 if found.state else state.sequence + 1
        state = replace(state, sequence=sequence)
        # A process that was killed before its sync, or was told that it failed, leaves the newest copy in the cache
        # only. It must hold before the other one is overwritten; written anew, since no later sync makes up for one
        # that failed.
        if found.state is not None:
            self._write_copy(found.newest, found.state)
        self._write_copy(1 - found.newest, state)
        self._write_copy(found.newest, state)
        return state

    def _write_copy(self, index: int, state: BootState) -> None:
        self._area.write(COPY_OFFSETS[index], encode(state))
        self._area.sync()

    def _read_copy(self, offset: int) -> BootState | None:
        try:
            return decode(self._area.read(offset, RECORD_OCTETS))
        except FormatError:
            return None


def require(state: BootState | None) -> BootState:
    """The state, or StorageError: the first stage rebuilds a lost one before anything runs, so it was lost since."""
    if state is None:
        raise StorageError(
            "both copies of the boot state are lost: restart the unit, its first stage rebuilds it from the confirmed "
            "marks; a device that was never provisioned needs han-agent provision"
        )
    return state
