"""The device's endpoint: frames in, frames out, and which machine heard them."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ota_lab import EUI, FILE_ID, FOUND, IDENTITY, OCTETS

from agent.events import (
    ApsIndication,
    ApsRequest,
    JoinNetwork,
    LogicalType,
    NetworkInfo,
    NetworkLost,
    RadioLost,
    RadioRequest,
    RadioResult,
    RadioStatus,
    RestoreNetwork,
)
from agent.ports import Node
from agent.settings import OtaSettings, TunnelSettings
from agent.zigbee import foundation as zcl
from agent.zigbee import ota_messages as ota
from agent.zigbee import tunnel_messages as tm
from agent.zigbee import zdo
from agent.zigbee.clusters import Cluster, describe_endpoint
from agent.zigbee.endpoint import DeviceEndpoint, EndpointEvent, EndpointOptions, FrameDropped
from agent.zigbee.joining import HubAnswered, HubFound, HubLost, Joining, NetworkUp
from agent.zigbee.ota_client import OtaClient
from agent.zigbee.ota_events import BlockReceived, ImageOffered
from agent.zigbee.servers import BasicInfo
from agent.zigbee.time_cluster import HubClock
from agent.zigbee.tunnel_server import MessageDelivered, MessageNotDelivered, TunnelData, TunnelOpened, TunnelServer
from agent.zigbee.zcl import ZclFrame, ZclStatus

HUB_EUI = 0xAABBCCDDEEFF0011
NETWORK = NetworkInfo(EUI, 0x1234, 0xABCD, 0x99, 15, LogicalType.ROUTER)
JOIN = JoinNetwork(bytes(18), (15,))
BASIC = BasicInfo("HAN", "PPMID", 3, "1.0.0")
OK = RadioResult(RadioStatus.OK)


class Lab:
    """A device whose radio is this test: requests are acknowledged at once unless told otherwise."""

    def __init__(self, options: EndpointOptions | None = None, profile: int = 0x0109) -> None:
        self.now = 100.0
        self.asked = 9  # sequence number of the last Match_Desc_req
        clock = HubClock()
        self.device = DeviceEndpoint(
            describe_endpoint("ppmid", 1, profile),
            BASIC,
            Joining(JOIN, profile, LogicalType.ROUTER, clock),
            OtaClient(IDENTITY, OtaSettings(), Random(1), clock),
            TunnelServer(TunnelSettings()),
            Random(1),
            options,
        )
        self.node: Node = self.device
        self.secured = options is not None and options.require_security

    def requests(self, result: RadioResult = OK) -> list[RadioRequest]:
        requests = []
        for handle, request in self.node.radio_requests(self.now):
            requests.append(request)
            if isinstance(request, ApsRequest) and request.cluster == zdo.MatchDescReq.CLUSTER:
                self.asked = request.payload[0]
            if isinstance(request, RestoreNetwork):
                result = RadioResult(RadioStatus.OK, NETWORK)
            self.node.radio_done(handle, result, self.now)
        return requests

    def frames(self, result: RadioResult = OK) -> list[ZclFrame]:
        """The ZCL frames among the requests."""
        return [
            ZclFrame.decode(request.cluster, request.payload)
            for request in self.requests(result)
            if isinstance(request, ApsRequest) and request.source_endpoint != 0
        ]

    def zcl(
        self,
        cluster: int,
        command: int,
        payload: bytes,
        *,
        specific: bool = True,
        to_client: bool = False,
        disable: bool = True,
        source: int = 0,
        broadcast: bool = False,
        endpoint: int = 1,
        manufacturer: int | None = None,
        aps_security: bool | None = None,
    ) -> None:
        frame = ZclFrame(cluster, command, payload, 0x42, specific, to_client, disable, manufacturer)
        secured = self.secured if aps_security is None else aps_security
        self.node.receive(ApsIndication(source, 1, endpoint, cluster, frame.encode(), secured, broadcast), self.now)

    def read(self, cluster: int, *attributes: int, to_client: bool = False) -> dict[int, zcl.Value]:
        request = zcl.ReadAttributes(attributes)
        self.zcl(cluster, request.COMMAND, request.encode(), specific=False, to_client=to_client)
        (frame,) = self.frames()
        assert (frame.sequence, frame.to_client) == (0x42, not to_client)
        return zcl.ReadAttributesResponse.decode(frame.payload).values()

    def zdo(self, command: zdo.ZdoCommand, source: int = 0) -> None:
        """An answer bears the sequence number of the last Match_Desc_req."""
        payload = zdo.pack(self.asked, command)
        self.node.receive(ApsIndication(source, 0, 0, command.CLUSTER, payload), self.now)

    def events(self) -> list[EndpointEvent]:
        events = []
        while (event := self.device.next_event()) is not None:
            events.append(event)
        return events

    def online(self) -> Lab:
        self.node.start(self.now)
        self.requests()  # restore
        self.requests()  # discovery
        self.zdo(zdo.IeeeAddrRsp(0, HUB_EUI, 0))
        self.zdo(zdo.MatchDescRsp(0, 0, (1,)))
        self.requests()
        self.events()
        return self


def test_from_power_on_to_the_first_block_and_the_tunnel() -> None:
    lab = Lab()
    lab.node.start(lab.now)
    # restore, and once that is done: Device_annce, IEEE_addr_req, Match_Desc_req
    assert lab.requests() == [RestoreNetwork()]
    asked = [request.cluster for request in lab.requests() if isinstance(request, ApsRequest)]
    assert asked == [0x0013, 0x0001, 0x0006]
    lab.zdo(zdo.IeeeAddrRsp(0, HUB_EUI, 0))
    lab.zdo(zdo.MatchDescRsp(0, 0, (1,)))
    (time_read,) = lab.frames()
    assert (time_read.cluster, time_read.cluster_specific, time_read.to_client) == (Cluster.TIME, False, False)
    # Read Attributes Response of the hub's Time cluster: the network lives
    values = zcl.ReadAttributesResponse((zcl.ReadRecord(0, 0, zcl.Typed(zcl.ZclType.UTC_TIME, 700_000_000)),))
    lab.zcl(Cluster.TIME, values.COMMAND, values.encode(), specific=False, to_client=True)
    found, up = HubFound, NetworkUp
    assert [type(event) for event in lab.events()] == [up, found, HubAnswered]
    # the OTA client asks for an image and downloads
    lab.node.handle_timer(lab.now)
    (query,) = lab.frames()
    assert (query.cluster, query.command) == (Cluster.OTA, 0x01)
    lab.zcl(Cluster.OTA, FOUND.COMMAND, FOUND.encode(), to_client=True)
    assert [type(event) for event in lab.events()] == [ImageOffered]
    lab.device.ota.begin_download(0, lab.now)
    (block_request,) = lab.frames()
    assert block_request.sequence == (query.sequence + 1) & 0xFF
    block = ota.ImageBlock(*FILE_ID, 0, OCTETS[:50])
    lab.zcl(Cluster.OTA, block.COMMAND, block.encode(), to_client=True)
    assert lab.events() == [BlockReceived(0, OCTETS[:50])]
    # the hub opens the tunnel and a message goes each way
    request = tm.RequestTunnel(6, 0xFFFF, 0, 1500)
    lab.zcl(Cluster.TUNNELING, request.COMMAND, request.encode())
    response = [frame for frame in lab.frames() if frame.cluster == Cluster.TUNNELING]
    assert [(frame.command, frame.sequence, frame.to_client) for frame in response] == [(0x00, 0x42, True)]
    lab.zcl(Cluster.TUNNELING, 0x02, tm.TransferData(1, b"\xdd").encode())
    lab.device.tunnel.send(5, b"alert", lab.now)
    (alert,) = lab.frames()
    assert alert.payload == tm.TransferData(1, b"alert").encode()
    assert [type(event) for event in lab.events()] == [TunnelOpened, TunnelData, MessageDelivered]


class TestAttributes:
    def test_basic(self) -> None:
        values = Lab().online().read(Cluster.BASIC, 0x0000, 0x0004, 0x0005, 0x4000, 0x0099)
        assert values == {0: 3, 4: "HAN", 5: "PPMID", 0x4000: "1.0.0"}

    def test_ota_client_side_with_the_direction_flipped(self) -> None:
        lab = Lab().online()
        assert lab.read(Cluster.OTA, 0x0000, 0x0002, 0x0006, to_client=True) == {0: HUB_EUI, 2: 0x01000000, 6: 0}

    def test_tunnel_close_timeout(self) -> None:
        assert Lab().online().read(Cluster.TUNNELING, 0x0000) == {0: 0xFFFF}

    def test_identify(self) -> None:
        lab = Lab().online()
        lab.zcl(Cluster.IDENTIFY, 0x00, (30).to_bytes(2, "little"))
        assert lab.read(Cluster.IDENTIFY, 0x0000) == {0: 30}
        lab.zcl(Cluster.IDENTIFY, 0x01, b"")
        (answer,) = lab.frames()
        assert (answer.command, answer.payload, answer.to_client) == (0x00, (30).to_bytes(2, "little"), True)
        lab.now += 31
        lab.zcl(Cluster.IDENTIFY, 0x01, b"")
        assert lab.frames() == []

    def test_all_are_read_only(self) -> None:
        lab = Lab().online()
        write = zcl.WriteAttributes(((4, zcl.Typed(zcl.ZclType.CHARACTER_STRING, "X")), (99, BASIC.attributes()[0])))
        lab.zcl(Cluster.BASIC, write.COMMAND, write.encode(), specific=False)
        (frame,) = lab.frames()
        assert zcl.WriteAttributesResponse.decode(frame.payload).failures == ((0x88, 4), (0x86, 99))

    def test_discover(self) -> None:
        lab = Lab().online()
        discover = zcl.DiscoverAttributes(1, 2)
        lab.zcl(Cluster.BASIC, discover.COMMAND, discover.encode(), specific=False)
        (frame,) = lab.frames()
        response = zcl.DiscoverAttributesResponse.decode(frame.payload)
        assert response == zcl.DiscoverAttributesResponse(False, ((1, 0x20), (2, 0x20)))


class TestDefaultResponse:
    def status(self, lab: Lab) -> int | None:
        frames = [frame for frame in lab.frames() if frame.command == 0x0B and not frame.cluster_specific]
        return zcl.DefaultResponse.decode(frames[0].payload).status if frames else None

    @pytest.mark.parametrize(
        ("cluster", "command", "to_client", "status"),
        [
            (Cluster.OTA, 0x42, True, ZclStatus.UNSUP_CLUSTER_COMMAND),
            (Cluster.OTA, 0x05, True, ZclStatus.MALFORMED_COMMAND),
            (Cluster.TUNNELING, 0x42, False, ZclStatus.UNSUP_CLUSTER_COMMAND),
            (Cluster.TUNNELING, 0x00, False, ZclStatus.MALFORMED_COMMAND),
            (Cluster.BASIC, 0x00, False, ZclStatus.UNSUP_CLUSTER_COMMAND),
            (Cluster.KEY_ESTABLISHMENT, 0x00, False, ZclStatus.UNSUP_CLUSTER_COMMAND),
            (Cluster.PRICE, 0x00, False, ZclStatus.UNSUPPORTED_CLUSTER),
            (Cluster.OTA, 0x01, False, None),  # the wrong direction is ignored
        ],
    )
    def test_errors(self, cluster: int, command: int, to_client: bool, status: int | None) -> None:
        lab = Lab().online()
        lab.zcl(cluster, command, b"", to_client=to_client)
        assert self.status(lab) == status

    @pytest.mark.parametrize(("disable", "status"), [(True, None), (False, ZclStatus.SUCCESS)])
    def test_success_only_where_wanted(self, disable: bool, status: int | None) -> None:
        lab = Lab().online()
        lab.zcl(Cluster.IDENTIFY, 0x00, b"\x00\x00", disable=disable)
        assert self.status(lab) == status

    def test_never_to_a_broadcast_or_another_default_response(self) -> None:
        lab = Lab().online()
        lab.zcl(Cluster.BASIC, 0x42, b"", broadcast=True, endpoint=0xFF)
        lab.zcl(Cluster.BASIC, 0x0B, b"\x00\x00", specific=False, disable=False)
        assert lab.frames() == []

    def test_manufacturer_specific_and_unknown_general_commands(self) -> None:
        lab = Lab().online()
        lab.zcl(Cluster.BASIC, 0x00, b"", manufacturer=0x1234)
        assert self.status(lab) == ZclStatus.UNSUP_MANUF_CLUSTER_COMMAND
        lab.zcl(Cluster.BASIC, 0x00, b"", manufacturer=0x1234, specific=False)
        assert self.status(lab) == ZclStatus.UNSUP_MANUF_GENERAL_COMMAND
        lab.zcl(Cluster.BASIC, 0x06, b"", specific=False)  # Configure Reporting
        assert self.status(lab) == ZclStatus.UNSUP_GENERAL_COMMAND


class TestSecurity:
    def test_secured_clusters_go_and_come_secured_only(self) -> None:
        lab = Lab(EndpointOptions(require_security=True)).online()
        lab.node.handle_timer(lab.now)
        requests = [request for request in lab.requests() if isinstance(request, ApsRequest)]
        assert [(request.cluster, request.aps_security) for request in requests] == [(Cluster.OTA, True)]
        lab.zcl(Cluster.OTA, FOUND.COMMAND, FOUND.encode(), to_client=True, aps_security=False)
        assert lab.events() == [FrameDropped(0, Cluster.OTA, "not APS secured")]
        lab.zcl(Cluster.OTA, FOUND.COMMAND, FOUND.encode(), to_client=True, aps_security=True)
        assert [type(event) for event in lab.events()] == [ImageOffered]

    def test_basic_and_time_go_in_the_clear(self) -> None:
        lab = Lab(EndpointOptions(require_security=True)).online()
        lab.zcl(Cluster.BASIC, 0x00, b"\x04\x00", specific=False, aps_security=False)
        (request,) = lab.requests()
        assert isinstance(request, ApsRequest)
        assert not request.aps_security


class TestRadio:
    def test_radio_lost_ends_what_was_on_the_air(self) -> None:
        lab = Lab().online()
        request = tm.RequestTunnel(6, 0xFFFF, 0, 1500)
        lab.zcl(Cluster.TUNNELING, request.COMMAND, request.encode())
        lab.requests()
        lab.device.tunnel.send(5, b"alert", lab.now)
        lab.node.radio_requests(lab.now)  # on the air, no result yet
        lab.events()
        lab.node.receive(RadioLost("unplugged"), lab.now)
        assert lab.events() == [HubLost("unplugged"), MessageNotDelivered(5, "not acknowledged")]
        lab.node.start(lab.now)
        assert RestoreNetwork() in lab.requests()

    def test_network_lost_silences_the_client(self) -> None:
        lab = Lab().online()
        lab.node.receive(NetworkLost("left"), lab.now)
        assert lab.device.ota.server is None
        assert lab.frames() == []

    def test_not_acknowledged_reaches_the_machine(self) -> None:
        lab = Lab().online()
        request = tm.RequestTunnel(6, 0xFFFF, 0, 1500)
        lab.zcl(Cluster.TUNNELING, request.COMMAND, request.encode())
        lab.requests()
        lab.events()
        lab.device.tunnel.send(5, b"alert", lab.now)
        lab.requests(RadioResult(RadioStatus.NOT_ACKNOWLEDGED))
        assert lab.events() == [MessageNotDelivered(5, "not acknowledged")]


class TestZdo:
    ASK = (
        (zdo.ActiveEpReq(0x1234), zdo.ActiveEpRsp(0, 0x1234, (1,))),
        (
            zdo.SimpleDescReq(0x1234, 1),
            zdo.SimpleDescRsp(0, 0x1234, describe_endpoint("ppmid", 1).simple_descriptor()),
        ),
        (zdo.SimpleDescReq(0x1234, 2), zdo.SimpleDescRsp(zdo.ZdpStatus.NOT_ACTIVE, 0x1234)),
        (zdo.MatchDescReq(0x1234, 0x0109, (Cluster.TUNNELING,), ()), zdo.MatchDescRsp(0, 0x1234, (1,))),
        (zdo.MatchDescReq(0x1234, 0x0109, (Cluster.PRICE,), ()), zdo.MatchDescRsp(0, 0x1234, ())),
        (zdo.MatchDescReq(0xFFFD, 0x0109, (Cluster.PRICE,), ()), None),
        (zdo.NwkAddrReq(EUI), zdo.NwkAddrRsp(0, EUI, 0x1234)),
        (zdo.NwkAddrReq(EUI + 1), None),
        (zdo.IeeeAddrReq(0x1234), zdo.IeeeAddrRsp(0, EUI, 0x1234)),
        (zdo.ActiveEpReq(0x9999), None),
    )

    @pytest.mark.parametrize(("request_", "answer"), ASK, ids=lambda value: type(value).__name__)
    def test_answered_where_the_chip_does_not(self, request_: zdo.ZdoCommand, answer: zdo.ZdoCommand | None) -> None:
        lab = Lab(EndpointOptions(answers_zdo=True)).online()
        lab.zdo(request_)
        requests = [request for request in lab.requests() if isinstance(request, ApsRequest)]
        assert [(request.cluster, request.payload) for request in requests] == (
            [] if answer is None else [(answer.CLUSTER, zdo.pack(lab.asked, answer))]
        )

    def test_node_descriptor(self) -> None:
        lab = Lab(EndpointOptions(answers_zdo=True)).online()
        lab.zdo(zdo.NodeDescReq(0x1234))
        (request,) = lab.requests()
        assert isinstance(request, ApsRequest)
        _sequence, answer = zdo.unpack(request.cluster, request.payload)
        assert isinstance(answer, zdo.NodeDescRsp)
        assert len(answer.descriptor) == 13
        assert answer.descriptor[0] & 7 == 1  # a router

    def test_left_to_the_chip_otherwise(self) -> None:
        lab = Lab().online()
        lab.zdo(zdo.ActiveEpReq(0x1234))
        assert lab.requests() == []


INDICATIONS = st.builds(
    ApsIndication,
    st.sampled_from([0, 0x4321]),
    st.integers(0, 3),
    st.sampled_from([0, 1, 1, 1, 2, 255]),
    st.sampled_from([*Cluster, 0x0005, 0x8005, 0x8006, 0x0013]),
    st.binary(max_size=40),
    st.booleans(),
    st.booleans(),
)


@settings(deadline=None)
@given(st.lists(INDICATIONS, max_size=20), st.booleans())
def test_no_octets_from_outside_raise(indications: list[ApsIndication], online: bool) -> None:
    lab = Lab(EndpointOptions(answers_zdo=True))
    if online:
        lab.online()
    for indication in indications:
        lab.node.receive(indication, lab.now)
        assert len(lab.requests()) <= 4
    deadline = lab.node.next_deadline()
    if deadline is not None:
        lab.now = max(lab.now, deadline)
        lab.node.handle_timer(lab.now)
        lab.requests()
