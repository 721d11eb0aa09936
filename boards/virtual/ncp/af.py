"""AF, the application framework of the MT interface: endpoints, data requests, huge messages, incoming messages.

Sizes as in TI's MT_AF.c: a request above 230 octets comes through AF_DATA_STORE, a message above 220 is announced by
AF_INCOMING_MSG_EXT without its octets and fetched by AF_DATA_RETRIEVE; either waits 15 s for the host.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from boards.virtual.ncp.codec import Fields, Subsystem
from boards.virtual.ncp.zdo_server import Endpoint
from boards.virtual.stack.interface import DataIndication, DataRequest

if TYPE_CHECKING:
    from boards.virtual.ncp.chip import Chip

SUCCESS, FAILED, INVALID_PARAMETER, MEMORY_FAIL, DUPLICATE, NO_NETWORK = 0x00, 0x01, 0x02, 0x10, 0xB8, 0xC2
UNKNOWN_DEVICE = 0xC8
MODE_GROUP, MODE_SHORT, MODE_EUI, MODE_BROADCAST = 0x01, 0x02, 0x03, 0x0F
OPTION_WILDCARD_PROFILE, OPTION_ACK, OPTION_SECURITY = 0x02, 0x10, 0x40
DATA_MAX = 250
HUGE_TIMEOUT_S = 15.0
RETRIEVE_MAX = 248
BROADCASTS = 0xFFF8
ALL_ENDPOINTS = 0xFF
WILDCARD_PROFILE = 0xFFFF
DEFAULT_RADIUS = 30
TRANSACTIONS_AT_ONCE = 64  # our choice: then MEM_FAIL, as a chip without buffers answers
ZDO_ENDPOINT = Endpoint(0, 0, 0, 0, (), ())


@dataclass
class _HugeRequest:
    """A data request that waits for AF_DATA_STORE."""

    request: DataRequest
    transaction: int
    data: bytearray
    serial: int


class AfPort:
    """The AF side of one life of a chip (from reset to reset)."""

    def __init__(self, chip: Chip) -> None:
        self._chip = chip
        self._handle = 0
        self._transactions: dict[int, tuple[int, int]] = {}  # handle -> endpoint, transaction id
        self._outgoing: _HugeRequest | None = None
        self._incoming: dict[int, bytes] = {}  # time stamp -> payload
        self._stamp = 0

    def register(self, endpoint: Endpoint) -> int:
        """AF_REGISTER. DUPLICATE where the number is taken until the next reset or AF_DELETE."""
        if endpoint.number in (0, ALL_ENDPOINTS):
            return INVALID_PARAMETER
        if endpoint.number in self._chip.endpoints:
            return DUPLICATE
        self._chip.endpoints[endpoint.number] = endpoint
        return SUCCESS

    def request(self, request: DataRequest, transaction: int, stored_octets: int | None = None) -> int:
        """AF_DATA_REQUEST in any form. ``stored_octets`` announces data that AF_DATA_STORE brings."""
        if request.source_endpoint != 0 and request.source_endpoint not in self._chip.endpoints:
            return INVALID_PARAMETER
        if stored_octets is None:
            return self._submit(request, transaction)
        if self._outgoing is not None:
            return INVALID_PARAMETER
        if stored_octets > self._chip.maximum_transfer_octets:
            return MEMORY_FAIL
        self._handle += 1
        serial = self._handle
        self._outgoing = _HugeRequest(request, transaction, bytearray(stored_octets), serial)
        self._chip.scheduler.call_later(HUGE_TIMEOUT_S, lambda: self._forget_outgoing(serial))
        return SUCCESS

    def store(self, index: int, data: bytes) -> int:
        """AF_DATA_STORE; no data means: send it."""
        huge = self._outgoing
        if huge is None:
            return INVALID_PARAMETER
        if data:
            if index + len(data) > len(huge.data):
                return MEMORY_FAIL
            huge.data[index : index + len(data)] = data
            return SUCCESS
        self._outgoing = None
        return self._submit(replace(huge.request, payload=bytes(huge.data)), huge.transaction)

    def _forget_outgoing(self, serial: int) -> None:
        if self._outgoing is not None and self._outgoing.serial == serial:
            self._outgoing = None

    def _forget_incoming(self, stamp: int) -> None:
        self._incoming.pop(stamp, None)

    def _submit(self, request: DataRequest, transaction: int) -> int:
        chip = self._chip
        if chip.network is None:
            return NO_NETWORK
        if len(request.payload) > chip.maximum_transfer_octets:
            return INVALID_PARAMETER
        if request.source_endpoint == 0:
            chip.zdo.send(request)  # ZDO has no confirm: it goes to the chip's own ZDApp
            return SUCCESS
        if len(self._transactions) >= TRANSACTIONS_AT_ONCE:
            return MEMORY_FAIL
        handle = self.new_handle()
        self._transactions[handle] = (request.source_endpoint, transaction)
        if request.destination == chip.short and not request.group:
            chip.defer(lambda: self._loop_back(handle, request))
        else:
            chip.stack.data_request(handle, request)
        return SUCCESS

    def new_handle(self) -> int:
        """A handle for the stack that nothing in flight has."""
        self._handle += 1
        return self._handle

    def _loop_back(self, handle: int, request: DataRequest) -> None:
        """A message to this very chip never touches the air."""
        self.confirmed(handle, SUCCESS)
        self.received(loop_back(self._chip, request))

    def confirmed(self, handle: int, status: int) -> None:
        """The stack has finished a request: AF_DATA_CONFIRM."""
        transaction = self._transactions.pop(handle, None)
        if transaction is not None:
            self._chip.indicate(Subsystem.AF, 0x80, bytes((status, *transaction)))

    def received(self, indication: DataIndication) -> None:
        """A message for an application endpoint: one AF_INCOMING_MSG for each that it is meant for."""
        for number in self._meant(indication):
            self._stamp = (self._stamp + 1) & 0xFFFFFFFF
            if len(indication.payload) + 20 > DATA_MAX - 10:
                self._announce(indication, number)
            else:
                self._chip.indicate(Subsystem.AF, 0x81, self._incoming_message(indication, number))

    def _meant(self, indication: DataIndication) -> list[int]:
        chip = self._chip
        if indication.group is not None:
            return sorted(chip.groups.get(indication.group, {}))
        if indication.destination_endpoint == ALL_ENDPOINTS:
            profiles = (indication.profile, WILDCARD_PROFILE)
            return [number for number, row in sorted(chip.endpoints.items()) if row.profile in profiles]
        return [indication.destination_endpoint] if indication.destination_endpoint in chip.endpoints else []

    def _common(self, indication: DataIndication, number: int) -> bytes:
        flags = (number, indication.broadcast, indication.lqi, indication.aps_security)
        return struct.pack("<BBBBIB", *flags, self._stamp, 0)  # Z-Stack 3 leaves the sequence number 0

    def _incoming_message(self, indication: DataIndication, number: int) -> bytes:
        head = struct.pack(
            "<HHHB", indication.group or 0, indication.cluster, indication.source, indication.source_endpoint
        )
        length = bytes((len(indication.payload),))
        return head + self._common(indication, number) + length + indication.payload + _tail(indication)

    def _announce(self, indication: DataIndication, number: int) -> None:
        """AF_INCOMING_MSG_EXT with the true length and no data; the octets wait for AF_DATA_RETRIEVE."""
        stamp = self._stamp
        self._incoming[stamp] = indication.payload
        self._chip.scheduler.call_later(HUGE_TIMEOUT_S, lambda: self._forget_incoming(stamp))
        head = struct.pack("<HHBQBH", indication.group or 0, indication.cluster, MODE_SHORT, indication.source,
                           indication.source_endpoint, 0)  # fmt: skip
        length = len(indication.payload).to_bytes(2, "little")
        self._chip.indicate(Subsystem.AF, 0x82, head + self._common(indication, number) + length + _tail(indication))

    def retrieve(self, stamp: int, index: int, length: int) -> bytes:
        """AF_DATA_RETRIEVE: status, length, data; length 0 frees the message."""
        payload = self._incoming.get(stamp)
        if payload is None or length > RETRIEVE_MAX or index + length > len(payload):
            return bytes((FAILED, 0))
        if length == 0:
            del self._incoming[stamp]
            return bytes((SUCCESS, 0))
        return bytes((SUCCESS, length)) + payload[index : index + length]


def loop_back(chip: Chip, request: DataRequest) -> DataIndication:
    """What a chip hears of its own message."""
    return DataIndication(
        source=chip.short,
        source_eui=chip.eui,
        source_endpoint=request.source_endpoint,
        destination_endpoint=request.destination_endpoint,
        cluster=request.cluster,
        profile=request.profile,
        payload=request.payload,
        group=None,
        broadcast=request.destination >= BROADCASTS,
        aps_security=False,
        lqi=255,
        aps_counter=0,
        radius=request.radius,
    )


def _tail(indication: DataIndication) -> bytes:
    """MAC source address (not told by the stack: the NWK source), radius."""
    return struct.pack("<HB", indication.source, indication.radius & 0xFF)


def _request(
    chip: Chip, destination: int, fields: Fields, destination_endpoint: int, group: bool = False
) -> tuple[DataRequest, int]:
    """What all data requests share, from source endpoint to radius: a request without data, and the transaction."""
    source, cluster, transaction, options, radius = struct.unpack("<BHBBB", fields.take(6))
    profile = chip.endpoints.get(source, ZDO_ENDPOINT).profile
    request = DataRequest(
        destination=destination,
        destination_endpoint=destination_endpoint,
        source_endpoint=source,
        cluster=cluster,
        profile=WILDCARD_PROFILE if options & OPTION_WILDCARD_PROFILE else profile,
        payload=b"",
        aps_ack=bool(options & OPTION_ACK) and destination < BROADCASTS and not group,
        aps_security=bool(options & OPTION_SECURITY),
        radius=radius or DEFAULT_RADIUS,
        group=group,
    )
    return request, transaction


def data_request(chip: Chip, fields: Fields) -> bytes:
    """AF_DATA_REQUEST: short or broadcast address, up to 240 octets."""
    destination, endpoint = struct.unpack("<HB", fields.take(3))
    request, transaction = _request(chip, destination, fields, endpoint)
    return bytes((chip.af.request(replace(request, payload=fields.take(fields.u8())), transaction),))


def data_request_ext(chip: Chip, fields: Fields) -> bytes:
    """AF_DATA_REQUEST_EXT: any address, data in the frame up to 230 octets and by AF_DATA_STORE beyond."""
    mode, address = fields.u8(), fields.u64()
    endpoint, pan_id = fields.u8(), fields.u16()
    destination = chip.stack.address_of(address) if mode == MODE_EUI else address & 0xFFFF
    request, transaction = _request(chip, destination or 0, fields, endpoint, mode == MODE_GROUP)
    length = fields.u16()
    if mode not in (MODE_GROUP, MODE_SHORT, MODE_EUI, MODE_BROADCAST) or pan_id not in (0, _own_pan_id(chip)):
        return bytes((INVALID_PARAMETER,))  # bindings and inter-PAN: not here
    if destination is None:
        return bytes((UNKNOWN_DEVICE,))
    if length + 20 > DATA_MAX:
        return bytes((chip.af.request(request, transaction, stored_octets=length),))
    return bytes((chip.af.request(replace(request, payload=fields.take(length)), transaction),))


def data_request_source_routed(chip: Chip, fields: Fields) -> bytes:
    """AF_DATA_REQUEST_SRC_RTG. The stack finds its own way: the relay list is read and not used."""
    destination, endpoint = struct.unpack("<HB", fields.take(3))
    request, transaction = _request(chip, destination, fields, endpoint)
    fields.u16_list()
    return bytes((chip.af.request(replace(request, payload=fields.take(fields.u8())), transaction),))


def _own_pan_id(chip: Chip) -> int:
    return 0 if chip.network is None else chip.network.pan_id


def register(chip: Chip, fields: Fields) -> bytes:
    """AF_REGISTER."""
    number, profile, device, version, _latency = struct.unpack("<BHHBB", fields.take(7))
    row = Endpoint(number, profile, device, version, fields.u16_list(), fields.u16_list())
    return bytes((chip.af.register(row),))


def delete(chip: Chip, fields: Fields) -> bytes:
    """AF_DELETE."""
    return bytes((SUCCESS if chip.endpoints.pop(fields.u8(), None) else INVALID_PARAMETER,))


def data_store(chip: Chip, fields: Fields) -> bytes:
    """AF_DATA_STORE."""
    index = fields.u16()
    return bytes((chip.af.store(index, fields.take(fields.u8())),))


def data_retrieve(chip: Chip, fields: Fields) -> bytes:
    """AF_DATA_RETRIEVE."""
    return chip.af.retrieve(fields.u32(), fields.u16(), fields.u8())


def configure_fragmentation(_chip: Chip, fields: Fields) -> bytes:
    """AF_APSF_CONFIG_SET: the stack's own pacing suits every endpoint; the values are read and not used."""
    fields.take(3)
    return bytes((SUCCESS,))


Handler = Callable[["Chip", Fields], bytes]

DATA_REQUESTS: dict[int, Handler] = {0x01: data_request, 0x02: data_request_ext, 0x03: data_request_source_routed}
COMMANDS: dict[int, Handler] = {
    0x00: register,
    **DATA_REQUESTS,
    0x04: delete,
    0x11: data_store,
    0x12: data_retrieve,
    0x13: configure_fragmentation,
}
