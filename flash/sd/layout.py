"""Where everything lies on the card. Pure: from the partitions that an image has to those that a card has.

::

    MBR    1 boot (FAT)   2 root   3 extended [ 5 slot A   6 slot B   7 boot state   8 data ]
    GPT    1 boot (FAT)   2 root   3 slot A   4 slot B   5 boot state   6 data

Every partition of ours starts at a multiple of 4 MiB: an SD card erases in units of that order (SD Association,
allocation units). A logical partition has its EBR in the gap before it.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from agent.boot.places import BOOT_STATE_OCTETS, SLOT_OCTETS
from agent.errors import SettingsError

SECTOR_OCTETS = 512
ALIGNMENT_OCTETS = 4 * 1024 * 1024
MBR_MAXIMUM_OCTETS = 2**32 * SECTOR_OCTETS
GPT_TAIL_OCTETS = 34 * SECTOR_OCTETS  # the second table, at the end of the disk
MINIMUM_DATA_OCTETS = 16 * 1024 * 1024
MBR_PRIMARIES = range(1, 5)
FIRST_LOGICAL = 5

MBR_FAT = frozenset({"1", "4", "6", "b", "c", "e", "ef"})
MBR_LINUX = "83"
MBR_EXTENDED = frozenset({"5", "f", "85"})
MBR_EXTENDED_LBA = "f"
MBR_NO_FILE_SYSTEM = "da"
GPT_LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
GPT_BASIC_DATA = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"


class Table(Enum):
    """The kind of partition table."""

    MBR = "mbr"
    GPT = "gpt"


class Part(Enum):
    """What a partition of ours is for; the value is its name in a GPT (compare systemd/han-agent.rules)."""

    SLOT_A = "han-slot-a"
    SLOT_B = "han-slot-b"
    BOOT_STATE = "han-boot-state"
    DATA = "han-data"


@dataclass(frozen=True, slots=True)
class Partition:
    """``kind``: the type as sfdisk writes it. ``part``: None for the image's own. ``uuid``, ``name``: GPT only."""

    number: int
    start_octets: int
    size_octets: int
    kind: str
    part: Part | None = None
    bootable: bool = False
    uuid: str = ""
    name: str = ""

    @property
    def end_octets(self) -> int:
        return self.start_octets + self.size_octets


@dataclass(frozen=True, slots=True)
class Layout:
    """A partition table and the size of the medium that it is for. ``disk_id``: 8 hex digits (MBR) or a UUID (GPT)."""

    table: Table
    disk_id: str
    partitions: tuple[Partition, ...]
    size_octets: int

    def partuuid(self, number: int) -> str:
        """As in ``PARTUUID=...``, lower case."""
        if self.table is Table.MBR:
            return f"{self.disk_id}-{number:02x}"
        return self[number].uuid.lower()

    def __getitem__(self, number: int) -> Partition:
        return next(partition for partition in self.partitions if partition.number == number)

    def find(self, part: Part) -> Partition:
        """The partition of ours that is for ``part``."""
        return next(partition for partition in self.partitions if partition.part is part)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the card shall have. ``table``, ``root_octets``: None keeps the image's. ``seed``: same seed, same names."""

    seed: str
    table: Table | None = None
    root_octets: int | None = None
    data_octets: int = 256 * 1024 * 1024


def plan_card(image: Layout, root: int, wishes: Wishes) -> Layout:
    """Add our partitions behind those of ``image``, whose root file system is partition ``root``.

    Raises SettingsError naming what stands in the way.
    """
    table = wishes.table or image.table
    if image.table is Table.GPT and table is Table.MBR:
        raise SettingsError("--table mbr: the image has a GPT, which is kept; leave --table out")
    _check_image(image)
    if wishes.data_octets < MINIMUM_DATA_OCTETS:
        raise SettingsError(f"--data-size: {wishes.data_octets} octets, at least {MINIMUM_DATA_OCTETS} are needed")
    kept = [_convert(one, image.table, table, wishes.seed) for one in _grow(image, root, wishes.root_octets)]
    cursor = align(max(one.end_octets for one in kept))
    parts = _parts(wishes.data_octets)
    ours = list(_logical(kept, parts, cursor) if table is Table.MBR else _plain(kept, parts, cursor, wishes.seed))
    end = align(ours[-1].end_octets) + (ALIGNMENT_OCTETS if table is Table.GPT else 0)
    if table is Table.MBR and end > MBR_MAXIMUM_OCTETS:
        raise SettingsError(f"{end} octets: an MBR ends at {MBR_MAXIMUM_OCTETS}; take a smaller --data-size")
    disk_id = seeded_disk_id(wishes.seed) if table is Table.MBR else seeded_uuid(wishes.seed, "disk")
    return Layout(table, disk_id, (*kept, *ours), end)


def sfdisk_script(layout: Layout) -> str:
    """The table as input of sfdisk(8)."""
    lines = [
        f"label: {'dos' if layout.table is Table.MBR else 'gpt'}",
        f"label-id: {'0x' if layout.table is Table.MBR else ''}{layout.disk_id}",
        "unit: sectors",
        "sector-size: 512",
    ]
    for one in layout.partitions:
        fields = [
            f"start={one.start_octets // SECTOR_OCTETS}",
            f"size={one.size_octets // SECTOR_OCTETS}",
            f"type={one.kind}",
        ]
        fields += [f"uuid={one.uuid}"] if one.uuid else []
        fields += [f'name="{one.name}"'] if one.name else []
        fields += ["bootable"] if one.bootable else []
        lines.append(f"p{one.number} : {', '.join(fields)}")
    return "\n".join(lines) + "\n"


def align(octets: int) -> int:
    """Up to the next boundary."""
    return -(-octets // ALIGNMENT_OCTETS) * ALIGNMENT_OCTETS


def seeded_uuid(seed: str, what: str) -> str:
    """The same UUID for the same seed and purpose."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"han-agent card {seed} {what}"))


def seeded_disk_id(seed: str) -> str:
    """An MBR's disk identifier, 8 hex digits, never 0."""
    return f"{int.from_bytes(hashlib.sha256(f'han-agent card {seed}'.encode()).digest()[:4]) | 1:08x}"


def _check_image(image: Layout) -> None:
    names = {part.value for part in Part}
    if any(one.name in names for one in image.partitions):
        raise SettingsError("the image has the agent's partitions already; start from the image as it was published")
    if image.table is Table.MBR:
        if any(one.kind in MBR_EXTENDED or one.number >= FIRST_LOGICAL for one in image.partitions):
            raise SettingsError(
                "the image has an extended partition, and an MBR holds one only: was it made by flash sd before? "
                "Start from the image as it was published"
            )
        if all(number in {one.number for one in image.partitions} for number in MBR_PRIMARIES):
            raise SettingsError(
                "the image's MBR has four partitions: no room for one of ours; take an image with fewer"
            )


def _grow(image: Layout, root: int, root_octets: int | None) -> Iterator[Partition]:
    for one in image.partitions:
        if one.number != root or root_octets is None:
            yield one
            continue
        if root_octets < one.size_octets:
            raise SettingsError(
                f"--root-size: {root_octets} octets are fewer than the {one.size_octets} that the image's root has"
            )
        if any(other.start_octets > one.start_octets for other in image.partitions):
            raise SettingsError("--root-size: another partition lies behind the image's root, so that it cannot grow")
        yield replace(one, size_octets=align(one.start_octets + root_octets) - one.start_octets)


def _convert(one: Partition, had: Table, wanted: Table, seed: str) -> Partition:
    if had is wanted:
        return one
    kind = GPT_BASIC_DATA if one.kind in MBR_FAT else GPT_LINUX
    return replace(one, kind=kind, bootable=False, uuid=seeded_uuid(seed, f"partition {one.number}"))


def _parts(data_octets: int) -> tuple[tuple[Part, int], ...]:
    data = -(-data_octets // ALIGNMENT_OCTETS) * ALIGNMENT_OCTETS
    return (
        (Part.SLOT_A, SLOT_OCTETS),
        (Part.SLOT_B, SLOT_OCTETS),
        (Part.BOOT_STATE, BOOT_STATE_OCTETS),
        (Part.DATA, data),
    )


def _logical(kept: list[Partition], parts: tuple[tuple[Part, int], ...], cursor: int) -> Iterator[Partition]:
    """The extended partition and those in it, each behind a gap for its EBR."""
    inside: list[Partition] = []
    for number, (part, size) in enumerate(parts, FIRST_LOGICAL):
        start = (inside[-1].end_octets if inside else cursor) + SECTOR_OCTETS
        kind = MBR_LINUX if part is Part.DATA else MBR_NO_FILE_SYSTEM
        inside.append(Partition(number, align(start), size, kind, part))
    used = {one.number for one in kept}
    number = next(number for number in MBR_PRIMARIES if number not in used)
    yield Partition(number, cursor, inside[-1].end_octets - cursor, MBR_EXTENDED_LBA)
    yield from inside


def _plain(kept: list[Partition], parts: tuple[tuple[Part, int], ...], cursor: int, seed: str) -> Iterator[Partition]:
    first = max(one.number for one in kept) + 1
    for number, (part, size) in enumerate(parts, first):
        yield Partition(number, cursor, size, GPT_LINUX, part, uuid=seeded_uuid(seed, part.value), name=part.value)
        cursor = align(cursor + size)
