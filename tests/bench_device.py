"""A device as the hub sees one, scripted by a test on the codecs alone: none of the agent's own logic."""

from __future__ import annotations

from collections.abc import Callable

from agent import events as radio
from agent.zigbee import foundation, time_cluster, zdo
from agent.zigbee import ota_messages as ota
from agent.zigbee import tunnel_messages as tunnel
from agent.zigbee.clusters import Cluster
from agent.zigbee.zcl import ZclFrame

ENDPOINT = 7
PROFILE = 0x0109


class ScriptedDevice:
    """Joins, answers Match_Desc and RequestTunnel; ``heard`` is every ZCL frame, ``messages`` what came down."""

    def __init__(self, eui: int, install_code: bytes) -> None:
        self.eui = eui
        self.install_code = install_code
        self.network: radio.NetworkInfo | None = None
        self.heard: list[ZclFrame] = []
        self.messages: list[bytes] = []
        self.statuses: list[radio.RadioStatus] = []
        self.tunnel_status = tunnel.TunnelStatus.SUCCESS
        self.tunnel_answers = True
        self.matches = True
        self.maximum_incoming = 1500
        self.tunnel_id = 0
        self.hub_maximum = 0
        self.due: float | None = None
        self._requests: list[tuple[int, radio.RadioRequest]] = []
        self._controls: dict[int, Callable[[radio.RadioResult, float], None]] = {}
        self._handle = 0
        self._sequence = 100

    # agent.ports.Node

    def start(self, now: float) -> None:
        self._control(radio.RestoreNetwork(), self._restored)

    def receive(self, event: radio.RadioEvent, now: float) -> None:
        if not isinstance(event, radio.ApsIndication):
            return
        if event.destination_endpoint == 0:
            self._zdo(event)
            return
        frame = ZclFrame.decode(event.cluster, event.payload)
        self.heard.append(frame)
        if frame.cluster == Cluster.TUNNELING and frame.cluster_specific:
            self._tunnel(frame)

    def handle_timer(self, now: float) -> None:
        if self.due is not None and now >= self.due:
            self.due = None
            self._join()

    def next_deadline(self) -> float | None:
        return self.due

    def radio_requests(self, now: float) -> list[tuple[int, radio.RadioRequest]]:
        taken, self._requests = self._requests, []
        return taken

    def radio_done(self, handle: int, result: radio.RadioResult, now: float) -> None:
        if handle in self._controls:
            self._controls.pop(handle)(result, now)
        else:
            self.statuses.append(result.status)

    # what a test says with it

    def say(
        self, cluster: int, command: int, payload: bytes, *, to_client: bool = False, specific: bool = True
    ) -> None:
        """One ZCL frame to the hub's endpoint 1."""
        self._sequence = (self._sequence + 1) & 0xFF
        frame = ZclFrame(cluster, command, payload, self._sequence, specific, to_client)
        self.answer(frame)

    def answer(self, frame: ZclFrame) -> None:
        """One ZCL frame under the sequence number of what it answers."""
        self._send(radio.ApsRequest(0, 1, ENDPOINT, PROFILE, frame.cluster, frame.encode()))

    def say_ota(self, command: ota.OtaToServer) -> None:
        self.say(Cluster.OTA, command.COMMAND, command.encode())

    def transfer(self, octets: bytes, tunnel_id: int | None = None) -> None:
        """One TransferData up the tunnel."""
        data = tunnel.TransferData(self.tunnel_id if tunnel_id is None else tunnel_id, octets)
        self.say(Cluster.TUNNELING, data.TO_CLIENT, data.encode(), to_client=True)

    def read_time(self) -> None:
        wanted = foundation.ReadAttributes((time_cluster.ATTRIBUTE_TIME, time_cluster.ATTRIBUTE_TIME_STATUS))
        self.say(Cluster.TIME, wanted.COMMAND, wanted.encode(), specific=False)

    def ask_zdo(self, command: zdo.ZdoCommand) -> None:
        self._send_zdo(command, 55)

    def frames(self, cluster: int) -> list[ZclFrame]:
        return [frame for frame in self.heard if frame.cluster == cluster]

    # inside

    def _restored(self, result: radio.RadioResult, now: float) -> None:
        if result.status is radio.RadioStatus.OK:
            self.network = result.network
        else:
            self.due = now + 1.0

    def _join(self) -> None:
        self._control(radio.JoinNetwork(self.install_code, tuple(range(11, 27))), self._joined)

    def _joined(self, result: radio.RadioResult, now: float) -> None:
        self.statuses.append(result.status)
        if result.status is radio.RadioStatus.OK:
            self.network = result.network
        else:
            self.due = now + 5.0

    def _zdo(self, event: radio.ApsIndication) -> None:
        sequence, command = zdo.unpack(event.cluster, event.payload)
        assert self.network is not None
        own = self.network.short_address
        if isinstance(command, zdo.MatchDescReq) and self.matches:
            assert command.profile == PROFILE
            self._send_zdo(zdo.MatchDescRsp(0, own, (ENDPOINT,)), sequence)
        elif isinstance(command, zdo.IeeeAddrReq):
            self._send_zdo(zdo.IeeeAddrRsp(0, self.eui, own), sequence)
        elif isinstance(command, zdo.NwkAddrReq) and command.eui == self.eui:
            self._send_zdo(zdo.NwkAddrRsp(0, self.eui, own), sequence)
        elif isinstance(command, zdo.MatchDescRsp | zdo.SimpleDescRsp | zdo.ActiveEpRsp | zdo.NodeDescRsp):
            self.zdo_answer = command

    def _tunnel(self, frame: ZclFrame) -> None:
        command = tunnel.decode_to_server(frame.command, frame.payload)
        if isinstance(command, tunnel.RequestTunnel) and self.tunnel_answers:
            assert (command.protocol, command.manufacturer, command.flow_control) == (6, 0xFFFF, 0)
            self.hub_maximum = command.maximum_incoming
            success = self.tunnel_status is tunnel.TunnelStatus.SUCCESS
            self.tunnel_id = self.tunnel_id + 1 if success else self.tunnel_id
            given = self.tunnel_id if success else tunnel.NO_TUNNEL
            answer = tunnel.RequestTunnelResponse(given, self.tunnel_status, self.maximum_incoming)
            octets = answer.encode()
            self.answer(ZclFrame(Cluster.TUNNELING, answer.COMMAND, octets, frame.sequence, to_client=True))
        elif isinstance(command, tunnel.TransferData):
            assert command.tunnel == self.tunnel_id
            self.messages.append(command.data)

    def _send_zdo(self, command: zdo.ZdoCommand, sequence: int) -> None:
        self._send(radio.ApsRequest(0, 0, 0, 0, command.CLUSTER, zdo.pack(sequence, command)))

    def _send(self, request: radio.RadioRequest) -> None:
        self._handle += 1
        self._requests.append((self._handle, request))

    def _control(self, request: radio.RadioRequest, done: Callable[[radio.RadioResult, float], None]) -> None:
        self._send(request)
        self._controls[self._handle] = done
