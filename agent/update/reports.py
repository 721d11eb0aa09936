"""What goes upstream after an activation or a transfer: built, protected and posted inside the caller's transaction.

A PPMID reports an activation with CS09. An HCALCS answers the CS06 that asked for it: with the response when it was
immediate, with the alert when it was dated; and it tells that an image was received (0x8F72, 0x8F1C).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from agent.gbcs import build
from agent.gbcs.build import Envelope
from agent.gbcs.keystore import KeyStore
from agent.gbcs.message import GbcsMessage, decode
from agent.gbcs.use_cases import (
    ActivateFirmwareAlert,
    ActivationOutcome,
    ActivationResult,
    PpmidActivationAlert,
    ReadVersionResponse,
    ReceiptAlert,
)
from agent.image.version import Version
from agent.update.journal import Journal, Order, OutboxRow, Record


@dataclass(frozen=True, slots=True)
class Parties:
    """The EUIs that reports name. ``supplier`` 0 where the role has none, ``acb`` 0 where nobody is reported to."""

    device: int
    acb: int
    supplier: int


class Reports:
    """Posts GBCS messages to the journal's outbox. Raises StorageError for a key that is not there."""

    def __init__(self, journal: Journal, keys: KeyStore, parties: Parties, *, is_hcalcs: bool) -> None:
        self._journal = journal
        self._keys = keys
        self._parties = parties
        self._is_hcalcs = is_hcalcs

    def activated(self, *, success: bool, record: Record, version: Version, utc: int) -> None:
        """The activation that ``record`` tells of has ended; ``version`` runs."""
        outcome = ActivationOutcome.SUCCESS if success else ActivationOutcome.FAILURE
        order = self._journal.order("running")
        if order is not None:
            self.order_ended(order, outcome, version, utc)
            self._journal.forget_order("running")
        elif not self._is_hcalcs and self._parties.acb:
            envelope = self._to(self._parties.acb, utc)
            alert = PpmidActivationAlert(_time(utc), version.file_version, success)
            self._post("CS09", envelope.counter, build.cs09_alert(self._keys, envelope, alert), record.update_id)

    def received(self, *, verified: bool, image_hash: bytes, update_id: str, utc: int) -> None:
        """A whole image is here; only an HCALCS tells so (the hub's CCS08 does for a PPMID)."""
        if not self._is_hcalcs:
            return
        envelope = self._to(self._parties.supplier, utc)
        alert = ReceiptAlert(_time(utc), image_hash, verified)
        self._post("receipt", envelope.counter, build.receipt_alert(self._keys, envelope, alert), update_id)

    def order_ended(self, order: Order, outcome: ActivationOutcome, version: Version, utc: int) -> None:
        """Answer an immediate CS06, or send the one alert of a dated one."""
        command = decode(order.message)
        result = ActivationResult(outcome, version.file_version)
        if order.execution_utc is None:
            self.answer("CS06", command, build.cs06_response(self._keys, command, result, _time(utc)))
            return
        envelope = self._to(command.originator, utc)
        alert = ActivateFirmwareAlert(_time(utc), command.counter, result)
        self._post("CS06 alert", envelope.counter, build.cs06_alert(self._keys, envelope, alert), order.update_id)

    def order_accepted(self, command: GbcsMessage, utc: int) -> None:
        """A dated CS06, or its cancellation, was recorded."""
        self.answer("CS06", command, build.cs06_response(self._keys, command, None, _time(utc)))

    def version_read(self, command: GbcsMessage, version: Version) -> None:
        """Answer CS08 with what the running code says of itself."""
        response = ReadVersionResponse(version.file_version)
        self.answer("CS08", command, build.cs08_response(self._keys, command, response))

    def answer(self, kind: str, command: GbcsMessage, message: bytes) -> None:
        """Post a response; it is told apart by the command's originator and counter."""
        self._journal.post(OutboxRow(f"{command.originator:016X}/{command.counter}", kind, message, ""))

    def _to(self, target: int, utc: int) -> Envelope:
        return Envelope(self._parties.device, target, self._journal.next_own_counter(utc))

    def _post(self, kind: str, counter: int, message: bytes, update_id: str) -> None:
        self._journal.post(OutboxRow(str(counter), kind, message, update_id))


def _time(utc: int) -> datetime:
    return datetime.fromtimestamp(utc, UTC)
