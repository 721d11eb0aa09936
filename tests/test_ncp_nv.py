"""NV memory: items, and what is on disk after every commit."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import StorageError
from boards.virtual.ncp.nv import NvMemory, old_item


def test_committed_items_are_there_for_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "chip.nv"
    memory = NvMemory(path)
    memory.put(old_item(0x0087), b"\x01")
    memory.put((1, 4, 2), bytes(20))
    memory.commit()
    memory.put(old_item(0x0087), b"\x02")  # never committed: as if the process were killed here
    assert NvMemory(path).get(old_item(0x0087)) == b"\x01"
    assert list(NvMemory(path).table(4)) == [(2, bytes(20))]
    assert [entry.name for entry in tmp_path.iterdir()] == ["chip.nv"]


def test_a_write_stays_inside_its_item() -> None:
    memory = NvMemory()
    memory.put(old_item(0x21), b"abcd")
    assert memory.write(old_item(0x21), 1, b"XY")
    assert memory.get(old_item(0x21)) == b"aXYd"
    assert not memory.write(old_item(0x21), 3, b"XY")
    assert not memory.write(old_item(0x22), 0, b"X")
    assert memory.get(old_item(0x21)) == b"aXYd"


def test_delete_and_length() -> None:
    memory = NvMemory()
    memory.put((1, 7, 0), b"123")
    assert memory.length((1, 7, 0)) == 3
    assert memory.delete((1, 7, 0))
    assert not memory.delete((1, 7, 0))
    assert memory.length((1, 7, 0)) == 0


@given(st.binary(max_size=60))
def test_only_storage_error_escapes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("nv") / "chip.nv"
    path.write_bytes(content)
    with contextlib.suppress(StorageError):
        assert NvMemory(path).keys() == []


def test_the_error_names_the_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "chip.nv"
    path.write_text('{"01.0000.0021": 7}')
    with pytest.raises(StorageError, match=r"chip\.nv: not the NV memory"):
        NvMemory(path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    memory = NvMemory(tmp_path / "gone" / "chip.nv")
    memory.put((1, 0, 1), b"x")
    with pytest.raises(StorageError, match="--nv-dir"):
        memory.commit()
