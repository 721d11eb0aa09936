"""What staging takes of memory: nothing that grows with the image, neither while it streams in nor at the verdict."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from agent.boot.area import make_area_file
from agent.boot.places import SLOT_OCTETS
from agent.image.refusal import Acceptance, Refusal
from agent.update.staging import Staging
from tests.bench.stager import MAXIMUM_OCTETS, feed, open_staging
from tests.bench.staging import make_file, make_trust

SMALL_OCTETS = 128 * 1024
SLACK_OCTETS = 64 * 1024  # one piece that is read back


def peaks(folder: Path, octets: int) -> tuple[int, int]:
    """The most that was allocated above the start: while all of it streamed in, and until the verdict."""
    folder.mkdir()
    make_trust(folder)
    path, slot = folder / "image.ota", folder / "slot.img"
    path.write_bytes(make_file(octets))
    make_area_file(slot, SLOT_OCTETS)
    tracemalloc.start()
    try:
        with open_staging(folder, slot) as staging, path.open("rb") as file:
            tracemalloc.reset_peak()
            start = tracemalloc.get_traced_memory()[0]
            assert feed(staging, file, 4096) is None
            streamed = tracemalloc.get_traced_memory()[1] - start
            assert isinstance(staging.finish(), Acceptance)
            return streamed, tracemalloc.get_traced_memory()[1] - start
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[int, int]]:
    folder = tmp_path_factory.mktemp("memory")
    peaks(folder / "first", SMALL_OCTETS)  # what is imported and cached once shall count for neither
    return {octets: peaks(folder / str(octets), octets) for octets in (SMALL_OCTETS, MAXIMUM_OCTETS)}


def test_streaming_takes_no_more_for_the_largest_image(measured: dict[int, tuple[int, int]]) -> None:
    assert measured[MAXIMUM_OCTETS][0] <= measured[SMALL_OCTETS][0] + SLACK_OCTETS


def test_the_verdict_takes_no_more_for_the_largest_image(measured: dict[int, tuple[int, int]]) -> None:
    assert measured[MAXIMUM_OCTETS][1] <= measured[SMALL_OCTETS][1] + SLACK_OCTETS


def staged(folder: Path, octets: bytes) -> tuple[Staging, Acceptance | Refusal]:
    """The file fed as a whole, and its verdict."""
    path, slot = folder / "image.ota", folder / "slot.img"
    path.write_bytes(octets)
    make_area_file(slot, SLOT_OCTETS)
    with open_staging(folder, slot) as staging, path.open("rb") as file:
        return staging, feed(staging, file, 50_000) or staging.finish()


@pytest.mark.parametrize("back", [1, 40, 75, 140, 150, 70_000, 129_000])
def test_an_octet_flipped_anywhere_is_refused_by_what_the_slot_gives_back(tmp_path: Path, back: int) -> None:
    """Hash and TLVs are read in pieces: a flip before, in and behind the last of them."""
    make_trust(tmp_path)
    whole = make_file(SMALL_OCTETS)
    staging, verdict = staged(tmp_path, whole)
    assert isinstance(verdict, Acceptance)
    assert verdict.manufacturer_image_hash == staging.image_hash
    damaged = bytearray(whole)
    damaged[-back] ^= 0x10
    assert isinstance(staged(tmp_path, bytes(damaged))[1], Refusal)
