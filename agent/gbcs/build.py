"""Whole messages of the firmware use cases, protected: what a device answers and reports, what head end and hub send.

Each function returns octets ready for the tunnel. Which message carries what is one table here; keys come from the
keystore, and a key that is not there is a StorageError that names it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from agent.errors import StorageError
from agent.events import format_eui
from agent.gbcs import names
from agent.gbcs.certificate import KeyUse
from agent.gbcs.keystore import KeyStore
from agent.gbcs.message import Cra, GbcsMessage
from agent.gbcs.protection import add_mac, mac_secrets, sign
from agent.gbcs.use_cases import (
    ActivateFirmwareAlert,
    ActivateFirmwareCommand,
    ActivateFirmwareResponse,
    ActivationResult,
    FirmwareTransferAlert,
    Payload,
    PpmidActivationAlert,
    ReadVersionCommand,
    ReadVersionResponse,
    ReceiptAlert,
)

MAC_ONLY = {  # every other firmware message is critical: signed, and a command has a MAC as well
    (names.CS08_READ_FIRMWARE_VERSION, Cra.COMMAND),
    (names.CS08_READ_FIRMWARE_VERSION, Cra.RESPONSE),
}


@dataclass(frozen=True, slots=True)
class Envelope:
    """From whom to whom, with the originator's own counter."""

    originator: int
    target: int
    counter: int


def is_signed(message: GbcsMessage) -> bool:
    """Whether a firmware message must carry its originator's signature."""
    return (message.message_code, message.cra) not in MAC_ONLY


def has_mac(message: GbcsMessage) -> bool:
    """Whether a firmware message must carry a MAC."""
    return message.cra is Cra.COMMAND or not is_signed(message)


def protect(message: GbcsMessage, keys: KeyStore) -> GbcsMessage:
    """Sign and MAC a bare firmware message as its use case asks. Raises StorageError for a missing key."""
    if is_signed(message):
        key = keys.private_key(message.originator, KeyUse.DIGITAL_SIGNING)
        if key is None:
            raise StorageError(f"no private signing key of {format_eui(message.originator)} among the keys")
        message = sign(message, key)
    if not has_mac(message):
        return message
    secrets = mac_secrets(message, keys)
    if len(secrets) != 1:
        parties = f"{format_eui(message.originator)} -> {format_eui(message.target)}"
        what = "no key agreement keys" if not secrets else "keys of more than one access control broker"
        raise StorageError(f"{what} for the MAC of {parties} among the keys")
    return add_mac(message, secrets[0])


def pre_command(envelope: Envelope, message_code: int, payload: Payload) -> GbcsMessage:
    """The bare command, as its originator signs it."""
    return _bare(envelope, Cra.COMMAND, message_code, payload)


def cs06_command(
    keys: KeyStore, envelope: Envelope, image_hash: bytes, execution_time: datetime | None = None
) -> bytes:
    """Activate Firmware: at once, at a time, or (with ``use_cases.CANCELLED``) take the dated one back."""
    payload = ActivateFirmwareCommand(image_hash, envelope.counter, execution_time)
    return protect(pre_command(envelope, names.CS06_ACTIVATE_FIRMWARE, payload), keys).encode()


def cs06_response(keys: KeyStore, command: GbcsMessage, result: ActivationResult | None, now: datetime) -> bytes:
    """The answer to a CS06 command; ``result`` None accepts a dated one. Signed, with the time in its header."""
    message = replace(_reply(command, ActivateFirmwareResponse(result)), date_time=dlms_date_time(now))
    return protect(message, keys).encode()


def cs06_alert(keys: KeyStore, envelope: Envelope, alert: ActivateFirmwareAlert) -> bytes:
    """What a future-dated CS06 command came to at its time."""
    return _alert(keys, envelope, names.FUTURE_DATED_FIRMWARE_ACTIVATION_ALERT, alert)


def cs08_command(keys: KeyStore, envelope: Envelope, party: int, party_counter: int) -> bytes:
    """Read Firmware Version, from the ACB on behalf of ``party``."""
    message = pre_command(envelope, names.CS08_READ_FIRMWARE_VERSION, ReadVersionCommand())
    message = replace(message, supplementary_party=party, supplementary_party_counter=party_counter)
    return protect(message, keys).encode()


def cs08_response(keys: KeyStore, command: GbcsMessage, response: ReadVersionResponse) -> bytes:
    """The version that runs, with the supplementary party of the command repeated."""
    message = replace(
        _reply(command, response),
        supplementary_party=command.supplementary_party,
        supplementary_party_counter=command.supplementary_party_counter,
    )
    return protect(message, keys).encode()


def cs09_alert(keys: KeyStore, envelope: Envelope, alert: PpmidActivationAlert) -> bytes:
    """A PPMID's report after an activation was attempted."""
    return _alert(keys, envelope, names.CS09_PPMID_FIRMWARE_ACTIVATION_ALERT, alert)


def ccs08_alert(keys: KeyStore, envelope: Envelope, alert: FirmwareTransferAlert) -> bytes:
    """The hub's report on a transfer. Signed like a critical alert: our choice."""
    return _alert(keys, envelope, names.CCS08_FIRMWARE_TRANSFER_ALERT, alert)


def receipt_alert(
    keys: KeyStore,
    envelope: Envelope,
    alert: ReceiptAlert,
    message_code: int = names.FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_GSME,
) -> bytes:
    """The calculated hash of a received image. Our choice for an HCALCS: the GSME's layout and message code."""
    return _alert(keys, envelope, message_code, alert)


def dlms_date_time(moment: datetime) -> bytes:
    """12 octets: date, day of week unspecified, time, hundredths, deviation and status unspecified (as published)."""
    utc = moment.astimezone(UTC)
    date = utc.year.to_bytes(2) + bytes([utc.month, utc.day, 0xFF])
    return date + bytes([utc.hour, utc.minute, utc.second, 0]) + b"\x80\x00\xff"


def _bare(envelope: Envelope, cra: Cra, message_code: int, payload: Payload) -> GbcsMessage:
    return GbcsMessage(cra, envelope.counter, envelope.originator, envelope.target, message_code, payload.encode())


def _reply(command: GbcsMessage, payload: Payload) -> GbcsMessage:
    """The command's counter, with originator and target swapped."""
    envelope = Envelope(command.target, command.originator, command.counter)
    return _bare(envelope, Cra.RESPONSE, command.message_code, payload)


def _alert(keys: KeyStore, envelope: Envelope, message_code: int, payload: Payload) -> bytes:
    return protect(_bare(envelope, Cra.ALERT, message_code, payload), keys).encode()
