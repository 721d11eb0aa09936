"""The device: joins the endpoint, the update, GBCS and the outbox.

A node (``agent.ports.Node``), pure but for its journal and slots, so that the same device runs on a CC2652, on the
emulated one, and in virtual time.

It decides nothing by itself: an event goes to the machine that it concerns, a machine's command is carried out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Protocol, get_args

from agent.diary import Diary
from agent.errors import FormatError, RadioError, StorageError
from agent.events import RadioEvent, RadioLost, RadioRequest, RadioResult, format_eui
from agent.gbcs.assembler import MessageAssembler
from agent.gbcs.receiver import Accepted, GbcsReceiver, Refused
from agent.gbcs.use_cases import EventCode
from agent.install_codes import InstallCodes
from agent.ports import Relay
from agent.telling import remember, told
from agent.update import commands as order
from agent.update.failed_version import FailedVersion
from agent.update.journal import Journal, LoggedEvent, Record
from agent.update.machine import UpdateMachine
from agent.update.orders import Orders
from agent.update.outbox import Outbox
from agent.update.states import State
from agent.zigbee import joining, ota_events, tunnel_server
from agent.zigbee.endpoint import DeviceEndpoint, EndpointEvent
from agent.zigbee.ota_messages import ImageFound
from agent.zigbee.whereabouts import AddressChanged, NetworkSought, describe
from agent.zigbee.zcl import ZclStatus

UNIX_TIME_OF_ZIGBEE_EPOCH = 946_684_800
OTA_EVENTS = (
    ota_events.BlockReceived,
    ota_events.ImageOffered,
    ota_events.TransferComplete,
    ota_events.TransferAborted,
    ota_events.ActivateNow,
    ota_events.ActivateAt,
    ota_events.HoldForCommand,
    ota_events.UpgradeEndUnanswered,
)
TUNNEL_EVENTS = get_args(tunnel_server.TunnelEvent)


class Log(Protocol):
    """One structured line: an event name and facts."""

    def __call__(self, event: str, /, **facts: object) -> object:
        """Say it."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the device is made of. ``receiver`` None: no GBCS keys (a generic gateway without a tunnel).

    ``relay``: an HCALCS's load switch. Nothing here moves it; what it is stands in the log at every start.
    """

    endpoint: DeviceEndpoint
    update: UpdateMachine
    orders: Orders
    outbox: Outbox
    journal: Journal
    receiver: GbcsReceiver | None
    codes: InstallCodes
    relay: Relay | None = None


class Device:
    """See the module. ``restart`` is set when the device asks to be started anew."""

    def __init__(self, parts: Parts, log: Log, wall_clock: Callable[[], float] = time.time) -> None:
        self._endpoint = parts.endpoint
        self._update = parts.update
        self._orders = parts.orders
        self._outbox = parts.outbox
        self._journal = parts.journal
        self._receiver = parts.receiver
        self._relay = parts.relay
        self._codes = parts.codes
        self._say = log
        self._wall_clock = wall_clock
        self._diary = Diary(parts.journal.facts)
        self._assembler = MessageAssembler()
        self._utc_minus_now: float | None = None
        self._hub_time_known = False
        self._started = False
        self._hub_answers = False
        self._told = ""  # to the event log, of the network
        self.restart = ""

    @property
    def update_state(self) -> State:
        """Where the update stands, for a status LED."""
        return self._update.state

    @property
    def is_factory(self) -> bool:
        """Whether this is the factory agent, because no slot verifies."""
        return self._update.is_factory

    @property
    def hub_answers(self) -> bool:
        """Whether the hub has answered and has not become silent since."""
        return self._hub_answers

    # --- agent.ports.Node ---------------------------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """The program has come up: confirm, revert or resume. Needs no radio: a trial without one must fail too."""
        if self._started:
            return
        self._started = True
        if self._relay:
            self._log("relay", connected=self._relay.read())
        self._update.start(now)
        self._settle(now)

    def start(self, now: float) -> None:
        """The radio is open (again)."""
        self.begin(now)
        self._endpoint.start(now)
        self._settle(now)

    def receive(self, event: RadioEvent, now: float) -> None:
        """Something came up from the radio."""
        self._diary.heard(event)
        self._endpoint.receive(event, now)
        if isinstance(event, RadioLost):
            self._update.hub_sought(is_off=False, now=now)
        self._settle(now)

    def handle_timer(self, now: float) -> None:
        """Time has reached ``next_deadline``."""
        self._endpoint.handle_timer(now)
        self._update.handle_timer(now)
        self._orders.handle_timer(now, self._utc(now))
        self._settle(now)

    def next_deadline(self) -> float | None:
        """When ``handle_timer`` is next needed; None once a restart is asked for."""
        if self.restart:
            return None
        parts = (self._endpoint, self._update, self._orders, self._outbox)
        return min((at for at in (part.next_deadline() for part in parts) if at is not None), default=None)

    def radio_requests(self, now: float) -> list[tuple[int, RadioRequest]]:
        """New requests for the radio; none once a restart is asked for."""
        requests = self._endpoint.radio_requests(now)
        return [] if self.restart else requests

    def radio_done(self, handle: int, result: RadioResult, now: float) -> None:
        """The outcome of one request."""
        self._endpoint.radio_done(handle, result, now)
        self._settle(now)

    def _log(self, event: str, /, **facts: object) -> None:
        """Every line that belongs to an update names it."""
        record = self._update.record
        if record.state is not State.IDLE and "update_id" not in facts:
            facts["update_id"] = record.update_id
        self._say(event, **facts)

    # --- one turn -----------------------------------------------------------------------------------------------------

    def _settle(self, now: float) -> None:
        """Let events and commands run until nothing is left to do. A StorageError ends the program, all told before."""
        try:
            self._turn(now)
        except StorageError:
            while (command := self._update.next_command()) is not None:
                if isinstance(command, order.Note):
                    self._carry_out(command, now)
            raise

    def _turn(self, now: float) -> None:
        busy = True
        while busy and not self.restart:
            busy = False
            while (event := self._endpoint.next_event()) is not None:
                self._handle(event, now)
                busy = True
            while (command := self._update.next_command()) is not None:
                self._carry_out(command, now)
                busy = True
        self._post(now)

    def _handle(self, event: EndpointEvent, now: float) -> None:
        """Each event to the machine that it concerns."""
        if isinstance(event, OTA_EVENTS):
            self._handle_ota(event, now)
        elif isinstance(event, TUNNEL_EVENTS):
            self._handle_tunnel(event, now)
        elif isinstance(event, joining.HubAnswered):
            self._hub_answered(event.utc, now)
        else:
            remember(event, self._journal, self._codes)
            if isinstance(event, joining.HubLost | joining.LeftNetwork):
                self._hub_answers = False
            self._diary.note(event, self._utc(now))  # before it is said: who hears it may look
            name, facts = told(event)
            self._log(name, **facts)
            self._network_news(event, now)
            return
        self._diary.note(event, self._utc(now))

    def _network_news(self, event: EndpointEvent, now: float) -> None:
        """What the trial and the event log must know of where the network is; the log has each thing once."""
        if isinstance(event, NetworkSought | joining.HubFound):
            self._update.hub_sought(is_off=isinstance(event, NetworkSought) and event.hub_is_off, now=now)
        news = ""
        if isinstance(event, NetworkSought):
            news = f"network sought: {event.detail}"
        elif isinstance(event, AddressChanged):
            news = f"address 0x{event.network.short_address:04X} now: {event.reason}"
        elif isinstance(event, joining.HubFound):
            self._told = ""
        if news and news != self._told:
            self._told = news
            with suppress(StorageError):
                self._journal.log(LoggedEvent("event", self._utc(now), 0, news, self._update.record.update_id))

    def cancel_update(self, reason: str, now: float) -> tuple[Record, bool]:
        """The engineer drops a transfer or a pending image: the update as it was, and whether it was dropped."""
        before = self._update.record
        cancelled = self._update.cancel(reason)
        self._settle(now)
        return before, cancelled

    def retry_update(self, now: float) -> FailedVersion | None:
        """The engineer wants a version that failed here fetched again: the hub is asked at once."""
        failed = self._update.retry()
        if failed is not None and self._update.state is State.IDLE:
            self._endpoint.ota.query_now(now)
        self._settle(now)
        return failed

    def join(self, code: bytes, channels: tuple[int, ...], now: float) -> str:
        """The engineer wants it on a network by this code: what stands in the way, empty when it begins.

        An empty code, or no channels: as known. Raises RadioError.
        """
        network = self._endpoint.joining
        if network.state is joining.JoinState.DOWN:
            raise RadioError("the radio is not there: plug it in, or correct radio.path")
        if network.state in joining.ON_A_NETWORK and network.network is not None:
            return f"the device is on a network: {describe(network.network)}; han-agent leave first"
        request = self._codes.request_for(code, channels)
        if request is None:
            return "no install code is known: give one with --install-code"
        network.join(request, now)
        self._settle(now)
        return ""

    def leave(self, reason: str, now: float) -> str:
        """The engineer wants it off the network until ``join`` or a restart: what stands in the way. RadioError."""
        network = self._endpoint.joining
        if network.state is joining.JoinState.DOWN:
            raise RadioError("the radio is not there: plug it in, or correct radio.path")
        if self._update.state in (State.ACTIVATING, State.TRIAL):
            return "an activation is going on and needs the hub's answer: let it end first"
        network.leave(reason, now)
        self._settle(now)
        return ""

    def _handle_ota(self, event: EndpointEvent, now: float) -> None:
        match event:
            case ota_events.BlockReceived():
                self._update.block(event.data, now)
            case ota_events.ImageOffered(image):
                self._update.offered(image.file_version, image.image_size, self._utc(now))
            case ota_events.TransferComplete():
                self._log("transfer complete", **asdict(self._endpoint.ota.progress()))
                self._update.transfer_complete(now)
            case ota_events.TransferAborted(reason):
                self._update.transfer_aborted(reason)
            case ota_events.ActivateNow():
                self._update.activate_now()
            case ota_events.ActivateAt(seconds, utc):
                self._update.activate_at(now, seconds, None if utc is None else utc + UNIX_TIME_OF_ZIGBEE_EPOCH)
            case ota_events.HoldForCommand():
                self._update.hold()
            case ota_events.UpgradeEndUnanswered(apply):
                self._unanswered(apply)

    def _handle_tunnel(self, event: EndpointEvent, now: float) -> None:
        match event:
            case tunnel_server.TunnelOpened(state):
                self._assembler.reset()
                self._outbox.tunnel_changed(now)
                self._journal.set_tunnel(json.dumps(asdict(state)))
                self._log("tunnel open", tunnel=state.tunnel, maximum_octets=state.peer_maximum_octets)
            case tunnel_server.TunnelClosed(reason):
                self._assembler.reset()
                self._outbox.tunnel_changed(now)
                self._journal.set_tunnel("")
                self._log("tunnel closed", reason=reason)
            case tunnel_server.TunnelData(octets):
                self._tunnelled(octets, now)
            case tunnel_server.MessageDelivered(handle):
                self._outbox.acknowledged(handle, now)
            case tunnel_server.MessageNotDelivered(handle, reason):
                self._outbox.not_delivered(handle, now)
                self._log("message not delivered", reason=reason)
            case tunnel_server.TransferRefused(status, handle):
                if handle is not None:
                    self._outbox.not_delivered(handle, now)
                self._log("message refused by the hub", status=status)
                self._endpoint.joining.announce()  # a hub opens the tunnel again when it hears Device_annce

    def _unanswered(self, apply: bool) -> None:
        """Attribute 0x000C decides what a hub that never answers the Upgrade End leads to."""
        self._log("upgrade end unanswered", apply=apply)
        if apply:
            self._update.activate_now()
        else:
            self._update.hold()

    # --- commands of the update ---------------------------------------------------------------------------------------

    def _carry_out(self, command: order.Command, now: float) -> None:
        ota = self._endpoint.ota
        match command:
            case order.BeginDownload(offset_octets):
                ota.begin_download(offset_octets, now)
            case order.Decline(reason):
                ota.decline()
                self._log("offer declined", reason=reason)
            case order.EndUpgrade(wire_status):
                ota.end_upgrade(ZclStatus(wire_status), now)
            case order.CancelTransfer():
                ota.cancel(now)
            case order.Restart(reason):
                self._log("restart", reason=reason)
                self.restart = reason
            case order.Note(event, code, facts):
                coded = {"code": f"0x{code:04X}"} if code else {}
                self._log(event, **coded, **facts)

    # --- the hub, its time, its tunnel --------------------------------------------------------------------------------

    def _hub_answered(self, utc: int | None, now: float) -> None:
        """Without a valid time the contact counts; reports then bear our own clock, and nothing dated happens by it."""
        if not self._hub_answers:
            self._hub_answers = True
            self._log("hub answers", utc=None if utc is None else utc + UNIX_TIME_OF_ZIGBEE_EPOCH)
        if utc is not None:
            self._hub_time_known = True
            self._utc_minus_now = utc + UNIX_TIME_OF_ZIGBEE_EPOCH - now
        unix = self._utc(now)
        self._update.hub_answered(now, unix, clock_known=self._hub_time_known)
        if self._hub_time_known:
            self._orders.hub_answered(now, unix)

    def _utc(self, now: float) -> int:
        if self._utc_minus_now is None:
            return int(self._wall_clock())
        return int(now + self._utc_minus_now)

    def _tunnelled(self, octets: bytes, now: float) -> None:
        self._assembler.feed(octets)
        try:
            while (message := self._assembler.next_message()) is not None:
                self._command(message, now)
        except FormatError as error:
            self._refused(Refused(EventCode.CONTENT_OR_FORMAT, str(error)), now)

    def _command(self, message: bytes, now: float) -> None:
        if self._receiver is None:
            self._log("command ignored", reason="this device holds no GBCS keys")
            return
        verdict = self._receiver.receive(message)
        if isinstance(verdict, Accepted):
            self._accepted(verdict, now)
        else:
            self._refused(verdict, now)

    def _accepted(self, accepted: Accepted, now: float) -> None:
        message = accepted.message
        self._log("command accepted", message_code=f"0x{message.message_code:04X}", counter=message.counter,
                  originator=format_eui(message.originator))  # fmt: skip
        self._orders.carry_out(accepted, self._utc(now))
        if self._hub_time_known:
            self._orders.hub_answered(now, self._utc(now))

    def _refused(self, refused: Refused, now: float) -> None:
        update_id = self._update.record.update_id
        self._journal.log(LoggedEvent("security", self._utc(now), refused.event_code, refused.reason, update_id))
        self._log("command refused", code=f"0x{refused.event_code:04X}", reason=refused.reason)

    def _post(self, now: float) -> None:
        for row in self._outbox.take_settled(now):
            self._log("message delivered", kind=row.kind, update_id=row.update_id)
        if self.restart:
            return
        for handle, row in self._outbox.to_send(now):
            self._log("message goes up", kind=row.kind, octets=len(row.message), update_id=row.update_id)
            self._endpoint.tunnel.send(handle, row.message, now)


def interrupted_download(update: UpdateMachine, manufacturer: int, image_type: int) -> tuple[ImageFound, int] | None:
    """What the OTA client must know of a transfer or a pending image that a restart interrupted: file and offset."""
    record = update.record
    offset = update.resume_offset
    if offset is None:
        return None
    return ImageFound(manufacturer, image_type, record.file_version, record.total_octets), offset
