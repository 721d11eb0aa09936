"""The head end: access control broker and supplier in one, with its own copy of every certificate and key.

It makes commands, remembers what it asked for, and judges what comes up. Nothing here does I/O but the log it is given;
the time is an argument. A message counts only when signature and MAC are what its use case asks for and both verify.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from agent.errors import FormatError, SettingsError
from agent.events import format_eui
from agent.gbcs import build
from agent.gbcs.certificate import KeyUse, Role
from agent.gbcs.keystore import KeyStore
from agent.gbcs.message import Cra, GbcsMessage
from agent.gbcs.payload_decoder import decode_payload
from agent.gbcs.protection import Check, check_mac, check_signature
from agent.gbcs.use_cases import (
    ActivateFirmwareAlert,
    FirmwareTransferAlert,
    Payload,
    TransferOutcome,
)
from boards.bench.report import Report, Request, stamp, with_duplicate
from boards.bench.request_log import Entry, RequestLog
from boards.bench.settings import HeadEndSettings, parse_eui


@dataclass(frozen=True, slots=True)
class Parties:
    """Who the head end plays."""

    acb: int
    supplier: int


def find_parties(keys: KeyStore, settings: HeadEndSettings) -> Parties:
    """The configured parties, or the only ones in the keys folder. Raises SettingsError naming what is missing."""
    acb = _party(keys, settings.acb, Role.ACCESS_CONTROL_BROKER, KeyUse.KEY_AGREEMENT, "acb")
    return Parties(acb, _party(keys, settings.supplier, Role.SUPPLIER, KeyUse.DIGITAL_SIGNING, "supplier"))


class HeadEnd:
    """``log`` holds what earlier runs asked and saw; counters and duplicates go on from there."""

    def __init__(self, keys: KeyStore, parties: Parties, log: RequestLog) -> None:
        self.keys = keys
        self.parties = parties
        self.requests: list[Request] = []
        self._log = log
        self._counters: dict[int, int] = {}
        self._seen: set[tuple[str, int, int]] = set()
        for entry in log.entries:
            self._remember(entry)

    # what goes down

    def read_firmware_version(self, device_eui: int, now: datetime) -> Request:
        """Service request 11.2 as CS08: from the ACB, on behalf of the supplier. Raises StorageError."""
        acb, supplier = self.parties.acb, self.parties.supplier
        party_counter = self._next_counter(supplier, now)
        envelope = build.Envelope(acb, device_eui, self._next_counter(acb, now))
        octets = build.cs08_command(self.keys, envelope, supplier, party_counter)
        facts: Entry = {"party": format_eui(supplier), "party_counter": party_counter}
        return self._asked(Request("11.2", device_eui, acb, envelope.counter, octets), now, facts)

    def activate_firmware(
        self, device_eui: int, image_hash: bytes, now: datetime, execution_time: datetime | None = None
    ) -> Request:
        """Service request 11.3 as CS06: now, at a time, or ``use_cases.CANCELLED``. Raises StorageError."""
        supplier = self.parties.supplier
        envelope = build.Envelope(supplier, device_eui, self._next_counter(supplier, now))
        octets = build.cs06_command(self.keys, envelope, image_hash, execution_time)
        return self._asked(Request("11.3", device_eui, supplier, envelope.counter, octets), now)

    def distribute(self, service_request: str, device_eui: int, image: Entry, now: datetime) -> Request:
        """Service request 11.1 or 11.4: the image goes to the hub; ``image`` is what the log keeps of it."""
        supplier = self.parties.supplier
        request = Request(service_request, device_eui, supplier, self._next_counter(supplier, now))
        return self._asked(request, now, image)

    def transfer_alert(
        self, hub_eui: int, device_eui: int, version: int, outcome: TransferOutcome, now: datetime
    ) -> bytes:
        """CCS08 as the hub sends it upstream. Raises StorageError when the hub's key is not among the keys."""
        envelope = build.Envelope(hub_eui, self.parties.acb, self._next_counter(hub_eui, now))
        alert = FirmwareTransferAlert(now.astimezone(UTC).replace(microsecond=0), device_eui, version, outcome)
        return build.ccs08_alert(self.keys, envelope, alert)

    def image_hash_of(self, device_eui: int) -> bytes | None:
        """The Manufacturer Image Hash of what was last distributed to this device; None when nothing was."""
        for entry in reversed(self._log.entries):
            if entry.get("device") == format_eui(device_eui) and "manufacturer_image_hash" in entry:
                return bytes.fromhex(str(entry["manufacturer_image_hash"]))
        return None

    # what comes up

    def message_up(self, device_eui: int, octets: bytes, now: datetime) -> Report:
        """Judge one message that came over the tunnel of ``device_eui``. Never raises on what it says."""
        report = self._judge(device_eui, octets)
        key = _key(report.message) if report.message else None
        if key in self._seen:
            report = with_duplicate(report)
        elif key is not None and report.verified:
            self._seen.add(key)
        self._log.write(self._message_entry(report, now))
        return report

    def _judge(self, device_eui: int, octets: bytes) -> Report:
        try:
            message = GbcsMessage.decode(octets)
        except FormatError as error:
            return Report(device_eui, octets, None, None, Check.ABSENT, Check.ABSENT, str(error))
        signature, mac = check_signature(message, self.keys), check_mac(message, self.keys)
        payload: Payload | None = None
        problem = ""
        try:
            payload = decode_payload(message)
        except FormatError as error:
            problem = str(error)
        answers = self._request_of(message, payload)
        problem = (
            _protection_problem(message, signature, mac)
            or problem
            or self._envelope_problem(device_eui, message)
            or ("" if answers or not _needs_request(message, payload) else "answers no request of ours")
        )
        return Report(device_eui, octets, message, payload, signature, mac, problem, answers=answers)

    def _envelope_problem(self, device_eui: int, message: GbcsMessage) -> str:
        if message.originator != device_eui:
            return f"its originator {format_eui(message.originator)} is not the device that it came from"
        if message.target not in (self.parties.acb, self.parties.supplier):
            return f"its target {format_eui(message.target)} is neither the ACB nor the supplier"
        return "a command, sent upwards" if message.cra is Cra.COMMAND else ""

    def _request_of(self, message: GbcsMessage, payload: Payload | None) -> Request | None:
        """The request that a response answers, or that a future-dated alert reports on."""
        counter = payload.originator_counter if isinstance(payload, ActivateFirmwareAlert) else message.counter
        if not _needs_request(message, payload):
            return None
        wanted = (message.target, message.originator, counter)
        fitting = (one for one in reversed(self.requests) if (one.originator, one.device_eui, one.counter) == wanted)
        return next(fitting, None)

    # the log

    def _asked(self, request: Request, now: datetime, facts: Entry | None = None) -> Request:
        self.requests.append(request)
        self._log.write(
            {
                "kind": "request",
                "time": stamp(now),
                "service_request": request.service_request,
                "device": format_eui(request.device_eui),
                "originator": format_eui(request.originator),
                "counter": request.counter,
                "octets": request.octets.hex(),
                **(facts or {}),
            }
        )
        return request

    def _message_entry(self, report: Report, now: datetime) -> Entry:
        return {"kind": "message", "time": stamp(now), **report.as_object()}

    def _remember(self, entry: Entry) -> None:
        """Take one entry of an earlier run in; what is not ours is passed over."""
        try:
            counter = int(str(entry["counter"]))
            originator = int(str(entry["originator"]), 16)
            if entry["kind"] == "request":
                octets = bytes.fromhex(str(entry["octets"]))
                device = int(str(entry["device"]), 16)
                self.requests.append(Request(str(entry["service_request"]), device, originator, counter, octets))
                self._counters[originator] = max(counter, self._counters.get(originator, 0))
                party = int(str(entry.get("party", "0")), 16)
                self._counters[party] = max(int(str(entry.get("party_counter", 0))), self._counters.get(party, 0))
            elif entry["verified"]:
                self._seen.add((str(entry["cra"]), originator, counter))
        except (KeyError, ValueError):
            return

    def _next_counter(self, originator: int, now: datetime) -> int:
        """Above every one before, also of a head end whose log was lost: milliseconds since 1970 at least."""
        counter = max(self._counters.get(originator, 0) + 1, int(now.timestamp() * 1000))
        self._counters[originator] = counter
        return counter


def _party(keys: KeyStore, wanted: str, role: Role, use: KeyUse, key: str) -> int:
    held = keys.holders(role, use)
    if wanted:
        eui = parse_eui(wanted, f"head_end.{key}")
        if eui not in held:
            raise SettingsError(f"head_end.{key}: no {use.value} certificate of {wanted} among the keys")
        return eui
    if len(held) != 1:
        found = ", ".join(format_eui(eui) for eui in held) or "none"
        raise SettingsError(f"head_end.{key}: name one; the keys folder holds {use.value} certificates of: {found}")
    return held[0]


def _key(message: GbcsMessage) -> tuple[str, int, int]:
    """What tells one message from another: a response has the counter of its command, an alert the device's own."""
    return message.cra.name.lower(), message.originator, message.counter


def _needs_request(message: GbcsMessage, payload: Payload | None) -> bool:
    return message.cra is Cra.RESPONSE or isinstance(payload, ActivateFirmwareAlert)


def _protection_problem(message: GbcsMessage, signature: Check, mac: Check) -> str:
    """A message must carry what its use case asks for, and no less."""
    wanted = {"signature": (build.is_signed(message), signature), "MAC": (build.has_mac(message), mac)}
    for name, (needed, check) in wanted.items():
        if check is Check.BAD or (needed and check is not Check.OK):
            return {Check.BAD: f"bad {name}", Check.ABSENT: f"no {name}", Check.NO_KEY: f"no key for the {name}"}[check]
    return ""
