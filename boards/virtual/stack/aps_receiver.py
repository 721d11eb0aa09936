"""The receiving side of APS data: acknowledgements, reassembly, and the duplicate rejection table.

A duplicate is known by its source, its APS counter *and* its content: a device which restarted with a counter that it
used seconds ago is still heard. Source: ZigBee specification (05-3474) 2.2.8.4.2, 2.2.8.4.5.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from boards.virtual.stack.aps_frames import ApsFrame, ApsType, Delivery, Fragmentation
from boards.virtual.stack.core import Core
from boards.virtual.stack.device_announce import DeviceAnnounceListener
from boards.virtual.stack.fragments import IncomingTransfer
from boards.virtual.stack.interface import DataIndication
from boards.virtual.stack.nwk import DEFAULT_RADIUS
from boards.virtual.stack.nwk_frames import FIRST_BROADCAST
from boards.virtual.stack.received import Received

TABLE_ENTRIES = 128  # per source: half of the counter's range

SendFrame = Callable[[int, ApsFrame, int, Callable[[int], None]], None]
_Transfers = OrderedDict[int, "_Message"]


@dataclass(slots=True)
class _Message:
    """A message that is coming in or came in; ``heading`` is what all its fragments have in common."""

    heading: tuple[int, ...]
    transfer: IncomingTransfer
    delivered: bool = False
    touched: float = 0.0


class ApsReceiver:
    """What came in lately, by source and APS counter."""

    def __init__(self, core: Core, send: SendFrame) -> None:
        self._core = core
        self._send = send
        self.announcements = DeviceAnnounceListener(core)
        self._sources: dict[int, _Transfers] = {}

    def reset(self) -> None:
        self._sources.clear()

    def receive(self, received: Received, frame: ApsFrame) -> None:
        """A data frame, its payload plain. Raises FormatError for an impossible fragment."""
        table = self._sources.setdefault(received.frame.source, OrderedDict())
        self._drop_old(table)
        message = self._message(table, frame)
        if frame.fragmentation == Fragmentation.NONE:
            self._receive_single(received, frame, message)
        else:
            self._receive_fragment(received, frame, message)

    def _receive_single(self, received: Received, frame: ApsFrame, message: _Message) -> None:
        if frame.ack_request:
            self._acknowledge(received, frame)
        if message.delivered:
            self._core.statistics.duplicates += 1
            return
        message.transfer.blocks[0] = frame.payload
        message.delivered = True
        self._indicate(received, frame, frame.payload)

    def _receive_fragment(self, received: Received, frame: ApsFrame, message: _Message) -> None:
        due = message.transfer.add(frame.fragmentation, frame.block, frame.payload)
        if due is not None:
            self._acknowledge(received, replace(frame, block=due[0], ack_bits=due[1]))
        if not message.transfer.complete:
            return
        if message.delivered:
            self._core.statistics.duplicates += 1
            return
        message.delivered = True
        self._indicate(received, frame, message.transfer.payload())

    def _message(self, table: _Transfers, frame: ApsFrame) -> _Message:
        """The message that this frame belongs to: the known one, or a new one in its place."""
        heading = _heading(frame)
        message = table.get(frame.counter)
        if message is None or message.heading != heading or not _consistent(message, frame):
            settings = self._core.settings
            message = _Message(heading, IncomingTransfer(settings.aps_window, settings.maximum_transfer_octets))
            table[frame.counter] = message
        table.move_to_end(frame.counter)
        message.touched = self._core.scheduler.now()
        return message

    def _drop_old(self, table: _Transfers) -> None:
        """Older than every retry could be, or too many."""
        settings = self._core.settings
        limit = self._core.scheduler.now() - 2 * settings.aps_ack_wait_s * (settings.aps_retries + 1)
        while table and (len(table) >= TABLE_ENTRIES or next(iter(table.values())).touched < limit):
            table.popitem(last=False)

    def _acknowledge(self, received: Received, frame: ApsFrame) -> None:
        """Mirror the frame's endpoints; secured as the frame is."""
        if received.frame.destination >= FIRST_BROADCAST:
            return
        acknowledgement = replace(
            frame,
            kind=ApsType.ACK,
            payload=b"",
            destination_endpoint=frame.source_endpoint,
            source_endpoint=frame.destination_endpoint,
            ack_request=False,
        )
        self._send(received.frame.source, acknowledgement, DEFAULT_RADIUS, _ignore_status)

    def _indicate(self, received: Received, frame: ApsFrame, payload: bytes) -> None:
        network = self._core.network
        if network is None:
            return
        self.announcements.hear(frame.profile, frame.cluster, payload)
        indication = DataIndication(
            source=received.frame.source,
            source_eui=network.eui_of(received.frame.source),
            source_endpoint=frame.source_endpoint,
            destination_endpoint=frame.destination_endpoint,
            cluster=frame.cluster,
            profile=frame.profile,
            payload=payload,
            group=frame.group if frame.delivery == Delivery.GROUP else None,
            broadcast=received.frame.destination >= FIRST_BROADCAST,
            aps_security=frame.secured,
            lqi=received.lqi,
            aps_counter=frame.counter,
            radius=received.frame.radius,
        )
        self._core.sink.data_indication(indication)


def _heading(frame: ApsFrame) -> tuple[int, ...]:
    fragmented = frame.fragmentation != Fragmentation.NONE
    endpoints = (frame.destination_endpoint, frame.group, frame.source_endpoint)
    return (*endpoints, frame.cluster, frame.profile, frame.secured, fragmented)


def _consistent(message: _Message, frame: ApsFrame) -> bool:
    """Does the frame repeat or complete what we hold, rather than belong to a new message with the same counter?"""
    number = frame.block if frame.fragmentation == Fragmentation.SUBSEQUENT else 0
    held = message.transfer.blocks.get(number)
    if held is None:
        return not message.delivered
    return held == frame.payload


def _ignore_status(_status: int) -> None:
    """A lost acknowledgement is made good by the sender's retry."""
