"""``python -m tests.bench.stager FILE FOLDER SLOT BLOCK``: stage an OTA file as the agent does, in its own process.

FOLDER holds ``trust/`` and the boot state, which is made anew. The octets come in blocks of BLOCK, read one by one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from agent.boot.area import FileArea
from agent.boot.control import SlotsControl
from agent.boot.places import BOOT_STATE_OCTETS
from agent.boot.state import BootState, Slot
from agent.boot.store import BootStateStore
from agent.image.ota_form import Form
from agent.image.refusal import Refusal
from agent.image.signature import load_trusted_keys
from agent.image.verdict import Requirements
from agent.settings import OtaSettings
from agent.update.firmware_slots import FirmwareSlots
from agent.update.staging import Checkpoint, Staging

MANUFACTURER_CODE, IMAGE_TYPE, HARDWARE_VERSION = 0x1234, 0x0001, 1
MAXIMUM_OCTETS = 10_240_000


@contextmanager
def open_staging(folder: Path, slot: Path) -> Iterator[Staging]:
    """The agent's staging into ``slot``, on its own boot state; the slot is not usable until the verdict."""
    state_path = folder / "boot-state.bin"
    state_path.write_bytes(bytes(BOOT_STATE_OCTETS))
    requirements = Requirements(
        manufacturer_code=MANUFACTURER_CODE,
        image_type=IMAGE_TYPE,
        hardware_version=HARDWARE_VERSION,
        trusted_keys=load_trusted_keys(folder / "trust"),
        maximum_octets=MAXIMUM_OCTETS,
        slot_octets=MAXIMUM_OCTETS,
    )
    with FileArea.open(state_path) as state_area, FileArea.open(slot) as area:
        store = BootStateStore(state_area)
        store.replace(BootState())
        slots = FirmwareSlots(SlotsControl(store, {Slot.B: area}, Slot.A), {Slot.B: area}, tries=3)
        yield Staging(slots.begin("B"), Form.GB_PPMID, requirements, OtaSettings().checkpoint_octets)


def feed(staging: Staging, file: BinaryIO, block_octets: int) -> Refusal | None:
    """Every octet of ``file``. Every checkpoint makes the slot durable; the journal is not part of this."""
    while block := file.read(block_octets):
        refusal = staging.feed(block, _keep_nothing)
        if refusal is not None:
            return refusal
    return None


def _keep_nothing(_checkpoint: Checkpoint) -> None:
    """The journal's part."""


def main() -> int:
    """Exit code 1 for a refusal."""
    file, folder, slot, block_octets = sys.argv[1:]
    with open_staging(Path(folder), Path(slot)) as staging, Path(file).open("rb") as octets:
        verdict = feed(staging, octets, int(block_octets)) or staging.finish()
    if isinstance(verdict, Refusal):
        sys.stderr.write(f"{verdict}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
