"""The commands of the Key Establishment cluster, 0x0800. ``to_client`` marks those of the responder.

::

    00 Initiate         suite u16 | ephemeral generate time u8 | confirm generate time u8 | certificate 48 or 74
    01 Ephemeral Data   point 22 or 37
    02 Confirm Key      MAC 16
    03 Terminate        status u8 | wait time u8 | suites u16

Integers little-endian, times in seconds; a time of FF is invalid.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from agent.errors import FormatError

CLUSTER = 0x0800
ATTRIBUTE_SUITES = 0x0000  # bitmap16: bit 0 suite 1, bit 1 suite 2
TIME_INVALID = 0xFF
_EPHEMERAL_OCTETS = (22, 37)
_MAC_OCTETS = 16


class KeyCommand(IntEnum):
    """Command ids, both directions."""

    INITIATE = 0
    EPHEMERAL_DATA = 1
    CONFIRM_KEY = 2
    TERMINATE = 3


class TerminateStatus(IntEnum):
    """Why an exchange ends."""

    UNKNOWN_ISSUER = 1
    BAD_KEY_CONFIRM = 2
    BAD_MESSAGE = 3
    NO_RESOURCES = 4
    UNSUPPORTED_SUITE = 5
    INVALID_CERTIFICATE = 6


@dataclass(frozen=True, slots=True)
class KeyFrame:
    """One command of the cluster: what stands between a ZCL header and the machine."""

    command: int
    payload: bytes
    to_client: bool


@dataclass(frozen=True, slots=True)
class Initiate:
    """Request or response. The certificate's length is judged with the suite, by the machine."""

    suite: int
    ephemeral_time_s: int
    confirm_time_s: int
    certificate: bytes

    def encode(self) -> bytes:
        return self.suite.to_bytes(2, "little") + bytes((self.ephemeral_time_s, self.confirm_time_s)) + self.certificate


@dataclass(frozen=True, slots=True)
class EphemeralData:
    """A compressed point."""

    point: bytes

    def encode(self) -> bytes:
        return self.point


@dataclass(frozen=True, slots=True)
class ConfirmKey:
    """MACU or MACV."""

    mac: bytes

    def encode(self) -> bytes:
        return self.mac


@dataclass(frozen=True, slots=True)
class Terminate:
    """``status`` as it came: it may be none of TerminateStatus. ``suites`` are those the sender supports."""

    status: int
    wait_s: int
    suites: int

    def encode(self) -> bytes:
        return bytes((self.status, self.wait_s)) + self.suites.to_bytes(2, "little")


Message = Initiate | EphemeralData | ConfirmKey | Terminate


def decode(command: int, payload: bytes) -> Message:
    """Raises FormatError."""
    if command == KeyCommand.INITIATE:
        if len(payload) < 4:
            raise FormatError("Initiate", len(payload), "ends before the certificate")
        return Initiate(int.from_bytes(payload[:2], "little"), payload[2], payload[3], payload[4:])
    if command == KeyCommand.EPHEMERAL_DATA:
        if len(payload) not in _EPHEMERAL_OCTETS:
            raise FormatError("Ephemeral Data", 0, f"{len(payload)} octets instead of 22 or 37")
        return EphemeralData(payload)
    if command == KeyCommand.CONFIRM_KEY:
        if len(payload) != _MAC_OCTETS:
            raise FormatError("Confirm Key", 0, f"{len(payload)} octets instead of {_MAC_OCTETS}")
        return ConfirmKey(payload)
    if command == KeyCommand.TERMINATE:
        if len(payload) != 4:
            raise FormatError("Terminate", 0, f"{len(payload)} octets instead of 4")
        return Terminate(payload[0], payload[1], int.from_bytes(payload[2:], "little"))
    raise FormatError("Key Establishment", 0, f"command {command:02X} is not known")
