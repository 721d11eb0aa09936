"""Slots and boot state on real block devices: partitions of an MBR (logical ones) and of a GPT, named by PARTUUID."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from block_disk import GPT, MBR, PartitionedDisk, flushes, fresh_serial, partitioned_disk
from boot_factory import BOOT_ID, image_hash, small_image
from image_factory import make_key, requirements

from agent.boot import partitions
from agent.boot.area import FileArea, make_area_file
from agent.boot.control import SlotsControl
from agent.boot.engineer import report
from agent.boot.first_stage import FirstStage, choose
from agent.boot.partitions import locate
from agent.boot.places import SLOT_OCTETS, OpenPlaces, Places, open_places
from agent.boot.provision import provision
from agent.boot.state import Slot, SlotState
from agent.errors import StorageError
from agent.image.ota_form import Form
from agent.image.signature import key_hash

IMAGE_OCTETS = 300_000
OLD, NEW = small_image(1, octets=IMAGE_OCTETS), small_image(2, counter=2, octets=IMAGE_OCTETS)
ANY = {"maximum_octets": SLOT_OCTETS, "minimum_security_counter": 0, "running_version": None, "base_abi": ""}


@pytest.fixture(params=[MBR, GPT], ids=["mbr", "gpt"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PartitionedDisk]:
    with partitioned_disk(tmp_path, request.param, fresh_serial()) as disk:
        yield disk


@pytest.fixture
def places(disk: PartitionedDisk, tmp_path: Path) -> Places:
    """From a device.toml that names the partitions."""
    config = tmp_path / "device.toml"
    keys = ("slot_a", "slot_b", "boot_state")
    lines = [f'{key} = "PARTUUID={name}"' for key, name in zip(keys, disk.names, strict=True)]
    config.write_text("\n".join(["[storage]", *lines, 'keys = "keys"', ""]), encoding="utf-8")
    (tmp_path / "keys" / "trust").mkdir(parents=True)
    key = make_key().public_key().export_key(format="PEM")
    (tmp_path / "keys" / "trust" / "maker.pem").write_text(key, encoding="ascii")
    return Places.load(config)


@pytest.fixture
def opened(places: Places) -> Iterator[OpenPlaces]:
    provision(places, OLD, Form.GB_PPMID, requirements(slot_octets=SLOT_OCTETS, **ANY), again=False)
    with ExitStack() as stack:
        yield open_places(places, stack)


def stage(opened: OpenPlaces) -> None:
    control = SlotsControl(opened.store, opened.areas, Slot.A)
    writer = control.begin(Slot.B)
    for start in range(0, len(NEW), 4096):
        writer.write(NEW[start : start + 4096])
        writer.checkpoint()
    control.mark_written(Slot.B, writer.finish(), 2)


def boot(opened: OpenPlaces) -> Slot:
    first = FirstStage(opened.store, opened.areas, {key_hash(make_key()): make_key().public_key()}, BOOT_ID)
    try:
        started = first.choose()
    finally:
        first.close()
    assert started.descriptor is not None
    os.close(started.descriptor)
    return started.handover.slot


def test_an_update_from_partition_to_partition(disk: PartitionedDisk, opened: OpenPlaces) -> None:
    assert boot(opened) is Slot.A
    before = flushes(disk)
    stage(opened)
    assert flushes(disk) - before >= len(NEW) // 4096, "a checkpoint did not flush the disk's write cache"
    # What the disk itself holds, beneath partition and page cache:
    assert disk.image.read_bytes()[disk.starts[1] :][: len(NEW)] == NEW
    assert disk.image.read_bytes()[disk.starts[0] :][: len(OLD)] == OLD
    control = SlotsControl(opened.store, opened.areas, Slot.A)
    control.activate(Slot.B, tries=3)
    assert boot(opened) is Slot.B
    control = SlotsControl(opened.store, opened.areas, Slot.B)
    control.confirm()
    assert boot(opened) is Slot.B
    assert (control.status().active, control.status().security_counter) == (Slot.B, 2)
    assert control.status().slots[Slot.B].image_hash == image_hash(NEW)


def test_reading_the_medium_sees_what_the_cache_hides(disk: PartitionedDisk, opened: OpenPlaces) -> None:
    area = opened.areas[Slot.A]
    assert area.read(4096, 16) == OLD[4096:4112]
    with disk.image.open("r+b") as file:
        file.seek(disk.starts[0] + 4096)
        file.write(b"damaged beneath.")
        os.fsync(file.fileno())
    assert area.read(4096, 16) == OLD[4096:4112], "the cache was expected to hide the damage"
    assert area.read_medium(4096, 16) == b"damaged beneath."


def test_a_medium_that_loses_octets_is_found_before_the_slot_counts(
    disk: PartitionedDisk, opened: OpenPlaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = SlotsControl(opened.store, opened.areas, Slot.A)
    writer = control.begin(Slot.B)
    writer.write(NEW)
    honest = FileArea.sync

    def damages_after(area: FileArea) -> None:
        honest(area)
        with disk.image.open("r+b") as file:
            file.seek(disk.starts[1] + 8192)
            file.write(b"\0")
            os.fsync(file.fileno())

    monkeypatch.setattr(FileArea, "sync", damages_after)
    with pytest.raises(StorageError, match="reads back other octets than were written"):
        writer.finish()
    assert control.status().slots[Slot.B].state is SlotState.EMPTY


def test_an_erase_gives_the_room_back_to_the_medium(disk: PartitionedDisk, opened: OpenPlaces) -> None:
    area = opened.areas[Slot.B]
    area.write(0, os.urandom(4 * 1024 * 1024))
    area.sync()
    before = disk.image.stat().st_blocks
    area.erase(0, area.size_octets)
    area.sync()
    assert disk.image.stat().st_blocks <= before - 4 * 1024 * 1024 // 512
    assert area.read_medium(0, 4 * 1024 * 1024) == bytes(4 * 1024 * 1024)
    assert boot(opened) is Slot.A, "the erase reached beyond its partition"


def test_nothing_is_written_beyond_a_partition(opened: OpenPlaces) -> None:
    area = opened.areas[Slot.A]
    assert area.size_octets == SLOT_OCTETS
    with pytest.raises(StorageError, match="beyond its 16777216 octets"):
        area.write(SLOT_OCTETS - 1, b"xx")


def test_a_slot_whose_partition_is_gone_does_not_keep_the_other_from_running(
    opened: OpenPlaces, places: Places, tmp_path: Path
) -> None:
    gone = Places(
        {Slot.A: places.slots[Slot.A], Slot.B: tmp_path / "PARTUUID=00000000-09"},
        places.boot_state,
        places.trust,
        places.tries,
    )
    started = choose(gone)
    assert started is not None
    os.close(started.descriptor)
    assert started.handover.slot is Slot.A


def test_the_engineer_sees_what_the_partitions_hold(opened: OpenPlaces, places: Places) -> None:
    stage(opened)
    told = report(places, verify=True)
    assert all(slot.refusal is None for slot in told.slots)


def test_two_disks_with_one_partuuid_are_told_apart_by_a_person(tmp_path: Path) -> None:
    serial = fresh_serial()
    other = tmp_path / "copy"
    other.mkdir()
    with partitioned_disk(tmp_path, MBR, serial) as disk, partitioned_disk(other, MBR, serial):
        if (partitions.LINKS / disk.names[0]).exists():
            pytest.skip("udev keeps one link for both")
        with pytest.raises(StorageError, match=rf"PARTUUID={disk.names[0]}: /dev/\S+ and /dev/\S+ both bear it"):
            FileArea.open(Path(f"PARTUUID={disk.names[0]}"))


def test_a_partition_that_is_too_small_is_told(disk: PartitionedDisk) -> None:
    with pytest.raises(StorageError, match="make it larger"):
        make_area_file(Path(f"PARTUUID={disk.names[2]}"), SLOT_OCTETS)


def test_capital_letters_name_the_same_partition(disk: PartitionedDisk) -> None:
    assert locate(Path(f"PARTUUID={disk.names[0].upper()}")) == locate(Path(f"PARTUUID={disk.names[0]}"))


# --- without a block device -------------------------------------------------------------------------------------------


def test_a_link_of_udev_is_taken_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "LINKS", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    make_area_file(tmp_path / "a1b2c3d4-05", 4096)
    with FileArea.open(Path("/etc/han-agent/PARTUUID=A1B2C3D4-05")) as area:
        assert area.path == tmp_path / "a1b2c3d4-05"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (None, "no blkid to read the tables: install util-linux"),
        ("exit 2", "no such partition: put the medium in, or correct"),
        ("echo broken >&2; exit 8", "blkid failed: broken"),
        ("exit 4", "blkid failed: exit code 4"),
        ("echo /dev/sda1; echo /dev/sdb1", "/dev/sda1 and /dev/sdb1 both bear it"),
    ],
)
def test_errors_name_the_partuuid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, message: str
) -> None:
    monkeypatch.setattr(partitions, "LINKS", tmp_path / "links")
    monkeypatch.setenv("PATH", str(tmp_path))
    if script is not None:
        (tmp_path / "blkid").write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
        (tmp_path / "blkid").chmod(0o755)
    with pytest.raises(StorageError, match=rf"^PARTUUID=a1b2c3d4-05: .*{message}"):
        FileArea.open(Path("PARTUUID=a1b2c3d4-05"))


@pytest.mark.parametrize("name", ["", "a1b2c3d4", "../../sda1", "a1b2c3d4-05 -o value", "x" * 36])
def test_what_is_no_partuuid_asks_nobody(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(StorageError, match=r"lsblk -o NAME,SIZE,PARTUUID|does not exist"):
        FileArea.open(Path(f"PARTUUID={name}"))


def test_any_other_path_is_left_alone() -> None:
    assert locate(Path("slots/a.bin")) == Path("slots/a.bin")
