"""A partition table in a file: read and written by sfdisk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agent.errors import StorageError
from flash.sd.layout import SECTOR_OCTETS, Layout, Partition, Table, sfdisk_script
from flash.sd.tools import run_tool

LABELS = {"dos": Table.MBR, "gpt": Table.GPT}


def read_table(path: Path) -> Layout:
    """The table of an image. Raises StorageError."""
    try:
        found = json.loads(run_tool("sfdisk", "--json", path).stdout)["partitiontable"]
    except StorageError as error:
        raise StorageError(
            f"{path}: no partition table: {error}; name a whole disk's image, not a partition's"
        ) from None
    label = str(found["label"])
    if label not in LABELS or found.get("sectorsize", SECTOR_OCTETS) != SECTOR_OCTETS:
        raise StorageError(f"{path}: its partition table is {label}; one of {', '.join(LABELS)} is needed")
    table = LABELS[label]
    disk_id = str(found["id"]).removeprefix("0x") if table is Table.MBR else str(found["id"])
    partitions = tuple(_partition(one, table) for one in found.get("partitions", []))
    return Layout(table, disk_id, partitions, path.stat().st_size)


def write_table(path: Path, layout: Layout) -> None:
    """Put ``layout`` into the file, and make the file as long as it says. Raises StorageError."""
    with path.open("r+b") as file:
        file.truncate(layout.size_octets)
    options = ("--quiet", "--wipe=never", "--wipe-partitions=never", "--no-reread", "--no-tell-kernel")
    run_tool("sfdisk", *options, path, text=sfdisk_script(layout))


def _partition(one: dict[str, Any], table: Table) -> Partition:
    node = str(one["node"])
    digits = len(node) - len(node.rstrip("0123456789"))
    return Partition(
        number=int(node[-digits:]),
        start_octets=int(one["start"]) * SECTOR_OCTETS,
        size_octets=int(one["size"]) * SECTOR_OCTETS,
        kind=str(one["type"]),
        bootable=bool(one.get("bootable", False)),
        uuid=str(one.get("uuid", "")) if table is Table.GPT else "",
        name=str(one.get("name", "")),
    )
