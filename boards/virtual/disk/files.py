"""Files with names on a ``Disk``: what a journalling file system keeps of them when the power goes.

- A file's octets and its length become durable with ``sync`` of the file; before that every sector fares by itself, and
  the length is any that the file had since its last sync.
- A name that was made or taken away becomes durable with ``sync_names`` (fsync of the folder); before that each name
  fares by itself. The octets of a deleted file come back with its name.
- An operation that fails (``Disk.fail_at``) raises MediumFault, an OSError, and leaves the names as they were.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TypeVar

from boards.virtual.disk.disk import Disk
from boards.virtual.disk.faults import MediumFault
from boards.virtual.disk.sectors import Sectors, Survival

T = TypeVar("T")


@dataclass
class _Content:
    """What a name points at. ``sizes``: those since the last sync, the durable one first."""

    number: int
    sectors: Sectors = field(default_factory=Sectors)
    sizes: list[int] = field(default_factory=lambda: [0])

    @property
    def size(self) -> int:
        return self.sizes[-1]

    def sync(self) -> None:
        self.sectors.sync()
        self.sizes = [self.size]

    def lose_power(self, survival: Survival, choose: random.Random) -> None:
        self.sectors.lose_power(survival, choose)
        self.sizes = [_settle(self.sizes, survival, choose)]
        self.sectors.cut_off(self.sizes[0])


class DiskFiles:
    """One folder. All files share the disk's power supply and its operation counter."""

    def __init__(self, disk: Disk, folder: str = "files") -> None:
        self.disk = disk
        self._folder = folder
        self._durable: dict[str, _Content] = {}
        self._names: dict[str, list[_Content | None]] = {}  # every state of a name since the last sync of the folder
        self._made = 0
        disk.attach(folder, self)

    def exists(self, name: str) -> bool:
        self.disk.check_power()
        return self._find(name) is not None

    def open(self, name: str, *, create: bool) -> DiskFile:
        """The file of this name. Raises FileNotFoundError."""
        self.disk.check_power()
        content = self._find(name)
        if content is None:
            if not create:
                raise FileNotFoundError(name)
            self._made += 1
            content = _Content(self._made)
            interrupted = self.disk.begin(name, "create")
            self._names.setdefault(name, []).append(content)
            if interrupted:
                self.disk.interrupt()
        return DiskFile(self.disk, name, content)

    def delete(self, name: str) -> None:
        """Take the name away. Raises FileNotFoundError."""
        self.disk.check_power()
        if self._find(name) is None:
            raise FileNotFoundError(name)
        interrupted = self.disk.begin(name, "delete")
        self._names.setdefault(name, []).append(None)
        if interrupted:
            self.disk.interrupt()

    def sync_names(self) -> None:
        """Names made and taken away so far are durable."""
        if self.disk.begin(self._folder, "sync names"):
            self.disk.interrupt()
        for name in list(self._names):
            self._set_durable(name, self._names.pop(name)[-1])

    def lose_power(self, survival: Survival, choose: random.Random) -> None:
        for name in sorted(self._names):
            states = [self._durable.get(name), *self._names.pop(name)]
            self._set_durable(name, _settle(states, survival, choose))
        for name in sorted(self._durable):
            self._durable[name].lose_power(survival, choose)

    def _set_durable(self, name: str, content: _Content | None) -> None:
        if content is None:
            self._durable.pop(name, None)
        else:
            self._durable[name] = content

    def _find(self, name: str) -> _Content | None:
        states = self._names.get(name)
        return states[-1] if states else self._durable.get(name)


class DiskFile:
    """An open file. Stays usable when its name is taken away, as on any Unix."""

    def __init__(self, disk: Disk, name: str, content: _Content) -> None:
        self._disk = disk
        self._name = name
        self._content = content

    @property
    def size_octets(self) -> int:
        self._disk.check_power()
        return self._content.size

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` octets: fewer at the end of the file."""
        self._disk.check_power()
        return self._content.sectors.read(offset, max(0, min(length, self._content.size - offset)))

    def write(self, offset: int, data: bytes) -> None:
        try:
            interrupted = self._disk.begin(self._name, "write", offset, len(data))
        except MediumFault as fault:
            self._put(offset, data[: fault.taken_octets])
            raise
        self._put(offset, data)
        if interrupted:
            self._disk.interrupt()

    def _put(self, offset: int, data: bytes) -> None:
        self._content.sectors.write(offset, data)
        if data and offset + len(data) > self._content.size:
            self._content.sizes.append(offset + len(data))

    def truncate(self, size_octets: int) -> None:
        interrupted = self._disk.begin(self._name, "truncate", size_octets)
        if size_octets < self._content.size:
            self._content.sectors.erase(size_octets, self._content.size - size_octets)
        self._content.sizes.append(size_octets)
        if interrupted:
            self._disk.interrupt()

    def sync(self) -> None:
        try:
            interrupted = self._disk.begin(self._name, "sync")
        except MediumFault:
            self._content.sectors.fail_sync()
            raise
        if interrupted:
            self._disk.interrupt()
        self._content.sync()


def _settle(states: list[T], survival: Survival, choose: random.Random) -> T:
    """``states[0]`` is the durable one, the last the newest. Lengths and names are never torn."""
    if survival is Survival.LOST:
        return states[0]
    return states[-1] if survival is Survival.KEPT else choose.choice(states)
