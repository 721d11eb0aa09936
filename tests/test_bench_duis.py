"""DUIS request files: the four requests, and everything that is none."""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import FormatError, HanError, SettingsError
from boards.bench.duis import DuisRequest, parse_duis
from boards.bench.requests_in import read_duis, store_image

HASH = "AB" * 32
SUPPLIER, DEVICE = 0x90B3D51F30010000, 0x00DB1234567890A0


def request(body: str, number: str, target: str = "00-DB-12-34-56-78-90-A0", prefix: str = "") -> bytes:
    return f"""<?xml version="1.0" encoding="UTF-8"?>{prefix}
    <sr:Request xmlns:sr="http://www.dccinterface.co.uk/ServiceUserGateway" schemaVersion="5.4">
      <sr:Header>
        <sr:RequestID>90-B3-D5-1F-30-01-00-00:{target}:1000</sr:RequestID>
        <sr:CommandVariant>8</sr:CommandVariant>
        <sr:ServiceReference>{number}</sr:ServiceReference>
        <sr:ServiceReferenceVariant>{number}</sr:ServiceReferenceVariant>
      </sr:Header>
      <sr:Body>{body}</sr:Body>
      <ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignatureValue>eA==</ds:SignatureValue></ds:Signature>
    </sr:Request>""".encode()


def update(name: str = "UpdateFirmware", image: str = base64.b64encode(b"octets").decode()) -> str:
    return f"""<sr:{name}><sr:FirmwareImage>{image}</sr:FirmwareImage><sr:FirmwareVersion>01010000</sr:FirmwareVersion>
    <sr:DeviceIDList>00-DB-12-34-56-78-90-A0</sr:DeviceIDList><sr:DeviceIDList>00-DB-12-34-56-78-90-A1</sr:DeviceIDList>
    </sr:{name}>"""


def activate(when: str = "") -> str:
    time = f"<sr:ExecutionDateTime>{when}</sr:ExecutionDateTime>" if when else ""
    return f"<sr:ActivateFirmware>{time}<sr:FirmwareHash>{HASH}</sr:FirmwareHash></sr:ActivateFirmware>"


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (
            request(update(), "11.1", "90-B3-D5-1F-30-00-00-02"),
            DuisRequest("11.1", "update-firmware", SUPPLIER, (DEVICE, DEVICE + 1), b"octets", "01010000"),
        ),
        (
            request(update("UpdatePPMIDFirmware"), "11.4"),
            DuisRequest("11.4", "update-ppmid-firmware", SUPPLIER, (DEVICE, DEVICE + 1), b"octets", "01010000"),
        ),
        (
            request("<sr:ReadFirmwareVersion/>", "11.2"),
            DuisRequest("11.2", "read-version", SUPPLIER, (DEVICE,)),
        ),
        (
            request(activate(), "11.3"),
            DuisRequest("11.3", "activate", SUPPLIER, (DEVICE,), image_hash=HASH),
        ),
        (
            request(activate("2030-01-15T09:00:00.00Z"), "11.3"),
            DuisRequest("11.3", "activate", SUPPLIER, (DEVICE,), image_hash=HASH, at="2030-01-15T09:00:00Z"),
        ),
        (
            request(activate("3000-12-31T00:00:00.00Z"), "11.3"),
            DuisRequest("11.3", "activate", SUPPLIER, (DEVICE,), image_hash=HASH, at="cancel"),
        ),
    ],
)
def test_the_four_requests(octets: bytes, expected: DuisRequest) -> None:
    assert parse_duis(octets) == expected


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"", "not well-formed"),
        (b"<a>", "not well-formed"),
        (b'<?xml version="1.0" encoding="UTF-9"?><a/>', "not well-formed"),
        (b'<?xml version="1.0" encoding="Big5"?><a/>', "not well-formed"),
        (b'<?xml version="1.0" encoding="hex"?><a/>', "not well-formed"),
        (b"<a/>", "the document is a a, not a Request"),
        (request("", "11.2"), "its body holds nothing"),
        (request("<sr:ReadInventory/>", "8.2"), "its body holds ReadInventory"),
        (request("<sr:ReadFirmwareVersion/>", "11.3"), "header says service request 11.3, its body is 11.2"),
        (request(update(image="!!!"), "11.1"), "not base64"),
        (request(update(image=""), "11.1"), "FirmwareImage is missing"),
        (
            request("<sr:UpdateFirmware><sr:FirmwareImage>eA==</sr:FirmwareImage></sr:UpdateFirmware>", "11.1"),
            "DeviceIDList",
        ),
        (request("<sr:ActivateFirmware/>", "11.3"), "FirmwareHash is missing"),
        (request(activate("tomorrow"), "11.3"), "is no date and time"),
        (request(activate("2030-01-15T09:00:00"), "11.3"), "has no time zone"),
        (request("<sr:ReadFirmwareVersion/>", "11.2", "00-DB"), "not an EUI"),
        (request("<sr:ReadFirmwareVersion/>", "11.2", "00-DB:1"), "not originator:target:counter"),
        (request("<sr:ReadFirmwareVersion/>", "11.2", prefix='<!DOCTYPE r [<!ENTITY a "b">]>'), "document type"),
    ],
)
def test_what_is_no_request(octets: bytes, words: str) -> None:
    with pytest.raises((FormatError, SettingsError), match=r"DUIS|EUI|ExecutionDateTime") as caught:
        parse_duis(octets)
    assert words in str(caught.value)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_any_octets_give_a_request_or_a_han_error(junk: bytes, at: int) -> None:
    whole = request(activate(), "11.3")
    for octets in (junk, whole[:at] + junk + whole[at:], whole[:at]):
        with contextlib.suppress(HanError):
            assert parse_duis(octets).devices


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "request.xml"
    path.write_bytes(request(activate(), "11.3"))
    assert read_duis(path).service_request == "11.3"
    with pytest.raises(SettingsError, match="cannot be read"):
        read_duis(tmp_path / "absent.xml")
    stored = store_image(tmp_path / "state", b"image")
    assert stored.read_bytes() == b"image"
    assert stored.parent == tmp_path / "state" / "images"
