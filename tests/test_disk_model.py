"""The disk whose power can be cut: its semantics are what every power-cut test rests on."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_factory import steady

from agent.errors import StorageError
from boards.virtual.disk import SECTOR_OCTETS, Cut, Disk, PowerCut, Survival

SIZE = 8 * SECTOR_OCTETS


def test_reads_see_the_cache_and_the_medium_does_not() -> None:
    disk = Disk()
    area = disk.area("a", SIZE)
    area.write(10, b"new")
    assert area.read(10, 3) == b"new"
    assert area.read_medium(10, 3) == bytes(3)
    area.sync()
    assert area.read_medium(10, 3) == b"new"


def test_sync_is_of_one_area() -> None:
    disk = Disk()
    one, two = disk.area("one", SIZE), disk.area("two", SIZE)
    one.write(0, b"1")
    two.write(0, b"2")
    one.sync()
    disk.lose_power()
    disk.power_on()
    assert (one.read(0, 1), two.read(0, 1)) == (b"1", b"\0")


@pytest.mark.parametrize(("survival", "left"), [(Survival.LOST, b"\0\0"), (Survival.KEPT, b"xx")])
def test_the_interrupted_write_is_lost_or_kept(survival: Survival, left: bytes) -> None:
    disk = Disk()
    area = disk.area("a", SIZE)
    disk.cut_at(1, survival)
    with pytest.raises(PowerCut, match="#1 a write 100"):
        area.write(100, b"xx")
    disk.power_on()
    assert area.read(100, 2) == left


def test_a_torn_sector_is_part_old_and_part_new() -> None:
    torn = set()
    for seed in range(20):
        disk = Disk(seed)
        area = disk.area("a", SIZE)
        area.write(0, b"o" * SECTOR_OCTETS)
        area.sync()
        disk.cut_at(1, Survival.TORN)
        with pytest.raises(PowerCut):
            area.write(0, b"n" * SECTOR_OCTETS)
        disk.power_on()
        torn.add(area.read(0, SECTOR_OCTETS))
    assert len(torn) > 10
    assert all(set(sector) == {ord("o"), ord("n")} for sector in torn)


def test_unsynced_writes_are_lost_in_any_order() -> None:
    seen = set()
    for seed in range(60):
        disk = Disk(seed)
        area = disk.area("a", SIZE)
        area.write(0, b"1")
        area.write(SECTOR_OCTETS, b"2")
        disk.lose_power(Survival.MIXED)
        disk.power_on()
        seen.add((area.read(0, 1), area.read(SECTOR_OCTETS, 1)))
    assert seen == {(b"\0", b"\0"), (b"1", b"\0"), (b"\0", b"2"), (b"1", b"2")}


def test_a_kill_keeps_the_cache_until_the_power_goes() -> None:
    disk = Disk()
    area = disk.area("a", SIZE)
    disk.cut_at(1, cut=Cut.KILL)
    with pytest.raises(PowerCut):
        area.write(0, b"x")
    disk.power_on()
    assert area.read(0, 1) == b"x"
    disk.lose_power(Survival.LOST)
    disk.power_on()
    assert area.read(0, 1) == b"\0"


def test_nothing_works_while_the_power_is_off() -> None:
    disk = Disk()
    area = disk.area("a", SIZE)
    disk.lose_power()
    for attempt in (lambda: area.read(0, 1), lambda: area.write(0, b"x"), area.sync, lambda: area.erase(0, 1)):
        with pytest.raises(PowerCut):
            attempt()


def test_bounds_and_damage() -> None:
    disk = Disk()
    area = disk.area("a", SIZE)
    for offset, length in ((SIZE, 1), (-1, 1), (0, SIZE + 1)):
        with pytest.raises(StorageError, match="beyond"):
            area.read(offset, length)
    area.damage(5, 0x80)
    assert area.read_medium(5, 1) == b"\x80"


@steady
@given(st.lists(st.tuples(st.sampled_from(["write", "erase", "sync"]), st.integers(0, SIZE - 1), st.integers(0, 700))))
def test_without_a_cut_it_is_an_array(steps: list[tuple[str, int, int]]) -> None:
    area = Disk().area("a", SIZE)
    expected = bytearray(SIZE)
    choose = random.Random(1)
    for kind, offset, wanted in steps:
        length = min(wanted, SIZE - offset)
        data = choose.randbytes(length)
        if kind == "sync":
            area.sync()
        elif kind == "erase":
            area.erase(offset, length)
            expected[offset : offset + length] = bytes(length)
        else:
            area.write(offset, data)
            expected[offset : offset + length] = data
        assert area.read(0, SIZE) == expected
    area.sync()
    assert area.read_medium(0, SIZE) == expected
