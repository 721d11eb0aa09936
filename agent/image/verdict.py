"""The verdict on an image: every check in order, each refusal with its own reason and wire status.

Order: size, magic, header, manufacturer, image type, hardware range (as soon as the OTA header is there); magic,
header, version against the OTA header, not newer (as soon as the MCUboot header is there); security counter,
upgrade-from, base system, hash, key, signature, and an HCALCS's supplier signature (on the whole image).

Nothing read from an image counts before its signature has been verified, except towards a refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from Crypto.PublicKey.ECC import EccKey

from agent.errors import FormatError
from agent.image import mcuboot, ota_file
from agent.image.mcuboot import ImageHeader, ManufacturerImage
from agent.image.origin import check_counter, check_counter_present, check_for_boot, check_origin, check_shape, too_long
from agent.image.ota_form import Form, Trailer
from agent.image.ota_header import HEADER_VERSION, OtaHeader, parse_header
from agent.image.refusal import Acceptance, Reason, Refusal, accept, refuse_format
from agent.image.signature import key_hash, load_trusted_keys, verify_digest
from agent.image.version import Version

__all__ = [
    "Acceptance",
    "Reason",
    "Refusal",
    "Requirements",
    "accept",
    "check_for_boot",
    "check_image",
    "check_mcuboot_header",
    "check_ota_header",
    "check_supplier",
    "judge_file",
    "key_hash",
    "load_trusted_keys",
    "refuse_format",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What this device asks of an image. None where there is nothing to compare with (stated field by field)."""

    manufacturer_code: int
    image_type: int
    hardware_version: int
    trusted_keys: Mapping[bytes, EccKey]  # by SHA-256 of the DER SubjectPublicKeyInfo
    maximum_octets: int  # of the whole OTA file
    slot_octets: int  # of the Manufacturer Image
    minimum_security_counter: int = 0
    running_version: Version | None = None  # None: nothing of ours runs yet (factory agent)
    base_abi: str | None = None  # None: the base system is not judged here
    eui: int | None = None  # None: a device specific file is not judged here


def check_ota_header(header: OtaHeader, req: Requirements) -> Refusal | None:
    """What the OTA header alone tells: call it before the first octet of the image is stored."""
    if header.total_octets > req.maximum_octets:
        return Refusal(
            Reason.SIZE,
            f"OTA file of {header.total_octets} octets, this device takes at most {req.maximum_octets}",
        )
    if header.header_version != HEADER_VERSION:
        return Refusal(Reason.HEADER, f"OTA header version 0x{header.header_version:04X}, expected 0x0100")
    if header.manufacturer_code != req.manufacturer_code:
        return _differs(Reason.MANUFACTURER, "manufacturer code", header.manufacturer_code, req.manufacturer_code)
    if header.image_type != req.image_type:
        return _differs(Reason.IMAGE_TYPE, "image type", header.image_type, req.image_type)
    return _check_hardware(header, req) or _check_destination(header, req)


def check_mcuboot_header(image: ImageHeader, header: OtaHeader | None, req: Requirements) -> Refusal | None:
    """What the first 32 octets of the image tell beside the OTA header."""
    return (
        check_shape(image, req.slot_octets)
        or (_check_version_mismatch(image, header) if header is not None else None)
        or _check_newer(image, req)
    )


def check_image(image: ManufacturerImage, header: OtaHeader | None, req: Requirements) -> Refusal | None:
    """Everything, on the whole image, in the order of this module."""
    if image.total_octets > req.slot_octets:
        return too_long(image.total_octets, req.slot_octets)
    checks: list[Callable[[], Refusal | None]] = [
        lambda: check_ota_header(header, req) if header is not None else None,
        lambda: check_mcuboot_header(image.header, header, req),
        lambda: check_counter(image, req.minimum_security_counter),
        lambda: _check_upgrade_from(image, req),
        lambda: _check_base_abi(image, req),
        lambda: check_counter_present(image, req.minimum_security_counter),
        lambda: check_origin(image, req.trusted_keys),
    ]
    return next((refusal for check in checks if (refusal := check()) is not None), None)


def check_supplier(trailer: Trailer, manufacturer_image_hash: bytes, supplier_key: EccKey) -> Refusal | None:
    """An HCALCS's last question: the supplier's signature over the Manufacturer Image verbatim."""
    if verify_digest(supplier_key, manufacturer_image_hash, trailer.signature, encoding="binary"):
        return None
    return Refusal(
        Reason.SUPPLIER_SIGNATURE,
        "supplier trailer: the signature over the Manufacturer Image does not verify with the supplier's "
        "digital-signing key; another supplier's, damaged or forged",
    )


def judge_file(
    octets: bytes, form: Form, req: Requirements, supplier_key: EccKey | None = None
) -> Acceptance | Refusal:
    """The verdict on a whole OTA file, as a device of this form would come to it. Never raises on content.

    ``supplier_key`` None: the supplier's signature of a gb-hcalcs file is not judged.
    """
    try:
        header = parse_header(octets)
        refusal = _check_length(header, len(octets)) or check_ota_header(header, req)
        if refusal is not None:
            return refusal
        file = ota_file.parse(octets, form)
        refusal = check_mcuboot_header(mcuboot.parse_header(file.image), header, req)
        if refusal is not None:
            return refusal
        image = mcuboot.parse(file.image)
    except FormatError as error:
        return refuse_format(error)
    refusal = check_image(image, header, req)
    if refusal is None and file.trailer is not None and supplier_key is not None:
        refusal = check_supplier(file.trailer, image.manufacturer_image_hash, supplier_key)
    return refusal or accept(image)


def _check_length(header: OtaHeader, found: int) -> Refusal | None:
    if found == header.total_octets:
        return None
    return Refusal(
        Reason.SIZE, f"OTA file of {found} octets, its header says {header.total_octets}; fetch the whole file again"
    )


def _check_hardware(header: OtaHeader, req: Requirements) -> Refusal | None:
    if header.hardware_versions is None:
        return None
    lowest, highest = header.hardware_versions
    if not lowest <= req.hardware_version <= highest:
        return Refusal(
            Reason.HARDWARE,
            f"OTA header: for hardware 0x{lowest:04X}..0x{highest:04X}, this device is 0x{req.hardware_version:04X}; "
            "offer the image that is made for this hardware",
        )
    return None


def _check_destination(header: OtaHeader, req: Requirements) -> Refusal | None:
    if header.destination is None or req.eui is None or header.destination == req.eui:
        return None
    return Refusal(
        Reason.DESTINATION, f"OTA header: made for device {header.destination:016X}, this one is {req.eui:016X}"
    )


def _check_version_mismatch(image: ImageHeader, header: OtaHeader) -> Refusal | None:
    if image.version == header.version:
        return None
    return Refusal(
        Reason.VERSION_MISMATCH,
        f"Manufacturer Image is version {image.version}, its OTA header says {header.version} "
        f"(0x{header.file_version:08X}); wrap the image again",
    )


def _check_newer(image: ImageHeader, req: Requirements) -> Refusal | None:
    if req.running_version is None or image.version > req.running_version:
        return None
    return Refusal(
        Reason.NOT_NEWER, f"version {image.version} is not above {req.running_version}, which runs; offer a newer one"
    )


def _check_upgrade_from(image: ManufacturerImage, req: Requirements) -> Refusal | None:
    if image.upgrade_from is None or req.running_version is None:
        return None
    lowest, highest = image.upgrade_from
    if lowest <= req.running_version <= highest:
        return None
    return Refusal(
        Reason.UPGRADE_FROM,
        f"Manufacturer Image {image.version}: upgrades {lowest}..{highest}, {req.running_version} runs; "
        "offer an image in between first",
    )


def _check_base_abi(image: ManufacturerImage, req: Requirements) -> Refusal | None:
    if image.base_abi is None or req.base_abi is None or image.base_abi == req.base_abi:
        return None
    return Refusal(
        Reason.BASE_ABI,
        f"Manufacturer Image: needs base system {image.base_abi!r}, this device has {req.base_abi!r}; "
        "offer an image that is built for it",
    )


def _differs(reason: Reason, name: str, found: int, expected: int) -> Refusal:
    return Refusal(reason, f"OTA header: {name} 0x{found:04X}, this device is 0x{expected:04X}; offer its own image")
