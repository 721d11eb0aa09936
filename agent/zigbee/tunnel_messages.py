"""Every command of the Tunneling cluster 0x0704 (SE 1.2b D.6), as plain values with codecs both ways.

A command id means one thing to the server and another to the client, so each direction has its decoder. Decoding raises
FormatError.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from agent.zigbee.wire import FixedLayout, Reader

NO_TUNNEL = 0xFFFF
GB_HRGP = 6  # protocol id of GB tunnelling
ANY_MANUFACTURER = 0xFFFF
ATTRIBUTE_CLOSE_TIMEOUT = 0x0000


class TunnelStatus(IntEnum):
    """Of a Request Tunnel Response."""

    SUCCESS = 0
    BUSY = 1
    NO_MORE_IDS = 2
    PROTOCOL_NOT_SUPPORTED = 3
    FLOW_CONTROL_NOT_SUPPORTED = 4


class TransferStatus(IntEnum):
    """Of a Transfer Data Error."""

    NO_SUCH_TUNNEL = 0
    WRONG_DEVICE = 1
    DATA_OVERFLOW = 2


@dataclass(frozen=True, slots=True)
class RequestTunnel(FixedLayout):
    """To the server 00. ``maximum_incoming`` is what the client can take in one transfer, octets."""

    COMMAND: ClassVar[int] = 0x00
    LAYOUT: ClassVar[str] = "BHBH"
    protocol: int
    manufacturer: int
    flow_control: int
    maximum_incoming: int


@dataclass(frozen=True, slots=True)
class RequestTunnelResponse(FixedLayout):
    """To the client 00. ``tunnel`` is NO_TUNNEL unless the status is SUCCESS."""

    COMMAND: ClassVar[int] = 0x00
    LAYOUT: ClassVar[str] = "HBH"
    tunnel: int
    status: int
    maximum_incoming: int


@dataclass(frozen=True, slots=True)
class CloseTunnel(FixedLayout):
    """To the server 01."""

    COMMAND: ClassVar[int] = 0x01
    LAYOUT: ClassVar[str] = "H"
    tunnel: int


@dataclass(frozen=True, slots=True)
class ClosureNotification(FixedLayout):
    """To the client 06: the server has closed this tunnel (time-out)."""

    COMMAND: ClassVar[int] = 0x06
    LAYOUT: ClassVar[str] = "H"
    tunnel: int


@dataclass(frozen=True, slots=True)
class TransferData:
    """To the server 02, to the client 01: ``data`` runs to the end of the frame."""

    TO_SERVER: ClassVar[int] = 0x02
    TO_CLIENT: ClassVar[int] = 0x01
    tunnel: int
    data: bytes

    def encode(self) -> bytes:
        """The payload as it goes on the air."""
        return self.tunnel.to_bytes(2, "little") + self.data

    @classmethod
    def decode(cls, octets: bytes) -> TransferData:
        """Raises FormatError when short."""
        reader = Reader("Transfer Data", octets)
        return cls(reader.u16(), reader.rest())


@dataclass(frozen=True, slots=True)
class TransferDataError(FixedLayout):
    """To the server 03, to the client 02."""

    TO_SERVER: ClassVar[int] = 0x03
    TO_CLIENT: ClassVar[int] = 0x02
    LAYOUT: ClassVar[str] = "HB"
    tunnel: int
    status: int


@dataclass(frozen=True, slots=True)
class AckTransferData(FixedLayout):
    """To the server 04, to the client 03; flow control only. ``octets_left``: what more may be sent."""

    TO_SERVER: ClassVar[int] = 0x04
    TO_CLIENT: ClassVar[int] = 0x03
    LAYOUT: ClassVar[str] = "HH"
    tunnel: int
    octets_left: int


@dataclass(frozen=True, slots=True)
class ReadyData(FixedLayout):
    """To the server 05, to the client 04; flow control only."""

    TO_SERVER: ClassVar[int] = 0x05
    TO_CLIENT: ClassVar[int] = 0x04
    LAYOUT: ClassVar[str] = "HH"
    tunnel: int
    octets_left: int


@dataclass(frozen=True, slots=True)
class GetSupportedTunnelProtocols(FixedLayout):
    """To the server 06: the list from ``offset`` on."""

    COMMAND: ClassVar[int] = 0x06
    LAYOUT: ClassVar[str] = "B"
    offset: int


@dataclass(frozen=True, slots=True)
class SupportedTunnelProtocols:
    """To the client 05: (manufacturer code, protocol id) pairs; ``complete`` when none follows."""

    COMMAND: ClassVar[int] = 0x05
    complete: bool
    protocols: tuple[tuple[int, int], ...]

    def encode(self) -> bytes:
        """The payload as it goes on the air."""
        pairs = (manufacturer.to_bytes(2, "little") + bytes([protocol]) for manufacturer, protocol in self.protocols)
        return bytes([self.complete, len(self.protocols)]) + b"".join(pairs)

    @classmethod
    def decode(cls, octets: bytes) -> SupportedTunnelProtocols:
        """Raises FormatError when short."""
        reader = Reader("Supported Tunnel Protocols Response", octets)
        complete, count = bool(reader.u8()), reader.u8()
        return cls(complete, tuple((reader.u16(), reader.u8()) for _ in range(count)))


TunnelToServer = (
    RequestTunnel
    | CloseTunnel
    | TransferData
    | TransferDataError
    | AckTransferData
    | ReadyData
    | GetSupportedTunnelProtocols
)
TunnelToClient = (
    RequestTunnelResponse
    | TransferData
    | TransferDataError
    | AckTransferData
    | ReadyData
    | SupportedTunnelProtocols
    | ClosureNotification
)

_TO_SERVER_DECODERS: dict[int, Callable[[bytes], TunnelToServer]] = {
    RequestTunnel.COMMAND: RequestTunnel.decode,
    CloseTunnel.COMMAND: CloseTunnel.decode,
    TransferData.TO_SERVER: TransferData.decode,
    TransferDataError.TO_SERVER: TransferDataError.decode,
    AckTransferData.TO_SERVER: AckTransferData.decode,
    ReadyData.TO_SERVER: ReadyData.decode,
    GetSupportedTunnelProtocols.COMMAND: GetSupportedTunnelProtocols.decode,
}
_TO_CLIENT_DECODERS: dict[int, Callable[[bytes], TunnelToClient]] = {
    RequestTunnelResponse.COMMAND: RequestTunnelResponse.decode,
    TransferData.TO_CLIENT: TransferData.decode,
    TransferDataError.TO_CLIENT: TransferDataError.decode,
    AckTransferData.TO_CLIENT: AckTransferData.decode,
    ReadyData.TO_CLIENT: ReadyData.decode,
    SupportedTunnelProtocols.COMMAND: SupportedTunnelProtocols.decode,
    ClosureNotification.COMMAND: ClosureNotification.decode,
}


def decode_to_server(command: int, payload: bytes) -> TunnelToServer | None:
    """A cluster command of the client. None: no such command. Raises FormatError."""
    decoder = _TO_SERVER_DECODERS.get(command)
    return decoder(payload) if decoder else None


def decode_to_client(command: int, payload: bytes) -> TunnelToClient | None:
    """A cluster command of the server. None: no such command. Raises FormatError."""
    decoder = _TO_CLIENT_DECODERS.get(command)
    return decoder(payload) if decoder else None
