"""The card's layout as data: nothing overlaps, everything is aligned and within the card."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.boot.places import BOOT_STATE_OCTETS, SLOT_OCTETS
from agent.errors import SettingsError
from flash.sd.layout import (
    ALIGNMENT_OCTETS,
    GPT_LINUX,
    GPT_TAIL_OCTETS,
    SECTOR_OCTETS,
    Layout,
    Part,
    Partition,
    Table,
    Wishes,
    plan_card,
    seeded_disk_id,
    sfdisk_script,
)
from flash.sd.table import read_table, write_table
from tests.pi_image import need_tools

MIB = 2**20
OURS = {Part.SLOT_A, Part.SLOT_B, Part.BOOT_STATE, Part.DATA}


def image(table: Table = Table.MBR, root_octets: int = 512 * MIB, boot: bool = True) -> Layout:
    """As pi-gen lays it: boot at 4 MiB, root behind it."""
    fat, linux = ("c", "83") if table is Table.MBR else ("C12A7328-F81F-11D2-BA4B-00A0C93EC93B", GPT_LINUX)
    start = 68 * MIB if boot else 4 * MIB
    one, two = "11111111-0000-4000-8000-000000000001", "11111111-0000-4000-8000-000000000002"
    gpt = table is Table.GPT
    partitions = [Partition(1, 4 * MIB, 64 * MIB, fat, uuid=one if gpt else "")] if boot else []
    partitions.append(Partition(2, start, root_octets, linux, uuid=two if gpt else ""))
    disk_id = "11111111-0000-4000-8000-00000000000f" if gpt else "1234abcd"
    return Layout(table, disk_id, tuple(partitions), start + root_octets)


sectors = st.integers(1, 2**20).map(lambda count: count * SECTOR_OCTETS)


@given(
    had=st.sampled_from(Table),
    table=st.sampled_from([None, *Table]),
    root_octets=sectors,
    more_octets=st.none() | st.integers(0, 8 * 2**30),
    data_octets=st.integers(16 * MIB, 64 * 2**30),
    boot=st.booleans(),
)
def test_every_layout_is_sound(
    had: Table, table: Table | None, root_octets: int, more_octets: int | None, data_octets: int, boot: bool
) -> None:
    if (had, table) == (Table.GPT, Table.MBR):
        return
    given_image = image(had, root_octets, boot)
    wished = None if more_octets is None else root_octets + more_octets
    layout = plan_card(given_image, 2, Wishes("seed", table, wished, data_octets))
    assert layout.table is (table or had)
    assert {one.part for one in layout.partitions if one.part} == OURS
    ordinary = [one for one in layout.partitions if one.kind != "f"]
    for one, other in itertools.combinations(ordinary, 2):
        assert one.end_octets <= other.start_octets or other.end_octets <= one.start_octets, (one, other)
    for one in layout.partitions:
        assert one.start_octets % SECTOR_OCTETS == one.size_octets % SECTOR_OCTETS == 0
        assert one.part is None or one.start_octets % ALIGNMENT_OCTETS == 0
    tail = GPT_TAIL_OCTETS if layout.table is Table.GPT else 0
    assert max(one.end_octets for one in layout.partitions) + tail <= layout.size_octets
    assert layout.find(Part.DATA).size_octets >= data_octets
    assert layout.find(Part.SLOT_A).size_octets == layout.find(Part.SLOT_B).size_octets == SLOT_OCTETS
    assert layout.find(Part.BOOT_STATE).size_octets == BOOT_STATE_OCTETS
    _check_kept(given_image, layout, wished)
    if layout.table is Table.MBR:
        _check_extended(layout)
    names = [layout.partuuid(one.number) for one in layout.partitions]
    assert len(set(names)) == len(names)


def _check_kept(had: Layout, layout: Layout, wished: int | None) -> None:
    """The image's own lie where they lay: their octets are copied, not moved."""
    for one in had.partitions:
        now = layout[one.number]
        assert now.start_octets == one.start_octets
        assert now.size_octets >= (wished or 0 if one.number == 2 else one.size_octets)


def _check_extended(layout: Layout) -> None:
    """It holds every logical one, each with a sector before it for its EBR that nothing else has."""
    (extended,) = (one for one in layout.partitions if one.kind == "f")
    logical = [one for one in layout.partitions if one.number >= 5]
    before = extended.start_octets
    for one in logical:
        assert before + SECTOR_OCTETS <= one.start_octets
        before = one.end_octets
    assert before <= extended.end_octets
    outside = [one for one in layout.partitions if one.number < 5 and one is not extended]
    assert all(one.end_octets <= extended.start_octets for one in outside)


@pytest.mark.parametrize("table", Table)
@pytest.mark.parametrize("had", Table)
def test_sfdisk_reads_back_what_was_planned(tmp_path: Path, had: Table, table: Table) -> None:
    if (had, table) == (Table.GPT, Table.MBR):
        with pytest.raises(SettingsError, match="--table mbr: the image has a GPT"):
            plan_card(image(had), 2, Wishes("seed", table))
        return
    need_tools()
    disk = tmp_path / "disk.img"
    disk.touch()
    layout = plan_card(image(had), 2, Wishes("seed", table, 700 * MIB))
    write_table(disk, layout)
    found = read_table(disk)
    assert (found.table, found.size_octets) == (layout.table, layout.size_octets)
    for one in layout.partitions:
        other = found[one.number]
        assert (one.start_octets, one.size_octets) == (other.start_octets, other.size_octets)
        assert layout.partuuid(one.number) == found.partuuid(one.number).lower()
    told = subprocess.run(["sfdisk", "--verify", disk], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr


def test_the_same_seed_makes_the_same_table_and_another_one_another() -> None:
    one, other = (
        sfdisk_script(plan_card(image(), 2, Wishes(seed))) for seed in ("02DB000000000001", "02DB000000000002")
    )
    assert one == sfdisk_script(plan_card(image(), 2, Wishes("02DB000000000001")))
    assert f"label-id: 0x{seeded_disk_id('02DB000000000001')}" in one
    assert one != other


MBR_FULL = Layout(
    Table.MBR, "1234abcd", tuple(Partition(n, n * 64 * MIB, 32 * MIB, "83") for n in range(1, 5)), 512 * MIB
)
EXTENDED = Layout(
    Table.MBR,
    "1234abcd",
    (Partition(1, 4 * MIB, 32 * MIB, "c"), Partition(2, 64 * MIB, 64 * MIB, "83"), Partition(4, 128 * MIB, MIB, "5")),
    512 * MIB,
)
BEHIND = Layout(
    Table.MBR, "1234abcd", (Partition(2, 4 * MIB, 32 * MIB, "83"), Partition(3, 64 * MIB, MIB, "83")), 512 * MIB
)


@pytest.mark.parametrize(
    ("had", "wishes", "message"),
    [
        (MBR_FULL, Wishes(""), "four partitions: no room"),
        (EXTENDED, Wishes(""), "has an extended partition.*made by flash sd before"),
        (BEHIND, Wishes("", root_octets=99 * MIB), "another partition lies behind the image's root"),
        (image(), Wishes("", root_octets=99 * MIB), "fewer than the 536870912 that the image's root has"),
        (image(), Wishes("", data_octets=MIB), "--data-size: 1048576 octets, at least"),
        (image(), Wishes("", data_octets=3 * 2**40), "an MBR ends at"),
        (plan_card(image(Table.GPT), 2, Wishes("")), Wishes(""), "has the agent's partitions already"),
        (plan_card(image(), 2, Wishes("")), Wishes(""), "has an extended partition"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(had: Layout, wishes: Wishes, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        plan_card(had, 2, wishes)
