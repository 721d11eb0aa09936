"""Inspection: every form that fits, every field, and where a damaged or foreign file stops making sense."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_factory import HEADER, craft, imgtool_image, ota, steady

from agent.cli.image_text import render_facts
from agent.image.ota_form import Form, SubElement, encode_file
from flash.image_inspect import inspect


def look(octets: bytes) -> dict[str, Any]:
    """The facts, having gone through JSON and through the text for a person."""
    facts = inspect(octets)
    assert list(render_facts("file", facts))
    return json.loads(json.dumps(facts))


@pytest.mark.parametrize("form", list(Form))
def test_the_form_of_a_whole_file_is_found(form: Form) -> None:
    facts = look(ota(imgtool_image(), form))
    assert facts["damaged"] is False
    assert form.value in facts["fits"]
    reading = facts["forms"][form.value]
    assert reading["problem"] is None
    assert reading["image"]["mcuboot"] is True
    assert reading["image"]["hash_matches"] is True
    assert reading["image"]["base_abi"] == "debian-12"
    assert {tlv["name"] for tlv in reading["image"]["tlvs"]} >= {"key hash", "SHA-256", "ECDSA signature"}
    assert facts["header"]["version"] == "1.1.0"
    assert facts["header"]["hardware_versions"] == ["0x0001", "0x0003"]
    if form is not Form.GENERIC:
        assert facts["fits"] == [form.value]


def test_every_header_field_is_shown() -> None:
    header = replace(HEADER, security_credential_version=2, destination=0x00DB1234567890A0, extra=b"\xaa")
    facts = look(ota(craft(), header=header))["header"]
    assert facts["security_credential_version"] == "SE 2.0"
    assert facts["destination"] == "00DB1234567890A0"
    assert facts["further_octets"] == "aa"
    assert facts["field_control"] == "0x0007"


def test_sub_elements_of_se_signatures_are_taken_apart() -> None:
    signer = bytes.fromhex("A0907856341 2DB00".replace(" ", ""))
    certificate = bytes(11) + bytes.fromhex("90B3D51F30000001") + bytes(9) + bytes.fromhex("00DB1234567890A0")
    elements = [
        SubElement(0x0001, signer + b"\1" * 21 + b"\2" * 21),
        SubElement(0x0002, b"\3" * 22 + bytes.fromhex("00DB1234567890A0 90B3D51F30000001") + bytes(10)),
        SubElement(0x0003, b"\4" * 16),
        SubElement(0x0005, signer + b"\5" * 36 + b"\6" * 36),
        SubElement(0x0006, certificate + b"\x08" + b"\7" * 37),
        SubElement(0x0003, b"short"),
        SubElement(0xF001, b"v" * 100),
        SubElement(0x0100, b""),
    ]
    facts = look(encode_file(Form.GENERIC, HEADER, craft(), elements=elements))
    assert facts["fits"][-1] == "generic"
    _, suite1, certificate1, integrity, suite2, certificate2, short, vendor, reserved = facts["forms"]["generic"][
        "elements"
    ]
    assert (suite1["signer"], suite1["r"], suite1["s"]) == ("00DB1234567890A0", "01" * 21, "02" * 21)
    assert (certificate1["subject"], certificate1["issuer"]) == ("00DB1234567890A0", "90B3D51F30000001")
    assert integrity["aes_mmo"] == "04" * 16
    assert (suite2["signer"], suite2["s"]) == ("00DB1234567890A0", "06" * 36)
    assert (certificate2["subject"], certificate2["issuer"]) == ("00DB1234567890A0", "90B3D51F30000001")
    assert certificate2["point"] == "07" * 37
    assert short["remark"] == "expected 16 octets"
    assert vendor["name"] == "manufacturer specific"
    assert vendor["value"].endswith("(100 octets)")
    assert reserved["name"] == "reserved"


@pytest.mark.parametrize("form", list(Form))
def test_a_cut_file_says_where_it_is_cut(form: Form) -> None:
    octets = ota(craft(), form)
    facts = look(octets[:150])
    assert facts["damaged"] is True
    assert f"is cut short at octet 150: 150 octets, its header says {len(octets)}" in facts["problem"]
    assert facts["forms"][form.value]["image"]["version"] == "1.1.0+0"
    facts = look(octets + b"tail")
    assert f"goes on at octet {len(octets)}" in facts["problem"]


def test_a_changed_octet_is_found() -> None:
    facts = look(ota(craft().replace(b"meaning", b"Meaning", 1)))
    assert facts["damaged"] is True
    assert "SHA-256 TLV is not that of its octets" in facts["problem"]
    assert facts["forms"]["gb-ppmid"]["image"]["hash_matches"] is False


def test_a_foreign_file_says_what_it_starts_with() -> None:
    facts = look(b"\x7fELF" + bytes(20))
    assert (facts["kind"], facts["damaged"]) == ("unknown", True)
    assert "magic 0x464C457F" in facts["problem"]
    assert "7f 45 4c 46" in facts["problem"]
    assert "at octet 5" in look(b"envel" + ota(craft()))["problem"]
    assert "(empty)" in look(b"")["problem"]


def test_a_bare_manufacturer_image_is_known() -> None:
    facts = look(imgtool_image())
    assert (facts["kind"], facts["damaged"]) == ("manufacturer-image", False)
    assert facts["image"]["security_counter"] == 7
    assert look(imgtool_image()[:-1])["damaged"] is True


def test_the_published_sample_is_shown_in_full(vectors: Path) -> None:
    facts = look((vectors / "dcc_sample_ppmid_11_4.ota").read_bytes())
    assert facts["damaged"] is False
    assert facts["fits"] == ["gb-ppmid"]
    assert facts["header"] == {
        "header_version": "0x0100",
        "header_octets": 60,
        "field_control": "0x0004",
        "manufacturer_code": "0x121D",
        "image_type": "0x0084",
        "file_version": "0xACDCACDC",
        "version": "172.220.44252",
        "stack_version": "0x0002",
        "header_string": "I am a GFI PPMID firmware image",
        "total_octets": 295,
        "hardware_versions": ["0x1111", "0x1211"],
    }
    image = facts["forms"]["gb-ppmid"]["image"]
    assert (image["octets"], image["mcuboot"]) == (235, False)
    assert "not a signed MCUboot image" in image["remark"]


@steady
@given(st.binary(max_size=300), st.booleans())
def test_any_octets_can_be_inspected(octets: bytes, with_header: bool) -> None:
    look(ota(octets) if with_header else octets)


@steady
@given(st.data())
def test_any_damage_can_be_inspected(data: st.DataObject) -> None:
    octets = bytearray(ota(craft(), data.draw(st.sampled_from(list(Form)))))
    for _ in range(data.draw(st.integers(1, 3))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    look(bytes(octets[: data.draw(st.integers(0, len(octets)))]))
