"""DUIS request files (DCC User Interface Specification): the four firmware service requests of a supplier's system.

The XML signature is not looked at: this head end plays the DCC to a bench, and trusts who can reach its socket. A
document type is refused, so no entity is ever expanded. Element names: the DUIS schema and the DCC's request templates.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from datetime import UTC, datetime
from xml.etree.ElementTree import Element, ParseError, TreeBuilder
from xml.parsers import expat

from agent.errors import FormatError, SettingsError
from boards.bench.offers import MAXIMUM_OCTETS
from boards.bench.settings import parse_eui

NAMESPACE = "http://www.dccinterface.co.uk/ServiceUserGateway"
WHAT = "DUIS request"
CANCEL_YEAR = 3000  # ExecutionDateTime 3000-12-31T00:00:00.00Z: what the schema says takes a dated request back
LIMIT_OCTETS = 2 * MAXIMUM_OCTETS  # an image in base64 and the rest
REQUESTS = {
    "UpdateFirmware": ("11.1", "update-firmware"),
    "ReadFirmwareVersion": ("11.2", "read-version"),
    "ActivateFirmware": ("11.3", "activate"),
    "UpdatePPMIDFirmware": ("11.4", "update-ppmid-firmware"),
}


@dataclass(frozen=True, slots=True)
class DuisRequest:
    """``command`` is the hub's name for it. ``at``: now, cancel or a time; ``image``: the OTA file of 11.1 and 11.4."""

    service_request: str
    command: str
    originator: int
    devices: tuple[int, ...]
    image: bytes = field(default=b"", repr=False)
    firmware_version: str = ""
    image_hash: str = ""
    at: str = "now"


def parse_duis(octets: bytes) -> DuisRequest:
    """One request. Raises FormatError for what is no such XML, SettingsError for an EUI that is none."""
    root = _parse_xml(octets)
    if root.tag != _name("Request"):
        raise FormatError(WHAT, 0, f"the document is a {root.tag.split('}')[-1]}, not a Request of {NAMESPACE}")
    originator, target = _request_id(root)
    body = root.find(_name("Body"))
    content = None if body is None else next(iter(body), None)
    name = "" if content is None else content.tag.removeprefix(_name(""))
    if content is None or name not in REQUESTS:
        raise FormatError(WHAT, 0, f"its body holds {name or 'nothing'}, not one of {', '.join(REQUESTS)}")
    number, command = REQUESTS[name]
    _check_reference(root, number)
    if number in ("11.1", "11.4"):
        version = _text(content, "FirmwareVersion", required=False)
        return DuisRequest(number, command, originator, _devices(content), _image(content), version)
    if number == "11.2":
        return DuisRequest(number, command, originator, (target,))
    return DuisRequest(
        number, command, originator, (target,), image_hash=_text(content, "FirmwareHash"), at=_execution_time(content)
    )


def _parse_xml(octets: bytes) -> Element:
    """The root element, names as ``{NAMESPACE}name``. Raises FormatError."""
    if len(octets) > LIMIT_OCTETS:
        raise FormatError(WHAT, LIMIT_OCTETS, f"longer than {LIMIT_OCTETS} octets")
    builder = TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")

    def refuse(name: str, *_rest: object) -> None:
        raise FormatError(WHAT, parser.CurrentByteIndex, f"has a document type ({name}); take it out")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda name, attributes: builder.start(_qualified(name), attributes)
    parser.EndElementHandler = lambda name: builder.end(_qualified(name))
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(octets, True)
        return builder.close()
    except (expat.ExpatError, ParseError, ValueError, LookupError) as error:  # the last: an encoding that is none
        raise FormatError(WHAT, max(parser.CurrentByteIndex, 0), f"not well-formed XML: {error}") from None


def _name(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def _qualified(name: str) -> str:
    """A name as expat gives it, ``NAMESPACE}name``, as ElementTree writes it."""
    return "{" + name if "}" in name else name


def _text(parent: Element, name: str, *, required: bool = True) -> str:
    found = parent.find(_name(name))
    text = "" if found is None else (found.text or "").strip()
    if required and not text:
        raise FormatError(WHAT, 0, f"{name} is missing or empty")
    return text


def _request_id(root: Element) -> tuple[int, int]:
    """Originator and target of ``originator:target:counter``."""
    header = root.find(_name("Header"))
    text = "" if header is None else _text(header, "RequestID")
    parts = text.split(":")
    if len(parts) != 3 or not parts[2].isdecimal():
        raise FormatError(WHAT, 0, f"RequestID {text!r} is not originator:target:counter")
    return parse_eui(parts[0], "RequestID originator"), parse_eui(parts[1], "RequestID target")


def _check_reference(root: Element, number: str) -> None:
    header = root.find(_name("Header"))
    stated = "" if header is None else _text(header, "ServiceReferenceVariant", required=False)
    if stated and stated != number:
        raise FormatError(WHAT, 0, f"its header says service request {stated}, its body is {number}")


def _devices(content: Element) -> tuple[int, ...]:
    """Every DeviceIDList element, each one EUI or several."""
    words = [word for found in content.findall(_name("DeviceIDList")) for word in (found.text or "").split()]
    if not words:
        raise FormatError(WHAT, 0, "DeviceIDList is missing or empty")
    return tuple(parse_eui(word, "DeviceIDList") for word in words)


def _image(content: Element) -> bytes:
    try:
        return base64.b64decode("".join(_text(content, "FirmwareImage").split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(WHAT, 0, f"FirmwareImage is not base64: {error}") from None


def _execution_time(content: Element) -> str:
    """now, cancel or the time in UTC."""
    text = _text(content, "ExecutionDateTime", required=False)
    if not text:
        return "now"
    try:
        when = datetime.fromisoformat(text)
        if when.tzinfo is None:
            raise SettingsError(f"ExecutionDateTime: {text!r} has no time zone")
        if when.year >= CANCEL_YEAR:
            return "cancel"
        return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        raise FormatError(WHAT, 0, f"ExecutionDateTime {text!r} is no date and time") from None
