"""The chip's ZDO server: answers device and service discovery and network management on endpoint 0.

Payloads are ZDP frames without the APS header, first octet the transaction sequence number (ZigBee specification R22,
clause 2.4). What the chip does not do is answered NOT_SUPPORTED, as the clause wants; broadcasts that do not match
are not answered at all.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from agent.errors import FormatError
from boards.virtual.ncp.codec import Fields
from boards.virtual.stack.interface import LogicalType, Neighbour

RESPONSE = 0x8000
DEVICE_ANNCE = 0x0013
PARENT_ANNCE = 0x001F
COMPLIANCE_REVISION = 22
NEIGHBOURS_A_FRAME = 3
ENERGY_SCAN_LAST_DURATION = 5


class ZdoStatus(IntEnum):
    """ZDP enumerations, clause 2.4.5."""

    SUCCESS = 0x00
    INVALID_REQUEST_TYPE = 0x80
    DEVICE_NOT_FOUND = 0x81
    INVALID_ENDPOINT = 0x82
    NOT_ACTIVE = 0x83
    NOT_SUPPORTED = 0x84


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row of the chip's endpoint table (AF_REGISTER)."""

    number: int
    profile: int
    device: int
    version: int
    input_clusters: tuple[int, ...]
    output_clusters: tuple[int, ...]

    def simple_descriptor(self) -> bytes:
        """Clause 2.3.2.5, without its length octet."""
        head = struct.pack("<BHHB", self.number, self.profile, self.device, self.version & 0x0F)
        return head + _clusters(self.input_clusters) + _clusters(self.output_clusters)


@dataclass(frozen=True, slots=True)
class ZdoRequest:
    """A ZDP request as it arrived. ``payload`` starts with the sequence number."""

    cluster: int
    payload: bytes
    source: int
    broadcast: bool


class ZdoHost(Protocol):
    """What the server asks of the chip."""

    @property
    def eui(self) -> int: ...
    @property
    def short(self) -> int: ...
    @property
    def extended_pan_id(self) -> int: ...
    @property
    def logical_type(self) -> LogicalType: ...
    @property
    def endpoints(self) -> dict[int, Endpoint]: ...
    @property
    def maximum_transfer_octets(self) -> int: ...

    def neighbours(self) -> list[Neighbour]:
        """Devices heard directly."""

    def permit_join(self, duration_s: int) -> None:
        """Mgmt_Permit_Joining."""

    def remove_child(self, eui: int, rejoin: bool) -> bool:
        """Send a child of ours the NWK leave request; False: it is none."""

    def leave_soon(self, rejoin: bool) -> None:
        """Mgmt_Leave of this device: after the answer has left."""

    def energy_scan(self, channels: tuple[int, ...]) -> dict[int, int]:
        """Mgmt_NWK_Update."""


def mac_capability(logical_type: LogicalType) -> int:
    """Clause 2.3.2.3.6; an end device of ours is a sleepy one."""
    return {LogicalType.COORDINATOR: 0x8F, LogicalType.ROUTER: 0x8E, LogicalType.END_DEVICE: 0x80}[logical_type]


def channels_of(mask: int) -> tuple[int, ...]:
    """Channel numbers 11..26 of a channel mask."""
    return tuple(channel for channel in range(11, 27) if mask >> channel & 1)


def _clusters(clusters: tuple[int, ...]) -> bytes:
    return bytes((len(clusters),)) + struct.pack(f"<{len(clusters)}H", *clusters)


class ZdoServer:
    """Stateless: every answer comes from the request and the host."""

    def __init__(self, host: ZdoHost) -> None:
        self._host = host
        self._handlers: dict[int, Callable[[Fields, bool], bytes | None]] = {
            0x0000: self._nwk_addr,
            0x0001: self._ieee_addr,
            0x0002: self._node_desc,
            0x0003: self._power_desc,
            0x0004: self._simple_desc,
            0x0005: self._active_ep,
            0x0006: self._match_desc,
            0x0015: self._server_discovery,
            0x0031: self._mgmt_lqi,
            0x0032: self._empty_table,
            0x0033: self._empty_table,
            0x0034: self._mgmt_leave,
            0x0036: self._mgmt_permit_joining,
            0x0038: self._mgmt_nwk_update,
        }

    def answer(self, request: ZdoRequest) -> tuple[int, bytes] | None:
        """(cluster, payload) of the response, or None where none is due. Never raises."""
        silent = request.cluster & RESPONSE or request.cluster in (DEVICE_ANNCE, PARENT_ANNCE)
        if silent or not request.payload:
            return None
        handler = self._handlers.get(request.cluster)
        if handler is None:
            body: bytes | None = None if request.broadcast else bytes((ZdoStatus.NOT_SUPPORTED,))
        else:
            try:
                body = handler(Fields("ZDO request", request.payload[1:]), request.broadcast)
            except FormatError:
                body = bytes((ZdoStatus.INVALID_REQUEST_TYPE,))
        return None if body is None else (request.cluster | RESPONSE, request.payload[:1] + body)

    def _node_descriptor(self) -> bytes:
        host = self._host
        coordinator = host.logical_type is LogicalType.COORDINATOR
        server_mask = COMPLIANCE_REVISION << 9 | (0x0041 if coordinator else 0)  # trust center, network manager
        return struct.pack(
            "<BBBHBHHHB",
            host.logical_type.value,
            0x40,  # 2.4 GHz
            mac_capability(host.logical_type),
            0x0007,  # manufacturer code: Texas Instruments, as Z-Stack announces
            80,  # maximum buffer size
            host.maximum_transfer_octets,
            server_mask,
            host.maximum_transfer_octets,
            0,
        )

    def _children(self) -> list[Neighbour]:
        return [neighbour for neighbour in self._host.neighbours() if neighbour.relation == 1]

    def _address_response(self, fields: Fields) -> bytes:
        kind, start = fields.u8(), fields.u8()
        head = struct.pack("<QH", self._host.eui, self._host.short)
        if kind > 1:
            return bytes((ZdoStatus.INVALID_REQUEST_TYPE,)) + head
        if kind == 0:
            return bytes((ZdoStatus.SUCCESS,)) + head
        shorts = [child.short for child in self._children()][start:]
        return bytes((0,)) + head + struct.pack(f"<BB{len(shorts)}H", len(shorts), start, *shorts)

    def _nwk_addr(self, fields: Fields, broadcast: bool) -> bytes | None:
        eui = fields.u64()
        if eui == self._host.eui:
            return self._address_response(fields)
        for child in self._children():
            if child.eui == eui and not child.receiver_on_when_idle:
                return struct.pack("<BQH", ZdoStatus.SUCCESS, eui, child.short)
        return None if broadcast else struct.pack("<BQH", ZdoStatus.DEVICE_NOT_FOUND, eui, 0xFFFF)

    def _ieee_addr(self, fields: Fields, broadcast: bool) -> bytes | None:
        short = fields.u16()
        if short == self._host.short:
            return self._address_response(fields)
        return None if broadcast else struct.pack("<BQH", ZdoStatus.DEVICE_NOT_FOUND, 0, short)

    def _for_me(self, fields: Fields, found: bytes, missing: bytes = b"") -> bytes:
        """status, address of interest, then what was asked for, if the address is this device's."""
        short = fields.u16()
        status = ZdoStatus.SUCCESS if short == self._host.short else ZdoStatus.DEVICE_NOT_FOUND
        return struct.pack("<BH", status, short) + (missing if status else found)

    def _node_desc(self, fields: Fields, _broadcast: bool) -> bytes:
        return self._for_me(fields, self._node_descriptor())

    def _power_desc(self, fields: Fields, _broadcast: bool) -> bytes:
        return self._for_me(fields, b"\x10\xc1")  # mains, full

    def _simple_desc(self, fields: Fields, _broadcast: bool) -> bytes:
        short, number = fields.u16(), fields.u8()
        endpoint = self._host.endpoints.get(number)
        if short != self._host.short:
            status = ZdoStatus.DEVICE_NOT_FOUND
        elif number in (0, 255):
            status = ZdoStatus.INVALID_ENDPOINT
        elif endpoint is None:
            status = ZdoStatus.NOT_ACTIVE
        else:
            descriptor = endpoint.simple_descriptor()
            return struct.pack("<BHB", ZdoStatus.SUCCESS, short, len(descriptor)) + descriptor
        return struct.pack("<BHB", status, short, 0)

    def _active_ep(self, fields: Fields, _broadcast: bool) -> bytes:
        numbers = sorted(self._host.endpoints)
        return self._for_me(fields, bytes((len(numbers), *numbers)), b"\0")

    def _match_desc(self, fields: Fields, broadcast: bool) -> bytes | None:
        short, profile, wanted_in, wanted_out = fields.u16(), fields.u16(), fields.u16_list(), fields.u16_list()
        if short != self._host.short and not (broadcast and short >= 0xFFF8):
            return None if broadcast else struct.pack("<BHB", ZdoStatus.DEVICE_NOT_FOUND, short, 0)
        matches = [
            number
            for number, endpoint in sorted(self._host.endpoints.items())
            if profile in (endpoint.profile, 0xFFFF)
            and (set(wanted_in) & set(endpoint.input_clusters) or set(wanted_out) & set(endpoint.output_clusters))
        ]
        if broadcast and not matches:
            return None
        return struct.pack("<BHB", ZdoStatus.SUCCESS, self._host.short, len(matches)) + bytes(matches)

    def _server_discovery(self, fields: Fields, _broadcast: bool) -> bytes | None:
        mask = fields.u16() & (0x0041 if self._host.logical_type is LogicalType.COORDINATOR else 0)
        return struct.pack("<BH", ZdoStatus.SUCCESS, mask) if mask else None

    def _mgmt_lqi(self, fields: Fields, _broadcast: bool) -> bytes:
        start = fields.u8()
        known = self._host.neighbours()
        part = known[start : start + NEIGHBOURS_A_FRAME]
        return bytes((ZdoStatus.SUCCESS, len(known), start, len(part))) + b"".join(map(self._lqi_entry, part))

    def _lqi_entry(self, neighbour: Neighbour) -> bytes:
        kind = 3 if neighbour.logical_type is None else neighbour.logical_type.value
        packed = kind | neighbour.receiver_on_when_idle << 2 | neighbour.relation << 4
        head = struct.pack("<QQH", self._host.extended_pan_id, neighbour.eui, neighbour.short)
        return head + bytes((packed, 2, 0, neighbour.lqi))  # 2: whether it permits joining is not known

    def _empty_table(self, fields: Fields, _broadcast: bool) -> bytes:
        """Mgmt_Rtg and Mgmt_Bind: this stack keeps no routing or binding table to show."""
        return bytes((ZdoStatus.SUCCESS, 0, fields.u8(), 0))

    def _mgmt_leave(self, fields: Fields, _broadcast: bool) -> bytes:
        eui, options = fields.u64(), fields.u8()
        rejoin = bool(options & 0x80)
        if eui in (0, self._host.eui):
            self._host.leave_soon(rejoin)
        elif not self._host.remove_child(eui, rejoin):
            return bytes((ZdoStatus.DEVICE_NOT_FOUND,))
        return bytes((ZdoStatus.SUCCESS,))

    def _mgmt_permit_joining(self, fields: Fields, broadcast: bool) -> bytes | None:
        duration_s = fields.u8()
        fields.u8()  # Trust Center significance: always 1 since R21
        if self._host.logical_type is LogicalType.END_DEVICE:
            return None if broadcast else bytes((ZdoStatus.INVALID_REQUEST_TYPE,))
        self._host.permit_join(duration_s)
        return None if broadcast else bytes((ZdoStatus.SUCCESS,))

    def _mgmt_nwk_update(self, fields: Fields, _broadcast: bool) -> bytes:
        """Energy scan; a change of channel or manager is NOT_SUPPORTED by this stack."""
        mask, duration = fields.u32(), fields.u8()
        if duration > ENERGY_SCAN_LAST_DURATION:
            return struct.pack("<BIHHB", ZdoStatus.NOT_SUPPORTED, mask, 0, 0, 0)
        energy = self._host.energy_scan(channels_of(mask))
        values = bytes(energy[channel] for channel in sorted(energy))
        return struct.pack("<BIHHB", ZdoStatus.SUCCESS, mask, 0, 0, len(values)) + values
