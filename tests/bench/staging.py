"""Staging an image of 1 MiB and one of the largest size allowed: this agent, and RAUC and SWUpdate where they are."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from image_factory import craft, make_key, ota

from agent.boot.area import make_area_file
from agent.boot.places import SLOT_OCTETS
from agent.image.ota_form import Form
from agent.image.ota_header import OtaHeader
from agent.image.version import Version
from agent.settings import OtaSettings
from tests.bench import rivals
from tests.bench.measure import BenchError, Cost, Row, cost_of
from tests.bench.stager import HARDWARE_VERSION, IMAGE_TYPE, MANUFACTURER_CODE, MAXIMUM_OCTETS

OVERHEAD_OCTETS = 1024  # room for headers and TLVs round the payload
SIZES = (1024 * 1024, MAXIMUM_OCTETS)  # of the OTA file
WHOLE_READS_OCTETS = 64 * 1024  # blocks as large as a tool reads that has the whole file


def measure() -> list[Row]:
    """Per size: every figure of RAUC and SWUpdate as the reference of ours; and our memory, large against small."""
    with tempfile.TemporaryDirectory(prefix="han-bench-") as name, _slot(Path(name)) as (slot, medium):
        folder = Path(name)
        make_trust(folder)
        rows: list[Row] = []
        small, *_, large = [_measure_size(folder, slot, medium, octets, rows) for octets in SIZES]
        what = "peak memory, largest against 1 MiB"
        rows.append(Row(f"staging ({medium})", what, _mib(large), "MiB", _mib(small), "this agent at 1 MiB"))
    return rows


def make_file(octets: int) -> bytes:
    """A signed OTA file of at most ``octets``, full of what does not compress."""
    payload = random.Random(octets).randbytes(octets - OVERHEAD_OCTETS)
    header = OtaHeader(
        manufacturer_code=MANUFACTURER_CODE,
        image_type=IMAGE_TYPE,
        file_version=Version(1, 1, 0).file_version,
        total_octets=0,
        header_string=b"for the bench",
        hardware_versions=(HARDWARE_VERSION, HARDWARE_VERSION),
    )
    return ota(craft(payload=payload), Form.GB_PPMID, header)


def stage(file: Path, folder: Path, slot: Path, block_octets: int) -> Cost:
    """This agent's staging as a process of its own. Raises BenchError when the image is refused."""
    return cost_of([sys.executable, "-m", "tests.bench.stager", file, folder, slot, str(block_octets)])


def _measure_size(folder: Path, slot: Path, medium: str, octets: int, rows: list[Row]) -> Cost:
    """Adds the rows of one size; our cost with large blocks."""
    file = folder / "image.ota"
    file.write_bytes(make_file(octets))
    air = stage(file, folder, slot, OtaSettings().block_octets)
    ours = stage(file, folder, slot, WHOLE_READS_OCTETS)  # as the others read
    part = f"staging {octets / 1e6:.4g} MB ({medium})"
    rows += _compare(part, ours, air, f"this agent fed {OtaSettings().block_octets} octets at a time")
    for rival in rivals.installed():
        rows += _compare(part, ours, rival.install(file, folder, slot), rival.name)
    return ours


def _compare(part: str, ours: Cost, theirs: Cost, name: str) -> list[Row]:
    return [
        Row(part, "time", ours.wall_s * 1000, "ms", theirs.wall_s * 1000, name),
        Row(part, "CPU", ours.cpu_s * 1000, "ms", theirs.cpu_s * 1000, name),
        Row(part, "peak memory", _mib(ours), "MiB", _mib(theirs), name),
    ]


def _mib(cost: Cost) -> float:
    return cost.peak_octets / 2**20


def make_trust(folder: Path) -> None:
    """The public key of ``make_file``'s signer, in ``folder``."""
    (folder / "trust").mkdir()
    pem = make_key().public_key().export_key(format="PEM")
    (folder / "trust" / "manufacturer.pem").write_text(pem, encoding="ascii")


@contextmanager
def _slot(folder: Path) -> Iterator[tuple[Path, str]]:
    """A loop device where root may make one, otherwise a file; and which of them it is."""
    path = folder / "slot.img"
    make_area_file(path, SLOT_OCTETS)
    command = ["losetup", "--find", "--show", str(path)]
    done = None
    if os.geteuid() == 0:
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True)
        except FileNotFoundError:
            done = None
    if done is None or done.returncode:
        yield path, "file"
        return
    device = done.stdout.strip()
    try:
        yield Path(device), "loop device"
    finally:
        if subprocess.run(["losetup", "--detach", device], check=False).returncode:
            raise BenchError(f"{device} is still in use; detach it: losetup --detach {device}")
