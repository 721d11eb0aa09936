"""Look at any file as an OTA file: every form that fits, and where it stops making sense.

The reader here is lenient where a device's (:mod:`agent.image.ota_file`) is strict: it tells as much of a damaged or
foreign file as can be told. What comes out is plain (JSON can hold it): numbers, text, hex.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from agent.errors import FormatError
from agent.events import format_eui
from agent.image import mcuboot, ota_header
from agent.image.ota_form import (
    ELEMENT_HEAD,
    ELEMENT_OCTETS,
    TRAILER_OCTETS,
    UPGRADE_IMAGE,
    Form,
    element_name,
    parse_trailer,
)
from agent.image.ota_header import OtaHeader

Facts = dict[str, Any]
OTA_MAGIC_OCTETS = ota_header.OTA_MAGIC.to_bytes(4, "little")
SHOWN_OCTETS = 16


@dataclass(slots=True)
class Reading:
    """One way to read what follows the header. ``problem`` is where that way stops making sense."""

    facts: Facts = field(default_factory=dict)
    problem: str | None = None


def inspect(octets: bytes) -> Facts:
    """Everything that can be told of a file. ``damaged`` when no form fits, or what fits contradicts itself."""
    facts: Facts = {"octets": len(octets), "sha256": hashlib.sha256(octets).hexdigest()}
    if int.from_bytes(octets[:4], "little") == mcuboot.IMAGE_MAGIC and len(octets) >= 4:
        image, problem = _inspect_image(octets)
        return facts | {
            "kind": "manufacturer-image",
            "image": image,
            "damaged": problem is not None,
            "problem": problem,
        }
    return facts | _inspect_ota(octets)


def _inspect_ota(octets: bytes) -> Facts:
    try:
        header = ota_header.parse_header(octets)
    except FormatError as error:
        return {"kind": "unknown", "damaged": True, "problem": _where_else(octets, str(error))}
    facts: Facts = {"kind": "ota", "header": _header_facts(header), "problem": _size_problem(header, len(octets))}
    body = octets[header.header_octets : header.total_octets]
    readings = {form: _read_form(form, body, header) for form in Form}
    facts["forms"] = {
        form.value: {"fits": reading.problem is None, "problem": reading.problem} | reading.facts
        for form, reading in readings.items()
    }
    fitting = [form.value for form, reading in readings.items() if reading.problem is None]
    if not fitting and facts["problem"] is None:
        facts["problem"] = "no form fits: " + "; ".join(f"{form.value}: {readings[form].problem}" for form in Form)
    return facts | {"fits": fitting, "damaged": facts["problem"] is not None}


def _where_else(octets: bytes, problem: str) -> str:
    """Some vendors put an envelope of their own round an OTA file."""
    at = octets.find(OTA_MAGIC_OCTETS, 1)
    start = f" (starts with {octets[:SHOWN_OCTETS].hex(' ')})" if octets else " (empty)"
    return problem + start + (f"; an OTA header's magic stands at octet {at}" if at > 0 else "")


def _size_problem(header: OtaHeader, found: int) -> str | None:
    if found == header.total_octets:
        return None
    words = "is cut short" if found < header.total_octets else "goes on"
    return f"the file {words} at octet {min(found, header.total_octets)}: {found} octets, its header says " + str(
        header.total_octets
    )


def _header_facts(header: OtaHeader) -> Facts:
    facts: Facts = {
        "header_version": _hex16(header.header_version),
        "header_octets": header.header_octets,
        "field_control": _hex16(header.field_control),
        "manufacturer_code": _hex16(header.manufacturer_code),
        "image_type": _hex16(header.image_type),
        "file_version": f"0x{header.file_version:08X}",
        "version": str(header.version),
        "stack_version": _hex16(header.stack_version),
        "header_string": header.header_string.rstrip(b"\0 ").decode("utf-8", "backslashreplace"),
        "total_octets": header.total_octets,
    }
    if header.security_credential_version is not None:
        number = header.security_credential_version
        facts["security_credential_version"] = ota_header.SECURITY_CREDENTIAL_NAMES.get(number, f"0x{number:02X}")
    if header.destination is not None:
        facts["destination"] = format_eui(header.destination)
    if header.hardware_versions is not None:
        facts["hardware_versions"] = [_hex16(number) for number in header.hardware_versions]
    if header.extra:
        facts["further_octets"] = header.extra.hex()
    return facts


def _read_form(form: Form, body: bytes, header: OtaHeader) -> Reading:
    """``body`` is what there is behind the header, of a cut file less than its header promises."""
    start = header.header_octets
    if form is Form.GENERIC:
        return _read_elements(body, start)
    length = header.total_octets - start - (TRAILER_OCTETS if form is Form.GB_HCALCS else 0)
    if length <= 0:
        return Reading(problem=f"octet {start}: no room for a Manufacturer Image")
    image, problem = _inspect_image(body[:length])
    reading = Reading({"image": image})
    if form is Form.GB_HCALCS:
        problem = _read_trailer(body[length:], start + length, reading.facts) or problem
    reading.problem = problem
    return reading


def _read_trailer(octets: bytes, start: int, facts: Facts) -> str | None:
    """The supplier's trailer into ``facts``; what is wrong with it."""
    if len(octets) < TRAILER_OCTETS:
        return f"octet {start}: {len(octets)} octets, too few for a supplier's trailer"
    try:
        trailer = parse_trailer(octets)
    except FormatError as error:
        return f"octet {start + error.offset_octets}: {error.reason}"
    facts["trailer"] = {"forced_replace": trailer.forced_replace, "signature": trailer.signature.hex()}
    return None


def _read_elements(body: bytes, start: int) -> Reading:
    reading = Reading({"elements": []})
    position = 0
    while position < len(body) or not reading.facts["elements"]:
        if position + ELEMENT_HEAD.size > len(body):
            reading.problem = f"octet {start + position}: {len(body) - position} octets, too few for a sub-element"
            return reading
        tag, length = ELEMENT_HEAD.unpack_from(body, position)
        value = body[position + ELEMENT_HEAD.size : position + ELEMENT_HEAD.size + length]
        element: Facts = {"tag": _hex16(tag), "name": element_name(tag), "octets": length, "at": start + position}
        reading.facts["elements"].append(element)
        if tag == UPGRADE_IMAGE:
            reading.facts["image"], problem = _inspect_image(value)
            reading.problem = reading.problem or problem
        else:
            element |= _element_facts(tag, value)
        if len(value) < length:
            reading.problem = (
                f"octet {start + position}: sub-element 0x{tag:04X} of {length} octets, {len(value)} there"
            )
            return reading
        position += ELEMENT_HEAD.size + length
    if reading.problem is None and "image" not in reading.facts:
        reading.problem = "no Manufacturer Image (sub-element 0x0000)"
    return reading


def _element_facts(tag: int, value: bytes) -> Facts:
    """The fields of what SE signs with (ZCL 11.4.3; certificates as in the CBKE suites)."""
    expected = ELEMENT_OCTETS.get(tag)
    if expected is not None and len(value) != expected:
        return {"remark": f"expected {expected} octets", "value": _shorten(value)}
    if tag in (0x0001, 0x0005):
        half = (len(value) - 8) // 2
        return {"signer": _eui(value[:8], "little"), "r": value[8 : 8 + half].hex(), "s": value[8 + half :].hex()}
    if tag == 0x0002:
        return {"subject": _eui(value[22:30], "big"), "issuer": _eui(value[30:38], "big"), "point": value[:22].hex()}
    if tag == 0x0006:
        return {"issuer": _eui(value[11:19], "big"), "subject": _eui(value[28:36], "big"), "point": value[37:].hex()}
    return {"aes_mmo": value.hex()} if tag == 0x0003 else {"value": _shorten(value)}


def _inspect_image(octets: bytes) -> tuple[Facts, str | None]:
    """The Manufacturer Image; a problem only if it claims to be a MCUboot image and is not whole."""
    facts: Facts = {"octets": len(octets), "manufacturer_image_hash": hashlib.sha256(octets).hexdigest()}
    try:
        header = mcuboot.parse_header(octets)
        facts |= {"mcuboot": True} | _mcuboot_header_facts(header)
        image = mcuboot.parse(octets, allow_trailing=True)
    except mcuboot.MagicError as error:
        return facts | {"mcuboot": False, "remark": error.reason, "starts": octets[:SHOWN_OCTETS].hex(" ")}, None
    except FormatError as error:
        return {"mcuboot": False} | facts | {"remark": str(error)}, str(error)
    facts["tlvs"] = [
        {
            "type": _hex16(tlv.kind),
            "name": tlv.name,
            "protected": tlv.protected,
            "octets": len(tlv.value),
            "value": _shorten(tlv.value),
        }
        for tlv in image.tlvs
    ]
    facts["security_counter"] = image.security_counter
    facts["base_abi"] = image.base_abi
    facts["upgrade_from"] = None if image.upgrade_from is None else [str(version) for version in image.upgrade_from]
    facts["signed_octets"] = header.signed_octets
    return facts, _image_problem(image, facts, len(octets))


def _image_problem(image: mcuboot.ManufacturerImage, facts: Facts, octets: int) -> str | None:
    if image.total_octets < octets:
        return f"{mcuboot.WHAT}: {octets - image.total_octets} octets after its last TLV at octet {image.total_octets}"
    if image.digest is None:
        return f"{mcuboot.WHAT}: no SHA-256 TLV"
    facts["hash_matches"] = image.digest == image.calculated_digest
    return None if facts["hash_matches"] else f"{mcuboot.WHAT}: its SHA-256 TLV is not that of its octets"


def _mcuboot_header_facts(header: mcuboot.ImageHeader) -> Facts:
    return {
        "version": f"{header.version}+{header.build}",
        "header_octets": header.header_octets,
        "payload_octets": header.payload_octets,
        "protected_tlv_octets": header.protected_tlv_octets,
        "flags": f"0x{header.flags:08X}",
        "load_address": f"0x{header.load_address:08X}",
    }


def _hex16(number: int) -> str:
    return f"0x{number:04X}"


def _eui(octets: bytes, order: Any) -> str:
    return format_eui(int.from_bytes(octets, order))


def _shorten(value: bytes) -> str:
    return value.hex() if len(value) <= 80 else f"{value[:32].hex()}... ({len(value)} octets)"
