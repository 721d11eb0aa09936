"""What a router or coordinator does for those who join at it: beacons, association, rejoin.

Not modelled: another persistence of held frames than ZigBee PRO's 7.68 s (Z-Stack's default is 7 s); child ageing (a
child stays in the table until it leaves or rejoins); the leave request to a stranger who polls, who gets an
acknowledgement without pending data instead.
Source: IEEE 802.15.4-2006 clauses 7.5.2 and 7.5.3; ZigBee specification (05-3474) 3.6.1.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from boards.virtual.air.mac import FrameType, MacCommand, MacFrame, Mode
from boards.virtual.air.octets import Reader
from boards.virtual.air.scheduler import Cancel
from boards.virtual.stack import nwk_frames
from boards.virtual.stack.core import Core
from boards.virtual.stack.interface import LogicalType, Status
from boards.virtual.stack.network import CHILD, NeighbourRecord, Network
from boards.virtual.stack.nwk import Nwk
from boards.virtual.stack.nwk_frames import Beacon, Capability, NwkCommand, NwkType, decode_capability
from boards.virtual.stack.received import Received

PERMIT_FOR_EVER = 255
BEACON_JITTER_S = 0.015  # our choice: neighbours do not all answer at once
CHILD_AUTHENTICATION_S = 15.0  # our choice: a child that has sent nothing under the network key by then is dropped
MAXIMUM_CHILDREN = 20  # our choice; the CC2652's default build has about as many
DENIED, AT_CAPACITY = 2, 1  # association status


@dataclass(frozen=True, slots=True)
class ParentEvents:
    """Who hears of children."""

    associated: Callable[[int, int], None]  # EUI and short address of one without the network key
    rejoined: Callable[[int, int], None]


class Parent:
    """``events`` is set by the stack."""

    def __init__(self, core: Core, nwk: Nwk) -> None:
        self._core = core
        self._nwk = nwk
        self.events: ParentEvents | None = None
        self._permitting = False
        self._permit_end: Cancel | None = None
        self._answering: set[int] = set()  # EUIs whose association response waits to be fetched
        nwk.commands[NwkCommand.REJOIN_REQUEST] = self._receive_rejoin_request

    def reset(self) -> None:
        self._permitting = False
        self._answering.clear()

    def permit_join(self, duration_s: int) -> None:
        """0 closes, 255 is for ever. Seconds of the host, which renews it by its own clock however fast the air is."""
        if self._permit_end is not None:
            self._permit_end.cancel()
            self._permit_end = None
        self._permitting = duration_s > 0
        if 0 < duration_s < PERMIT_FOR_EVER:
            self._permit_end = self._core.later(duration_s * self._core.scheduler.speed, lambda: self.permit_join(0))

    def receive_beacon_request(self) -> None:
        """Answer it with a beacon, if we route."""
        if self._core.network is not None and self._core.network.is_router():
            self._core.later(self._core.random.uniform(0.0, BEACON_JITTER_S), self._send_beacon)

    def receive_association_request(self, frame: MacFrame) -> None:
        """Hold the answer until the device fetches it. Repeats while the answer waits are the MAC's retries."""
        network = self._core.network
        if network is None or not network.is_router() or frame.source_mode != Mode.EXTENDED or len(frame.payload) < 2:
            return
        eui, capability = frame.source, decode_capability(frame.payload[1])
        if eui in self._answering:
            return
        self._answering.add(eui)
        status = self._admission(network, eui)
        short = self._choose_short(network, eui) if status == 0 else 0xFFFF
        response = self._association_response(eui, short, status)
        self._core.radio.hold(response, lambda sent: self._response_fetched(eui, short, capability, sent))

    def _admission(self, network: Network, eui: int) -> int:
        """Association status: 0 admitted."""
        if not self._permitting:
            return DENIED
        children = sum(record.relation == CHILD and record.eui != eui for record in network.neighbours.values())
        return AT_CAPACITY if children >= MAXIMUM_CHILDREN else 0

    def _choose_short(self, network: Network, eui: int) -> int:
        """The address that it had, else a free one at random (stochastic addressing)."""
        known = network.short_of(eui)
        if known is not None and known != network.short:
            return known
        while True:
            short = self._core.random.randrange(1, nwk_frames.FIRST_BROADCAST)
            if short != network.short and network.eui_of(short) is None:
                return short

    def _association_response(self, eui: int, short: int, status: int) -> MacFrame:
        radio = self._core.radio
        return MacFrame(
            FrameType.COMMAND,
            radio.next_sequence(),
            radio.pan_id,
            eui,
            Mode.EXTENDED,
            radio.pan_id,
            radio.eui,
            Mode.EXTENDED,
            struct.pack("<BHB", MacCommand.ASSOCIATION_RESPONSE, short, status),
            ack_request=True,
        )

    def _response_fetched(self, eui: int, short: int, capability: Capability, sent: int) -> None:
        self._answering.discard(eui)
        network = self._core.network
        if network is None or sent != Status.SUCCESS or short == 0xFFFF:
            return
        record = _child(eui, short, capability)
        record.authenticated = False
        network.add_neighbour(record)
        self._core.changed()
        self._core.later(CHILD_AUTHENTICATION_S, lambda: self._drop_stranger(record))
        if self.events is not None:
            self.events.associated(eui, short)

    def _drop_stranger(self, record: NeighbourRecord) -> None:
        network = self._core.network
        if network is not None and network.neighbours.get(record.eui) is record and not record.authenticated:
            network.remove_neighbour(record.eui)
            self._core.changed()

    def _receive_rejoin_request(self, received: Received, reader: Reader) -> None:
        """A device that has the network key wants us as its parent. One without it never gets here."""
        network, eui = self._core.network, received.sender_eui
        capability = decode_capability(reader.u8())
        if network is None or eui is None or not network.is_router():
            return
        incoming = network.neighbours[eui].incoming
        record = network.add_neighbour(_child(eui, received.mac_source, capability))
        record.incoming = incoming
        self._core.changed()
        response = nwk_frames.encode_rejoin_response(record.short, 0)
        self._nwk.send(NwkType.COMMAND, record.short, response, lambda sent: self._rejoin_answered(record, sent), 1)

    def _rejoin_answered(self, record: NeighbourRecord, sent: int) -> None:
        if sent == Status.SUCCESS and self.events is not None:
            self.events.rejoined(record.eui, record.short)

    def _send_beacon(self) -> None:
        network, radio = self._core.network, self._core.radio
        if network is None:
            return
        room = len(network.neighbours) < MAXIMUM_CHILDREN
        beacon = Beacon(
            network.extended_pan_id,
            self._permitting,
            network.is_coordinator(),
            room,
            room,
            network.depth,
            network.update_id,
        )
        frame = MacFrame(
            FrameType.BEACON,
            radio.next_sequence(),
            source_pan=radio.pan_id,
            source=radio.short,
            source_mode=Mode.SHORT,
            payload=beacon.encode(),
        )
        radio.send(frame, _ignore_status)


def _child(eui: int, short: int, capability: Capability) -> NeighbourRecord:
    kind = LogicalType.ROUTER if capability.router else LogicalType.END_DEVICE
    return NeighbourRecord(eui, short, kind, CHILD, capability.receiver_on_when_idle)


def _ignore_status(_status: int) -> None:
    """Whoever scans asks again."""
