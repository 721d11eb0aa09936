"""The Communications Hub as one pure Node: coordinator, Time server, OTA server, tunnel client.

It restores its network or forms one, lets the listed devices join, learns who they are from what they say, asks each
for its endpoint, opens the tunnel and tells of an image on offer. ``take_happenings`` gives what there is to tell.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agent import events as radio
from agent.errors import FormatError
from agent.zigbee import zdo
from agent.zigbee.clusters import Cluster
from agent.zigbee.zcl import ZclFrame, ZclStatus
from boards.bench.answers import AttributeServer, answer_zdo, simple_descriptor
from boards.bench.desk import Desk, Peer
from boards.bench.faults import Faults
from boards.bench.happenings import (
    BadFrame,
    DeviceGone,
    DeviceSeen,
    JoinPermitted,
    MessageDown,
    NetworkDown,
    NetworkUp,
    SwapPermitted,
    TimeAsked,
)
from boards.bench.members import Member, Members
from boards.bench.memory import HubMemory
from boards.bench.ota_server import OtaServer
from boards.bench.settings import UTC_UNKNOWN, ServerSettings, TunnelClientSettings
from boards.bench.trust_center import CredentialsOf, TrustCenter
from boards.bench.tunnel_client import TunnelClient

PERMIT_S = 254  # the longest that R21 allows; renewed while a listed device is missing
PERMIT_RENEW_S = 240.0
RECEIVER_ON_WHEN_IDLE = 0x08  # MAC capability flags, R21 2.3.2.3.6
RETRY_S = 10.0  # our choice: after the chip refused to form, or a device did not tell its endpoint
ENDPOINT_TRIES = 6
LEAVE_REJOIN = 0x80  # R21 2.4.3.3.5: options of Mgmt_Leave_req
HELD_FRAMES = 16  # of one device whose EUI is being asked for


@dataclass(frozen=True, slots=True)
class HubPlan:
    """What a hub is made of. ``answer_zdo``: True on a radio without a chip that answers ZDO by itself.

    ``utc(now)`` is ZigBee UTCTime or 0xFFFFFFFF while the time is not known. ``credentials``: the hub's certificate
    sets by its radio's EUI and suite; None: no key establishment, and no APS security. ``memory``: what was known when
    the hub's program ended. ``backup``: of the Trust Center whose place this one takes, by hashed link keys.
    """

    channel: int
    members: Sequence[Member]
    utc: Callable[[float], int] = lambda _now: UTC_UNKNOWN
    pan_id: int | None = None
    profile: int = 0x0109
    endpoint: int = 1
    credentials: CredentialsOf | None = None
    answer_zdo: bool = False
    memory: HubMemory = field(default_factory=HubMemory)
    backup: HubMemory | None = None
    ota: ServerSettings = ServerSettings()  # noqa: RUF009 - frozen
    tunnel: TunnelClientSettings = TunnelClientSettings()  # noqa: RUF009 - frozen


@dataclass(slots=True)
class _Asking:
    """An address or endpoint that was asked for, and what waits for it."""

    due: float
    tries: int = 1
    held: list[radio.ApsIndication] = field(default_factory=list)


class Hub:
    """Implements agent.ports.Node."""

    def __init__(self, plan: HubPlan, rng: random.Random, faults: Faults | None = None) -> None:
        self.plan = plan
        self.members = Members()
        self.network: radio.NetworkInfo | None = None
        self.desk = Desk(plan.profile, plan.endpoint, plan.credentials is not None)
        self.ota = OtaServer(self.desk, plan.ota, plan.utc, rng, faults)
        self.tunnels: dict[int, TunnelClient] = {}
        self.memory = plan.memory
        self.trust = TrustCenter(self.desk, plan.credentials, rng, self._key_made, plan.memory)
        self._attributes = AttributeServer(self.desk, plan.utc, lambda: self.trust.suites)
        self._permit_due: float | None = None
        self._start_due: float | None = None
        self._euis: dict[int, _Asking] = {}  # by short address: whose EUI was asked for
        self._endpoints: dict[int, _Asking] = {}  # by EUI: whose endpoint was asked for
        for member in plan.members:
            self.members.add(member)

    # what the operator and the head end ask

    def send_message(self, device_eui: int, octets: bytes, now: float) -> None:
        """Send one whole GBCS message down the device's tunnel; MessageDown tells how it ended."""
        member = self.members.by_eui.get(device_eui)
        if member is None:
            self.desk.tell(MessageDown(device_eui, octets, delivered=False, reason="not a device of this hub"))
            return
        self._tunnel(member).send(octets, now)

    def remove(self, eui: int, *, rejoin: bool, keep_out: bool) -> bool:
        """Tell this device to leave (Mgmt_Leave_req), and to come back at once; False: nobody knows where it is.

        ``keep_out``: it is let in again only after ``permit``.
        """
        member = self.members.by_eui.get(eui)
        if member is None or member.short is None:
            return False
        member.kept_out = keep_out
        options = LEAVE_REJOIN if rejoin else 0
        self._send_zdo(member.short, zdo.MgmtLeaveReq(eui, options))
        return True

    def permit(self, eui: int, now: float) -> bool:
        """Let this device join anew by its install code, as after a factory reset; False: it has none here.

        Its key with the hub is forgotten. It may be on the network all the same, so it is asked where it is.
        """
        member = self.members.by_eui.get(eui)
        if member is None or not member.install_code:
            return False
        member.kept_out = False
        self.members.forget_address(member)
        if eui in self.tunnels:
            self.tunnels[eui].lost()
        if self.network is not None:
            self._permit_code(member)
            self._permit(now)
            self._send_zdo(radio.BROADCAST_AWAKE, zdo.NwkAddrReq(eui))
        return True

    def notify_all(self, now: float) -> None:
        """Tell every device that is here of the image on offer for it."""
        if self.plan.ota.notify:
            for member in self.members.by_eui.values():
                self.ota.notify(member, now)

    def move_network(self, channel: int, pan_id: int | None, now: float) -> bool:
        """Go on elsewhere, as a hub that was off does, without a word to the devices. False while on no network."""
        if self.network is None:
            return False
        place = radio.MoveNetwork(channel, self.network.pan_id if pan_id is None else pan_id)
        self._network_gone(now)
        self.desk.ask(place, self._restored)
        return True

    def take_happenings(self) -> list[object]:
        """What there is to tell since the last call, in order."""
        return self.desk.take_told()

    # agent.ports.Node

    def start(self, now: float) -> None:
        """The radio is open (again)."""
        self._network_gone(now)
        self.desk.ask(radio.RestoreNetwork(), self._restored)

    def receive(self, event: radio.RadioEvent, now: float) -> None:
        """Something came up from the radio; what makes no sense is told and changes nothing."""
        if isinstance(event, radio.ApsIndication):
            self._indication(event, now)
        elif isinstance(event, radio.DeviceLeft):
            self._device_left(event.eui, now)
        elif isinstance(event, radio.NetworkChanged):
            self.network = event.network
            self.memory.on_network(event.network, restored=True)
            self.desk.tell(NetworkUp(event.network.eui, event.network.pan_id, event.network.channel, restored=True))
        elif isinstance(event, radio.NetworkLost):
            self.desk.tell(NetworkDown(event.reason))
            self._network_gone(now)
            self._start_due = now + RETRY_S
        else:
            self.desk.tell(NetworkDown(event.reason))
            self._network_gone(now)

    def next_deadline(self) -> float | None:
        """The earliest of all parts."""
        dues = [self.ota.next_deadline(), self.trust.next_deadline(), self._permit_due, self._start_due]
        dues += [tunnel.next_deadline() for tunnel in self.tunnels.values()]
        dues += [asking.due for asking in (*self._euis.values(), *self._endpoints.values())]
        return min((due for due in dues if due is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """What is due."""
        if self._start_due is not None and now >= self._start_due:
            self._start_due = None
            self.desk.ask(radio.RestoreNetwork(), self._restored)
        if self._permit_due is not None and now >= self._permit_due:
            self._permit(now)
        self._ask_again(now)
        self.trust.handle_timer(now)
        self.ota.handle_timer(now)
        for tunnel in self.tunnels.values():
            tunnel.handle_timer(now)

    def radio_requests(self, now: float) -> list[tuple[int, radio.RadioRequest]]:
        """New requests since the last call."""
        return self.desk.take_requests()

    def radio_done(self, handle: int, result: radio.RadioResult, now: float) -> None:
        """The outcome of one request."""
        self.desk.done(handle, result, now)

    # the network

    def _restored(self, result: radio.RadioResult, now: float) -> None:
        backup, network = self.plan.backup, result.network
        if result.status is radio.RadioStatus.OK and network is not None:
            if backup is not None and backup.extended_pan_id != network.extended_pan_id:
                self.desk.ask(radio.LeaveNetwork(), self._erased)  # asked for: this radio is to be that network's
                return
            self._network_up(network, now, restored=True)
        elif result.status is radio.RadioStatus.NO_NETWORK:
            self._form()
        else:
            self._failed(result, now)

    def _erased(self, result: radio.RadioResult, now: float) -> None:
        if result.status is radio.RadioStatus.OK:
            self._form()
        else:
            self._failed(result, now)

    def _form(self) -> None:
        """A new network; in another Trust Center's place under its extended PAN id, by which devices know it."""
        extended = self.plan.backup.extended_pan_id if self.plan.backup else None
        self.desk.ask(radio.FormNetwork(self.plan.channel, self.plan.pan_id, extended), self._formed)

    def _formed(self, result: radio.RadioResult, now: float) -> None:
        if result.status is radio.RadioStatus.OK and result.network is not None:
            self._network_up(result.network, now, restored=False)
        else:
            self._failed(result, now)

    def _failed(self, result: radio.RadioResult, now: float) -> None:
        """A lost radio is the driver's to reopen; anything else is tried again."""
        self.desk.tell(NetworkDown(result.detail or result.status.value))
        if result.status is not radio.RadioStatus.RADIO_LOST:
            self._start_due = now + RETRY_S

    def _network_up(self, network: radio.NetworkInfo, now: float, *, restored: bool) -> None:
        self.network = network
        self.desk.tell(NetworkUp(network.eui, network.pan_id, network.channel, restored))
        self.memory.on_network(network, restored=restored)
        if self.plan.backup is not None and not restored:
            self.memory.take_over(self.plan.backup)
        self.trust.network_up(network.eui, restored=restored)
        for member in self.members.by_eui.values():
            if member.eui not in self.trust.established:
                self._permit_member(member)
        if restored:
            self._look_for_members()
        self._permit(now)

    def _network_gone(self, now: float) -> None:
        self.network = None
        self._permit_due = self._start_due = None
        self._euis.clear()
        self._endpoints.clear()
        self.desk.forget_requests(now)
        self.trust.network_gone()
        for tunnel in self.tunnels.values():
            tunnel.lost()
        for member in self.members.by_eui.values():
            member.short = member.endpoint = None
        self.members.by_short.clear()

    def _permit_member(self, member: Member) -> None:
        """Let a listed device in, by the hash of its key where it comes from an earlier Trust Center."""
        if key := self.memory.expected_key(member.eui):
            self.desk.ask(radio.PermitLinkKey(member.eui, key))
            self.desk.tell(SwapPermitted(member.eui))
        else:
            self._permit_code(member)

    def _permit_code(self, member: Member) -> None:
        """Let a listed device in by its install code; on the chip that replaces a key made with it since."""
        if member.install_code:
            self.trust.forget(member.eui)
            self.desk.ask(radio.PermitInstallCode(member.eui, member.install_code))
            self.desk.tell(JoinPermitted(member.eui))

    def _device_left(self, eui: int, now: float) -> None:
        """It has forgotten network and key: what it comes back with is its install code."""
        member = self.members.by_eui.get(eui)
        if member is None:
            return
        self.desk.tell(DeviceGone(eui))
        self.members.forget_address(member)
        self.memory.address(eui, None)
        if eui in self.tunnels:
            self.tunnels[eui].lost()
        if member.listed and not member.kept_out:
            self._permit_code(member)
            self._permit(now)

    def _permit(self, now: float) -> None:
        """Keep the network open while a listed device is missing."""
        self._permit_due = None
        if self.network is not None and self.members.missing():
            self.desk.ask(radio.PermitJoin(PERMIT_S))
            self._permit_due = now + PERMIT_RENEW_S

    def _look_for_members(self) -> None:
        """After a restart of the hub the devices do not announce themselves: ask where they are.

        Meanwhile what comes from where they were is theirs.
        """
        for member in self.members.missing():
            self._send_zdo(radio.BROADCAST_AWAKE, zdo.NwkAddrReq(member.eui))
            known = self.memory.devices.get(member.eui)
            if known is not None and known.short is not None:
                self.trust.greet(self.members.learn(member.eui, known.short))

    # what comes up

    def _indication(self, event: radio.ApsIndication, now: float) -> None:
        try:
            if event.destination_endpoint == 0:
                self._zdo(event, now)
            else:
                self._application(event, now)
        except FormatError as error:
            self.desk.tell(BadFrame(event.source, event.cluster, str(error)))

    def _application(self, event: radio.ApsIndication, now: float) -> None:
        member = self.members.by_short.get(event.source)
        if member is None:
            self._hold(event, now)
            return
        peer = Peer(event.source, event.source_endpoint)
        frame = ZclFrame.decode(event.cluster, event.payload)
        if not self.trust.admits(member, event, now):
            self.trust.refuse(member, peer, frame, event)
            return
        try:
            self._zcl(member, peer, frame, event, now)
        except FormatError as error:
            self.desk.tell(BadFrame(event.source, event.cluster, str(error)))
            if not event.broadcast:
                self.desk.default_response(peer, frame, ZclStatus.MALFORMED_COMMAND)

    def _zcl(self, member: Member, peer: Peer, frame: ZclFrame, event: radio.ApsIndication, now: float) -> None:
        """To the part that it is for; a frame that goes the wrong way, or to everybody, gets no answer."""
        if not frame.cluster_specific:
            if not frame.to_client and not event.broadcast:
                self._attributes.receive(peer, frame, now)
                if frame.cluster == Cluster.TIME and frame.command == 0:
                    self.desk.tell(TimeAsked(member.eui))
        elif frame.cluster == Cluster.OTA and not frame.to_client and not event.broadcast:
            self.ota.receive(member, peer, frame, now)
        elif frame.cluster == Cluster.TUNNELING and frame.to_client and not event.broadcast:
            self._tunnel(member).receive(frame, now)
        elif frame.cluster == Cluster.KEY_ESTABLISHMENT and not event.broadcast and member.listed:
            if not self.trust.receive(member, peer, frame, now):
                self.desk.default_response(peer, frame, ZclStatus.UNSUP_CLUSTER_COMMAND)
        elif not event.broadcast:
            self.desk.default_response(peer, frame, ZclStatus.UNSUP_CLUSTER_COMMAND)

    # who is who

    def _zdo(self, event: radio.ApsIndication, now: float) -> None:
        sequence, command = zdo.unpack(event.cluster, event.payload)
        if isinstance(command, zdo.DeviceAnnce):
            sleeps = not command.capability & RECEIVER_ON_WHEN_IDLE
            self._seen(command.eui, command.short_address, now, sleeps=sleeps)
        elif isinstance(command, zdo.NwkAddrRsp):  # and IEEE_addr_rsp, its subclass
            if command.status == zdo.ZdpStatus.SUCCESS:
                self._seen(command.eui, command.short_address, now)
        elif isinstance(command, zdo.MatchDescRsp):
            self._endpoint_found(command, now)
        elif command is not None and self.plan.answer_zdo and self.network is not None:
            own = simple_descriptor(self.plan.endpoint, self.plan.profile)
            answer = answer_zdo(command, self.network, own)
            if answer is not None:
                self.desk.send_zdo(event.source, answer.CLUSTER, zdo.pack(sequence, answer))

    def _hold(self, event: radio.ApsIndication, now: float) -> None:
        """A frame of a short address that is nobody's yet waits for its EUI: an alert must not be lost."""
        asking = self._euis.get(event.source)
        if asking is None:
            asking = self._euis[event.source] = _Asking(now + RETRY_S)
            self._send_zdo(event.source, zdo.IeeeAddrReq(event.source))
        if len(asking.held) < HELD_FRAMES:
            asking.held.append(event)

    def _seen(self, eui: int, short: int, now: float, *, sleeps: bool | None = None) -> None:
        """``sleeps`` None: it did not say."""
        if self.network is not None and eui == self.network.eui:
            return
        member = self.members.learn(eui, short)
        self.memory.address(eui, short)
        if sleeps is not None:
            member.sleeps = sleeps
        self.desk.tell(DeviceSeen(eui, short, member.listed, member.sleeps))
        self.trust.greet(member)
        if member.listed:
            self._ask_endpoint(member, now)
        asking = self._euis.pop(short, None)
        for event in asking.held if asking else ():
            self._indication(event, now)

    def _ask_endpoint(self, member: Member, now: float) -> None:
        self._endpoints[member.eui] = _Asking(now + RETRY_S)
        self._send_match(member)

    def _send_match(self, member: Member) -> None:
        if member.short is not None:
            wanted = zdo.MatchDescReq(member.short, self.plan.profile, (Cluster.TUNNELING,), (Cluster.OTA,))
            self._send_zdo(member.short, wanted)

    def _endpoint_found(self, answer: zdo.MatchDescRsp, now: float) -> None:
        member = self.members.by_short.get(answer.short_address)
        if member is None or answer.status != zdo.ZdpStatus.SUCCESS or not answer.endpoints:
            return
        if self._endpoints.pop(member.eui, None) is None:
            return
        member.endpoint = answer.endpoints[0]
        if not member.waits_for_key:
            self._serve(member, now)

    def _key_made(self, member: Member, now: float) -> None:
        """The Trust Center has a key with this device: from now on it can be served."""
        if member.peer is not None:
            self._serve(member, now)
        elif member.short is not None:
            self._ask_endpoint(member, now)

    def _serve(self, member: Member, now: float) -> None:
        if member.tunnel:
            self._tunnel(member).open(now)
        if self.plan.ota.notify:
            self.ota.notify(member, now)

    def _ask_again(self, now: float) -> None:
        """Who has not answered yet is asked a few times more."""
        for short, asking in list(self._euis.items()):
            if now < asking.due:
                continue
            del self._euis[short]
            self.desk.tell(BadFrame(short, 0, f"nobody tells whose address this is; {len(asking.held)} frames dropped"))
        for eui, asking in list(self._endpoints.items()):
            if now < asking.due:
                continue
            if asking.tries >= ENDPOINT_TRIES:
                del self._endpoints[eui]
                continue
            asking.tries, asking.due = asking.tries + 1, now + RETRY_S
            self._send_match(self.members.by_eui[eui])

    def _tunnel(self, member: Member) -> TunnelClient:
        if member.eui not in self.tunnels:
            self.tunnels[member.eui] = TunnelClient(self.desk, self.plan.tunnel, member)
        return self.tunnels[member.eui]

    def _send_zdo(self, destination: int, command: zdo.ZdoCommand) -> None:
        self.desk.send_zdo(destination, command.CLUSTER, zdo.pack(self.desk.next_sequence(), command))
