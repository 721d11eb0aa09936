"""The hub's side of the GB tunnel (cluster 0x0704), one object a device, pure: every call takes ``now``.

The hub is the tunnel's client: it asks for the tunnel once it has found the device's endpoint, and again when the
device announces itself. Messages go down one at a time, each in transfers of the device's size, each transfer
acknowledged by APS; what comes up is put together by the messages' own lengths.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from agent.errors import FormatError
from agent.events import RadioResult, RadioStatus
from agent.gbcs.assembler import MessageAssembler
from agent.zigbee import tunnel_messages as tunnel
from agent.zigbee.clusters import Cluster
from agent.zigbee.zcl import ZclFrame, ZclStatus
from boards.bench.desk import Desk
from boards.bench.happenings import BadFrame, MessageDown, MessageUp, TunnelClosed, TunnelNotOpened, TunnelOpened
from boards.bench.members import Member
from boards.bench.settings import TunnelClientSettings

FLOW_CONTROL_OFF = 0
SAME_ANNOUNCEMENT_S = 1.0  # our choice: a chip and its host may both announce a device that came back
MESSAGE_TRIES = 5  # our choice: then the message is told as not delivered


class State(Enum):
    """Of one tunnel. WAITING: BUSY, silence or a lost frame; asks again at ``_due``."""

    CLOSED = "closed"
    REQUESTED = "requested"
    WAITING = "waiting"
    OPEN = "open"
    REFUSED = "refused"  # asking again is pointless until the device announces itself


@dataclass(slots=True)
class _Message:
    octets: bytes
    tries: int = 0
    sent: int = 0  # octets acknowledged of this try


@dataclass(slots=True)
class TunnelClient:
    """``max_transfer`` is what the device takes in one TransferData, without the tunnel id."""

    desk: Desk
    settings: TunnelClientSettings
    member: Member
    state: State = State.CLOSED
    tunnel_id: int = tunnel.NO_TUNNEL
    max_transfer: int = 0
    _queue: deque[_Message] = field(default_factory=deque)
    _last: _Message | None = None  # the one delivered last over this tunnel
    _sending: bool = False
    _due: float | None = None
    _partial_since: float | None = None
    _assembler: MessageAssembler = field(default_factory=MessageAssembler)
    _asked: int | None = None  # sequence number of the last RequestTunnel: an answer to an older one says nothing now
    _asked_at: float = 0.0
    _attempt: int = 0  # counts tunnels asked for: outcomes of older frames are ignored

    # what the hub asks

    def open(self, now: float) -> None:
        """Ask for the tunnel, in place of one that may be open: the device restarted, or was just found."""
        peer = self.member.peer
        if peer is None or (self.state is State.REQUESTED and now - self._asked_at < SAME_ANNOUNCEMENT_S):
            return
        self._attempt += 1
        self._asked_at = now
        self._sending = False
        self._drop_partial()
        if self._queue:
            self._queue[0].sent = 0
        wanted = tunnel.RequestTunnel(
            self.settings.protocol,
            self.settings.manufacturer_code,
            FLOW_CONTROL_OFF,
            self.settings.maximum_incoming_octets,
        )
        self.state, self._due = State.REQUESTED, now + self.settings.response_timeout_s
        frame = self.desk.command(Cluster.TUNNELING, wanted.COMMAND, wanted.encode(), to_client=False)
        self._asked = frame.sequence
        self.desk.send(peer, frame)

    def send(self, octets: bytes, now: float) -> None:
        """Queue one whole message; MessageDown tells how it ended."""
        self._queue.append(_Message(octets))
        if self.state in (State.CLOSED, State.REFUSED):
            self.open(now)
        self._pump(now)

    def close(self) -> None:
        """Close the tunnel, if open."""
        peer = self.member.peer
        if self.state is State.OPEN and peer is not None:
            wanted = tunnel.CloseTunnel(self.tunnel_id)
            frame = self.desk.command(Cluster.TUNNELING, wanted.COMMAND, wanted.encode(), to_client=False)
            self.desk.send(peer, frame)
            self.desk.tell(TunnelClosed(self.member.eui, "closed by the hub"))
        self._gone()

    def lost(self) -> None:
        """The network or the radio is gone; the tunnel is asked for anew when the device is found again."""
        self._gone()

    # the node's side

    def next_deadline(self) -> float | None:
        """When asking again, sending again or dropping half a message is due."""
        limit = self.settings.partial_message_s
        partial = None if self._partial_since is None else self._partial_since + limit
        return min((due for due in (self._due, partial) if due is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """What is due; harmless when called early."""
        if self._partial_since is not None and now >= self._partial_since + self.settings.partial_message_s:
            self._bad(f"half a message of {self._assembler.pending_octets} octets: the rest did not come")
            self._drop_partial()
        if self._due is None or now < self._due:
            return
        self._due = None
        if self.state is State.REQUESTED:
            self._not_opened("the device does not answer", now, self.settings.retry_s)
        elif self.state is State.WAITING:
            self.open(now)
        elif self.state is State.OPEN:
            self._pump(now)

    def receive(self, frame: ZclFrame, now: float) -> None:
        """One Tunneling command of the device. Raises FormatError, which the hub answers with MALFORMED_COMMAND."""
        command = tunnel.decode_to_client(frame.command, frame.payload)
        if isinstance(command, tunnel.RequestTunnelResponse):
            self._response(command, frame.sequence, now)
        elif isinstance(command, tunnel.TransferData):
            self._transfer(frame, command, now)
        elif isinstance(command, tunnel.TransferDataError):
            self._transfer_error(command, now)
        elif isinstance(command, tunnel.ClosureNotification):
            self._closed_by_device(command, now)
        elif command is None and self.member.peer is not None:
            self.desk.default_response(self.member.peer, frame, ZclStatus.UNSUP_CLUSTER_COMMAND)

    # opening

    def _response(self, response: tunnel.RequestTunnelResponse, sequence: int, now: float) -> None:
        if self.state is not State.REQUESTED or sequence != self._asked:
            return  # a late answer to an older request: the device has replaced that tunnel since
        if response.status == tunnel.TunnelStatus.SUCCESS and response.maximum_incoming:
            self.state, self._due, self._last = State.OPEN, None, None
            self.tunnel_id, self.max_transfer = response.tunnel, response.maximum_incoming
            self.desk.tell(TunnelOpened(self.member.eui, self.tunnel_id, self.max_transfer))
            self._pump(now)
        elif response.status == tunnel.TunnelStatus.BUSY:
            self._not_opened("BUSY", now, self.settings.busy_retry_s)
        elif response.status == tunnel.TunnelStatus.NO_MORE_IDS:
            self._close_old()
            self._not_opened("no more tunnel ids; closed the one before", now, self.settings.retry_s)
        else:
            name = _status_name(response.status)
            self.state, self._due = State.REFUSED, None
            self.desk.tell(TunnelNotOpened(self.member.eui, name, None))
            self._fail_all(f"no tunnel: {name}")

    def _close_old(self) -> None:
        """The device has no id left: the tunnel that this hub had before is one that it can close."""
        peer = self.member.peer
        if self.tunnel_id == tunnel.NO_TUNNEL or peer is None:
            return
        wanted = tunnel.CloseTunnel(self.tunnel_id)
        frame = self.desk.command(Cluster.TUNNELING, wanted.COMMAND, wanted.encode(), to_client=False)
        self.desk.send(peer, frame)
        self.tunnel_id = tunnel.NO_TUNNEL

    def _not_opened(self, reason: str, now: float, retry_s: float) -> None:
        self.state, self._due = State.WAITING, now + retry_s
        self.desk.tell(TunnelNotOpened(self.member.eui, reason, retry_s))

    def _closed_by_device(self, notice: tunnel.ClosureNotification, now: float) -> None:
        if self.state is State.OPEN and notice.tunnel == self.tunnel_id:
            self.desk.tell(TunnelClosed(self.member.eui, "closed by the device"))
            self.open(now)

    def _gone(self) -> None:
        self._attempt += 1
        self.state, self._due, self._sending = State.CLOSED, None, False
        self._drop_partial()

    # up

    def _transfer(self, frame: ZclFrame, transfer: tunnel.TransferData, now: float) -> None:
        peer = self.member.peer
        if self.state is not State.OPEN or transfer.tunnel != self.tunnel_id:
            if peer is not None:
                error = tunnel.TransferDataError(transfer.tunnel, tunnel.TransferStatus.NO_SUCH_TUNNEL)
                self.desk.reply(peer, frame, error.TO_SERVER, error.encode())
            self._bad(f"TransferData on tunnel {transfer.tunnel}, which is not open")
            return
        self._assembler.feed(transfer.data)
        try:
            while (octets := self._assembler.next_message()) is not None:
                self.desk.tell(MessageUp(self.member.eui, octets))
        except FormatError as error:
            self._bad(str(error))
        self._partial_since = now if self._assembler.pending_octets else None

    def _drop_partial(self) -> None:
        self._assembler.reset()
        self._partial_since = None

    def _bad(self, reason: str) -> None:
        self.desk.tell(BadFrame(self.member.short or 0, Cluster.TUNNELING, reason))

    # down

    def _transfer_error(self, error: tunnel.TransferDataError, now: float) -> None:
        if error.tunnel != self.tunnel_id or self.state is not State.OPEN:
            return
        if error.status == tunnel.TransferStatus.DATA_OVERFLOW:
            self._end_message(delivered=False, reason="the device cannot take so much", now=now)
            return
        self.desk.tell(TunnelClosed(self.member.eui, "the device knows no such tunnel"))
        if self._last is not None and self._last.tries < MESSAGE_TRIES:
            self._queue.appendleft(self._last)  # acknowledged by its radio, and lost behind it
            self._last.tries += 1
        self._last = None
        self.open(now)

    def _pump(self, now: float) -> None:
        """Send the next transfer of the message in front, when nothing is under way."""
        peer = self.member.peer
        if self.state is not State.OPEN or self._sending or self._due is not None or not self._queue or peer is None:
            return
        message = self._queue[0]
        data = message.octets[message.sent : message.sent + self.max_transfer]
        payload = tunnel.TransferData(self.tunnel_id, data).encode()
        frame = self.desk.command(Cluster.TUNNELING, tunnel.TransferData.TO_SERVER, payload, to_client=False)
        attempt, self._sending = self._attempt, True

        def done(result: RadioResult, at: float) -> None:
            if attempt == self._attempt and self._queue and self._queue[0] is message:
                self._sent(message, len(data), result, at)

        self.desk.send(peer, frame, done)

    def _sent(self, message: _Message, octets: int, result: RadioResult, now: float) -> None:
        self._sending = False
        if result.status is RadioStatus.OK:
            message.sent += octets
            if message.sent >= len(message.octets):
                self._end_message(delivered=True, reason="", now=now)
            else:
                self._pump(now)
            return
        message.tries += 1
        if message.tries >= MESSAGE_TRIES:
            self._end_message(delivered=False, reason=result.status.value, now=now)
            return
        self._due = now + self.settings.retry_s
        if len(message.octets) > self.max_transfer:
            self.state = State.WAITING  # a fresh tunnel: the device forgets the half that it may have

    def _end_message(self, *, delivered: bool, reason: str, now: float) -> None:
        if self._queue:
            self._sending = False
            message = self._queue.popleft()
            self._last = message if delivered else None
            self.desk.tell(MessageDown(self.member.eui, message.octets, delivered, reason))
            self._pump(now)

    def _fail_all(self, reason: str) -> None:
        while self._queue:
            self.desk.tell(MessageDown(self.member.eui, self._queue.popleft().octets, delivered=False, reason=reason))


def _status_name(status: int) -> str:
    try:
        return tunnel.TunnelStatus(status).name.replace("_", " ").lower()
    except ValueError:
        return f"status 0x{status:02X}"
