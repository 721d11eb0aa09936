"""Writing an image into a slot as it streams in, and reading one back.

A slot holds the Manufacturer Image verbatim from its first octet, zeros after it, and in its last 4096 octets the
confirmed mark. Writing goes in whole blocks of 4096 octets: what a checkpoint called durable is never written again, so
no later cut can tear it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from agent.boot.area import BLOCK_OCTETS, Medium
from agent.boot.mark import MARK_OCTETS
from agent.boot.refusal import BootRefusedError
from agent.boot.state import EMPTY, BootState, Slot, SlotState
from agent.boot.store import BootStateStore, require
from agent.errors import FormatError, StorageError
from agent.image import mcuboot
from agent.ports import Area

READ_OCTETS = 64 * 1024


@dataclass(frozen=True, slots=True)
class WrittenImage:
    """What ``finish`` proved to be in the slot. Nobody has judged it yet."""

    image_hash: bytes
    image_octets: int


def capacity_octets(area: Area) -> int:
    """The longest image that a slot takes."""
    return max(0, area.size_octets - MARK_OCTETS)


def smallest_capacity_octets(areas: Mapping[Slot, Area]) -> int:
    """The longest image that every slot takes which can be opened."""
    return min(filter(None, map(capacity_octets, areas.values())), default=0)


class SlotWriter:
    """Streams one image into one slot. Begin or resume; write in order; checkpoint; finish.

    The slot is EMPTY in the boot state all along: only `SlotsControl.mark_written`, after the verdict, changes that.
    Every method raises StorageError when the medium does not take it; the caller may resume from the last checkpoint.
    """

    def __init__(self, area: Medium, position_octets: int = 0) -> None:
        self._area = area
        self._hash = hashlib.sha256()
        self._durable_octets = position_octets
        self._written_octets = position_octets
        self._pending = bytearray()

    @classmethod
    def begin(cls, store: BootStateStore, area: Medium, slot: Slot, running: Slot | None) -> Self:
        """Make the slot unusable, durably, and stand at octet 0. BootRefusedError for the running or active slot."""
        _make_unusable(store, slot, running)
        area.erase(area.size_octets - MARK_OCTETS, MARK_OCTETS)
        area.erase(0, BLOCK_OCTETS)
        area.sync()
        return cls(area)

    @classmethod
    def resume(cls, store: BootStateStore, area: Medium, slot: Slot, running: Slot | None, durable_octets: int) -> Self:
        """Stand at a checkpoint that an earlier writer returned: re-hashes what is stored."""
        if durable_octets % BLOCK_OCTETS or not 0 <= durable_octets <= capacity_octets(area):
            raise StorageError(f"slot {slot.name}: {durable_octets} is no checkpoint of it; begin the transfer anew")
        if not durable_octets:
            return cls.begin(store, area, slot, running)
        _make_unusable(store, slot, running)
        writer = cls(area, durable_octets)
        for offset in range(0, durable_octets, READ_OCTETS):
            writer._hash.update(area.read(offset, min(READ_OCTETS, durable_octets - offset)))
        return writer

    @property
    def position_octets(self) -> int:
        """Where the next octet goes."""
        return self._written_octets + len(self._pending)

    def write(self, data: bytes | memoryview) -> None:
        """The next octets. Raises StorageError when the image grows past the slot, and takes none of ``data`` then."""
        if self.position_octets + len(data) > capacity_octets(self._area):
            raise StorageError(
                f"the image is longer than its slot's {capacity_octets(self._area)} octets; offer a smaller one"
            )
        self._hash.update(data)
        self._pending += data
        whole = len(self._pending) // BLOCK_OCTETS * BLOCK_OCTETS
        if whole:
            self._area.write(self._written_octets, bytes(self._pending[:whole]))
            del self._pending[:whole]
            self._written_octets += whole

    def checkpoint(self) -> int:
        """Make whole blocks durable. Returns the octets to resume from: at most 4095 behind the position."""
        if self._written_octets > self._durable_octets:
            self._area.sync()
            self._durable_octets = self._written_octets
        return self._durable_octets

    def finish(self) -> WrittenImage:
        """Last block, tail cleared, durable, read back past the cache. Raises StorageError when that differs."""
        length = self.position_octets
        end = self._written_octets
        if self._pending:
            self._area.write(end, bytes(self._pending).ljust(BLOCK_OCTETS, b"\0"))
            end += BLOCK_OCTETS
        self._area.erase(end, self._area.size_octets - end)
        self._area.sync()
        written = WrittenImage(self._hash.digest(), length)
        if hash_medium(self._area, length) != written.image_hash:
            raise StorageError(
                "the slot reads back other octets than were written: replace the card or correct [storage]"
            )
        self._written_octets, self._durable_octets = length, length
        self._pending.clear()
        return written


def hash_medium(area: Medium, length: int) -> bytes:
    """SHA-256 of the first ``length`` octets as the medium holds them; memory does not grow with the length."""
    running = hashlib.sha256()
    for offset in range(0, length, READ_OCTETS):
        running.update(area.read_medium(offset, min(READ_OCTETS, length - offset)))
    return running.digest()


def read_image(area: Area, image_octets: int | None = None) -> mcuboot.ManufacturerImage:
    """The image in a slot, in memory. Its length is taken from the image unless given.

    Raises FormatError when there is none, StorageError when the slot cannot be read.
    """
    if image_octets is not None:
        return mcuboot.parse(area.read(0, image_octets))
    return mcuboot.parse(area.read(0, find_length(area)))


def find_length(area: Area) -> int:
    """Octets of the image in a slot, as its header and TLV heads say. Raises FormatError; trusts nothing."""
    room = capacity_octets(area)
    header = mcuboot.parse_header(area.read(0, min(mcuboot.HEADER_OCTETS, room)))
    offset = header.signed_octets
    if offset + 4 > room:
        raise FormatError("slot", offset, f"the header names {offset} octets, the slot takes {room}")
    head = area.read(offset, 4)
    total = int.from_bytes(head[2:], "little")
    if int.from_bytes(head[:2], "little") != mcuboot.TLV_INFO_MAGIC or offset + total > room:
        raise FormatError("slot", offset, "no TLVs where the header says that they begin, or past the slot's end")
    return offset + total


def check_free(state: BootState, slot: Slot, running: Slot | None) -> None:
    """Raises BootRefusedError when ``slot`` runs now or is the one to fall back to."""
    if slot is running:
        raise BootRefusedError(f"slot {slot.name} runs: write the other one")
    if slot is state.active and state[slot].state is SlotState.CONFIRMED:
        raise BootRefusedError(f"slot {slot.name} is the confirmed one: write the other one")


def _make_unusable(store: BootStateStore, slot: Slot, running: Slot | None) -> None:
    def change(state: BootState | None) -> BootState:
        state = require(state)
        check_free(state, slot, running)
        return state.with_slot(slot, EMPTY)

    store.update(change)
