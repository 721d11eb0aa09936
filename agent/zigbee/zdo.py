"""ZigBee Device Objects (endpoint 0, profile 0): the requests that discovery needs, with codecs both ways.

Every payload begins with the ZDO sequence number: ``pack(sequence, command)`` puts it there, ``unpack(cluster,
payload)`` returns it beside the command. ``CLUSTER`` is the APS cluster id; a response's is the request's with bit 15
set. R21 2.4.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from agent.zigbee.wire import FixedLayout, Reader

RESPONSE = 0x8000


class ZdpStatus(IntEnum):
    """R21 table 2.138, those that we send or look at."""

    SUCCESS = 0x00
    INV_REQUESTTYPE = 0x80
    DEVICE_NOT_FOUND = 0x81
    INVALID_EP = 0x82
    NOT_ACTIVE = 0x83
    NOT_SUPPORTED = 0x84
    NO_MATCH = 0x86
    NO_DESCRIPTOR = 0x89


def _u16_list(reader: Reader, count: int) -> tuple[int, ...]:
    return tuple(reader.u16() for _ in range(count))


def _pack_u16_list(numbers: tuple[int, ...]) -> bytes:
    return bytes([len(numbers)]) + struct.pack(f"<{len(numbers)}H", *numbers)


@dataclass(frozen=True, slots=True)
class NwkAddrReq(FixedLayout):
    """NWK_addr_req: the short address of this EUI. ``request_type`` 0: single device."""

    CLUSTER: ClassVar[int] = 0x0000
    LAYOUT: ClassVar[str] = "QBB"
    eui: int
    request_type: int = 0
    start_index: int = 0


@dataclass(frozen=True, slots=True)
class IeeeAddrReq(FixedLayout):
    """IEEE_addr_req: the EUI of this short address."""

    CLUSTER: ClassVar[int] = 0x0001
    LAYOUT: ClassVar[str] = "HBB"
    short_address: int
    request_type: int = 0
    start_index: int = 0


@dataclass(frozen=True, slots=True)
class NwkAddrRsp(FixedLayout):
    """NWK_addr_rsp of a single device; a list of children behind it is ignored."""

    CLUSTER: ClassVar[int] = 0x8000
    LAYOUT: ClassVar[str] = "BQH"
    status: int
    eui: int
    short_address: int


@dataclass(frozen=True, slots=True)
class IeeeAddrRsp(NwkAddrRsp):
    """IEEE_addr_rsp of a single device."""

    CLUSTER: ClassVar[int] = 0x8001


@dataclass(frozen=True, slots=True)
class NodeDescReq(FixedLayout):
    """Node_Desc_req."""

    CLUSTER: ClassVar[int] = 0x0002
    LAYOUT: ClassVar[str] = "H"
    short_address: int


@dataclass(frozen=True, slots=True)
class NodeDescRsp:
    """Node_Desc_rsp; ``descriptor`` is the 13 octets of R21 2.3.2.3, empty unless SUCCESS."""

    CLUSTER: ClassVar[int] = 0x8002
    status: int
    short_address: int
    descriptor: bytes = b""

    def encode(self) -> bytes:
        """The payload behind the sequence number."""
        return struct.pack("<BH", self.status, self.short_address) + self.descriptor

    @classmethod
    def decode(cls, octets: bytes) -> NodeDescRsp:
        """Raises FormatError when short."""
        reader = Reader("Node_Desc_rsp", octets)
        status, short_address = reader.u8(), reader.u16()
        return cls(status, short_address, b"" if status else reader.take(13))


@dataclass(frozen=True, slots=True)
class SimpleDescReq(FixedLayout):
    """Simple_Desc_req."""

    CLUSTER: ClassVar[int] = 0x0004
    LAYOUT: ClassVar[str] = "HB"
    short_address: int
    endpoint: int


@dataclass(frozen=True, slots=True)
class SimpleDescriptor:
    """R21 2.3.2.5: one endpoint, its profile, device id and clusters."""

    endpoint: int
    profile: int
    device: int
    device_version: int
    input_clusters: tuple[int, ...]
    output_clusters: tuple[int, ...]

    def encode(self) -> bytes:
        """The descriptor without its length octet."""
        head = struct.pack("<BHHB", self.endpoint, self.profile, self.device, self.device_version)
        return head + _pack_u16_list(self.input_clusters) + _pack_u16_list(self.output_clusters)

    @classmethod
    def decode(cls, octets: bytes) -> SimpleDescriptor:
        """Raises FormatError when short."""
        reader = Reader("simple descriptor", octets)
        head = reader.u8(), reader.u16(), reader.u16(), reader.u8() & 0x0F
        inputs = _u16_list(reader, reader.u8())
        return cls(*head, inputs, _u16_list(reader, reader.u8()))


@dataclass(frozen=True, slots=True)
class SimpleDescRsp:
    """Simple_Desc_rsp; ``descriptor`` is set exactly when the status is SUCCESS."""

    CLUSTER: ClassVar[int] = 0x8004
    status: int
    short_address: int
    descriptor: SimpleDescriptor | None = None

    def encode(self) -> bytes:
        """The payload behind the sequence number."""
        descriptor = self.descriptor.encode() if self.descriptor else b""
        return struct.pack("<BHB", self.status, self.short_address, len(descriptor)) + descriptor

    @classmethod
    def decode(cls, octets: bytes) -> SimpleDescRsp:
        """Raises FormatError when short."""
        reader = Reader("Simple_Desc_rsp", octets)
        status, short_address = reader.u8(), reader.u16()
        return cls(status, short_address, None if status else SimpleDescriptor.decode(reader.take(reader.u8())))


@dataclass(frozen=True, slots=True)
class ActiveEpReq(FixedLayout):
    """Active_EP_req."""

    CLUSTER: ClassVar[int] = 0x0005
    LAYOUT: ClassVar[str] = "H"
    short_address: int


@dataclass(frozen=True, slots=True)
class ActiveEpRsp:
    """Active_EP_rsp: the endpoints of a device."""

    CLUSTER: ClassVar[int] = 0x8005
    status: int
    short_address: int
    endpoints: tuple[int, ...] = ()

    def encode(self) -> bytes:
        """The payload behind the sequence number."""
        return struct.pack("<BHB", self.status, self.short_address, len(self.endpoints)) + bytes(self.endpoints)

    @classmethod
    def decode(cls, octets: bytes) -> ActiveEpRsp:
        """Raises FormatError when short."""
        reader = Reader("Active_EP_rsp", octets)
        status, short_address = reader.u8(), reader.u16()
        return cls(status, short_address, tuple(reader.take(reader.u8())))


@dataclass(frozen=True, slots=True)
class MatchDescReq:
    """Match_Desc_req: which endpoints of ``short_address`` have this profile and one of these clusters."""

    CLUSTER: ClassVar[int] = 0x0006
    short_address: int
    profile: int
    input_clusters: tuple[int, ...]
    output_clusters: tuple[int, ...]

    def encode(self) -> bytes:
        """The payload behind the sequence number."""
        head = struct.pack("<HH", self.short_address, self.profile)
        return head + _pack_u16_list(self.input_clusters) + _pack_u16_list(self.output_clusters)

    @classmethod
    def decode(cls, octets: bytes) -> MatchDescReq:
        """Raises FormatError when short."""
        reader = Reader("Match_Desc_req", octets)
        short_address, profile = reader.u16(), reader.u16()
        inputs = _u16_list(reader, reader.u8())
        return cls(short_address, profile, inputs, _u16_list(reader, reader.u8()))


@dataclass(frozen=True, slots=True)
class MatchDescRsp(ActiveEpRsp):
    """Match_Desc_rsp: the endpoints that match."""

    CLUSTER: ClassVar[int] = 0x8006


@dataclass(frozen=True, slots=True)
class DeviceAnnce(FixedLayout):
    """Device_annce: this EUI is now at this short address. ``capability``: the MAC capability flags."""

    CLUSTER: ClassVar[int] = 0x0013
    LAYOUT: ClassVar[str] = "HQB"
    short_address: int
    eui: int
    capability: int


@dataclass(frozen=True, slots=True)
class MgmtLeaveReq(FixedLayout):
    """Mgmt_Leave_req: ``options`` bit 6 remove children, bit 7 rejoin."""

    CLUSTER: ClassVar[int] = 0x0034
    LAYOUT: ClassVar[str] = "QB"
    eui: int
    options: int = 0


@dataclass(frozen=True, slots=True)
class MgmtLeaveRsp(FixedLayout):
    """Mgmt_Leave_rsp."""

    CLUSTER: ClassVar[int] = 0x8034
    LAYOUT: ClassVar[str] = "B"
    status: int


ZdoCommand = (
    NwkAddrReq
    | NwkAddrRsp
    | IeeeAddrReq
    | IeeeAddrRsp
    | NodeDescReq
    | NodeDescRsp
    | SimpleDescReq
    | SimpleDescRsp
    | ActiveEpReq
    | ActiveEpRsp
    | MatchDescReq
    | MatchDescRsp
    | DeviceAnnce
    | MgmtLeaveReq
    | MgmtLeaveRsp
)

_DECODERS: dict[int, Callable[[bytes], ZdoCommand]] = {
    NwkAddrReq.CLUSTER: NwkAddrReq.decode,
    NwkAddrRsp.CLUSTER: NwkAddrRsp.decode,
    IeeeAddrReq.CLUSTER: IeeeAddrReq.decode,
    IeeeAddrRsp.CLUSTER: IeeeAddrRsp.decode,
    NodeDescReq.CLUSTER: NodeDescReq.decode,
    NodeDescRsp.CLUSTER: NodeDescRsp.decode,
    SimpleDescReq.CLUSTER: SimpleDescReq.decode,
    SimpleDescRsp.CLUSTER: SimpleDescRsp.decode,
    ActiveEpReq.CLUSTER: ActiveEpReq.decode,
    ActiveEpRsp.CLUSTER: ActiveEpRsp.decode,
    MatchDescReq.CLUSTER: MatchDescReq.decode,
    MatchDescRsp.CLUSTER: MatchDescRsp.decode,
    DeviceAnnce.CLUSTER: DeviceAnnce.decode,
    MgmtLeaveReq.CLUSTER: MgmtLeaveReq.decode,
    MgmtLeaveRsp.CLUSTER: MgmtLeaveRsp.decode,
}


def pack(sequence: int, command: ZdoCommand) -> bytes:
    """The APS payload: sequence number, then the command."""
    return bytes([sequence]) + command.encode()


def unpack(cluster: int, payload: bytes) -> tuple[int, ZdoCommand | None]:
    """Sequence number and command; None for a cluster that is not among ours. Raises FormatError when short."""
    reader = Reader("ZDO payload", payload)
    sequence = reader.u8()
    decoder = _DECODERS.get(cluster)
    return sequence, decoder(reader.rest()) if decoder else None
