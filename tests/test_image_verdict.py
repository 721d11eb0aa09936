"""The verdict: every reason is reached, in order, and no changed octet of a signed image is accepted."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest
from Crypto.PublicKey import ECC
from hypothesis import given
from hypothesis import strategies as st
from image_factory import CRAFTED_TLVS, HEADER, craft, imgtool_image, make_key, ota, requirements, steady

from agent.errors import FormatError, StorageError
from agent.image import mcuboot
from agent.image.ota_form import Form, Trailer
from agent.image.ota_header import parse_header
from agent.image.signature import key_hash, load_public_key
from agent.image.verdict import (
    Acceptance,
    Reason,
    Refusal,
    check_for_boot,
    check_image,
    check_mcuboot_header,
    check_ota_header,
    judge_file,
    load_trusted_keys,
)
from agent.image.version import Version

SUPPLIER = make_key("supplier").public_key()
OTHER_DEVICE = replace(HEADER, destination=0x00DB1234567890A2)


def judge(octets: bytes, form: Form = Form.GB_PPMID, **changes: object) -> Acceptance | Refusal:
    return judge_file(octets, form, requirements(**changes), SUPPLIER)


def reason_of(verdict: Acceptance | Refusal | None) -> Reason | None:
    return verdict.reason if isinstance(verdict, Refusal) else None


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("image", [imgtool_image(), craft(), craft(key_as=mcuboot.PUBLIC_KEY)])
def test_a_good_image_is_accepted(form: Form, image: bytes) -> None:
    parsed = mcuboot.parse(image)
    expected = Acceptance(Version(1, 1, 0), 7, parsed.manufacturer_image_hash, key_hash(make_key()))
    assert judge(ota(image, form), form) == expected
    assert check_for_boot(parsed, requirements().trusted_keys, 7) is None


REFUSALS: list[tuple[Reason, int, bytes, dict[str, object]]] = [
    (Reason.SIZE, 0x95, ota(craft())[:-1], {}),
    (Reason.SIZE, 0x95, ota(craft()), {"maximum_octets": 100}),
    (Reason.SIZE, 0x95, ota(craft()), {"slot_octets": len(craft()) - 1}),
    (Reason.SIZE, 0x95, ota(craft()), {"slot_octets": 100}),
    (Reason.MAGIC, 0x96, b"\x7fELF" + bytes(100), {}),
    (Reason.MAGIC, 0x96, ota(b"a foreign image"), {}),
    (Reason.HEADER, 0x96, ota(craft(), header=replace(HEADER, header_version=0x0200)), {}),
    (Reason.HEADER, 0x96, ota(craft(flags=0x4)), {}),
    (Reason.HEADER, 0x96, ota(craft(flags=0x10)), {}),
    (Reason.FORMAT, 0x96, ota(craft())[:40], {}),
    (Reason.FORMAT, 0x96, ota(craft()[:-1]), {}),
    (Reason.MANUFACTURER, 0x96, ota(craft()), {"manufacturer_code": 0x1235}),
    (Reason.IMAGE_TYPE, 0x96, ota(craft()), {"image_type": 0x43}),
    (Reason.HARDWARE, 0x96, ota(craft()), {"hardware_version": 0}),
    (Reason.HARDWARE, 0x96, ota(craft()), {"hardware_version": 4}),
    (Reason.DESTINATION, 0x95, ota(craft(), header=OTHER_DEVICE), {}),
    (Reason.VERSION_MISMATCH, 0x96, ota(craft(version=(1, 1, 1))), {}),
    (Reason.NOT_NEWER, 0x96, ota(craft()), {"running_version": Version(1, 1, 0)}),
    (Reason.NOT_NEWER, 0x96, ota(craft()), {"running_version": Version(2, 0, 0)}),
    (Reason.SECURITY_COUNTER, 0x96, ota(craft()), {"minimum_security_counter": 8}),
    (Reason.UPGRADE_FROM, 0x95, ota(craft()), {"running_version": Version(0, 9, 9)}),
    (Reason.UPGRADE_FROM, 0x95, ota(craft()), {"running_version": Version(1, 0, 10)}),
    (Reason.BASE_ABI, 0x95, ota(craft()), {"base_abi": "debian-13"}),
    (Reason.BASE_ABI, 0x95, ota(craft()), {"base_abi": ""}),
    (Reason.SECURITY_COUNTER_ABSENT, 0x96, ota(craft(protected=())), {}),
    (Reason.UNPROTECTED_TLV, 0x96, ota(craft(extra=((0x00A0, b"added"),))), {}),
    (Reason.UNPROTECTED_TLV, 0x96, ota(craft(extra=((mcuboot.SECURITY_COUNTER, bytes(4)),))), {}),
    (Reason.HASH, 0x96, ota(craft(leave_out=frozenset({mcuboot.SHA256}))), {}),
    (Reason.HASH, 0x96, ota(craft().replace(b"meaning", b"Meaning", 1)), {}),
    (Reason.UNSIGNED, 0x96, ota(craft(leave_out=frozenset({mcuboot.ECDSA_SIGNATURE}))), {}),
    (Reason.UNSIGNED, 0x96, ota(craft(leave_out=frozenset({mcuboot.KEY_HASH}))), {}),
    (Reason.UNKNOWN_KEY, 0x96, ota(craft(signer=make_key("somebody"))), {}),
    (Reason.UNKNOWN_KEY, 0x96, ota(craft(signer=make_key("somebody"))), {"trusted_keys": {}}),
    (Reason.SIGNATURE, 0x96, ota(craft()), {"trusted_keys": {key_hash(make_key()): SUPPLIER}}),
    (Reason.SUPPLIER_TRAILER, 0x96, ota(craft(), Form.GB_HCALCS)[:-65] + b"\x41" + bytes(64), {}),
    (Reason.SUPPLIER_SIGNATURE, 0x96, ota(craft(), Form.GB_HCALCS, trailer=Trailer(0, bytes(64))), {}),
    (Reason.SUPPLIER_SIGNATURE, 0x96, ota(craft(), Form.GB_HCALCS)[:-1] + b"\0", {}),
]


@pytest.mark.parametrize(("reason", "status", "octets", "changes"), REFUSALS)
def test_every_refusal(reason: Reason, status: int, octets: bytes, changes: dict[str, object]) -> None:
    form = Form.GB_HCALCS if reason.value.startswith("supplier") else Form.GB_PPMID
    verdict = judge(octets, form, **changes)
    assert isinstance(verdict, Refusal)
    assert (verdict.reason, verdict.wire_status) == (reason, status)
    assert len(verdict.message) > 40
    assert reason.value in str(verdict)


def test_no_reason_is_without_a_test() -> None:
    assert {refusal[0] for refusal in REFUSALS} == set(Reason)


WRONG_IN_ALL = craft(signer=make_key("somebody"), protected=CRAFTED_TLVS).replace(b"meaning", b"Meaning", 1)
ORDER: list[tuple[Reason, dict[str, object]]] = [
    (Reason.SIZE, {"maximum_octets": 10}),
    (Reason.MANUFACTURER, {"manufacturer_code": 0}),
    (Reason.IMAGE_TYPE, {"image_type": 0}),
    (Reason.HARDWARE, {"hardware_version": 9}),
    (Reason.NOT_NEWER, {"running_version": Version(9, 0, 0)}),
    (Reason.SECURITY_COUNTER, {"minimum_security_counter": 99}),
    (Reason.UPGRADE_FROM, {"running_version": Version(1, 0, 99)}),
    (Reason.BASE_ABI, {"base_abi": "another"}),
    (Reason.HASH, {}),
]


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_the_first_reason_in_order_is_the_one_given(first: int) -> None:
    changes: dict[str, object] = {}
    for _, change in reversed(ORDER[first:]):
        changes |= change
    assert reason_of(judge(ota(WRONG_IN_ALL), **changes)) == ORDER[first][0]
    header = parse_header(ota(WRONG_IN_ALL))
    assert reason_of(check_image(mcuboot.parse(WRONG_IN_ALL), header, requirements(**changes))) == ORDER[first][0]


def test_a_version_mismatch_comes_before_the_downgrade() -> None:
    verdict = judge(ota(craft(version=(1, 0, 0))), running_version=Version(5, 0, 0))
    assert reason_of(verdict) is Reason.VERSION_MISMATCH


def test_headers_are_judged_while_the_image_streams() -> None:
    octets = ota(craft())
    header, image = parse_header(octets[:60]), mcuboot.parse_header(octets[60:92])
    assert check_ota_header(header, requirements()) is None
    assert check_mcuboot_header(image, header, requirements()) is None
    assert reason_of(check_ota_header(header, requirements(image_type=9))) is Reason.IMAGE_TYPE
    older = requirements(running_version=Version(1, 1, 0))
    assert reason_of(check_mcuboot_header(image, header, older)) is Reason.NOT_NEWER
    assert reason_of(check_mcuboot_header(image, header, requirements(slot_octets=99))) is Reason.SIZE


def test_what_there_is_nothing_to_compare_with_is_not_judged() -> None:
    assert isinstance(judge(ota(craft()), running_version=None, base_abi=None), Acceptance)
    assert isinstance(judge(ota(craft(protected=())), minimum_security_counter=0), Acceptance)
    assert isinstance(judge(ota(craft(), header=OTHER_DEVICE), eui=None), Acceptance)
    assert isinstance(
        judge(ota(craft(), header=replace(HEADER, hardware_versions=None)), hardware_version=9), Acceptance
    )
    assert isinstance(judge(ota(craft(), header=replace(HEADER, destination=0x00DB1234567890A0))), Acceptance)


def test_a_signed_tlv_that_nobody_knows_is_ignored() -> None:
    assert isinstance(judge(ota(craft(protected=(*CRAFTED_TLVS, (0x7FA0, b"later"))))), Acceptance)


def would_boot(slot: bytes) -> bool:
    try:
        image = mcuboot.parse(slot, allow_trailing=True)
    except FormatError:
        return False
    return check_for_boot(image, requirements().trusted_keys, 7) is None


def test_every_changed_octet_of_an_image_is_refused() -> None:
    image = imgtool_image(b"small")
    assert would_boot(image + bytes(9))
    for at in range(len(image)):
        for change in (0x01, 0x80, 0xFF):
            changed = bytearray(image)
            changed[at] ^= change
            verdict = judge(ota(bytes(changed)))
            assert isinstance(verdict, Refusal), f"octet {at} changed by {change:#x} is accepted"
            assert not would_boot(bytes(changed)), f"octet {at} changed by {change:#x} would boot"


@steady
@given(st.integers(0, 59), st.integers(1, 255))
def test_a_changed_octet_of_the_ota_header_never_changes_what_is_accepted(at: int, change: int) -> None:
    octets = bytearray(ota(craft()))
    octets[at] ^= change
    verdict = judge(bytes(octets))
    if isinstance(verdict, Acceptance):
        assert verdict == judge(ota(craft()))
        cosmetic = {8, 9, *range(18, 52), 56, 57, 58, 59}  # field control, stack version, header string, hardware range
        assert at in cosmetic


@pytest.mark.parametrize("form", list(Form))
@steady
@given(octets=st.binary(max_size=300))
def test_any_octets_get_a_verdict(form: Form, octets: bytes) -> None:
    assert isinstance(judge(octets, form), Refusal)
    assert isinstance(judge(ota(octets or b"x", form), form), Refusal)
    magic = struct.pack("<I", mcuboot.IMAGE_MAGIC)
    assert isinstance(judge(ota(magic + octets, form), form), Refusal)


def test_the_published_sample_is_refused_since_nobody_vouches_for_it(vectors: Path) -> None:
    octets = (vectors / "dcc_sample_ppmid_11_4.ota").read_bytes()
    header = parse_header(octets)
    verdict = judge(
        octets, manufacturer_code=header.manufacturer_code, image_type=header.image_type, hardware_version=0x1111
    )
    assert isinstance(verdict, Refusal)
    assert verdict.reason is Reason.MAGIC
    assert "not a signed MCUboot image" in verdict.message
    assert "nobody vouches for" in verdict.message


def test_trusted_keys_are_the_public_keys_of_a_folder(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.pem").write_text(make_key(name).public_key().export_key(format="PEM"))
    (tmp_path / "notes.txt").write_text("not a key")
    keys = load_trusted_keys(tmp_path)
    assert keys == {key_hash(make_key(name)): make_key(name).public_key() for name in ("one", "two")}


def test_a_certificate_is_as_good_as_its_key(vectors: Path) -> None:
    key = load_public_key(vectors / "keystore" / "90b3d51f30010000-ds.pem")
    assert key.curve == "NIST P-256"
    assert not key.has_private()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (make_key().export_key(format="PEM"), "holds a private key"),
        ("not a key", "not a public key or certificate in PEM"),
        ("\u00e9", "not a public key or certificate in PEM"),
        (ECC.generate(curve="P-384").public_key().export_key(format="PEM"), "a key on NIST P-384"),
    ],
)
def test_what_is_no_trusted_key_is_named(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "a.pem").write_text(content, encoding="utf-8")
    with pytest.raises(StorageError, match=words) as caught:
        load_trusted_keys(tmp_path)
    assert "a.pem" in str(caught.value)


def test_no_trusted_key_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"no \*\.pem in it"):
        load_trusted_keys(tmp_path)
    with pytest.raises(StorageError, match="no such directory"):
        load_trusted_keys(tmp_path / "absent")
    (tmp_path / "folder.pem").mkdir()
    with pytest.raises(StorageError, match="Is a directory"):
        load_trusted_keys(tmp_path)
