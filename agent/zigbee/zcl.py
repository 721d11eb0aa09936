"""ZCL frames: the header of ZCL 2.4.1 and the status codes of ZCL 2.6.3.

::

    | frame control 1 | manufacturer 0 or 2 | sequence 1 | command 1 | payload |

    frame control: bits 0-1 type (0 foundation, 1 cluster), 2 manufacturer specific,
                   3 direction (1: server to client), 4 disable default response
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from agent.zigbee.wire import Reader

_CLUSTER_SPECIFIC = 0x01
_MANUFACTURER_SPECIFIC = 0x04
_TO_CLIENT = 0x08
_DISABLE_DEFAULT_RESPONSE = 0x10


class ZclStatus(IntEnum):
    """ZCL 2.6.3, those that our clusters use. The names of revision 6, under which the OTA cluster is documented."""

    SUCCESS = 0x00
    FAILURE = 0x01
    NOT_AUTHORIZED = 0x7E
    MALFORMED_COMMAND = 0x80
    UNSUP_CLUSTER_COMMAND = 0x81
    UNSUP_GENERAL_COMMAND = 0x82
    UNSUP_MANUF_CLUSTER_COMMAND = 0x83
    UNSUP_MANUF_GENERAL_COMMAND = 0x84
    INVALID_FIELD = 0x85
    UNSUPPORTED_ATTRIBUTE = 0x86
    INVALID_VALUE = 0x87
    READ_ONLY = 0x88
    INSUFFICIENT_SPACE = 0x89
    NOT_FOUND = 0x8B
    INVALID_DATA_TYPE = 0x8D
    TIMEOUT = 0x94
    ABORT = 0x95
    INVALID_IMAGE = 0x96
    WAIT_FOR_DATA = 0x97
    NO_IMAGE_AVAILABLE = 0x98
    REQUIRE_MORE_IMAGE = 0x99
    HARDWARE_FAILURE = 0xC0
    SOFTWARE_FAILURE = 0xC1
    UNSUPPORTED_CLUSTER = 0xC3


def status_name(status: int) -> str:
    """A status code as people write it, also one that we do not know."""
    try:
        return ZclStatus(status).name
    except ValueError:
        return f"status 0x{status:02X}"


@dataclass(frozen=True, slots=True)
class ZclFrame:
    """One ZCL frame. ``cluster`` comes from APS and is not on the wire; ``manufacturer`` None: a standard command."""

    cluster: int
    command: int
    payload: bytes
    sequence: int
    cluster_specific: bool = True
    to_client: bool = False
    disable_default_response: bool = True
    manufacturer: int | None = None

    def encode(self) -> bytes:
        """Header and payload, as the APS payload."""
        control = _CLUSTER_SPECIFIC if self.cluster_specific else 0
        control |= _MANUFACTURER_SPECIFIC if self.manufacturer is not None else 0
        control |= _TO_CLIENT if self.to_client else 0
        control |= _DISABLE_DEFAULT_RESPONSE if self.disable_default_response else 0
        manufacturer = b"" if self.manufacturer is None else self.manufacturer.to_bytes(2, "little")
        return bytes([control]) + manufacturer + bytes([self.sequence, self.command]) + self.payload

    @classmethod
    def decode(cls, cluster: int, octets: bytes) -> ZclFrame:
        """Read one APS payload. Raises FormatError when short or of a reserved frame type."""
        reader = Reader("ZCL frame", octets)
        control = reader.u8()
        if control & 0x02:
            raise reader.error(f"reserved frame type in frame control 0x{control:02X}")
        manufacturer = reader.u16() if control & _MANUFACTURER_SPECIFIC else None
        sequence, command = reader.u8(), reader.u8()
        return cls(
            cluster=cluster,
            command=command,
            payload=reader.rest(),
            sequence=sequence,
            cluster_specific=bool(control & _CLUSTER_SPECIFIC),
            to_client=bool(control & _TO_CLIENT),
            disable_default_response=bool(control & _DISABLE_DEFAULT_RESPONSE),
            manufacturer=manufacturer,
        )
