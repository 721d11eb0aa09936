"""A partition named as ``PARTUUID=...`` in [storage]: which block device that is now.

Device names follow the order in which disks turn up; the PARTUUID is in the partition table and stays (of an MBR it is
the disk's identifier and the partition's number, ``a1b2c3d4-05``; of a GPT the partition's own UUID). udev keeps a link
for each one. Without udev (a container, an initramfs) ``blkid`` of util-linux reads the tables, which needs the right
to read the disks.
"""

from __future__ import annotations

import re
from pathlib import Path

from agent.errors import StorageError

PREFIX = "PARTUUID="
LINKS = Path("/dev/disk/by-partuuid")
BLKID_LIMIT_S = 10.0
BLKID_NOTHING_FOUND = 2

_FORM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{2,}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_named(path: Path) -> bool:
    """Whether the path's last part is ``PARTUUID=...``; what stands before it (the settings' folder) does not count."""
    return path.name.startswith(PREFIX)


def locate(path: Path) -> Path:
    """The block device of a ``PARTUUID=...``; any other path unchanged. Raises StorageError naming the PARTUUID."""
    if not is_named(path):
        return path
    uuid = path.name.removeprefix(PREFIX).lower()
    if not _FORM.fullmatch(uuid):
        raise StorageError(f"{path.name}: not a PARTUUID; lsblk -o NAME,SIZE,PARTUUID lists those of this machine")
    link = LINKS / uuid
    return link if link.exists() else _read_tables(uuid)


def _read_tables(uuid: str) -> Path:
    import subprocess  # noqa: PLC0415  (10 ms of every start that only a machine without udev pays for)

    name = f"{PREFIX}{uuid}"
    # Not blkid's cache file: it may remember a card that is no longer in.
    command = ["blkid", "-c", "/dev/null", "-o", "device", "-t", name]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=BLKID_LIMIT_S)
    except FileNotFoundError:
        raise StorageError(f"{name}: no link in {LINKS}, and no blkid to read the tables: install util-linux") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StorageError(f"{name}: no link in {LINKS}, and blkid failed: {error}") from None
    if done.returncode not in (0, BLKID_NOTHING_FOUND):
        raise StorageError(f"{name}: blkid failed: {done.stderr.strip() or f'exit code {done.returncode}'}")
    found = done.stdout.split()
    if not found:
        raise StorageError(
            f"{name}: no such partition: put the medium in, or correct [storage]; lsblk -o NAME,SIZE,PARTUUID lists "
            "those of this machine (reading the tables without udev takes root)"
        )
    if len(found) > 1:
        raise StorageError(f"{name}: {' and '.join(sorted(found))} both bear it: take the copied medium out")
    return Path(found[0])
