"""The device's gate for GBCS commands: every check, in the order of the specification, before any effect.

    octets -> target -> counter -> authority -> signature -> MAC -> format -> Accepted

Pure: nothing is stored here. ``Accepted`` carries the counter, which the caller stores in *one* transaction with the
pending command; a refusal changes nothing and carries the event code for the security log.

Our choices, for no source settles them: a wrong target and a counter out of order are logged as 0x8F60 (unexpected
command); replay is judged per originator and use case; a command that no originator may send is 0x8F30.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agent.errors import FormatError, StorageError
from agent.events import format_eui
from agent.gbcs import names
from agent.gbcs.build import has_mac, is_signed
from agent.gbcs.certificate import KeyUse, Role
from agent.gbcs.keystore import KeyStore
from agent.gbcs.message import Cra, GbcsMessage, decode
from agent.gbcs.payload_decoder import decode_payload
from agent.gbcs.protection import Check, check_mac, check_signature
from agent.gbcs.use_cases import ActivateFirmwareCommand, EventCode, ReadVersionCommand


class CounterStore(Protocol):
    """What the device remembers of originator counters, across restarts and rollbacks."""

    def last_accepted(self, originator: int, use: int) -> int:
        """The last counter accepted from this EUI for this use (the message code); -1 before the first."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Who may ask this device for what. ``supplier`` None (a PPMID): nobody may send CS06."""

    acb: int
    supplier: int | None = None

    @classmethod
    def from_keys(cls, keys: KeyStore) -> Authority:
        """The ACB by its key agreement certificate, the supplier by its signing one. Raises StorageError."""
        brokers = keys.holders(Role.ACCESS_CONTROL_BROKER, KeyUse.KEY_AGREEMENT)
        suppliers = keys.holders(Role.SUPPLIER, KeyUse.DIGITAL_SIGNING)
        if len(brokers) != 1:
            raise StorageError(f"the keys hold {len(brokers)} access control brokers (OU 04), a device needs one")
        if len(suppliers) > 1:
            raise StorageError(f"the keys hold {len(suppliers)} suppliers (OU 02), a device has one at most")
        return cls(brokers[0], suppliers[0] if suppliers else None)

    def may_send(self, message_code: int) -> int | None:
        """The one EUI that may originate this command; None when nobody may."""
        if message_code == names.CS06_ACTIVATE_FIRMWARE:
            return self.supplier
        return self.acb if message_code == names.CS08_READ_FIRMWARE_VERSION else None


@dataclass(frozen=True, slots=True)
class Accepted:
    """All checks passed. Store ``message.counter`` for ``message.originator`` and ``use`` together with the command."""

    message: GbcsMessage
    command: ActivateFirmwareCommand | ReadVersionCommand

    @property
    def use(self) -> int:
        """What the counter is kept under, beside the originator."""
        return self.message.message_code


@dataclass(frozen=True, slots=True)
class Refused:
    """A check failed: no effect but a line in the security log. ``message`` None: the octets do not parse."""

    event_code: EventCode
    reason: str
    message: GbcsMessage | None = None


class _CheckError(Exception):
    """One check said no; never leaves this module."""

    def __init__(self, event_code: EventCode, reason: str) -> None:
        super().__init__(reason)
        self.event_code = event_code
        self.reason = reason


class GbcsReceiver:
    """Decides on every message that the tunnel brings to this device (``identity``: its EUI)."""

    def __init__(self, identity: int, keys: KeyStore, authority: Authority, counters: CounterStore) -> None:
        self._identity = identity
        self._keys = keys
        self._authority = authority
        self._counters = counters

    def receive(self, octets: bytes) -> Accepted | Refused:
        """Judge one whole message. Never raises for what the octets are."""
        try:
            message = decode(octets)
        except FormatError as error:
            return Refused(EventCode.CONTENT_OR_FORMAT, str(error))
        try:
            for check in (self._target, self._counter, self._may, self._signature, self._mac):
                check(message)
            return Accepted(message, _command(message))
        except _CheckError as failure:
            return Refused(failure.event_code, failure.reason, message)

    def _target(self, message: GbcsMessage) -> None:
        if message.target != self._identity:
            reason = f"is for {format_eui(message.target)}, this device is {format_eui(self._identity)}"
            raise _CheckError(EventCode.UNEXPECTED_COMMAND, reason)
        if message.cra is not Cra.COMMAND:
            raise _CheckError(EventCode.UNEXPECTED_COMMAND, f"is a {message.cra.name.lower()}, not a command")

    def _counter(self, message: GbcsMessage) -> None:
        last = self._counters.last_accepted(message.originator, message.message_code)
        if message.counter <= last:
            reason = f"counter {message.counter} is not above {last}, the last accepted: replayed or out of order"
            raise _CheckError(EventCode.UNEXPECTED_COMMAND, reason)

    def _may(self, message: GbcsMessage) -> None:
        allowed = self._authority.may_send(message.message_code)
        if allowed != message.originator:
            name = names.use_case_name(message.message_code) or f"command {message.message_code:04X}"
            reason = f"{format_eui(message.originator)} holds no authority for {name}"
            raise _CheckError(EventCode.NO_AUTHORITY, reason)

    def _signature(self, message: GbcsMessage) -> None:
        wanted = Check.OK if is_signed(message) else Check.ABSENT
        self._require("signature", check_signature(message, self._keys), wanted)

    def _mac(self, message: GbcsMessage) -> None:
        self._require("MAC", check_mac(message, self._keys), Check.OK if has_mac(message) else Check.ABSENT)

    def _require(self, what: str, found: Check, wanted: Check) -> None:
        if found is not wanted:
            raise _CheckError(EventCode.AUTHENTICATION_FAILURE, f"{what} is {found.value}, not {wanted.value}")


def _command(message: GbcsMessage) -> ActivateFirmwareCommand | ReadVersionCommand:
    """The format check, last: only an authentic message has its payload interpreted."""
    try:
        command = decode_payload(message)
    except FormatError as error:
        raise _CheckError(EventCode.CONTENT_OR_FORMAT, str(error)) from None
    if isinstance(command, ActivateFirmwareCommand) and command.originator_counter != message.counter:
        reason = f"payload counter {command.originator_counter} is not the message's {message.counter}"
        raise _CheckError(EventCode.CONTENT_OR_FORMAT, reason)
    if not isinstance(command, ActivateFirmwareCommand | ReadVersionCommand):
        raise _CheckError(EventCode.CONTENT_OR_FORMAT, "carries no command payload")
    return command
