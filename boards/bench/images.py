"""The images that the OTA server holds, and which of them a device is offered (ZCL 11.13.5)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from agent.events import format_eui
from boards.bench.settings import Activation, ActivationKind

NOW = Activation(ActivationKind.NOW)

FileId = tuple[int, int, int]  # manufacturer code, image type, file version


@dataclass(frozen=True, slots=True)
class ServedImage:
    """One OTA file, whole, with whom it is for. ``hardware`` is an inclusive range or None for any."""

    name: str
    manufacturer: int
    image_type: int
    file_version: int
    octets: bytes = field(repr=False)
    form: str = "gb-ppmid"
    hardware: tuple[int, int] | None = None
    target: int | None = None  # the header's upgrade file destination
    devices: frozenset[int] = frozenset()  # empty: every device
    activation: Activation = NOW
    also_older: bool = False

    @property
    def file_id(self) -> FileId:
        """What block requests name."""
        return self.manufacturer, self.image_type, self.file_version

    def is_for(self, device_eui: int) -> bool:
        """The file's own destination and the operator's list both allow this device."""
        return self.target in (None, device_eui) and (not self.devices or device_eui in self.devices)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a query asks for. ``device_specific``: only files whose header names this device."""

    device_eui: int
    manufacturer: int
    image_type: int
    running_version: int
    hardware_version: int | None
    device_specific: bool = False


@dataclass(frozen=True, slots=True)
class NotOffered:
    """Why a query gets no image; ``mismatched_version``: there is one for this device, but for other hardware."""

    reason: str
    mismatched_version: int | None = None


@dataclass(slots=True)
class ImageTable:
    """Images by name; of several that fit, the highest version wins. Withdrawn ones are remembered to answer ABORT."""

    images: dict[str, ServedImage] = field(default_factory=dict)
    withdrawn: set[FileId] = field(default_factory=set)

    def add(self, image: ServedImage) -> None:
        """Offer it, in place of one of the same name."""
        self.images[image.name] = image
        self.withdrawn.discard(image.file_id)

    def withdraw(self, name: str) -> ServedImage | None:
        """Offer it no more; a transfer under way gets ABORT. None when there is no such name."""
        image = self.images.pop(name, None)
        if image is not None:
            self.withdrawn.add(image.file_id)
        return image

    def set_activation(self, name: str, activation: Activation) -> ServedImage | None:
        """Another answer to the Upgrade End Request from now on."""
        image = self.images.get(name)
        if image is None:
            return None
        self.images[name] = replace(image, activation=activation)
        return self.images[name]

    def by_file_id(self, file_id: FileId, device_eui: int) -> ServedImage | None:
        """The image that a block request names, if it is for this device."""
        fitting = (image for image in self.images.values() if image.file_id == file_id and image.is_for(device_eui))
        return next(fitting, None)

    def for_device(self, device_eui: int) -> ServedImage | None:
        """What to notify a device of, before anything is known about it."""
        fitting = [image for image in self.images.values() if image.is_for(device_eui)]
        return max(fitting, key=lambda image: image.file_version, default=None)

    def find(self, wanted: Wanted) -> ServedImage | NotOffered:
        """The image to offer, or why there is none."""
        candidates = [
            image
            for image in self.images.values()
            if (image.manufacturer, image.image_type) == (wanted.manufacturer, wanted.image_type)
            and not (wanted.device_specific and image.target is None)
        ]
        if not candidates:
            kind = f"manufacturer 0x{wanted.manufacturer:04X}, type 0x{wanted.image_type:04X}"
            return NotOffered(f"no image of {kind}")
        reasons = {image.name: _why_not(image, wanted) for image in candidates}
        fitting = [image for image in candidates if not reasons[image.name]]
        if fitting:
            return max(fitting, key=lambda image: image.file_version)
        wrong_hardware = (one for one in candidates if one.is_for(wanted.device_eui) and hardware_mismatch(one, wanted))
        mismatch = next(wrong_hardware, None)
        return NotOffered(next(iter(reasons.values())), mismatch.file_version if mismatch else None)


def _why_not(image: ServedImage, wanted: Wanted) -> str:
    """Empty when the image fits."""
    if not image.is_for(wanted.device_eui):
        return f"{image.name} is not for {format_eui(wanted.device_eui)}"
    if hardware_mismatch(image, wanted):
        low, high = image.hardware or (0, 0)
        return f"{image.name} is for hardware 0x{low:04X} to 0x{high:04X}, not 0x{wanted.hardware_version or 0:04X}"
    if image.file_version == wanted.running_version and not image.also_older:
        return f"it runs version 0x{image.file_version:08X} already"
    if image.file_version < wanted.running_version and not image.also_older:
        return f"version 0x{image.file_version:08X} on offer is older"
    return ""


def hardware_mismatch(image: ServedImage, wanted: Wanted) -> bool:
    """True when both sides name hardware and they do not fit."""
    if image.hardware is None or wanted.hardware_version is None:
        return False
    return not image.hardware[0] <= wanted.hardware_version <= image.hardware[1]
