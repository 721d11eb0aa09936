"""What staging takes of memory: nothing that grows while an image streams; at the verdict, the image once."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from agent.boot.area import make_area_file
from agent.image.refusal import Acceptance
from tests.bench.stager import feed, open_staging
from tests.bench.staging import make_file, make_trust

SMALL_OCTETS, LARGE_OCTETS = 128 * 1024, 1024 * 1024
SLACK_OCTETS = 64 * 1024
VERDICT_OCTETS = 256 * 1024  # what the verdict takes beside the image: read-back pieces and P-256


def peaks(folder: Path, octets: int) -> tuple[int, int]:
    """The most that was allocated above the start: while all of it streamed in, and until the verdict."""
    folder.mkdir()
    make_trust(folder)
    path, slot = folder / "image.ota", folder / "slot.img"
    path.write_bytes(make_file(octets))
    make_area_file(slot, 2 * 1024 * 1024)
    tracemalloc.start()
    try:
        with open_staging(folder, slot) as staging, path.open("rb") as file:
            tracemalloc.reset_peak()
            start = tracemalloc.get_traced_memory()[0]
            assert feed(staging, file, 1000) is None
            streamed = tracemalloc.get_traced_memory()[1] - start
            assert isinstance(staging.finish(), Acceptance)
            return streamed, tracemalloc.get_traced_memory()[1] - start
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[int, int]]:
    folder = tmp_path_factory.mktemp("memory")
    peaks(folder / "first", SMALL_OCTETS)  # what is imported and cached once shall count for neither
    return {octets: peaks(folder / str(octets), octets) for octets in (SMALL_OCTETS, LARGE_OCTETS)}


def test_streaming_takes_no_more_for_a_larger_image(measured: dict[int, tuple[int, int]]) -> None:
    assert measured[LARGE_OCTETS][0] <= measured[SMALL_OCTETS][0] + SLACK_OCTETS


def test_the_verdict_holds_the_image_once(measured: dict[int, tuple[int, int]]) -> None:
    assert measured[LARGE_OCTETS][1] <= LARGE_OCTETS + VERDICT_OCTETS
