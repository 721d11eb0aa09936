"""Devices for the tests of slots and first stage: in memory, with power that can be cut, or in files."""

from __future__ import annotations

import io
import os
import struct
import sys
import venv
import zipfile
from functools import cache
from pathlib import Path

from image_factory import craft, imgtool_image, make_key

from agent.boot.control import SlotsControl
from agent.boot.first_stage import FirstStage, Started
from agent.boot.state import BootState, Slot
from agent.boot.store import BootStateStore
from agent.image import mcuboot
from agent.image.signature import key_hash
from agent.image.version import Version
from boards.virtual.disk import Disk
from flash.image_sign import ImageFacts

SLOT_OCTETS = 32 * 1024
STATE_OCTETS = 128 * 1024
BOOT_ID = bytes(range(16))
ROOT = Path(__file__).parents[1]


@cache
def small_image(revision: int, counter: int = 1, octets: int = 9000) -> bytes:
    """A signed image of version 1.0.revision, of no use but to be verified."""
    payload = bytes([revision & 0xFF]) * octets
    return craft(
        payload=payload,
        version=(1, 0, revision),
        protected=((mcuboot.SECURITY_COUNTER, struct.pack("<I", counter)),),
    )


def zipapp_image(source: str, version: Version, counter: int = 1) -> bytes:
    """``source`` as the main program of a zip, signed by imgtool. ``agent`` in it has one module, ``agent.tell``."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("agent/__init__.py", "")
        archive.writestr("agent/tell.py", f"VERSION = {str(version)!r}\n")
        archive.writestr("__main__.py", source)
    return imgtool_image(buffer.getvalue(), ImageFacts(version=version, security_counter=counter))


def image_hash(image: bytes) -> bytes:
    return mcuboot.parse(image).manufacturer_image_hash()


class Board:
    """Two slots and a boot state on a disk in memory."""

    def __init__(self, seed: int = 0) -> None:
        self.disk = Disk(seed)
        self.keys = {key_hash(make_key()): make_key().public_key()}
        self.areas = {slot: self.disk.area(f"slot {slot.name}", SLOT_OCTETS) for slot in Slot}
        self.state_area = self.disk.area("boot state", STATE_OCTETS)
        self.store = BootStateStore(self.state_area)

    def control(self, running: Slot | None) -> SlotsControl:
        return SlotsControl(self.store, self.areas, running)

    def boot(self, boot_id: bytes = BOOT_ID, service_result: str = "") -> Started:
        """One start of the first stage. The copy is closed: only the choice counts here."""
        stage = FirstStage(self.store, self.areas, self.keys, boot_id)
        try:
            started = stage.choose(service_result)
        finally:
            stage.close()
        if started.descriptor is not None:
            os.close(started.descriptor)
        return started

    def provision(self, image: bytes) -> None:
        """Slot A confirmed with ``image``."""
        self.store.replace(BootState())
        self.write(None, Slot.A, image)
        self.control(None).mark_good(Slot.A)

    def write(self, running: Slot | None, slot: Slot, image: bytes) -> None:
        """The whole of staging: begin, write, finish, mark as written."""
        control = self.control(running)
        writer = control.begin(slot)
        for start in range(0, len(image), 1500):
            writer.write(image[start : start + 1500])
            writer.checkpoint()
        written = writer.finish()
        control.mark_written(slot, written, mcuboot.parse(image).security_counter or 0)


def make_base(folder: Path) -> Path:
    """A base system as provisioned: an environment of its own in which this source is installed. Returns its python."""
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    here = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "base.pth").write_text("\n".join([str(ROOT), *here]) + "\n", encoding="utf-8")
    return folder / "bin" / "python"
