"""Payloads: published octets field by field, round trips, and nothing but FormatError from anything else."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import FormatError
from agent.gbcs import names
from agent.gbcs.build import dlms_date_time
from agent.gbcs.message import Cra, GbcsMessage
from agent.gbcs.payload_decoder import decode_payload
from agent.gbcs.use_cases import (
    CANCELLED,
    ActivateFirmwareAlert,
    ActivateFirmwareCommand,
    ActivateFirmwareResponse,
    ActivationOutcome,
    ActivationResult,
    FirmwareTransferAlert,
    Payload,
    PpmidActivationAlert,
    ReadVersionCommand,
    ReadVersionResponse,
    ReceiptAlert,
    Timing,
    TransferOutcome,
)

MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59)).map(
    lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
)
UTC_TIMES = st.integers(0, 2**32 - 1).map(lambda seconds: datetime.fromtimestamp(946_684_800 + seconds, UTC))
U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
HASHES = st.binary(min_size=32, max_size=32)
RESULTS = st.builds(ActivationResult, st.sampled_from(ActivationOutcome), U32)

CASES: dict[tuple[int, Cra], st.SearchStrategy[Payload]] = {
    (0x0012, Cra.COMMAND): st.builds(ActivateFirmwareCommand, HASHES, U64, st.none() | MOMENTS),
    (0x0012, Cra.RESPONSE): st.builds(ActivateFirmwareResponse, st.none() | RESULTS),
    (0x00CA, Cra.ALERT): st.builds(ActivateFirmwareAlert, MOMENTS, U64, RESULTS),
    (0x0129, Cra.COMMAND): st.builds(ReadVersionCommand),
    (0x0129, Cra.RESPONSE): st.builds(ReadVersionResponse, U32, st.booleans()),
    (0x012B, Cra.ALERT): st.builds(PpmidActivationAlert, MOMENTS, U32, st.booleans()),
    (0x0128, Cra.ALERT): st.builds(FirmwareTransferAlert, MOMENTS, U64, U32, st.sampled_from(TransferOutcome)),
    (0x00CF, Cra.ALERT): st.builds(ReceiptAlert, UTC_TIMES, HASHES, st.booleans()),
}


def carried(payload: bytes, code: int, cra: Cra) -> GbcsMessage:
    return GbcsMessage(cra, 1, 2, 3, code, payload)


@pytest.mark.parametrize("case", CASES)
@settings(deadline=None)  # a loaded machine is no defect
@given(data=st.data())
def test_every_payload_survives_the_round_trip(case: tuple[int, Cra], data: st.DataObject) -> None:
    payload = data.draw(CASES[case])
    assert decode_payload(carried(payload.encode(), *case)) == payload


@pytest.mark.parametrize("case", CASES)
@settings(deadline=None)  # a loaded machine is no defect
@given(data=st.data())
def test_damaged_payloads_raise_nothing_but_format_errors(case: tuple[int, Cra], data: st.DataObject) -> None:
    octets = bytearray(data.draw(CASES[case]).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(FormatError):
        decoded = decode_payload(carried(bytes(octets), *case))
        assert decoded is not None
        assert decoded.encode() == bytes(octets)


@pytest.mark.parametrize("case", CASES)
@settings(deadline=None)  # a loaded machine is no defect
@given(octets=st.binary(max_size=80))
def test_garbage_payloads_raise_nothing_but_format_errors(case: tuple[int, Cra], octets: bytes) -> None:
    with contextlib.suppress(FormatError):
        decoded = decode_payload(carried(octets, *case))
        assert decoded is not None
        assert decoded.encode() == octets


def test_the_layouts_octet_by_octet() -> None:
    moment = datetime(2030, 1, 15, 9, tzinfo=UTC)
    result = ActivationResult(ActivationOutcome.SUCCESS, 0x0123ABCF)
    time = "18 0F 32303330303131353039303030305A"
    layouts = {
        ActivateFirmwareCommand(bytes(32), 1005): "30 26 04 20" + "00" * 32 + "02 02 03ED",
        ActivateFirmwareResponse(None): "05 00",
        ActivateFirmwareResponse(result): "30 09 02 01 00 04 04 0123ABCF",
        ActivateFirmwareAlert(
            moment, 1001, result
        ): f"30 25 02 03 008F66 {time} 02 02 03E9 30 09 02 01 00 04 04 0123ABCF",
        ReadVersionResponse(0x0123ABCD): "30 09 04 04 0123ABCD 02 01 00",
        PpmidActivationAlert(moment, 1, False): f"30 1F 02 03 008F8B {time} 04 04 00000001 02 01 01",
        FirmwareTransferAlert(moment, 0xDB, 1, TransferOutcome.HARDWARE_MISMATCH): (
            f"30 29 02 03 008F89 {time} 04 08 00000000000000DB 04 04 00000001 02 01 02"
        ),
        ReceiptAlert(datetime(2000, 1, 1, 0, 1, tzinfo=UTC), b"\xaa" * 32, True): (
            "0109 01 8F72 0000003C 09 20" + "AA" * 32
        ),
    }
    for payload, octets in layouts.items():
        assert payload.encode() == bytes.fromhex(octets), payload


def test_cancelling_is_told_from_a_date() -> None:
    assert ActivateFirmwareCommand(bytes(32), 1, CANCELLED).timing is Timing.CANCEL
    assert ActivateFirmwareCommand(bytes(32), 1, CANCELLED.replace(second=58)).timing is Timing.FUTURE_DATED
    assert ActivateFirmwareCommand(bytes(32), 1).timing is Timing.IMMEDIATE


def test_a_receipt_is_known_under_a_configured_message_code() -> None:
    alert = ReceiptAlert(datetime(2026, 1, 1, tzinfo=UTC), bytes(32), False)
    assert decode_payload(carried(alert.encode(), 0x0ABC, Cra.ALERT)) == alert
    assert decode_payload(carried(alert.encode(), 0x0ABC, Cra.RESPONSE)) is None


def test_an_event_code_that_contradicts_its_outcome_is_refused() -> None:
    octets = FirmwareTransferAlert(CANCELLED, 1, 1, TransferOutcome.SUCCESS).encode().replace(b"\x8f\x8a", b"\x8f\x89")
    with pytest.raises(FormatError, match="8F89 stands beside an outcome that means 8F8A"):
        decode_payload(carried(octets, 0x0128, Cra.ALERT))


def test_the_date_time_of_a_response_has_the_published_form() -> None:
    assert dlms_date_time(datetime(2015, 1, 1, tzinfo=UTC)).hex().upper() == "07DF0101FF000000008000FF"


def test_names_cover_what_is_interpreted() -> None:
    assert {code for code, _ in CASES} <= set(names.USE_CASES)
    assert names.use_case_name(0x0012) == "CS06 Activate Firmware"
    assert names.use_case_name(0x7FFF) is None
