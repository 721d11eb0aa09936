"""The payloads of the firmware use cases, in strict DER and GBZ: CS06, CS08, CS09, CCS08 and the distribution receipt.

::

    CS06 command   SEQUENCE { hash OCTET STRING (32), originatorCounter INTEGER, time GeneralizedTime OPTIONAL }
    CS06 response  NULL (future dated, accepted) | SEQUENCE { code INTEGER, firmwareVersion OCTET STRING (4) }
    CS06 alert     SEQUENCE { 0x8F66 | 0x8F67, GeneralizedTime, originatorCounter, SEQUENCE { code, firmwareVersion } }
    CS08 command   NULL
    CS08 response  SEQUENCE { firmwareVersion OCTET STRING (4), INTEGER 0 ok | 1 failed }
    CS09 alert     SEQUENCE { 0x8F8B, GeneralizedTime, firmwareVersion OCTET STRING (4), INTEGER 0 success | 1 failure }
    CCS08 alert    SEQUENCE { 0x8F8A | 0x8F89, GeneralizedTime, device OCTET STRING (8), firmwareVersion, outcome }
    receipt alert  0109 01 <0x8F72 | 0x8F1C> <UTCTime 4> 09 20 <hash 32>       (GBZ, big-endian)

Firmware versions are the OTA header's file version as a number, most significant octet first on the wire. Times are
aware datetimes in UTC. ``agent.gbcs.payload_decoder`` reads them.

Source: GBCS use cases, as published test data has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, IntEnum

from agent.gbcs import der

HASH_OCTETS = 32
VERSION_OCTETS = 4
CANCELLED = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # the execution time that takes a dated command back
ZIGBEE_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
GBZ_RECEIPT_HEADER = bytes.fromhex("010901")  # profile 0x0109, one component
GBZ_HASH_HEADER = bytes.fromhex("0920")  # octet string of 32


class EventCode(IntEnum):
    """Alert and event codes of the firmware use cases and of refused commands (GBCS 16.2)."""

    FUTURE_DATED_ACTIONED = 0x8F66
    FUTURE_DATED_NOT_ACTIONED = 0x8F67
    FIRMWARE_VERIFIED = 0x8F72
    FIRMWARE_VERIFICATION_FAILED = 0x8F1C
    TRANSFER_FAILED = 0x8F89
    TRANSFER_SUCCEEDED = 0x8F8A
    PPMID_ACTIVATION = 0x8F8B
    CONTENT_OR_FORMAT = 0x8F1E
    NO_AUTHORITY = 0x8F30
    AUTHENTICATION_FAILURE = 0x8F3D
    UNEXPECTED_COMMAND = 0x8F60


class Timing(Enum):
    """When a CS06 command wants its image activated."""

    IMMEDIATE = "immediate"
    FUTURE_DATED = "future dated"
    CANCEL = "cancel"


class ActivationOutcome(IntEnum):
    """CS06 response and alert code."""

    SUCCESS = 0
    NO_IMAGE = 1
    HASH_MISMATCH = 2
    FAILURE = 3


class TransferOutcome(IntEnum):
    """CCS08 outcome."""

    SUCCESS = 0
    IMAGE_DISCARDED = 1
    HARDWARE_MISMATCH = 2
    TRANSFER_FAILED = 3


@dataclass(frozen=True, slots=True)
class ActivateFirmwareCommand:
    """CS06 command. ``execution_time`` None: at once."""

    image_hash: bytes
    originator_counter: int
    execution_time: datetime | None = None

    @property
    def timing(self) -> Timing:
        """Immediate, dated or taking a dated one back."""
        if self.execution_time is None:
            return Timing.IMMEDIATE
        return Timing.CANCEL if self.execution_time == CANCELLED else Timing.FUTURE_DATED

    def encode(self) -> bytes:
        """DER."""
        moment = () if self.execution_time is None else (der.encode_time(self.execution_time),)
        image_hash = der.encode(der.OCTET_STRING, self.image_hash)
        return der.encode(der.SEQUENCE, image_hash, der.encode_integer(self.originator_counter), *moment)


@dataclass(frozen=True, slots=True)
class ActivationResult:
    """What an activation attempt came to, and the version that runs after it."""

    outcome: ActivationOutcome
    version: int

    def encode(self) -> bytes:
        """DER."""
        return der.encode(der.SEQUENCE, der.encode_integer(self.outcome), _encode_version(self.version))


@dataclass(frozen=True, slots=True)
class ActivateFirmwareResponse:
    """CS06 response. ``result`` None: a dated command or its cancellation was accepted."""

    result: ActivationResult | None

    def encode(self) -> bytes:
        """DER."""
        return der.encode(der.NULL) if self.result is None else self.result.encode()


@dataclass(frozen=True, slots=True)
class ActivateFirmwareAlert:
    """The one alert that a future-dated CS06 command leads to. ``originator_counter`` is the command's."""

    time: datetime
    originator_counter: int
    result: ActivationResult

    @property
    def event_code(self) -> EventCode:
        """Actioned or not."""
        done = self.result.outcome is ActivationOutcome.SUCCESS
        return EventCode.FUTURE_DATED_ACTIONED if done else EventCode.FUTURE_DATED_NOT_ACTIONED

    def encode(self) -> bytes:
        """DER."""
        head = der.encode_integer(self.event_code) + der.encode_time(self.time)
        return der.encode(der.SEQUENCE, head, der.encode_integer(self.originator_counter), self.result.encode())


@dataclass(frozen=True, slots=True)
class ReadVersionCommand:
    """CS08 command."""

    def encode(self) -> bytes:
        """DER."""
        return der.encode(der.NULL)


@dataclass(frozen=True, slots=True)
class ReadVersionResponse:
    """CS08 response."""

    version: int
    succeeded: bool = True

    def encode(self) -> bytes:
        """DER."""
        return der.encode(der.SEQUENCE, _encode_version(self.version), der.encode_integer(not self.succeeded))


@dataclass(frozen=True, slots=True)
class PpmidActivationAlert:
    """CS09: a PPMID tried to activate an image, and this version runs now."""

    time: datetime
    version: int
    succeeded: bool

    @property
    def event_code(self) -> EventCode:
        """The same for both outcomes."""
        return EventCode.PPMID_ACTIVATION

    def encode(self) -> bytes:
        """DER."""
        head = der.encode_integer(self.event_code) + der.encode_time(self.time)
        return der.encode(der.SEQUENCE, head, _encode_version(self.version), der.encode_integer(not self.succeeded))


@dataclass(frozen=True, slots=True)
class FirmwareTransferAlert:
    """CCS08: the hub tells how the transfer of an image to ``device`` ended."""

    time: datetime
    device: int
    version: int
    outcome: TransferOutcome

    @property
    def event_code(self) -> EventCode:
        """Succeeded or failed."""
        done = self.outcome is TransferOutcome.SUCCESS
        return EventCode.TRANSFER_SUCCEEDED if done else EventCode.TRANSFER_FAILED

    def encode(self) -> bytes:
        """DER."""
        head = der.encode_integer(self.event_code) + der.encode_time(self.time)
        device = der.encode(der.OCTET_STRING, self.device.to_bytes(8))
        return der.encode(der.SEQUENCE, head, device, _encode_version(self.version), der.encode_integer(self.outcome))


@dataclass(frozen=True, slots=True)
class ReceiptAlert:
    """The device has a whole image: the hash that it calculated, and whether that image verified."""

    time: datetime
    image_hash: bytes
    verified: bool

    @property
    def event_code(self) -> EventCode:
        """Verified or not."""
        return EventCode.FIRMWARE_VERIFIED if self.verified else EventCode.FIRMWARE_VERIFICATION_FAILED

    def encode(self) -> bytes:
        """GBZ."""
        seconds = int((self.time - ZIGBEE_EPOCH).total_seconds())
        head = GBZ_RECEIPT_HEADER + self.event_code.to_bytes(2) + seconds.to_bytes(4)
        return head + GBZ_HASH_HEADER + self.image_hash


Payload = (
    ActivateFirmwareCommand
    | ActivateFirmwareResponse
    | ActivateFirmwareAlert
    | ReadVersionCommand
    | ReadVersionResponse
    | PpmidActivationAlert
    | FirmwareTransferAlert
    | ReceiptAlert
)


def _encode_version(version: int) -> bytes:
    return der.encode(der.OCTET_STRING, version.to_bytes(VERSION_OCTETS))
