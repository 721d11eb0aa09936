"""The GB tunnel as the device has it: the hub opens it, the device is its server (SE D.6, GBCS 10).

One tunnel, to one hub. A hub that opens it again replaces it, and what was being sent starts anew in the new one: the
same octets, so that the receiver tells a repetition by its GBCS counter. Pure: time is an argument, no I/O.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from agent.errors import FormatError
from agent.settings import TunnelSettings
from agent.zigbee import tunnel_messages as messages
from agent.zigbee.clusters import Cluster
from agent.zigbee.peer import OutgoingZcl, Peer
from agent.zigbee.tunnel_messages import TransferStatus, TunnelStatus
from agent.zigbee.zcl import ZclFrame, ZclStatus

NEVER_S = 0xFFFF  # CloseTunnelTimeout: our choice, the default of 0xFFFF s is the least that a server waits: we wait on
FIRST_TUNNEL = 1


@dataclass(frozen=True, slots=True)
class TunnelState:
    """What a restart needs to go on in the same tunnel. All ints, for a journal."""

    tunnel: int
    short_address: int
    endpoint: int
    eui: int
    peer_maximum_octets: int

    @property
    def peer(self) -> Peer:
        """The hub's end."""
        return Peer(self.short_address, self.endpoint, self.eui)


@dataclass(frozen=True, slots=True)
class TunnelOpened:
    """Owner: journal ``state``."""

    state: TunnelState


@dataclass(frozen=True, slots=True)
class TunnelClosed:
    """The tunnel is no more; messages wait for the next one."""

    reason: str


@dataclass(frozen=True, slots=True)
class TunnelData:
    """Octets that the hub sent, in order: a GBCS message or a piece of one."""

    octets: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class MessageDelivered:
    """The hub acknowledged (APS) the last piece of this message."""

    handle: int


@dataclass(frozen=True, slots=True)
class MessageNotDelivered:
    """The message may or may not have arrived: send the same octets again."""

    handle: int
    reason: str


@dataclass(frozen=True, slots=True)
class TransferRefused:
    """The hub sent Transfer Data Error; ``handle`` is the message sent last (None: none since the start)."""

    status: int
    handle: int | None


TunnelEvent = TunnelOpened | TunnelClosed | TunnelData | MessageDelivered | MessageNotDelivered | TransferRefused


@dataclass(slots=True)
class _Message:
    handle: int
    octets: bytes
    sent: int = 0  # octets that are acknowledged


class TunnelServer:
    """See the module. ``resume`` is the state of the last TunnelOpened, when no TunnelClosed followed it."""

    def __init__(
        self, settings: TunnelSettings, resume: TunnelState | None = None, close_timeout_s: int = NEVER_S
    ) -> None:
        self._settings = settings
        self.close_timeout_s = close_timeout_s  # attribute 0x0000
        self.state = resume
        self._last_tunnel = resume.tunnel if resume else FIRST_TUNNEL - 1
        self._idle_since: float | None = None
        self._waiting: deque[_Message] = deque()
        self._online = False
        self._piece: tuple[int, int] | None = None  # handle on the air, octets in it
        self._last_message: int | None = None
        self._next_handle = 1
        self._outbox: list[tuple[int, OutgoingZcl]] = []
        self._events: deque[TunnelEvent] = deque()

    # --- in

    def receive(self, frame: ZclFrame, source: Peer, now: float) -> ZclStatus | None:
        """A cluster command to the server. Returns the status for a Default Response; None: it has its own answer."""
        try:
            command = messages.decode_to_server(frame.command, frame.payload)
        except FormatError:
            return ZclStatus.MALFORMED_COMMAND
        match command:
            case messages.RequestTunnel():
                status = self._request(command, source, frame.sequence, now)
            case messages.CloseTunnel():
                status = self._close(command, source)
            case messages.TransferData():
                status = self._transfer(command, source, frame.sequence, now)
            case messages.TransferDataError():
                status = self._refused(command, source)
            case messages.GetSupportedTunnelProtocols():
                status = self._tell_protocols(command, source, frame.sequence)
            case _:  # flow control, which is not supported, and what is unknown
                status = ZclStatus.UNSUP_CLUSTER_COMMAND
        return status

    def send(self, handle: int, octets: bytes, now: float) -> None:
        """Send one message; MessageDelivered or MessageNotDelivered brings ``handle`` back. Waits for tunnel and hub."""
        self._waiting.append(_Message(handle, octets))
        self._send_piece(now)

    def hub_found(self, now: float) -> None:
        """The network is there: what waits may go, in the tunnel that a restart has kept."""
        self._online = True
        self._send_piece(now)

    def hub_lost(self) -> None:
        """No network: messages wait."""
        self._online = False

    # --- out

    def frames_to_send(self) -> list[tuple[int, OutgoingZcl]]:
        """New frames, each with the handle that ``frame_sent`` brings back."""
        frames, self._outbox = self._outbox, []
        return frames

    def frame_sent(self, handle: int, delivered: bool, now: float) -> None:
        """The radio is done with a frame. Pieces go one after another, so that they arrive in order."""
        if self._piece is None or handle != self._piece[0] or not self._waiting:
            return
        message, length = self._waiting[0], self._piece[1]
        self._piece = None
        if not delivered:
            self._waiting.popleft()
            self._events.append(MessageNotDelivered(message.handle, "not acknowledged"))
        else:
            message.sent += length
            if message.sent >= len(message.octets):
                self._waiting.popleft()
                self._events.append(MessageDelivered(message.handle))
        self._send_piece(now)

    def next_event(self) -> TunnelEvent | None:
        """The oldest event not yet taken."""
        return self._events.popleft() if self._events else None

    # --- time

    def next_deadline(self) -> float | None:
        """When the idle tunnel closes; None where it never does."""
        if self.state is None or self.close_timeout_s == NEVER_S or self._idle_since is None:
            return None
        return self._idle_since + self.close_timeout_s

    def handle_timer(self, now: float) -> None:
        """Close the tunnel when it was idle for long enough."""
        deadline = self.next_deadline()
        if self.state is None or deadline is None or now < deadline:
            return
        notification = messages.ClosureNotification(self.state.tunnel)
        self._answer(self.state.peer, notification.COMMAND, notification.encode(), None)
        self._shut("idle")

    # --- the commands

    def _request(self, request: messages.RequestTunnel, source: Peer, sequence: int, now: float) -> ZclStatus | None:
        if request.maximum_incoming == 0:
            return ZclStatus.INVALID_FIELD
        status = self._judge(request, source)
        if status is TunnelStatus.SUCCESS:
            self._last_tunnel = self._last_tunnel % (messages.NO_TUNNEL - 1) + 1
            self.state = TunnelState(
                self._last_tunnel, source.short_address, source.endpoint, source.eui, request.maximum_incoming
            )
        tunnel = self._last_tunnel if status is TunnelStatus.SUCCESS else messages.NO_TUNNEL
        answer = messages.RequestTunnelResponse(tunnel, status, self._settings.maximum_incoming_octets)
        self._answer(source, answer.COMMAND, answer.encode(), sequence)
        if status is TunnelStatus.SUCCESS and self.state is not None:
            self._events.append(TunnelOpened(self.state))
            self._start_anew(now)
        return None

    def _judge(self, request: messages.RequestTunnel, source: Peer) -> TunnelStatus:
        wanted = (self._settings.protocol, self._settings.manufacturer_code)
        if (request.protocol, request.manufacturer) != wanted:
            return TunnelStatus.PROTOCOL_NOT_SUPPORTED
        if request.flow_control:
            return TunnelStatus.FLOW_CONTROL_NOT_SUPPORTED
        if self.state is not None and self.state.short_address != source.short_address:
            return TunnelStatus.NO_MORE_IDS
        return TunnelStatus.SUCCESS

    def _start_anew(self, now: float) -> None:
        self._idle_since = now
        self._online = True
        self._piece = None
        if self._waiting:
            self._waiting[0].sent = 0
        self._send_piece(now)

    def _close(self, close: messages.CloseTunnel, source: Peer) -> ZclStatus:
        if self._why_not(close.tunnel, source) is not None:
            return ZclStatus.NOT_FOUND
        self._shut("closed by the hub")
        return ZclStatus.SUCCESS

    def _shut(self, reason: str) -> None:
        self.state = None
        self._events.append(TunnelClosed(reason))
        if self._piece is not None and self._waiting:
            self._piece = None
            self._events.append(MessageNotDelivered(self._waiting.popleft().handle, reason))

    def _transfer(self, transfer: messages.TransferData, source: Peer, sequence: int, now: float) -> ZclStatus | None:
        refusal = self._why_not(transfer.tunnel, source)
        if refusal is None and len(transfer.data) > self._settings.maximum_incoming_octets:
            refusal = TransferStatus.DATA_OVERFLOW
        if refusal is None:
            self._idle_since = now
            self._events.append(TunnelData(transfer.data))
            return ZclStatus.SUCCESS
        error = messages.TransferDataError(transfer.tunnel, refusal)
        self._answer(source, error.TO_CLIENT, error.encode(), sequence)
        return None

    def _why_not(self, tunnel: int, source: Peer) -> TransferStatus | None:
        if self.state is None or tunnel != self.state.tunnel:
            return TransferStatus.NO_SUCH_TUNNEL
        return None if source.short_address == self.state.short_address else TransferStatus.WRONG_DEVICE

    def _refused(self, error: messages.TransferDataError, source: Peer) -> ZclStatus:
        if self._why_not(error.tunnel, source) is not None:
            return ZclStatus.NOT_FOUND
        self._events.append(TransferRefused(error.status, self._last_message))
        if error.status == TransferStatus.NO_SUCH_TUNNEL:
            self._shut("the hub does not know the tunnel")
        return ZclStatus.SUCCESS

    def _tell_protocols(
        self, request: messages.GetSupportedTunnelProtocols, source: Peer, sequence: int
    ) -> ZclStatus | None:
        ours = ((self._settings.manufacturer_code, self._settings.protocol),)
        answer = messages.SupportedTunnelProtocols(True, ours[request.offset :])
        self._answer(source, answer.COMMAND, answer.encode(), sequence)
        return None

    def _send_piece(self, now: float) -> None:
        if self.state is None or not self._online or self._piece is not None or not self._waiting:
            return
        message = self._waiting[0]
        piece = message.octets[message.sent : message.sent + self.state.peer_maximum_octets]
        transfer = messages.TransferData(self.state.tunnel, piece)
        handle = self._answer(self.state.peer, transfer.TO_CLIENT, transfer.encode(), None)
        self._piece = (handle, len(piece))
        self._last_message = message.handle
        self._idle_since = now

    def _answer(self, peer: Peer, command: int, payload: bytes, sequence: int | None) -> int:
        handle = self._next_handle
        self._next_handle += 1
        frame = OutgoingZcl(peer, Cluster.TUNNELING, command, payload, to_client=True, sequence=sequence)
        self._outbox.append((handle, frame))
        return handle
