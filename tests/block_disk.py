"""A disk with a partition table on a loop device, for tests that run as root."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

TOOLS = ("losetup", "sfdisk", "partx", "blkid")
DISK_OCTETS = 48 * 1024 * 1024

# A start for a Pi (FAT), then slot A, slot B and boot state; sizes in sectors of 512 octets.
MBR = """label: dos
label-id: 0x{serial:08x}
start=2048, size=4096, type=c
start=6144, type=5
start=8192, size=32768, type=da
start=43008, size=32768, type=da
start=77824, size=2048, type=da
"""
GPT = """label: gpt
start=2048, size=4096
start=8192, size=32768, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid={serial:08X}-0000-4000-8000-00000000000A
start=43008, size=32768, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid={serial:08X}-0000-4000-8000-00000000000B
start=77824, size=2048, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid={serial:08X}-0000-4000-8000-00000000000C
"""


@dataclass(frozen=True)
class PartitionedDisk:
    """``names``: the PARTUUIDs of slot A, slot B and boot state, lower case. ``starts``: their first octets."""

    image: Path
    device: Path
    names: tuple[str, str, str]
    starts: tuple[int, int, int]


def run(*command: str, text: str = "") -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, input=text, timeout=30).stdout


def fresh_serial() -> int:
    """Another one for every disk: no PARTUUID may stand twice on the machine that runs tests in parallel."""
    return int.from_bytes(os.urandom(4)) | 1


@contextmanager
def partitioned_disk(folder: Path, table: str, serial: int) -> Iterator[PartitionedDisk]:
    """Attach it, and detach it whatever happens. Skips, with the reason, where that cannot be done."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs {', '.join(missing)}" if missing else "needs root for loop devices")
    image = folder / f"disk-{serial:08x}.img"
    with image.open("wb") as file:
        file.truncate(DISK_OCTETS)
    run("sfdisk", "--quiet", str(image), text=table.format(serial=serial))
    attached = subprocess.run(
        ["losetup", "--find", "--show", str(image)], check=False, capture_output=True, text=True, timeout=30
    )
    if attached.returncode:
        pytest.skip(f"no loop device to be had: {attached.stderr.strip()}")
    device = Path(attached.stdout.strip())
    try:
        # partx, not losetup --partscan: a kernel may be built without parsers for tables and still take partitions.
        run("partx", "--add", str(device))
        starts, names = zip(*re.findall(r"^ *(\d+) (\S+)$", _list(device), re.M), strict=True)
        yield PartitionedDisk(image, device, names[-3:], tuple(int(start) * 512 for start in starts[-3:]))
    finally:
        subprocess.run(["partx", "--delete", str(device)], check=False, capture_output=True, timeout=30)
        run("losetup", "--detach", str(device))


def flushes(disk: PartitionedDisk) -> int:
    """How often the kernel asked the disk to flush its write cache (Documentation/block/stat.rst)."""
    return int(Path(f"/sys/block/{disk.device.name}/stat").read_text(encoding="ascii").split()[15])


def _list(device: Path) -> str:
    return run("partx", "--show", "--noheadings", "--output", "START,UUID", str(device))
