"""Factory provisioning: the first image goes into slot A as confirmed, slot B and the boot state start empty."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace

from agent.boot.area import BLOCK_OCTETS, make_area_file
from agent.boot.control import SlotsControl
from agent.boot.mark import read_mark
from agent.boot.partitions import locate
from agent.boot.places import BOOT_STATE_OCTETS, SLOT_OCTETS, OpenPlaces, Places, open_places
from agent.boot.refusal import BootRefusedError
from agent.boot.slots import capacity_octets
from agent.boot.state import BootState, Slot
from agent.boot.store import MINIMUM_OCTETS
from agent.errors import FormatError, StorageError
from agent.image import mcuboot, ota_file
from agent.image.mcuboot import ManufacturerImage
from agent.image.ota_form import Form
from agent.image.refusal import Refusal, refuse_format
from agent.image.verdict import Requirements, check_image, judge_file

OTA_MAGIC = (0x0BEEF11E).to_bytes(4, "little")  # OTA upgrade file identifier, ZCL 11.4.2


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What now lies in slot A."""

    version: str
    image_hash: bytes
    image_octets: int
    security_counter: int


def provision(places: Places, file: bytes, form: Form, requirements: Requirements, *, again: bool) -> Provisioned:
    """Make what is missing, write, confirm. Refuses a bad image before anything is touched.

    ``file`` is a Manufacturer Image, or an OTA file of ``form``. ``again`` starts over on a provisioned device and is
    the one deliberate way to lower the security counter. Raises BootRefusedError, StorageError.
    """
    octets, image = _extract(file, form, requirements)
    sizes = {**dict.fromkeys(places.slots.values(), SLOT_OCTETS), places.boot_state: BOOT_STATE_OCTETS}
    for path, size_octets in sizes.items():
        if not locate(path).exists():
            make_area_file(path, size_octets)
    with ExitStack() as stack:
        opened = open_places(places, stack)
        _check_room(opened, places, image)
        if not again:
            _check_unprovisioned(opened)
        return _write(opened, octets, image)


def _extract(file: bytes, form: Form, requirements: Requirements) -> tuple[bytes, ManufacturerImage]:
    """The image, judged, and its octets. Raises BootRefusedError."""
    try:
        if file[:4] == OTA_MAGIC:
            verdict = judge_file(file, form, requirements)
            if isinstance(verdict, Refusal):
                raise BootRefusedError(f"image {verdict}")
            octets = ota_file.parse(file, form).image
            return octets, mcuboot.parse(octets)
        image = mcuboot.parse(file)
        refusal = check_image(image, None, requirements)
    except FormatError as error:
        refusal = refuse_format(error)
    if refusal is not None:
        raise BootRefusedError(f"image {refusal}")
    return file, image


def _check_room(opened: OpenPlaces, places: Places, image: ManufacturerImage) -> None:
    for slot, area in opened.areas.items():
        if capacity_octets(area) < max(image.total_octets, BLOCK_OCTETS):
            raise StorageError(
                f"{places.slots[slot]}: {area.size_octets} octets are too few for an image of {image.total_octets} and "
                f"its confirmed mark; {SLOT_OCTETS} are usual"
            )
    if opened.store.size_octets < MINIMUM_OCTETS:
        raise StorageError(f"{places.boot_state}: too small for two copies; {BOOT_STATE_OCTETS} octets are usual")


def _check_unprovisioned(opened: OpenPlaces) -> None:
    marked = [slot.name for slot, area in opened.areas.items() if read_mark(area) is not None]
    if opened.store.load().state is not None or marked:
        raise BootRefusedError("this device is provisioned already; --again overwrites its firmware and boot state")


def _write(opened: OpenPlaces, octets: bytes, image: ManufacturerImage) -> Provisioned:
    opened.store.update(lambda state: replace(BootState(), sequence=state.sequence if state else 0))
    control = SlotsControl(opened.store, opened.areas, running=None)
    control.begin(Slot.B)
    writer = control.begin(Slot.A)
    writer.write(octets)
    written = writer.finish()
    counter = image.security_counter or 0
    control.mark_written(Slot.A, written, counter)
    control.mark_good(Slot.A)
    return Provisioned(str(image.version), written.image_hash, written.image_octets, counter)
