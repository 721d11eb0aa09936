"""The sectors of one area: what is durable, and every version of what is not yet."""

from __future__ import annotations

import random
from enum import Enum

SECTOR_OCTETS = 512
_ZEROS = bytes(SECTOR_OCTETS)


class Survival(Enum):
    """What becomes of unsynced sectors when the power goes."""

    LOST = "all of them are lost"
    KEPT = "all of them made it"
    TORN = "each is torn between old and new"
    MIXED = "each by itself: lost, any version, or torn"


class Sectors:
    """Sparse: what was never written is zeros. Octet offsets, checked by the area above."""

    def __init__(self) -> None:
        self._durable: dict[int, bytes] = {}
        self._unsynced: dict[int, list[bytes]] = {}
        self._forgotten: dict[int, bytes] = {}  # in the cache, no longer known to be unsynced: see ``fail_sync``

    def read(self, offset: int, length: int, *, durable_only: bool = False) -> bytes:
        first, last = offset // SECTOR_OCTETS, -(-(offset + length) // SECTOR_OCTETS)
        sectors = [self._durable_sector(n) if durable_only else self._sector(n) for n in range(first, last)]
        start = offset - first * SECTOR_OCTETS
        return b"".join(sectors)[start : start + length]

    def write(self, offset: int, data: bytes) -> None:
        for index in range(offset // SECTOR_OCTETS, -(-(offset + len(data)) // SECTOR_OCTETS)):
            sector = bytearray(self._sector(index))
            start = max(offset, index * SECTOR_OCTETS)
            end = min(offset + len(data), (index + 1) * SECTOR_OCTETS)
            base = index * SECTOR_OCTETS
            sector[start - base : end - base] = data[start - offset : end - offset]
            self._unsynced.setdefault(index, []).append(bytes(sector))
            self._forgotten.pop(index, None)

    def erase(self, offset: int, length: int) -> None:
        """Zeros. Whole sectors that were never written stay out of memory."""
        for index in range(offset // SECTOR_OCTETS, -(-(offset + length) // SECTOR_OCTETS)):
            start = max(offset, index * SECTOR_OCTETS)
            end = min(offset + length, (index + 1) * SECTOR_OCTETS)
            if index in self._durable or index in self._unsynced or index in self._forgotten:
                self.write(start, bytes(end - start))

    def sync(self) -> None:
        for index, versions in self._unsynced.items():
            self._durable[index] = versions[-1]
        self._unsynced.clear()

    def fail_sync(self) -> None:
        """As Linux does: what could not be written counts as clean from now on. It is read from the cache until the
        power goes, no later sync makes it durable, and only writing it again does."""
        for index, versions in self._unsynced.items():
            self._forgotten[index] = versions[-1]
        self._unsynced.clear()

    def lose_power(self, survival: Survival, choose: random.Random) -> None:
        """Settle every unsynced sector; afterwards all that is left is durable."""
        for index in sorted(self._unsynced):
            versions = [self._durable_sector(index), *self._unsynced[index]]
            self._durable[index] = _settle(versions, survival, choose)
        self._unsynced.clear()
        self._forgotten.clear()

    def cut_off(self, size_octets: int) -> None:
        """What lies beyond a file's end is gone for good: zeros when the file grows again. Nothing is unsynced now."""
        first, kept = divmod(size_octets, SECTOR_OCTETS)
        for index in [index for index in self._durable if index >= first]:
            if index == first and kept:
                self._durable[index] = self._durable[index][:kept].ljust(SECTOR_OCTETS, b"\0")
            else:
                del self._durable[index]

    def damage(self, offset: int, mask: int) -> None:
        """Flip the bits of ``mask`` in one octet, durably: the medium's own doing."""
        self.sync()
        index, at = divmod(offset, SECTOR_OCTETS)
        sector = bytearray(self._durable_sector(index))
        sector[at] ^= mask
        self._durable[index] = bytes(sector)

    def _sector(self, index: int) -> bytes:
        versions = self._unsynced.get(index)
        if versions:
            return versions[-1]
        return self._forgotten.get(index) or self._durable_sector(index)

    def _durable_sector(self, index: int) -> bytes:
        return self._durable.get(index, _ZEROS)


def _settle(versions: list[bytes], survival: Survival, choose: random.Random) -> bytes:
    """``versions[0]`` is the durable one, the last the newest."""
    if survival is Survival.LOST:
        return versions[0]
    if survival is Survival.KEPT:
        return versions[-1]
    if survival is Survival.TORN:
        return _tear(versions[0], versions[-1], choose)
    one, two = choose.choice(versions), choose.choice(versions)
    return _tear(one, two, choose) if choose.random() < 0.5 else one


def _tear(old: bytes, new: bytes, choose: random.Random) -> bytes:
    """A sector of which a first or a last part is new. Cut inside the part that differs, where there is one."""
    differing = [at for at in range(SECTOR_OCTETS) if old[at] != new[at]]
    if len(differing) < 2:
        return choose.choice((old, new))
    cut = choose.randrange(differing[0] + 1, differing[-1] + 1)
    return new[:cut] + old[cut:] if choose.random() < 0.5 else old[:cut] + new[cut:]
