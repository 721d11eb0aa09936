"""The head end: what it asks for, how it judges what comes back, and the way through hub and tunnel between."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from bench_device import ScriptedDevice
from Crypto.Hash import SHA256
from Crypto.Signature import DSS
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import SettingsError, StorageError
from agent.gbcs import build
from agent.gbcs.certificate import KeyUse
from agent.gbcs.keystore import KeyStore
from agent.gbcs.message import Cra, GbcsMessage, decode
from agent.gbcs.payload_decoder import decode_payload
from agent.gbcs.protection import Check, check_mac, check_signature, sign
from agent.gbcs.use_cases import (
    CANCELLED,
    ActivateFirmwareAlert,
    ActivateFirmwareCommand,
    ActivationOutcome,
    ActivationResult,
    PpmidActivationAlert,
    ReadVersionResponse,
    ReceiptAlert,
    Timing,
)
from agent.image.ota_form import Form, Trailer, encode_file
from agent.image.ota_header import OtaHeader
from agent.zigbee import ota_messages as ota
from agent.zigbee.cbke.install_code import add_crc
from agent.zigbee.zcl import ZclStatus
from boards.bench import happenings
from boards.bench.backhaul import AlertNotMade, Backhaul, RequestError
from boards.bench.happenings import DeviceAwaited, MessageDown, TransferEnded, TunnelOpened
from boards.bench.head_end import HeadEnd, Parties, find_parties
from boards.bench.hub import Hub, HubPlan
from boards.bench.members import Member
from boards.bench.offers import OfferError, load_offer, manufacturer_image_hash
from boards.bench.report import Report
from boards.bench.request_log import RequestLog
from boards.bench.settings import Activation, ActivationKind, HeadEndSettings, ImageOffer
from boards.virtual.world import World

KEYS = KeyStore.load(Path(__file__).parent / "vectors" / "gbcs" / "keystore")
ACB, SUPPLIER, STRANGER = 0x90B3D51F30AA0001, 0x90B3D51F30AA0002, 0x90B3D51F30AA0003
HCALCS, PPMID, HUB = 0x00DB1234567890B0, 0x00DB1234567890B1, 0x00DB1234567890B2
NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
HASH = hashlib.sha256(b"image").digest()
CODE = add_crc(bytes(range(16)))
VERSION = 0x01010000
PARTIES = Parties(ACB, SUPPLIER)


def head_end(log: RequestLog | None = None) -> HeadEnd:
    return HeadEnd(KEYS, PARTIES, log or RequestLog())


def cs09(counter: int = 7, **change: object) -> bytes:
    """A PPMID's activation alert, with ``change`` made before it is signed."""
    bare = GbcsMessage(Cra.ALERT, counter, PPMID, ACB, 0x012B, PpmidActivationAlert(NOW, VERSION, True).encode())
    return build.protect(replace(bare, **change), KEYS).encode()  # type: ignore[arg-type]


# commands


def test_read_version_is_asked_by_the_acb_for_the_supplier() -> None:
    request = head_end().read_firmware_version(PPMID, NOW)
    message = decode(request.octets)
    assert (message.originator, message.target, message.message_code) == (ACB, PPMID, 0x0129)
    assert message.supplementary_party == SUPPLIER
    assert (check_signature(message, KEYS), check_mac(message, KEYS)) == (Check.ABSENT, Check.OK)


@pytest.mark.parametrize(
    ("at", "timing"),
    [(None, Timing.IMMEDIATE), (NOW + timedelta(days=1), Timing.FUTURE_DATED), (CANCELLED, Timing.CANCEL)],
)
def test_activate_is_signed_by_the_supplier(at: datetime | None, timing: Timing) -> None:
    request = head_end().activate_firmware(HCALCS, HASH, NOW, at)
    message = decode(request.octets)
    payload = decode_payload(message)
    assert (message.originator, message.counter) == (SUPPLIER, request.counter)
    assert (check_signature(message, KEYS), check_mac(message, KEYS)) == (Check.OK, Check.OK)
    assert isinstance(payload, ActivateFirmwareCommand)
    assert (payload.image_hash, payload.timing, payload.originator_counter) == (HASH, timing, request.counter)


def test_counters_rise_even_when_the_clock_goes_back(tmp_path: Path) -> None:
    first = head_end(RequestLog(tmp_path / "log"))
    counters = [first.activate_firmware(HCALCS, HASH, NOW - timedelta(days=n)).counter for n in range(4)]
    again = head_end(RequestLog(tmp_path / "log"))
    counters.append(again.activate_firmware(HCALCS, HASH, NOW - timedelta(days=9)).counter)
    assert counters == sorted(set(counters))


# judgement


def test_an_activation_alert_is_verified_and_decoded() -> None:
    report = head_end().message_up(PPMID, cs09(), NOW)
    assert report.verified
    assert report.as_object() | {"octets": ""} == {
        "event": "report",
        "device_eui": "00DB1234567890B1",
        "name": "CS09 PPMID Firmware Activation Alert",
        "signature": "ok",
        "mac": "absent",
        "signature_verified": True,
        "verified": True,
        "problem": "",
        "duplicate": False,
        "service_request": None,
        "request_counter": None,
        "cra": "alert",
        "message_code": "0x012B",
        "originator": "00DB1234567890B1",
        "target": "90B3D51F30AA0001",
        "counter": 7,
        "alert_code": "0x8F8B",
        "alert_time": "2026-05-01T12:00:00Z",
        "version": "1.1.0",
        "result": "success",
        "octets": "",
    }
    assert "verified" in report.line()


def test_a_message_is_shown_once_across_restarts(tmp_path: Path) -> None:
    first = head_end(RequestLog(tmp_path / "log"))
    assert not first.message_up(PPMID, cs09(), NOW).duplicate
    assert first.message_up(PPMID, cs09(), NOW).duplicate
    again = head_end(RequestLog(tmp_path / "log"))
    assert again.message_up(PPMID, cs09(), NOW).duplicate
    assert not again.message_up(PPMID, cs09(8), NOW).duplicate


def test_every_octet_of_an_alert_matters() -> None:
    judge = head_end()
    octets = cs09()
    for position in range(len(octets)):
        broken = octets[:position] + bytes([octets[position] ^ 0x04]) + octets[position + 1 :]
        assert not judge.message_up(PPMID, broken, NOW).verified, position
    good = judge.message_up(PPMID, octets, NOW)
    assert (good.verified, good.duplicate) == (True, False)  # no forgery took its place


def test_bad_absent_and_missing_keys_are_told_apart() -> None:
    message = decode(cs09())
    forged = replace(message, signature=bytes(64)).encode()
    bare = replace(message, signature=b"").encode()
    other = KEYS.private_key(HCALCS, KeyUse.DIGITAL_SIGNING)
    assert other is not None
    judge = head_end()
    reports = [
        judge.message_up(PPMID, forged, NOW),
        judge.message_up(PPMID, bare, NOW),
        judge.message_up(PPMID, sign(message, other).encode(), NOW),
        HeadEnd(KeyStore(), PARTIES, RequestLog()).message_up(PPMID, cs09(), NOW),
    ]
    assert [(report.signature, report.problem) for report in reports] == [
        (Check.BAD, "bad signature"),
        (Check.ABSENT, "no signature"),
        (Check.BAD, "bad signature"),
        (Check.NO_KEY, "no key for the signature"),
    ]
    assert not any(report.verified for report in reports)
    assert "NOT VERIFIED" in reports[0].line()


@pytest.mark.parametrize(
    ("device", "octets", "words"),
    [
        (HCALCS, cs09(), "is not the device that it came from"),
        (PPMID, cs09(target=STRANGER), "neither the ACB nor the supplier"),
        (PPMID, cs09(payload=b"\x30\x00"), "event code"),
        (PPMID, b"", "nothing"),
        (PPMID, b"\x01\x02", "neither DD"),
    ],
)
def test_what_speaks_against_a_message(device: int, octets: bytes, words: str) -> None:
    report = head_end().message_up(device, octets, NOW)
    assert not report.verified
    assert words in report.problem


def test_a_response_must_answer_a_request() -> None:
    judge = head_end()
    request = judge.activate_firmware(HCALCS, HASH, NOW)
    result = ActivationResult(ActivationOutcome.SUCCESS, VERSION)
    response = build.cs06_response(KEYS, decode(request.octets), result, NOW)
    report = judge.message_up(HCALCS, response, NOW)
    assert (report.verified, report.answers) == (True, request)
    assert report.as_object()["service_request"] == "11.3"
    assert (report.as_object()["code"], report.as_object()["version"]) == (0, "1.1.0")
    stray = head_end().message_up(HCALCS, response, NOW)
    assert stray.problem == "answers no request of ours"


def test_a_dated_alert_is_matched_by_the_counter_inside() -> None:
    judge = head_end()
    request = judge.activate_firmware(HCALCS, HASH, NOW, NOW + timedelta(hours=1))
    result = ActivationResult(ActivationOutcome.HASH_MISMATCH, VERSION)
    alert = ActivateFirmwareAlert(NOW, request.counter, result)
    octets = build.cs06_alert(KEYS, build.Envelope(HCALCS, SUPPLIER, 3), alert)
    report = judge.message_up(HCALCS, octets, NOW)
    assert (report.verified, report.answers) == (True, request)
    assert (report.as_object()["alert_code"], report.as_object()["result"]) == ("0x8F67", "hash mismatch")


def test_version_and_receipt() -> None:
    judge = head_end()
    request = judge.read_firmware_version(PPMID, NOW)
    answer = build.cs08_response(KEYS, decode(request.octets), ReadVersionResponse(VERSION))
    report = judge.message_up(PPMID, answer, NOW)
    assert (report.verified, report.mac, report.as_object()["version"]) == (True, Check.OK, "1.1.0")
    receipt = build.receipt_alert(KEYS, build.Envelope(HCALCS, SUPPLIER, 4), ReceiptAlert(NOW, HASH, True))
    report = judge.message_up(HCALCS, receipt, NOW)
    assert (report.verified, report.as_object()["image_hash"]) == (True, HASH.hex())
    assert report.as_object()["alert_code"] == "0x8F72"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=60))
def test_any_octets_are_judged(tail: bytes, payload: bytes) -> None:
    judge = head_end()
    for octets in (tail, b"\xdf\x09" + tail, cs09(payload=payload), cs09() + tail[:5]):
        report = judge.message_up(PPMID, octets, NOW)
        json.dumps(report.as_object())
        assert report.line()


# parties and log


def test_parties_are_named_when_the_keys_hold_several() -> None:
    with pytest.raises(SettingsError, match=r"head_end\.supplier: name one; .*90B3D51F30AA0002, 90B3D51F30AA0003"):
        find_parties(KEYS, HeadEndSettings())
    assert find_parties(KEYS, HeadEndSettings(supplier="90B3D51F30AA0002")) == PARTIES
    with pytest.raises(SettingsError, match="no ds certificate of 90B3D51F30AA0001"):
        find_parties(KEYS, HeadEndSettings(supplier="90B3D51F30AA0001"))
    with pytest.raises(SettingsError, match="holds ka certificates of: none"):
        find_parties(KeyStore(), HeadEndSettings())


def test_the_log_survives_a_cut_last_line_and_refuses_a_broken_one(tmp_path: Path) -> None:
    path = tmp_path / "log"
    head_end(RequestLog(path)).read_firmware_version(PPMID, NOW)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"kind":"requ')
    log = RequestLog(path)
    assert len(log.entries) == 1
    assert path.read_bytes() == whole
    path.write_bytes(b"garbage\n" + whole)
    with pytest.raises(StorageError, match="line 1 is not JSON"):
        RequestLog(path)
    path.write_bytes(b'{"kind":"request"}\n[]\n' + whole)
    assert len(head_end(RequestLog(path)).requests) == 1


# through hub and tunnel


class Lab:
    """Hub, head end and one scripted device in virtual time."""

    def __init__(self, eui: int = HCALCS, role: str = "hcalcs", maximum: int = 1500) -> None:
        self.world = World(seed=2)
        plan = HubPlan(20, [Member(eui, role, CODE)], lambda now: 800_000_000 + int(now), answer_zdo=True)
        self.hub = Hub(plan, random.Random(1))
        self.backhaul = Backhaul(self.hub, head_end(), lambda now: NOW + timedelta(seconds=now))
        self.device = ScriptedDevice(eui, CODE)
        self.device.maximum_incoming = maximum
        self.told: list[object] = []
        self.world.attach(HUB, self.hub)
        self.world.attach(eui, self.device)
        self.until(TunnelOpened)

    def until(self, kind: type, limit_s: float = 60.0) -> object:
        mark = len(self.told)
        assert self.world.run(lambda: any(isinstance(it, kind) for it in self.carry()[mark:]), limit_s), kind
        return next(it for it in self.told[mark:] if isinstance(it, kind))

    def carry(self) -> list[object]:
        self.told += self.backhaul.carry(self.world.now)
        return self.told


def written(folder: Path, form: Form = Form.GB_HCALCS, signer: int = SUPPLIER) -> Path:
    """An OTA file whose supplier trailer is signed by ``signer``."""
    key = KEYS.private_key(signer, KeyUse.DIGITAL_SIGNING)
    image = b"manufacturer image" * 10
    signature = DSS.new(key, "fips-186-3").sign(SHA256.new(image))
    header = OtaHeader(
        manufacturer_code=0x10B5, image_type=1, file_version=VERSION, total_octets=0, hardware_versions=(1, 2)
    )
    trailer = Trailer(0, signature) if form is Form.GB_HCALCS else None
    path = folder / "new.ota"
    path.write_bytes(encode_file(form, header, image, trailer=trailer))
    return path


@pytest.mark.parametrize("maximum", [1500, 160])
def test_the_two_steps_of_an_hcalcs(tmp_path: Path, maximum: int) -> None:
    lab = Lab(maximum=maximum)
    image = load_offer(ImageOffer(path=written(tmp_path), form="gb-hcalcs"))
    (request,) = lab.backhaul.update_firmware(image, [HCALCS], lab.world.now)
    assert request.service_request == "11.1"
    # the device has it all, is told to wait, and the hub reports the transfer
    lab.device.say_ota(ota.UpgradeEndRequest(0, *image.file_id))
    transferred = lab.until(Report)
    assert isinstance(transferred, Report)
    assert transferred.as_object()["alert_code"] == "0x8F8A"
    assert transferred.verified
    (ended,) = [it for it in lab.told if isinstance(it, TransferEnded)]
    assert ended.upgrade_time == 0xFFFFFFFF
    # activate: the hash is that of what was distributed
    command = lab.backhaul.activate_firmware(HCALCS, lab.world.now)
    lab.until(MessageDown)
    octets = b"".join(lab.device.messages)
    assert octets == command.octets
    payload = decode_payload(decode(octets))
    assert isinstance(payload, ActivateFirmwareCommand)
    assert payload.image_hash == manufacturer_image_hash(image)
    # the answer comes up in pieces
    result = ActivationResult(ActivationOutcome.SUCCESS, VERSION)
    answer = build.cs06_response(KEYS, decode(octets), result, NOW)
    for start in range(0, len(answer), 100):
        lab.device.transfer(answer[start : start + 100])
    report = lab.until(Report)
    assert isinstance(report, Report)
    assert (report.verified, report.answers) == (True, command)
    for told in lab.told:
        assert json.dumps(happenings.as_object(told))
        assert happenings.line(told)


def test_an_update_for_a_device_that_is_away_says_that_it_waits(tmp_path: Path) -> None:
    lab = Lab(PPMID, "ppmid")
    image = load_offer(ImageOffer(path=written(tmp_path, Form.GB_PPMID)))
    lab.backhaul.update_ppmid_firmware(image, [PPMID], lab.world.now)
    assert not [it for it in lab.carry() if isinstance(it, DeviceAwaited)], "it is here"
    lab.hub.members.forget_address(lab.hub.members.by_eui[PPMID])
    lab.backhaul.update_ppmid_firmware(image, [PPMID], lab.world.now)
    told = [it for it in lab.carry() if isinstance(it, DeviceAwaited)]
    assert [it.line() for it in told] == [
        f"device {PPMID:016X} is nowhere that the hub knows of: the request waits for it"
    ]


def test_a_refused_image_makes_ccs08(tmp_path: Path) -> None:
    lab = Lab(PPMID, "ppmid")
    image = load_offer(ImageOffer(path=written(tmp_path, Form.GB_PPMID)))
    lab.backhaul.update_ppmid_firmware(image, [PPMID], lab.world.now)
    # its hardware does not fit: told once
    for _ in range(2):
        lab.device.say_ota(ota.QueryNextImageRequest(0x10B5, 1, 0x01000000, 9))
    first = lab.until(Report)
    lab.device.say_ota(ota.UpgradeEndRequest(ZclStatus.INVALID_IMAGE, *image.file_id))
    second = lab.until(Report)
    results = [it.as_object()["result"] for it in (first, second) if isinstance(it, Report)]
    assert results == ["hardware mismatch", "image discarded"]
    assert len([it for it in lab.told if isinstance(it, Report)]) == 2


def test_a_hub_without_a_key_says_so() -> None:
    lab = Lab(PPMID, "ppmid")
    lab.backhaul._hub_eui = 0x1234
    lab.device.say_ota(ota.UpgradeEndRequest(ZclStatus.ABORT, 1, 2, 3))
    told = lab.until(AlertNotMade)
    assert isinstance(told, AlertNotMade)
    assert "0000000000001234" in told.line()


def test_requests_that_make_no_sense(tmp_path: Path) -> None:
    lab = Lab()
    image = load_offer(ImageOffer(path=written(tmp_path), form="gb-hcalcs"))
    now = lab.world.now
    with pytest.raises(RequestError, match=r"11\.1 and then 11\.3"):
        lab.backhaul.update_ppmid_firmware(image, [HCALCS], now)
    with pytest.raises(RequestError, match="not a device of this hub"):
        lab.backhaul.read_firmware_version(PPMID, now)
    with pytest.raises(RequestError, match="nothing was distributed"):
        lab.backhaul.activate_firmware(HCALCS, now)
    with pytest.raises(RequestError, match="names no device"):
        lab.backhaul.update_firmware(image, [], now)
    with pytest.raises(RequestError, match="no image x"):
        lab.backhaul.set_activation("x", Activation(ActivationKind.NOW), now)
    foreign = load_offer(ImageOffer(path=written(tmp_path, signer=STRANGER), form="gb-hcalcs"))
    with pytest.raises(OfferError, match="signature over the Manufacturer Image does not verify"):
        lab.backhaul.update_firmware(foreign, [HCALCS], now)


def test_offers_that_cannot_be_made(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(SettingsError, match="cannot be read"):
        load_offer(ImageOffer(path=tmp_path / "absent.ota"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(OfferError, match="not a whole gb-hcalcs file"):
        load_offer(ImageOffer(path=path, form="gb-hcalcs"))
    assert load_offer(ImageOffer(path=path, form="gb-hcalcs", as_is=True)).file_version == VERSION
    path.write_bytes(b"hello")
    with pytest.raises(OfferError, match="not a whole"):
        load_offer(ImageOffer(path=path, as_is=True))
