"""The device's endpoint as a node (``agent.ports.Node``): it joins the machines to the radio.

It takes ZCL frames apart, gives each to the machine of its cluster, answers foundation commands and gives Default
Responses, allocates ZCL sequence numbers and knows which frames travel secured. It decides nothing about an update:
the owner takes the machines' events with ``next_event`` and calls the machines.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random

from agent.errors import FormatError
from agent.events import (
    COORDINATOR,
    ApsIndication,
    ApsRequest,
    DeviceLeft,
    LogicalType,
    NetworkChanged,
    NetworkLost,
    RadioEvent,
    RadioLost,
    RadioRequest,
    RadioResult,
    RadioStatus,
)
from agent.zigbee import zdo
from agent.zigbee.cbke.messages import ATTRIBUTE_SUITES
from agent.zigbee.clusters import Cluster, EndpointDescription, is_secured
from agent.zigbee.foundation import DefaultResponse, ReadAttributesResponse, Typed, Value, ZclType
from agent.zigbee.joining import HubFound, HubLost, JoinEvent, Joining, NetworkUp
from agent.zigbee.ota_attributes import read_attributes
from agent.zigbee.ota_client import OtaClient
from agent.zigbee.ota_events import SERVER_SILENT, OtaEvent, TransferPaused
from agent.zigbee.peer import OutgoingZcl, Peer
from agent.zigbee.polling import Polling, PollRateChanged, PollRateRefused, PollRates
from agent.zigbee.servers import REVISION_1, BasicInfo, Identify, answer_foundation
from agent.zigbee.tunnel_messages import ATTRIBUTE_CLOSE_TIMEOUT
from agent.zigbee.tunnel_server import TunnelEvent, TunnelServer
from agent.zigbee.zcl import ZclFrame, ZclStatus
from agent.zigbee.zdo_responder import answer_zdo


@dataclass(frozen=True, slots=True)
class FrameDropped:
    """A frame that no machine saw, and why."""

    source: int
    cluster: int
    reason: str


@dataclass(frozen=True, slots=True)
class LogicalTypeDiffers:
    """The chip is on its network as what it joined as; the settings' other type takes effect at the next join."""

    wanted: str
    found: str


EndpointEvent = (
    JoinEvent | OtaEvent | TunnelEvent | FrameDropped | PollRateChanged | PollRateRefused | LogicalTypeDiffers
)
Done = Callable[[RadioResult, float], None]
FIRST_BROADCAST = 0xFFF8  # R21: short addresses from here on are broadcasts


def _nobody_waits(result: RadioResult, now: float) -> None:
    """For answers: what becomes of them is the asker's business."""
    del result, now


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """``require_security``: frames of secured clusters must come and go under APS link-key security (Smart Energy).

    ``answers_zdo``: the radio's chip does not answer ZDO requests itself. ``poll_rates``: of a sleepy end device; None:
    the receiver is always on.
    """

    require_security: bool = False
    answers_zdo: bool = False
    poll_rates: PollRates | None = None


class DeviceEndpoint:
    """See the module. The machines are the owner's too; the endpoint carries their frames and results."""

    def __init__(
        self,
        description: EndpointDescription,
        basic: BasicInfo,
        joining: Joining,
        ota: OtaClient,
        tunnel: TunnelServer,
        random: Random,
        options: EndpointOptions | None = None,
    ) -> None:
        self.description = description
        self.joining = joining
        self.ota = ota
        self.tunnel = tunnel
        self.identify = Identify()
        self._basic = basic
        self._options = options or EndpointOptions()
        rates = self._options.poll_rates
        self.polling = None if rates is None else Polling(rates)
        self._sequence = random.randrange(256)  # not 0 after every restart: receivers drop what they saw lately
        self._next_handle = 1
        self._done: dict[int, Done] = {}
        self._requests: list[tuple[int, RadioRequest]] = []
        self._events: deque[EndpointEvent] = deque()

    # --- agent.ports.Node

    def start(self, now: float) -> None:
        """The radio is open (again)."""
        self.joining.start(now)
        self._collect(now)

    def receive(self, event: RadioEvent, now: float) -> None:
        """Something came up from the radio."""
        if self.polling is not None:
            self._note_polling(self.polling, event, now)
        if isinstance(event, NetworkLost):
            self.joining.network_lost(event.reason, now)
        elif isinstance(event, NetworkChanged):
            self.joining.network_changed(event.network, now)
        elif isinstance(event, RadioLost):
            self._radio_lost(event, now)
        elif isinstance(event, DeviceLeft):
            pass  # the coordinator's business
        elif event.destination_endpoint == 0:
            self._receive_zdo(event, now)
        else:
            self._receive_zcl(event, now)
        self._collect(now)

    def handle_timer(self, now: float) -> None:
        """Time has reached ``next_deadline``."""
        self.joining.handle_timer(now)
        self.ota.handle_timer(now)
        self.tunnel.handle_timer(now)
        if self.polling is not None:
            self.polling.handle_timer(now)
        self._collect(now)

    def next_deadline(self) -> float | None:
        """When ``handle_timer`` is next needed."""
        machines = (self.joining, self.ota, self.tunnel, self.polling)
        deadlines = [machine.next_deadline() for machine in machines if machine is not None]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def radio_requests(self, now: float) -> list[tuple[int, RadioRequest]]:
        """New requests, each with a handle that ``radio_done`` brings back."""
        self._collect(now)
        requests, self._requests = self._requests, []
        return requests

    def radio_done(self, handle: int, result: RadioResult, now: float) -> None:
        """The outcome of one request."""
        done = self._done.pop(handle, None)
        if done is not None:
            done(result, now)
        self._collect(now)

    def next_event(self) -> EndpointEvent | None:
        """The oldest event not yet taken."""
        return self._events.popleft() if self._events else None

    # --- in

    @staticmethod
    def _note_polling(polling: Polling, event: RadioEvent, now: float) -> None:
        if isinstance(event, NetworkLost | RadioLost):
            polling.network_down(now)
        elif isinstance(event, ApsIndication) and not event.broadcast:
            polling.heard(now)

    def _radio_lost(self, event: RadioLost, now: float) -> None:
        self._requests.clear()
        self.joining.radio_lost(event.reason, now)
        waiting, self._done = self._done, {}
        for done in waiting.values():
            done(RadioResult(RadioStatus.RADIO_LOST, detail=event.reason), now)

    def _receive_zdo(self, indication: ApsIndication, now: float) -> None:
        try:
            sequence, command = zdo.unpack(indication.cluster, indication.payload)
        except FormatError as error:
            return self._drop(indication, str(error))
        if command is None:
            return None
        self.joining.receive_zdo(sequence, command, indication.source, now)
        network = self.joining.network
        if self._options.answers_zdo and network is not None:
            answer = answer_zdo(command, network, self.description)
            if answer is not None:
                payload = zdo.pack(sequence, answer)
                self._put(ApsRequest(indication.source, 0, 0, 0, answer.CLUSTER, payload), _nobody_waits)
        return None

    def _receive_zcl(self, indication: ApsIndication, now: float) -> None:
        self.joining.heard(indication.source, now)
        if indication.destination_endpoint not in (self.description.endpoint, 0xFF):
            return self._drop(indication, f"no endpoint {indication.destination_endpoint}")
        try:
            frame = ZclFrame.decode(indication.cluster, indication.payload)
        except FormatError as error:
            return self._drop(indication, str(error))
        if self._options.require_security and is_secured(indication.cluster, self.description.profile):
            if not (indication.aps_security and self.joining.key_held):
                return self._refuse_unsecured(frame, indication, now)
            if indication.source == COORDINATOR:
                self.joining.secured_heard()
        return self._receive_frame(frame, indication, now)

    def _refuse_unsecured(self, frame: ZclFrame, indication: ApsIndication, now: float) -> None:
        """Dropped; but a hub that knows no key of ours can say so only without security."""
        self._drop(indication, "not APS secured" if not indication.aps_security else "no key is established yet")
        is_default = not frame.cluster_specific and frame.command == DefaultResponse.COMMAND
        from_hub = indication.source == COORDINATOR and not indication.broadcast
        if is_default and from_hub and frame.payload[1:] == bytes((ZclStatus.NOT_AUTHORIZED,)):
            self.joining.key_rejected("the hub says that it has no key with this device", now)

    def _receive_frame(self, frame: ZclFrame, indication: ApsIndication, now: float) -> None:
        own = self.description
        if frame.cluster not in (own.output_clusters if frame.to_client else own.input_clusters):
            self._drop(indication, "cluster or direction is not ours")
            if frame.cluster not in (*own.output_clusters, *own.input_clusters):
                self._default(frame, indication, ZclStatus.UNSUPPORTED_CLUSTER)
        elif frame.manufacturer is not None:
            cluster, general = ZclStatus.UNSUP_MANUF_CLUSTER_COMMAND, ZclStatus.UNSUP_MANUF_GENERAL_COMMAND
            self._default(frame, indication, cluster if frame.cluster_specific else general)
        elif frame.cluster_specific:
            self._cluster_command(frame, indication, now)
        else:
            self._foundation_command(frame, indication, now)

    def _cluster_command(self, frame: ZclFrame, indication: ApsIndication, now: float) -> None:
        status: ZclStatus | None = ZclStatus.UNSUP_CLUSTER_COMMAND
        if frame.cluster == Cluster.OTA:
            status = self.ota.receive(frame, indication.source, indication.broadcast, now)
        elif frame.cluster == Cluster.TUNNELING and not indication.broadcast:
            status = self.tunnel.receive(frame, self._peer(indication), now)
        elif frame.cluster == Cluster.KEY_ESTABLISHMENT and not indication.broadcast:
            if self.joining.receive_key(frame, indication.source, now):
                status = None
        elif frame.cluster == Cluster.IDENTIFY:
            status, answer = self.identify.receive(frame, now)
            if answer is not None:
                return self._reply(frame, indication, 0x00, answer, cluster_specific=True)
        if status is not None:
            self._default(frame, indication, status)
        return None

    def _foundation_command(self, frame: ZclFrame, indication: ApsIndication, now: float) -> None:
        if frame.cluster == Cluster.OTA and frame.command == DefaultResponse.COMMAND:
            self.ota.receive(frame, indication.source, indication.broadcast, now)
        elif frame.cluster == Cluster.TIME:
            self._hub_attributes(frame, indication.source, self.joining.time_answered, now)
        elif frame.cluster == Cluster.KEY_ESTABLISHMENT:
            self._hub_attributes(frame, indication.source, self.joining.suites_answered, now)
        if indication.broadcast:
            return
        answer = answer_foundation(frame, self._attributes(frame.cluster, now))
        if isinstance(answer, ZclStatus):
            self._default(frame, indication, answer)
        elif answer is not None:
            self._reply(frame, indication, *answer, cluster_specific=False)

    def _hub_attributes(
        self, frame: ZclFrame, source: int, answered: Callable[[dict[int, Value], int, float], None], now: float
    ) -> None:
        try:
            if frame.command == ReadAttributesResponse.COMMAND:
                answered(ReadAttributesResponse.decode(frame.payload).values(), source, now)
            elif frame.command == DefaultResponse.COMMAND:
                answered({}, source, now)
        except FormatError as error:
            self._events.append(FrameDropped(source, frame.cluster, str(error)))

    def _attributes(self, cluster: int, now: float) -> Mapping[int, Typed]:
        if cluster == Cluster.BASIC:
            return self._basic.attributes()
        if cluster == Cluster.IDENTIFY:
            return self.identify.attributes(now)
        if cluster == Cluster.OTA:
            return read_attributes(self.ota)
        if cluster == Cluster.TUNNELING:
            return {ATTRIBUTE_CLOSE_TIMEOUT: Typed(ZclType.UINT16, self.tunnel.close_timeout_s), **REVISION_1}
        if cluster == Cluster.KEY_ESTABLISHMENT and self.joining.key is not None:
            return {ATTRIBUTE_SUITES: Typed(ZclType.BITMAP16, self.joining.key.suites), **REVISION_1}
        return REVISION_1

    def _peer(self, indication: ApsIndication) -> Peer:
        hub = self.joining.hub
        if hub is not None and hub.short_address == indication.source:
            return Peer(indication.source, indication.source_endpoint, hub.eui)
        return Peer(indication.source, indication.source_endpoint)

    def _drop(self, indication: ApsIndication, reason: str) -> None:
        self._events.append(FrameDropped(indication.source, indication.cluster, reason))

    # --- out

    def _default(self, frame: ZclFrame, indication: ApsIndication, status: ZclStatus) -> None:
        """ZCL 2.5.12: none to a broadcast or a Default Response; success only where it was not switched off."""
        is_default = not frame.cluster_specific and frame.command == DefaultResponse.COMMAND
        if indication.broadcast or is_default or (status is ZclStatus.SUCCESS and frame.disable_default_response):
            return
        response = DefaultResponse(frame.command, status)
        self._reply(frame, indication, response.COMMAND, response.encode(), cluster_specific=False)

    def _reply(
        self, frame: ZclFrame, indication: ApsIndication, command: int, payload: bytes, *, cluster_specific: bool
    ) -> None:
        """Back to the asker, with the same sequence number and the direction flipped."""
        answer = OutgoingZcl(
            self._peer(indication),
            frame.cluster,
            command,
            payload,
            to_client=not frame.to_client,
            cluster_specific=cluster_specific,
            sequence=frame.sequence,
        )
        self._put(self._wrap(answer), _nobody_waits)

    def _collect(self, now: float) -> None:
        """Take over what the machines want to send and to say."""
        while (event := self.joining.next_event()) is not None:
            if isinstance(event, HubFound):
                self.ota.server_found(event.peer, now)
                self.tunnel.hub_found(now)
            elif isinstance(event, HubLost):
                self.ota.server_lost()
                self.tunnel.hub_lost()
            self._events.append(event)
            if isinstance(event, NetworkUp):
                self._network_up(event.network.logical_type, now)
        for handle, request in self.joining.requests_to_send():
            self._send(request, partial(self.joining.request_done, handle), now)
        for machine in (self.ota, self.tunnel):
            for handle, frame in machine.frames_to_send():
                self._send(frame, partial(_report, machine, handle), now)
        if self.polling is not None:
            self._collect_polling(self.polling)
        for next_event in (self.ota.next_event, self.tunnel.next_event):
            while (said := next_event()) is not None:
                if isinstance(said, TransferPaused) and said.reason == SERVER_SILENT:
                    self.joining.doubt(now)
                self._events.append(said)

    def _network_up(self, found: LogicalType, now: float) -> None:
        wanted = self.joining.logical_type
        if found is not wanted:
            self._events.append(LogicalTypeDiffers(*(one.name.lower().replace("_", "-") for one in (wanted, found))))
        elif self.polling is not None:
            self.polling.network_up(now)

    def _send(self, request: RadioRequest | OutgoingZcl, done: Done, now: float) -> None:
        """A request of a machine's own."""
        self._put(self._wrap(request) if isinstance(request, OutgoingZcl) else request, done)
        if self.polling is not None and _is_question(request):
            self.polling.asked(now)

    def _collect_polling(self, polling: Polling) -> None:
        request = polling.request_to_send()
        if request is not None:
            self._put(request, polling.request_done)
        while (said := polling.next_event()) is not None:
            self._events.append(said)

    def _wrap(self, frame: OutgoingZcl) -> ApsRequest:
        sequence = frame.sequence
        if sequence is None:
            self._sequence = sequence = (self._sequence + 1) & 0xFF
        zcl = ZclFrame(
            frame.cluster,
            frame.command,
            frame.payload,
            sequence,
            frame.cluster_specific,
            frame.to_client,
            frame.disable_default_response,
        )
        profile = self.description.profile
        return ApsRequest(
            frame.peer.short_address,
            frame.peer.endpoint,
            self.description.endpoint,
            profile,
            frame.cluster,
            zcl.encode(),
            aps_ack=frame.aps_ack,
            aps_security=self._options.require_security and is_secured(frame.cluster, profile),
        )

    def _put(self, request: RadioRequest, done: Done) -> None:
        handle = self._next_handle
        self._next_handle += 1
        if isinstance(request, ApsRequest) and request.destination == COORDINATOR and request.aps_ack:
            done = partial(self._hub_done, done, secured=request.aps_security)
        self._done[handle] = done
        self._requests.append((handle, request))

    def _hub_done(self, done: Done, result: RadioResult, now: float, *, secured: bool) -> None:
        self.joining.hub_sent(result.status, now)
        if secured:
            self.joining.secured_sent(result.status, now)
        done(result, now)


def _is_question(request: RadioRequest | OutgoingZcl) -> bool:
    """Will it be answered over the air? An answer of ours will not, nor need a broadcast be."""
    if isinstance(request, OutgoingZcl):
        return request.sequence is None
    return isinstance(request, ApsRequest) and request.destination < FIRST_BROADCAST


def _report(machine: OtaClient | TunnelServer, handle: int, result: RadioResult, now: float) -> None:
    machine.frame_sent(handle, result.status is RadioStatus.OK, now)
