"""A card in a reader: which disk it is, whether it may be written, and the writing.

Everything on the disk is lost, so it is refused unless all speaks for its being a card; `judge_disk` is pure.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.boot.area import explain
from agent.errors import SettingsError, StorageError
from flash.sd.source import PIECE_OCTETS, Show
from flash.sd.tools import run_tool

LARGEST_CARD_OCTETS = 256 * 10**9  # our choice: a larger disk is more likely somebody's backup than a Pi's card
COLUMNS = "PATH,TYPE,SIZE,RM,HOTPLUG,RO,TRAN,MODEL,MOUNTPOINTS"
CARD_TRANSPORTS = {"usb", "mmc"}
SYSTEM_MOUNTS = {"/", "/usr", "/boot", "/boot/efi", "/boot/firmware", "[SWAP]"}
BLKRRPART = 0x125F  # linux/fs.h


@dataclass(frozen=True, slots=True)
class Disk:
    """What lsblk says of it. ``mounts``: of everything on it, swap and what lies on LVM or LUKS included."""

    path: str
    kind: str
    size_octets: int
    removable: bool
    read_only: bool
    transport: str
    model: str
    mounts: tuple[str, ...]
    partitions: tuple[str, ...]

    @property
    def phrase(self) -> str:
        """What a person types who means this one."""
        return f"{self.model or self.path} {self.size_octets / 10**9:.1f} GB"


def find_disk(path: Path) -> Disk:
    """Raises SettingsError for what is no block device."""
    if not path.is_block_device():
        raise SettingsError(f"--device {path}: no block device; lsblk lists those of this machine")
    found = json.loads(run_tool("lsblk", "--json", "--bytes", "--output", COLUMNS, path).stdout)["blockdevices"][0]
    every = list(_flatten(found))
    return Disk(
        path=str(found["path"]),
        kind=str(found["type"]),
        size_octets=int(found["size"]),
        removable=bool(found["rm"] or found["hotplug"]),
        read_only=bool(found["ro"]),
        transport=found["tran"] or ("mmc" if re.match(r"/dev/mmcblk\d+$", str(found["path"])) else ""),
        model=(found["model"] or "").strip(),
        mounts=tuple(sorted({mount for one in every for mount in one["mountpoints"] if mount})),
        partitions=tuple(str(one["path"]) for one in every[1:]),
    )


def judge_disk(disk: Disk, card_octets: int, *, i_know: bool) -> None:
    """Raises SettingsError, with the reason, unless it may be written. ``i_know`` lifts what is only unlikely."""
    name = f"--device {disk.path}"
    if disk.kind not in ("disk", "loop"):
        raise SettingsError(f"{name}: is a {disk.kind}, not a whole disk; leave the number at its end out")
    if disk.read_only:
        raise SettingsError(f"{name}: is read-only: look at the switch on the card")
    system = SYSTEM_MOUNTS.intersection(disk.mounts)
    if system:
        raise SettingsError(f"{name}: the running system is on it ({', '.join(sorted(system))})")
    if disk.mounts:
        raise SettingsError(f"{name}: is mounted at {', '.join(disk.mounts)}: unmount it, or name another")
    if disk.size_octets < card_octets:
        raise SettingsError(f"{name}: {disk.size_octets} octets are too few for a card of {card_octets}")
    if i_know:
        return
    if disk.kind == "loop" or (not disk.removable and disk.transport not in CARD_TRANSPORTS):
        raise SettingsError(
            f"{name}: {disk.phrase} is neither removable nor on USB or MMC, so it is hardly a card; "
            "--i-know if it is the one"
        )
    if disk.size_octets > LARGEST_CARD_OCTETS:
        raise SettingsError(f"{name}: {disk.phrase} is far larger than a card; --i-know if it is the one")


def write_disk(image: Path, disk: Disk, show: Show) -> None:
    """Every octet of ``image``, durable, then read back past the cache. Raises StorageError."""
    path = Path(disk.path)
    total = image.stat().st_size
    try:
        # O_EXCL: the kernel refuses while anything of it is mounted or held.
        descriptor = os.open(path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise StorageError(f"{path}: is in use: unmount what is on it") from None
        raise explain(error, path, "open") from None
    try:
        _compare(_write(image, descriptor, total, show), descriptor, path, total, show)
        with suppress(OSError):
            fcntl.ioctl(descriptor, BLKRRPART)
    except OSError as error:
        raise explain(error, path, "write") from None
    finally:
        os.close(descriptor)


def _write(image: Path, descriptor: int, total: int, show: Show) -> bytes:
    digest, done = hashlib.sha256(), 0
    with image.open("rb") as file:
        while piece := file.read(PIECE_OCTETS):
            digest.update(piece)
            rest = memoryview(piece)
            while rest:
                rest = rest[os.pwrite(descriptor, rest, done + len(piece) - len(rest)) :]
            done += len(piece)
            show("write", done, total)
    os.fsync(descriptor)
    return digest.digest()


def _compare(wanted: bytes, descriptor: int, path: Path, total: int, show: Show) -> None:
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    digest, done = hashlib.sha256(), 0
    while done < total:
        piece = os.pread(descriptor, min(PIECE_OCTETS, total - done), done)
        if not piece:
            break
        digest.update(piece)
        done += len(piece)
        show("compare", done, total)
    if digest.digest() != wanted:
        raise StorageError(f"{path}: reads back other octets than were written: the card is bad, take another")


def _flatten(one: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield one
    for child in one.get("children", []):
        yield from _flatten(child)
