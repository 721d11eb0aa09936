"""NV memory of the emulated chip, in a file that survives a kill at any moment.

An item is addressed by (system id, item id, sub id) as in TI's extended NV; the old OSAL item *n* is (1, 0, n).
The file is JSON (``"01.0000.0021": "hex"``), replaced as a whole before a command is answered: a host that got its
answer finds its write after ``kill -9``. It is not synced to the medium: a power cut of the machine may take the last
writes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from agent.errors import StorageError

ZSTACK = 1  # system id of everything that the stack keeps
LEGACY = 0x0000  # extended item id that holds the old OSAL items, sub id = old id

NvKey = tuple[int, int, int]


def old_item(item: int) -> NvKey:
    """Key of an old OSAL NV item."""
    return (ZSTACK, LEGACY, item)


class NvMemory:
    """Items by key. ``path`` None keeps them in memory only."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._items: dict[NvKey, bytes] = {}
        self._changed = False
        if path is not None and path.exists():
            self._items = _load(path)

    def length(self, key: NvKey) -> int:
        """Octets of an item, 0 when it is not there."""
        return len(self._items.get(key, b""))

    def get(self, key: NvKey) -> bytes | None:
        """The whole item, or None."""
        return self._items.get(key)

    def put(self, key: NvKey, value: bytes) -> None:
        """Create or replace a whole item."""
        if self._items.get(key) != value:
            self._items[key] = value
            self._changed = True

    def write(self, key: NvKey, offset: int, value: bytes) -> bool:
        """Overwrite part of an existing item. False when there is none, or the part lies outside it."""
        old = self._items.get(key)
        if old is None or offset + len(value) > len(old):
            return False
        self.put(key, old[:offset] + value + old[offset + len(value) :])
        return True

    def delete(self, key: NvKey) -> bool:
        """Take an item out. False when there was none."""
        if self._items.pop(key, None) is None:
            return False
        self._changed = True
        return True

    def table(self, item: int) -> Iterator[tuple[int, bytes]]:
        """(sub id, value) of one extended item, in the order of sub ids."""
        for system, number, sub in sorted(self._items):
            if (system, number) == (ZSTACK, item):
                yield sub, self._items[(system, number, sub)]

    def keys(self) -> list[NvKey]:
        """Every key, sorted."""
        return sorted(self._items)

    def commit(self) -> None:
        """Make all changes so far outlive this process. Raises StorageError."""
        if self._changed and self._path is not None:
            _save(self._path, self._items)
        self._changed = False


def _load(path: Path) -> dict[NvKey, bytes]:
    try:
        stored = json.loads(path.read_text(encoding="ascii"))
        return {_parse_key(name): bytes.fromhex(value) for name, value in stored.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise StorageError(
            f"{path}: not the NV memory of an emulated chip ({error}); move it away to start anew"
        ) from None


def _parse_key(name: str) -> NvKey:
    system, item, sub = (int(part, 16) for part in name.split("."))
    return (system, item, sub)


def _save(path: Path, items: dict[NvKey, bytes]) -> None:
    text = json.dumps({f"{key[0]:02x}.{key[1]:04x}.{key[2]:04x}": items[key].hex() for key in sorted(items)}, indent=0)
    temporary = path.with_name(path.name + ".new")
    try:
        temporary.write_text(text, encoding="ascii")
        os.replace(temporary, path)  # noqa: PTH105 - the atomic step, named as the system call is
    except OSError as error:
        raise StorageError(
            f"{path}: NV memory cannot be written: {error}; free some space or name another --nv-dir"
        ) from None
