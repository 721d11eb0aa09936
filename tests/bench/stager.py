"""``python -m tests.bench.stager FILE FOLDER SLOT BLOCK``: stage an OTA file as the agent does, in its own process.

FOLDER holds ``trust/`` and the boot state, which is made anew. The octets come in blocks of BLOCK, read one by one.
"""

from __future__ import annotations

import sys
from pathlib import Path

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


def stage(file: Path, folder: Path, slot: Path, block_octets: int) -> str:
    """Returns "accepted" or the refusal. Every checkpoint makes the slot durable; the journal is not part of this."""
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
    with FileArea.open(state_path) as state_area, FileArea.open(slot) as area, file.open("rb") as octets:
        store = BootStateStore(state_area)
        store.replace(BootState())
        slots = FirmwareSlots(SlotsControl(store, {Slot.B: area}, Slot.A), {Slot.B: area}, tries=3)
        staging = Staging(slots.begin("B"), Form.GB_PPMID, requirements, OtaSettings().checkpoint_octets)
        while block := octets.read(block_octets):
            refusal = staging.feed(block, _keep_nothing)
            if refusal is not None:
                return str(refusal)
        verdict = staging.finish()
    return str(verdict) if isinstance(verdict, Refusal) else "accepted"


def _keep_nothing(_checkpoint: Checkpoint) -> None:
    """The journal's part."""


def main() -> int:
    """Exit code 1 for a refusal."""
    file, folder, slot, block_octets = sys.argv[1:]
    said = stage(Path(file), Path(folder), Path(slot), int(block_octets))
    sys.stdout.write(said + "\n")
    return said != "accepted"


if __name__ == "__main__":
    sys.exit(main())
