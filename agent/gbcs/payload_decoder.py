"""Reading the payloads of ``agent.gbcs.use_cases``: strict, and nothing but FormatError comes out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from agent.gbcs import der, names
from agent.gbcs.message import Cra, GbcsMessage
from agent.gbcs.octets import Reader
from agent.gbcs.use_cases import (
    GBZ_HASH_HEADER,
    GBZ_RECEIPT_HEADER,
    HASH_OCTETS,
    VERSION_OCTETS,
    ZIGBEE_EPOCH,
    ActivateFirmwareAlert,
    ActivateFirmwareCommand,
    ActivateFirmwareResponse,
    ActivationOutcome,
    ActivationResult,
    EventCode,
    FirmwareTransferAlert,
    Payload,
    PpmidActivationAlert,
    ReadVersionCommand,
    ReadVersionResponse,
    ReceiptAlert,
    TransferOutcome,
)


def decode_payload(message: GbcsMessage) -> Payload | None:
    """The payload of a firmware use case; None where this module interprets no such message. Raises FormatError."""
    decoder = _DECODERS.get((message.message_code, message.cra))
    if decoder is None and is_receipt(message):
        decoder = _decode_receipt
    if decoder is None:
        return None
    reader = Reader(f"{message.cra.name.lower()} payload", message.payload)
    payload = decoder(reader)
    reader.end("payload")
    return payload


def is_receipt(message: GbcsMessage) -> bool:
    """Whether this alert has the receipt layout, under whatever message code (an HCALCS's is configurable)."""
    codes = (EventCode.FIRMWARE_VERIFIED, EventCode.FIRMWARE_VERIFICATION_FAILED)
    heads = [GBZ_RECEIPT_HEADER + code.to_bytes(2) for code in codes]
    return message.cra is Cra.ALERT and message.payload[:5] in heads


def _version(reader: Reader) -> int:
    return int.from_bytes(der.octet_string(reader, "firmware version", VERSION_OCTETS))


def _event_code(reader: Reader, *wanted: EventCode) -> EventCode:
    at = reader.offset
    code = der.integer(reader, "event code", 0xFFFF)
    if code not in wanted:
        raise reader.error(f"event code {code:04X} is not {' or '.join(f'{one:04X}' for one in wanted)}", at)
    return EventCode(code)


def _consistent(reader: Reader, stated: EventCode, implied: EventCode) -> None:
    if stated is not implied:
        raise reader.error(f"event code {stated:04X} stands beside an outcome that means {implied:04X}", 0)


def _result(reader: Reader) -> ActivationResult:
    content = der.value(reader, der.SEQUENCE, "result")
    outcome = ActivationOutcome(der.integer(content, "response code", max(ActivationOutcome)))
    result = ActivationResult(outcome, _version(content))
    content.end("result")
    return result


def _decode_cs06_command(reader: Reader) -> ActivateFirmwareCommand:
    content = der.value(reader, der.SEQUENCE, "command")
    image_hash = der.octet_string(content, "image hash", HASH_OCTETS)
    counter = der.integer(content, "originator counter")
    moment = der.generalized_time(content, "execution time") if content.remaining else None
    content.end("command")
    return ActivateFirmwareCommand(image_hash, counter, moment)


def _decode_cs06_response(reader: Reader) -> ActivateFirmwareResponse:
    if reader.peek() == der.NULL:
        der.null(reader, "response")
        return ActivateFirmwareResponse(None)
    return ActivateFirmwareResponse(_result(reader))


def _decode_cs06_alert(reader: Reader) -> ActivateFirmwareAlert:
    content = der.value(reader, der.SEQUENCE, "alert")
    code = _event_code(content, EventCode.FUTURE_DATED_ACTIONED, EventCode.FUTURE_DATED_NOT_ACTIONED)
    moment = der.generalized_time(content, "time")
    counter = der.integer(content, "originator counter")
    alert = ActivateFirmwareAlert(moment, counter, _result(content))
    content.end("alert")
    _consistent(reader, code, alert.event_code)
    return alert


def _decode_cs08_command(reader: Reader) -> ReadVersionCommand:
    der.null(reader, "command")
    return ReadVersionCommand()


def _decode_cs08_response(reader: Reader) -> ReadVersionResponse:
    content = der.value(reader, der.SEQUENCE, "response")
    response = ReadVersionResponse(_version(content), der.integer(content, "response code", 1) == 0)
    content.end("response")
    return response


def _decode_cs09(reader: Reader) -> PpmidActivationAlert:
    content = der.value(reader, der.SEQUENCE, "alert")
    _event_code(content, EventCode.PPMID_ACTIVATION)
    moment, version = der.generalized_time(content, "time"), _version(content)
    alert = PpmidActivationAlert(moment, version, der.integer(content, "outcome", 1) == 0)
    content.end("alert")
    return alert


def _decode_ccs08(reader: Reader) -> FirmwareTransferAlert:
    content = der.value(reader, der.SEQUENCE, "alert")
    code = _event_code(content, EventCode.TRANSFER_SUCCEEDED, EventCode.TRANSFER_FAILED)
    moment = der.generalized_time(content, "time")
    device = int.from_bytes(der.octet_string(content, "device", 8))
    version = _version(content)
    outcome = TransferOutcome(der.integer(content, "outcome", max(TransferOutcome)))
    content.end("alert")
    alert = FirmwareTransferAlert(moment, device, version, outcome)
    _consistent(reader, code, alert.event_code)
    return alert


def _decode_receipt(reader: Reader) -> ReceiptAlert:
    reader.expect(GBZ_RECEIPT_HEADER, "GBZ header")
    at = reader.offset
    code = reader.unsigned(2, "event code")
    if code not in (EventCode.FIRMWARE_VERIFIED, EventCode.FIRMWARE_VERIFICATION_FAILED):
        raise reader.error(f"event code {code:04X} is neither 8F72 nor 8F1C", at)
    moment = ZIGBEE_EPOCH + timedelta(seconds=reader.unsigned(4, "time"))
    reader.expect(GBZ_HASH_HEADER, "hash header")
    return ReceiptAlert(moment, reader.take(HASH_OCTETS, "image hash"), code == EventCode.FIRMWARE_VERIFIED)


_DECODERS: dict[tuple[int, Cra], Callable[[Reader], Payload]] = {
    (names.CS06_ACTIVATE_FIRMWARE, Cra.COMMAND): _decode_cs06_command,
    (names.CS06_ACTIVATE_FIRMWARE, Cra.RESPONSE): _decode_cs06_response,
    (names.FUTURE_DATED_FIRMWARE_ACTIVATION_ALERT, Cra.ALERT): _decode_cs06_alert,
    (names.CS08_READ_FIRMWARE_VERSION, Cra.COMMAND): _decode_cs08_command,
    (names.CS08_READ_FIRMWARE_VERSION, Cra.RESPONSE): _decode_cs08_response,
    (names.CS09_PPMID_FIRMWARE_ACTIVATION_ALERT, Cra.ALERT): _decode_cs09,
    (names.CCS08_FIRMWARE_TRANSFER_ALERT, Cra.ALERT): _decode_ccs08,
    (names.FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_GSME, Cra.ALERT): _decode_receipt,
}
