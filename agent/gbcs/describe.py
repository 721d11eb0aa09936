"""One GBCS message as plain values for people and for JSON: every field, the decoded payload, and what the checks say.

Also what a message comes in: HEX text or binary, and the prefixes that a GSME's tunnel puts before it (01 GET,
02 GET-RESPONSE with the count of messages that remain, 03 PUT; GBCS 10.2.2).
"""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from enum import IntEnum

from agent.errors import FormatError
from agent.events import format_eui
from agent.gbcs.keystore import KeyStore
from agent.gbcs.message import GENERAL_CIPHERING, GENERAL_SIGNING, GbcsMessage, decode
from agent.gbcs.names import use_case_name
from agent.gbcs.octets import Reader
from agent.gbcs.payload_decoder import decode_payload
from agent.gbcs.protection import check_mac, check_signature
from agent.gbcs.use_cases import ActivateFirmwareCommand, EventCode, Payload

Plain = dict[str, object]

TUNNEL_PREFIXES = {1: "GET", 2: "GET-RESPONSE", 3: "PUT"}
_MESSAGE_STARTS = (GENERAL_CIPHERING, GENERAL_SIGNING)
_TEXT_BLANKS = b" \t\r\n"
_NUMBERS = {"version": "{:08X}".format, "device": format_eui}  # what people write in HEX


def read_octets(content: bytes) -> bytes:
    """The octets of one message from a file's content: HEX with blanks, or binary. Raises FormatError.

    Never a guess: no message starts with an octet that is a HEX digit or a blank in ASCII.
    """
    if not content or content[0] in TUNNEL_PREFIXES or content[0] in _MESSAGE_STARTS:
        return content
    digits = bytearray()
    for offset, octet in enumerate(content):
        if octet in _TEXT_BLANKS:
            continue
        if octet not in b"0123456789abcdefABCDEF":
            raise FormatError("HEX text", offset, f"{chr(octet)!r} is no HEX digit, and no message starts that way")
        digits.append(octet)
    if len(digits) % 2:
        raise FormatError("HEX text", len(content), f"{len(digits)} digits are no whole number of octets")
    return bytes.fromhex(digits.decode("ascii"))


def describe(octets: bytes, keys: KeyStore) -> Plain:
    """Everything there is to say of one message. Raises FormatError when it does not parse.

    A payload that does not parse leaves the message's own fields readable: ``error`` stands beside them.
    """
    prefix, start = _tunnel_prefix(octets)
    if prefix and start == len(octets):
        return prefix
    try:
        message = decode(octets[start:])
    except FormatError as error:
        raise FormatError(error.what, error.offset_octets + start, error.reason) from None
    plain = prefix | describe_message(message, keys)
    try:
        payload = decode_payload(message)
    except FormatError as error:
        return plain | describe_error(error)
    return plain if payload is None else plain | {"decoded": describe_payload(payload)}


def describe_error(error: FormatError) -> Plain:
    """What is wrong, and where: counted from the start of the message or of what the text names."""
    return {"error": str(error), "offset_octets": error.offset_octets}


def describe_message(message: GbcsMessage, keys: KeyStore) -> Plain:
    """The fields of the message and the outcome of its checks, without looking into the payload."""
    plain: Plain = {
        "kind": "pre-command" if message.is_pre_command else message.cra.name.lower(),
        "use_case": use_case_name(message.message_code),
        "message_code": f"{message.message_code:04X}",
        "cra": message.cra.value,
        "counter": message.counter,
        "originator": format_eui(message.originator),
        "target": format_eui(message.target),
        "date_time": _hex(message.date_time),
        "supplementary_party": None if message.supplementary_party is None else format_eui(message.supplementary_party),
        "supplementary_party_counter": message.supplementary_party_counter,
        "supplementary_originator_counter": message.supplementary_originator_counter,
        "supplementary_certificate": _hex(message.supplementary_certificate),
        "payload_kind": message.payload_kind.value,
        "payload": _hex(message.payload),
        "signature": check_signature(message, keys).value,
        "signature_octets": _hex(message.signature or None),
        "mac": check_mac(message, keys).value,
        "mac_octets": _hex(message.mac),
    }
    return plain


def describe_payload(payload: Payload) -> Plain:
    """The fields of a decoded payload, its event code and a CS06 command's timing."""
    plain: Plain = {}
    code = getattr(payload, "event_code", None)
    if isinstance(code, EventCode):
        plain["event_code"] = f"{code:04X}"
        plain["event"] = code.name.lower().replace("_", " ")
    if isinstance(payload, ActivateFirmwareCommand):
        plain["timing"] = payload.timing.value
    return plain | _plain_fields(payload)


def _plain_fields(value: object) -> Plain:
    plain: Plain = {}
    for item in fields(value):  # type: ignore[arg-type]  # every payload is a dataclass
        inner = getattr(value, item.name)
        if item.name == "result":
            plain |= {"accepted": True} if inner is None else _plain_fields(inner)
        else:
            plain |= _plain_value(item.name, inner)
    return plain


def _plain_value(name: str, value: object) -> Plain:
    if isinstance(value, IntEnum):
        return {name: int(value), f"{name}_name": value.name.lower().replace("_", " ")}
    if isinstance(value, datetime):
        return {name: value.isoformat().replace("+00:00", "Z")}
    if isinstance(value, bytes):
        return {name: _hex(value)}
    if isinstance(value, int) and name in _NUMBERS:
        return {name: _NUMBERS[name](value)}
    return {name: value}


def _tunnel_prefix(octets: bytes) -> tuple[Plain, int]:
    """A GSME prefix, and where the message starts after it (at the end of ``octets`` where there is none)."""
    reader = Reader("GSME tunnel", octets)
    if not octets or octets[0] not in TUNNEL_PREFIXES:
        return {}, 0
    plain: Plain = {"tunnel_command": TUNNEL_PREFIXES[reader.unsigned(1, "tunnel command")]}
    if plain["tunnel_command"] == "GET":
        reader.end("GET")
    if plain["tunnel_command"] == "GET-RESPONSE" and reader.peek() not in _MESSAGE_STARTS:
        plain["remaining_messages"] = reader.unsigned(1, "count of remaining messages")
    elif plain["tunnel_command"] == "PUT" and not reader.remaining:
        raise reader.error("PUT carries no message")
    return plain, reader.position


def _hex(octets: bytes | None) -> str | None:
    return None if octets is None else octets.hex().upper()
