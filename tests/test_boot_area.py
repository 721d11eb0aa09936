"""The area on files and block devices."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_factory import steady

from agent.boot.area import FileArea, explain, make_area_file
from agent.errors import StorageError

SIZE = 64 * 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "slot.bin"
    make_area_file(path, SIZE)
    return path


def test_written_octets_come_back_also_past_the_cache(path: Path) -> None:
    with FileArea.open(path) as area:
        area.write(5000, b"firmware" * 1000)
        area.sync()
        assert area.size_octets == SIZE
        for read in (area.read, area.read_medium):
            assert read(4999, 8002) == b"\0" + b"firmware" * 1000 + b"\0"
            assert read(SIZE - 3, 3) == bytes(3)
            assert read(0, 0) == b""


@given(st.integers(0, SIZE), st.integers(0, SIZE))
@settings(steady, max_examples=30)
def test_any_range_past_the_cache_and_any_erase(tmp_path_factory: pytest.TempPathFactory, one: int, two: int) -> None:
    path = tmp_path_factory.mktemp("area") / "slot.bin"
    make_area_file(path, SIZE)
    start, end = sorted((one, two))
    data = os.urandom(SIZE)
    with FileArea.open(path) as area:
        area.write(0, data)
        area.sync()
        assert area.read_medium(start, end - start) == data[start:end]
        area.erase(start, end - start)
        area.sync()
        assert area.read_medium(0, SIZE) == data[:start] + bytes(end - start) + data[end:]


def test_an_erased_file_gives_its_room_back(path: Path) -> None:
    with FileArea.open(path) as area:
        area.write(0, b"\xff" * SIZE)
        area.sync()
        before = path.stat().st_blocks
        area.erase(0, SIZE)
        area.sync()
    assert path.stat().st_blocks < before


def test_bounds(path: Path) -> None:
    with FileArea.open(path) as area:
        for offset, length in ((SIZE, 1), (-1, 1), (0, SIZE + 1)):
            with pytest.raises(StorageError, match="beyond its 65536 octets"):
                area.read(offset, length)
        with pytest.raises(StorageError, match="beyond"):
            area.write(SIZE - 1, b"xx")


def test_a_read_only_area_takes_nothing(path: Path) -> None:
    with FileArea.open(path, read_only=True) as area:
        for attempt in (lambda: area.write(0, b"x"), area.sync, lambda: area.erase(0, 1)):
            with pytest.raises(StorageError, match="read-only"):
                attempt()
        assert area.read(0, 1) == b"\0"


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"slot\.bin: cannot open: No such file.*provision"):
        FileArea.open(tmp_path / "slot.bin")
    with pytest.raises(StorageError, match="folder"):
        FileArea.open(tmp_path)
    with pytest.raises(StorageError, match="neither a regular file nor a block device"):
        FileArea.open(Path("/dev/null"))


def test_a_file_cut_short_is_an_error_and_no_zeros(path: Path) -> None:
    with FileArea.open(path) as area:
        os.truncate(path, 4096)
        with pytest.raises(StorageError, match="cut short"):
            area.read(0, 8192)
        with pytest.raises(StorageError, match="slot"):
            area.read_medium(0, 8192)


def test_making_an_area_keeps_what_is_there(path: Path) -> None:
    path.write_bytes(b"kept")
    make_area_file(path, SIZE)
    assert path.stat().st_size == SIZE
    assert path.stat().st_blocks * 512 < SIZE, "not sparse"
    make_area_file(path, 100)
    assert path.stat().st_size == SIZE
    assert path.read_bytes()[:4] == b"kept"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES])
def test_errors_name_path_operation_and_remedy(number: int) -> None:
    text = str(explain(OSError(number, "x"), Path("slot-a"), "write at octet 4096"))
    assert text.startswith(f"slot-a: cannot write at octet 4096: {os.strerror(number)}; ")


def test_a_full_file_system_is_a_storage_error(small_file_system: Path) -> None:
    path = small_file_system / "slot.bin"
    make_area_file(path, 1024 * 1024)
    with (
        FileArea.open(path) as area,
        pytest.raises(StorageError, match=r"No space left on device; the file system is full"),
    ):
        area.write(0, b"x" * 1024 * 1024)


def test_only_one_process_changes_at_a_time(path: Path) -> None:
    with FileArea.open(path) as area:
        command = ["flock", "--exclusive", "--nonblock", str(path), "true"]
        with area.exclusive():
            assert subprocess.run(command, check=False).returncode == 1
        assert subprocess.run(command, check=False).returncode == 0


def test_a_block_device_is_written_read_past_the_cache_and_discarded(loop_device: Path) -> None:
    with FileArea.open(loop_device) as area:
        assert area.size_octets == 1024 * 1024
        area.write(0, b"\xff" * 100_000)
        area.sync()
        assert area.read_medium(99_990, 20) == b"\xff" * 10 + bytes(10)
        area.erase(5000, 90_000)
        area.sync()
        assert area.read_medium(4990, 90_020) == b"\xff" * 10 + bytes(90_000) + b"\xff" * 10
    make_area_file(loop_device, 1024 * 1024)
    with pytest.raises(StorageError, match="make it larger"):
        make_area_file(loop_device, 2 * 1024 * 1024)


@pytest.fixture
def small_file_system(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("needs root to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def loop_device(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk.img"
    make_area_file(path, 1024 * 1024)
    done = subprocess.run(["losetup", "--find", "--show", str(path)], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs root and loop devices: {done.stderr.strip()}")
    device = done.stdout.strip()
    yield Path(device)
    subprocess.run(["losetup", "--detach", device], check=True)
