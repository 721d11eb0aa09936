"""The APS layer: data with acknowledgement, retries, fragments and link-key security; duplicates are told apart.

Source: ZigBee specification (05-3474) 2.2.8.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.errors import FormatError
from boards.virtual.air.scheduler import Cancel
from boards.virtual.stack import aps_frames, aps_security
from boards.virtual.stack.aps_frames import ApsFrame, ApsType, Delivery, Fragmentation
from boards.virtual.stack.aps_receiver import ApsReceiver
from boards.virtual.stack.core import Core
from boards.virtual.stack.fragments import MAXIMUM_BLOCKS, OutgoingTransfer, split
from boards.virtual.stack.interface import DataIndication, DataRequest, Status
from boards.virtual.stack.nwk import Nwk
from boards.virtual.stack.nwk_frames import FIRST_BROADCAST, NwkType
from boards.virtual.stack.received import Received

APS_ROOM_OCTETS = 127 - 11 - 8 - 18  # MAC header and FCS, NWK header, NWK security with MIC
OUTSTANDING_LIMIT = 128  # our choice: half of the counter's range, so that no two have the same


@dataclass(slots=True)
class _Outgoing:
    """One acknowledged unicast under way."""

    handle: int
    request: DataRequest
    counter: int
    transfer: OutgoingTransfer
    status: int = Status.APS_NO_ACK  # what to say when the retries are used up
    timer: Cancel | None = None
    sending: int = 0  # blocks whose NWK confirm has not come


class Aps:
    """Sends payloads and gives what arrives to the sink. ``on_command`` gets APS commands."""

    def __init__(self, core: Core, nwk: Nwk) -> None:
        self._core = core
        self._nwk = nwk
        self._outgoing: dict[tuple[int, int], _Outgoing] = {}
        self._receiver = ApsReceiver(core, self._send_frame)
        self.announcements = self._receiver.announcements
        self.on_command: Callable[[Received, ApsFrame], None] | None = None
        self.on_traffic: Callable[[], None] | None = None  # an answer may be waiting at the parent

    def reset(self) -> None:
        """The network is gone, and with it everything under way."""
        self._outgoing.clear()
        self._receiver.reset()

    def data_request(self, handle: int, request: DataRequest) -> None:
        """APSDE-DATA.request; the confirm comes as an event of its own."""
        network = self._core.network
        refusal = Status.APS_FAIL if network is None else self._refusal(request)
        if refusal != Status.SUCCESS:
            self._core.later(0.0, lambda: self._core.sink.data_confirm(handle, refusal))
        elif network is not None and request.destination == network.short and not request.group:
            self._core.later(0.0, lambda: self._loop_back(handle, request))
        else:
            self._start(handle, request)

    def send_command(self, destination: int, command: bytes, done: Callable[[int], None]) -> None:
        """An APS command under NWK security only."""
        frame = ApsFrame(ApsType.COMMAND, self._core.next_aps_counter())
        self._nwk.send(NwkType.DATA, destination, aps_frames.encode_header(frame) + command, done)

    def receive(self, received: Received) -> None:
        """An APS frame came in under the network key."""
        try:
            frame, header = aps_frames.decode(received.frame.payload)
            if frame.kind == ApsType.COMMAND:
                if self.on_command is not None:
                    self.on_command(received, frame)
                return
            if frame.secured:
                opened = aps_security.open_data(self._core, frame, header, self._sender(received))
                if opened is None:
                    return
                frame = opened
            if frame.kind == ApsType.ACK:
                self._receive_ack(received, frame)
            else:
                self._receiver.receive(received, frame)
        except FormatError:
            self._core.statistics.malformed += 1

    def _refusal(self, request: DataRequest) -> Status:
        """Why the request cannot be tried at all; SUCCESS when it can."""
        blocks = split(request.payload, *_room(request))
        broadcast = request.group or request.destination >= FIRST_BROADCAST
        too_long = len(request.payload) > self._core.settings.maximum_transfer_octets or len(blocks) > MAXIMUM_BLOCKS
        if too_long or (broadcast and (len(blocks) > 1 or request.aps_security)):
            return Status.INVALID_PARAMETER
        if request.aps_security and self._link_key_missing(request.destination):
            return Status.NO_LINK_KEY
        return Status.MEMORY if len(self._outgoing) >= OUTSTANDING_LIMIT else Status.SUCCESS

    def _link_key_missing(self, short: int) -> bool:
        eui = self._core.network.eui_of(short) if self._core.network else None
        return eui is None or self._core.keys.get(eui) is None

    def _start(self, handle: int, request: DataRequest) -> None:
        counter = self._core.next_aps_counter()
        while (request.destination, counter) in self._outgoing:
            counter = self._core.next_aps_counter()
        blocks = split(request.payload, *_room(request))
        broadcast = request.group or request.destination >= FIRST_BROADCAST
        if broadcast or not (request.aps_ack or len(blocks) > 1):
            frame = _data_frame(request, counter, blocks, 0, False)
            destination = 0xFFFD if request.group else request.destination
            self._send_frame(destination, frame, request.radius, lambda s: self._sent(handle, s))
            return
        transfer = OutgoingTransfer(blocks, self._core.settings.aps_window, self._core.settings.aps_retries)
        outgoing = _Outgoing(handle, request, counter, transfer)
        self._outgoing[request.destination, counter] = outgoing
        self._send_window(outgoing)

    def _send_window(self, outgoing: _Outgoing) -> None:
        """Send what the window misses; the wait for the acknowledgement starts when the last block has gone out."""
        if outgoing.timer is not None:
            outgoing.timer.cancel()
            outgoing.timer = None
        request, transfer = outgoing.request, outgoing.transfer
        missing = transfer.missing()
        outgoing.sending += len(missing)
        for number in missing:
            frame = _data_frame(request, outgoing.counter, transfer.blocks, number, True)
            self._send_frame(request.destination, frame, request.radius, lambda s: self._block_sent(outgoing, s))

    def _sent(self, handle: int, status: int) -> None:
        """One that no APS acknowledgement is asked for."""
        if self.on_traffic is not None:
            self.on_traffic()
        self._core.sink.data_confirm(handle, status)

    def _block_sent(self, outgoing: _Outgoing, status: int) -> None:
        outgoing.sending -= 1
        outgoing.status = status if status != Status.SUCCESS else Status.APS_NO_ACK
        if outgoing.sending == 0 and self._is_current(outgoing) and outgoing.timer is None:
            outgoing.timer = self._core.later(self._core.settings.aps_ack_wait_s, lambda: self._timed_out(outgoing))
            if self.on_traffic is not None:
                self.on_traffic()

    def _is_current(self, outgoing: _Outgoing) -> bool:
        return self._outgoing.get((outgoing.request.destination, outgoing.counter)) is outgoing

    def _timed_out(self, outgoing: _Outgoing) -> None:
        outgoing.timer = None
        if not self._is_current(outgoing):
            return
        if outgoing.transfer.retry():
            self._send_window(outgoing)
        else:
            self._conclude(outgoing, outgoing.status)

    def _receive_ack(self, received: Received, frame: ApsFrame) -> None:
        outgoing = self._outgoing.get((received.frame.source, frame.counter))
        if outgoing is None or not _answers(outgoing.request, frame):
            return
        base = frame.block if frame.fragmentation != Fragmentation.NONE else None
        news = outgoing.transfer.acknowledge(base, frame.ack_bits)
        if outgoing.transfer.finished:
            self._conclude(outgoing, Status.SUCCESS)
        elif news:
            self._send_window(outgoing)

    def _conclude(self, outgoing: _Outgoing, status: int) -> None:
        del self._outgoing[outgoing.request.destination, outgoing.counter]
        if outgoing.timer is not None:
            outgoing.timer.cancel()
        self._core.sink.data_confirm(outgoing.handle, status)

    def _send_frame(self, destination: int, frame: ApsFrame, radius: int, done: Callable[[int], None]) -> None:
        """Seal where asked, then down to NWK."""
        network = self._core.network
        if network is None:
            return
        if frame.secured:
            eui = network.eui_of(destination)
            entry = None if eui is None else self._core.keys.get(eui)
            if entry is None:  # the key or the address went away while this waited
                self._core.later(0.0, lambda: done(Status.NO_LINK_KEY))
                return
            octets = aps_security.seal(self._core, frame, entry)
        else:
            octets = aps_frames.encode_header(frame) + frame.payload
        self._nwk.send(NwkType.DATA, destination, octets, done, radius)

    def _sender(self, received: Received) -> int | None:
        return self._core.network.eui_of(received.frame.source) if self._core.network else None

    def _loop_back(self, handle: int, request: DataRequest) -> None:
        """To ourselves: nothing goes on the air."""
        indication = DataIndication(
            source=request.destination,
            source_eui=self._core.eui,
            source_endpoint=request.source_endpoint,
            destination_endpoint=request.destination_endpoint,
            cluster=request.cluster,
            profile=request.profile,
            payload=request.payload,
            group=None,
            broadcast=False,
            aps_security=request.aps_security,
            lqi=255,
            aps_counter=self._core.next_aps_counter(),
            radius=request.radius,
        )
        self._core.sink.data_confirm(handle, Status.SUCCESS)
        self._core.sink.data_indication(indication)


def _room(request: DataRequest) -> tuple[int, int]:
    """Octets of payload in a single frame, and in one fragment."""
    single = APS_ROOM_OCTETS - aps_frames.HEADER_OCTETS - (aps_security.OVERHEAD_OCTETS if request.aps_security else 0)
    return single, single - aps_frames.FRAGMENT_HEADER_OCTETS


def _data_frame(request: DataRequest, counter: int, blocks: list[bytes], number: int, ack_request: bool) -> ApsFrame:
    fragmentation, block = Fragmentation.NONE, 0
    if len(blocks) > 1:
        first = number == 0
        fragmentation = Fragmentation.FIRST if first else Fragmentation.SUBSEQUENT
        block = len(blocks) if first else number
    if request.group:
        delivery = Delivery.GROUP
    else:
        delivery = Delivery.BROADCAST if request.destination >= FIRST_BROADCAST else Delivery.UNICAST
    return ApsFrame(
        ApsType.DATA,
        counter,
        blocks[number],
        delivery,
        request.destination_endpoint,
        request.destination if request.group else 0,
        request.cluster,
        request.profile,
        request.source_endpoint,
        request.aps_security,
        ack_request,
        fragmentation,
        block,
    )


def _answers(request: DataRequest, ack: ApsFrame) -> bool:
    """The acknowledgement mirrors the endpoints; one of a secured frame must be secured itself."""
    mirrored = (ack.source_endpoint, ack.destination_endpoint, ack.cluster, ack.profile)
    wanted = (request.destination_endpoint, request.source_endpoint, request.cluster, request.profile)
    return mirrored == wanted and ack.secured == request.aps_security
