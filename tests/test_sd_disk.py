"""The guards before a disk is written, and the writing itself on a loop device."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.cli import flash_sd
from agent.errors import SettingsError, StorageError
from flash.sd import disk as disk_module
from flash.sd.disk import Disk, find_disk, judge_disk, write_disk

CARD = Disk(
    path="/dev/sdb",
    kind="disk",
    size_octets=31_914_983_424,
    removable=True,
    read_only=False,
    transport="usb",
    model="SD Card Reader",
    mounts=(),
    partitions=("/dev/sdb1", "/dev/sdb2"),
)
IMAGE_OCTETS = 3 * 2**30


def test_a_card_in_a_reader_may_be_written() -> None:
    judge_disk(CARD, IMAGE_OCTETS, i_know=False)
    judge_disk(replace(CARD, removable=False, transport="mmc", path="/dev/mmcblk1"), IMAGE_OCTETS, i_know=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "part", "path": "/dev/sdb1"}, "is a part, not a whole disk"),
        ({"kind": "crypt"}, "is a crypt, not a whole disk"),
        ({"read_only": True}, "look at the switch on the card"),
        ({"mounts": ("/", "/home")}, "the running system is on it (/)"),
        ({"mounts": ("[SWAP]",)}, "the running system is on it ([SWAP])"),
        ({"mounts": ("/boot/firmware",)}, "the running system is on it (/boot/firmware)"),
        ({"mounts": ("/media/me/rootfs",)}, "is mounted at /media/me/rootfs: unmount it"),
        ({"size_octets": 2**30}, "1073741824 octets are too few for a card of 3221225472"),
    ],
)
def test_what_is_never_written(changes: dict[str, Any], message: str) -> None:
    for i_know in (False, True):
        with pytest.raises(SettingsError, match=re.escape(message)):
            judge_disk(replace(CARD, **changes), IMAGE_OCTETS, i_know=i_know)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"removable": False, "transport": "nvme"}, "neither removable nor on USB or MMC"),
        ({"removable": False, "transport": "sata"}, "neither removable nor on USB or MMC"),
        ({"kind": "loop", "path": "/dev/loop3"}, "neither removable nor on USB or MMC"),
        ({"size_octets": 4_000_000_000_000}, "SD Card Reader 4000.0 GB is far larger than a card"),
    ],
)
def test_what_is_written_only_by_one_who_knows(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        judge_disk(replace(CARD, **changes), IMAGE_OCTETS, i_know=False)
    judge_disk(replace(CARD, **changes), IMAGE_OCTETS, i_know=True)


@pytest.mark.parametrize(("typed", "written"), [("SD Card Reader 31.9 GB", True), ("yes", False), ("", False)])
def test_the_person_types_which_disk_it_is(typed: str, written: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: typed)
    if written:
        flash_sd._ask(CARD, "raspios.img")
    else:
        with pytest.raises(SettingsError, match="nothing was written"):
            flash_sd._ask(CARD, "raspios.img")


def test_without_a_terminal_nobody_is_asked_and_nothing_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(SettingsError, match="--yes if this is the disk"):
        flash_sd._ask(CARD, "raspios.img")


def test_the_disk_of_this_machine_is_known_as_such() -> None:
    """Where the root of the machine that runs the tests is on a disk that lsblk knows."""
    if shutil.which("findmnt") is None or shutil.which("lsblk") is None:
        pytest.skip("needs findmnt and lsblk (Debian: util-linux)")
    source = subprocess.run(["findmnt", "-no", "SOURCE", "/"], capture_output=True, text=True, check=False).stdout
    path = Path(source.strip())
    if not path.is_block_device():
        pytest.skip(f"the root of this machine is on {source.strip() or 'nothing'}, no disk")
    with pytest.raises(SettingsError, match=r"the running system is on it|not a whole disk"):
        judge_disk(find_disk(path), 1, i_know=True)


def test_a_file_is_no_disk(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no block device"):
        find_disk(tmp_path)


# --- on a loop device, as root ----------------------------------------------------------------------------------------


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0 or shutil.which("losetup") is None:
        pytest.skip("needs root and losetup for loop devices")
    medium = tmp_path / "medium"
    medium.write_bytes(b"\xaa" * 4 * 2**20)
    done = subprocess.run(["losetup", "--find", "--show", str(medium)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no loop device to be had: {done.stderr.strip()}")
    device = Path(done.stdout.strip())
    yield device
    subprocess.run(["losetup", "--detach", str(device)], check=True)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "card.img"
    path.write_bytes(os.urandom(2**20 + 512) + bytes(2**20))
    return path


def test_every_octet_is_written_zeros_too_and_read_back(loop: Path, image: Path, tmp_path: Path) -> None:
    steps: list[tuple[str, int]] = []
    write_disk(image, find_disk(loop), lambda step, done, total: steps.append((step, done * 100 // total)))
    octets = image.read_bytes()
    assert (tmp_path / "medium").read_bytes() == octets + b"\xaa" * (4 * 2**20 - len(octets))
    assert [step for step in steps if step[1] == 100] == [("write", 100), ("compare", 100)]


def test_a_card_that_loses_octets_is_told(loop: Path, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = os.pwrite

    def loses(descriptor: int, piece: memoryview, offset: int) -> int:
        return len(piece) if offset == 2**20 else honest(descriptor, piece, offset)

    monkeypatch.setattr(disk_module.os, "pwrite", loses)
    with pytest.raises(StorageError, match="the card is bad, take another"):
        write_disk(image, find_disk(loop), lambda step, done, total: None)


def test_a_disk_in_use_is_not_opened(loop: Path, image: Path, tmp_path: Path) -> None:
    subprocess.run(["mke2fs", "-q", "-F", str(loop)], check=True, capture_output=True)
    (tmp_path / "mounted").mkdir()
    subprocess.run(["mount", str(loop), str(tmp_path / "mounted")], check=True)
    try:
        found = find_disk(loop)
        assert found.mounts == (str(tmp_path / "mounted"),)
        with pytest.raises(StorageError, match="is in use: unmount what is on it"):
            write_disk(image, found, lambda step, done, total: None)
    finally:
        subprocess.run(["umount", str(tmp_path / "mounted")], check=True)
