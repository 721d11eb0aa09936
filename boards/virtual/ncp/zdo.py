"""ZDO of one life of a chip: sends and receives ZDP frames, tells the host, and lets the server answer.

What comes in goes to the host twice, as on the chip: as ZDO_MSG_CB_INCOMING where the host registered for the cluster,
and as the response's own indication where NV item ZDO_DIRECT_CB is set (MT_ZdoDirectCB in TI's MT_ZDO.c: source
address, then the ZDP payload without its sequence number).
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

from boards.virtual.ncp import items
from boards.virtual.ncp.af import BROADCASTS, loop_back
from boards.virtual.ncp.codec import Subsystem
from boards.virtual.ncp.nv import old_item
from boards.virtual.ncp.zdo_server import DEVICE_ANNCE, RESPONSE, ZdoRequest, ZdoServer, mac_capability
from boards.virtual.stack.interface import BROADCAST_AWAKE, DataIndication, DataRequest, LogicalType

if TYPE_CHECKING:
    from boards.virtual.ncp.chip import Chip

NWK_ADDR_RSP, IEEE_ADDR_RSP, SIMPLE_DESC_RSP = 0x8000, 0x8001, 0x8004
ALL_CLUSTERS = 0xFFFF
STATUS_ERROR_RSP = 0xC3


class ZdoPort:
    """Also keeps which clusters the host has registered for."""

    def __init__(self, chip: Chip) -> None:
        self._chip = chip
        self._server = ZdoServer(chip)
        self._sequence = 0
        self.registered: set[int] = set()

    def next_sequence(self) -> int:
        """A transaction sequence number for a request of the chip's own."""
        self._sequence = (self._sequence + 1) & 0xFF
        return self._sequence

    def request(self, destination: int, cluster: int, body: bytes) -> None:
        """Send a ZDP request whose body lacks only the sequence number."""
        self._post(destination, cluster, bytes((self.next_sequence(),)) + body)

    def _post(self, destination: int, cluster: int, payload: bytes) -> None:
        acknowledged = destination < BROADCASTS and bool(cluster & RESPONSE)
        self.send(DataRequest(destination, 0, 0, cluster, 0, payload, aps_ack=acknowledged))

    def send(self, request: DataRequest) -> None:
        """A ZDP frame on its way; a frame to this very device, or to all, is heard here too."""
        chip = self._chip
        if request.destination == chip.short or request.destination >= BROADCASTS:
            chip.defer(lambda: self.received(loop_back(chip, request)))
        if request.destination != chip.short:
            chip.stack.data_request(chip.af.new_handle(), replace(request, profile=0))

    def announce(self) -> None:
        """Device_annce to everybody awake (clause 2.4.3.1.11)."""
        chip = self._chip
        body = struct.pack("<HQB", chip.short, chip.eui, mac_capability(chip.logical_type))
        payload = bytes((self.next_sequence(),)) + body
        request = DataRequest(BROADCAST_AWAKE, 0, 0, DEVICE_ANNCE, 0, payload)
        chip.stack.data_request(chip.af.new_handle(), request)

    def received(self, indication: DataIndication) -> None:
        """A ZDP frame from the air, or from this chip itself."""
        if not indication.payload:
            return
        self._tell_host(indication)
        request = ZdoRequest(indication.cluster, indication.payload, indication.source, indication.broadcast)
        answer = self._server.answer(request)
        if answer is not None and self._chip.network is not None:
            self._post(indication.source, *answer)

    def _tell_host(self, indication: DataIndication) -> None:
        chip = self._chip
        if indication.cluster in self.registered or ALL_CLUSTERS in self.registered:
            mac_destination = 0xFFFF if indication.broadcast else chip.short
            head = struct.pack(
                "<HBHBBH", indication.source, indication.broadcast, indication.cluster,
                indication.aps_security, indication.payload[0], mac_destination,
            )  # fmt: skip
            if len(head) + len(indication.payload) - 1 <= 250:
                chip.indicate(Subsystem.ZDO, 0xFF, head + indication.payload[1:])
        if (chip.nv.get(old_item(items.ZDO_DIRECT_CB)) or b"\0")[0]:
            self._tell_directly(indication)

    def _tell_directly(self, indication: DataIndication) -> None:
        source, body = indication.source.to_bytes(2, "little"), indication.payload[1:]
        cluster = indication.cluster
        if cluster == DEVICE_ANNCE and len(body) >= 11:
            self._chip.indicate(Subsystem.ZDO, 0xC1, source + body[:11])
        elif cluster in (NWK_ADDR_RSP, IEEE_ADDR_RSP):
            self._tell_address(cluster, body)
        elif cluster == SIMPLE_DESC_RSP and len(body) < 5:
            self._chip.indicate(Subsystem.ZDO, STATUS_ERROR_RSP, source + body[:1])
        elif cluster & RESPONSE and len(body) <= 248:
            self._chip.indicate(Subsystem.ZDO, 0x80 | cluster & 0x7F, source + body)

    def _tell_address(self, cluster: int, body: bytes) -> None:
        """Status, EUI, short address, start index, number, list: TI swaps the two counts of the frame."""
        if len(body) < 11 or body[0] != 0:
            return
        number, start, listed = (body[11], body[12], body[13:]) if len(body) >= 13 else (0, 0, b"")
        data = body[:11] + bytes((start, number)) + listed
        self._chip.indicate(Subsystem.ZDO, 0x80 | cluster & 0x7F, data)

    def permit_joining_here(self, body: bytes) -> None:
        """ZDO_MGMT_PERMIT_JOIN_REQ to a broadcast address: the chip opens itself too, and reports it as a response."""
        chip = self._chip
        if chip.logical_type is LogicalType.END_DEVICE:
            return
        request = DataRequest(chip.short, 0, 0, 0x0036, 0, bytes((self.next_sequence(),)) + body)
        chip.defer(lambda: self.received(loop_back(chip, request)))
