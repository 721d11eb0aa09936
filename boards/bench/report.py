"""One message that came up, as the head end sees it: decoded, checked, and shown truthfully."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from agent.events import format_eui
from agent.gbcs.message import GbcsMessage
from agent.gbcs.names import use_case_name
from agent.gbcs.protection import Check
from agent.gbcs.use_cases import (
    ActivateFirmwareAlert,
    ActivateFirmwareResponse,
    ActivationResult,
    FirmwareTransferAlert,
    Payload,
    PpmidActivationAlert,
    ReadVersionResponse,
    ReceiptAlert,
)


@dataclass(frozen=True, slots=True)
class Request:
    """One service request that went out. ``service_request`` is its number (11.1 to 11.4)."""

    service_request: str
    device_eui: int
    originator: int
    counter: int
    octets: bytes = b""


@dataclass(frozen=True, slots=True)
class Report:
    """``problem`` empty: nothing speaks against it. ``message`` None: the octets do not parse."""

    device_eui: int
    octets: bytes
    message: GbcsMessage | None
    payload: Payload | None
    signature: Check
    mac: Check
    problem: str
    duplicate: bool = False
    answers: Request | None = None

    @property
    def verified(self) -> bool:
        """Signature and MAC are what this message must carry, both verify, and it fits what is known."""
        return self.message is not None and not self.problem

    @property
    def name(self) -> str:
        """The use case."""
        if self.message is None:
            return "unreadable message"
        code = self.message.message_code
        return use_case_name(code) or f"message 0x{code:04X}"

    def line(self) -> str:
        """The sentence for a person."""
        who = f"head end has from {format_eui(self.device_eui)}: {self.name}"
        if self.message is not None and not self.name.lower().endswith("alert"):
            who += f" {self.message.cra.name.lower()}"
        facts = [f"{key.replace('_', ' ')} {value}" for key, value in facts_of(self.payload).items()]
        checks = f"signature {self.signature.value}, MAC {self.mac.value}"
        verdict = "verified" if self.verified else f"NOT VERIFIED: {self.problem}"
        again = ", again" if self.duplicate else ""
        return "; ".join([who, *facts, checks, verdict + again])

    def as_object(self) -> dict[str, object]:
        """The dict for a script: codes as 0x strings, EUIs as 16 digits."""
        whole: dict[str, object] = {
            "event": "report",
            "device_eui": format_eui(self.device_eui),
            "name": self.name,
            "signature": self.signature.value,
            "mac": self.mac.value,
            "signature_verified": self.signature is Check.OK,
            "verified": self.verified,
            "problem": self.problem,
            "duplicate": self.duplicate,
            "service_request": self.answers.service_request if self.answers else None,
            "request_counter": self.answers.counter if self.answers else None,
        }
        if self.message is not None:
            whole |= {
                "cra": self.message.cra.name.lower(),
                "message_code": f"0x{self.message.message_code:04X}",
                "originator": format_eui(self.message.originator),
                "target": format_eui(self.message.target),
                "counter": self.message.counter,
            }
        return whole | facts_of(self.payload) | {"octets": self.octets.hex()}


def facts_of(payload: Payload | None) -> dict[str, object]:
    """What a payload says, by name: alert code, version, result, time, hash."""
    facts: dict[str, object] = {}
    if isinstance(payload, ActivateFirmwareAlert | FirmwareTransferAlert | PpmidActivationAlert | ReceiptAlert):
        facts["alert_code"] = _alert_code(payload)
        facts["alert_time"] = payload.time.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(payload, ActivateFirmwareResponse):
        facts["accepted"] = True if payload.result is None else payload.result.outcome == 0
    if isinstance(payload, ActivateFirmwareAlert | ActivateFirmwareResponse) and payload.result is not None:
        facts |= _result(payload.result)
    if isinstance(payload, PpmidActivationAlert | ReadVersionResponse):
        facts |= {"version": _version(payload.version), "result": "success" if payload.succeeded else "failure"}
    if isinstance(payload, FirmwareTransferAlert):
        facts |= {"device": format_eui(payload.device), "version": _version(payload.version)}
        facts["result"] = _word(payload.outcome)
    if isinstance(payload, ReceiptAlert):
        facts |= {"image_hash": payload.image_hash.hex(), "result": "verified" if payload.verified else "failed"}
    return facts


def _alert_code(
    payload: ActivateFirmwareAlert | FirmwareTransferAlert | PpmidActivationAlert | ReceiptAlert,
) -> str:
    code = 0x8F8B if isinstance(payload, PpmidActivationAlert) else payload.event_code
    return f"0x{code:04X}"


def _result(result: ActivationResult) -> dict[str, object]:
    return {"code": int(result.outcome), "result": _word(result.outcome), "version": _version(result.version)}


def _version(version: int) -> str:
    """The number and, beside it, how a person writes it: major u8, minor u8, revision u16."""
    return f"{version >> 24}.{version >> 16 & 0xFF}.{version & 0xFFFF}"


def _word(outcome: IntEnum) -> str:
    return outcome.name.lower().replace("_", " ")


def with_duplicate(report: Report) -> Report:
    """The same, marked as seen before."""
    return dataclasses.replace(report, duplicate=True)


def stamp(moment: datetime) -> str:
    """A time as the log writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
