"""The hub as a node in virtual time, before a device that a test scripts frame by frame."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from bench_device import ScriptedDevice
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import events as radio
from agent.events import RadioStatus
from agent.gbcs.message import Cra, GbcsMessage
from agent.zigbee import foundation, time_cluster, zdo
from agent.zigbee import ota_messages as ota
from agent.zigbee import tunnel_messages as tunnel
from agent.zigbee.cbke.install_code import add_crc
from agent.zigbee.clusters import Cluster
from agent.zigbee.zcl import ZclFrame, ZclStatus
from boards.bench import happenings
from boards.bench.happenings import (
    BadFrame,
    DeviceNotified,
    DeviceSeen,
    ImageQueried,
    MessageDown,
    MessageUp,
    NetworkDown,
    NetworkUp,
    TimeAsked,
    TunnelClosed,
    TunnelNotOpened,
    TunnelOpened,
)
from boards.bench.hub import Hub, HubPlan
from boards.bench.images import ServedImage
from boards.bench.members import Member
from boards.virtual.world import World

HUB = 0x00124B0014000001
EUI = 0x90B3D51F30010000
CODE = add_crc(bytes(range(16)))
UTC_AT_ZERO = 800_000_000
IMAGE = ServedImage("new.ota", 0x10B5, 1, 0x01010000, bytes(500))
MESSAGE = GbcsMessage(Cra.ALERT, 5, EUI, 0x90B3D51F30000002, 0x012B, b"\x30\x00", signature=bytes(64)).encode()


@dataclass
class Pair:
    world: World
    hub: Hub
    device: ScriptedDevice

    def __post_init__(self) -> None:
        self.told: list[object] = []

    def run(self, seconds: float) -> None:
        self.world.run(lambda: False, seconds)
        self.collect()

    def until(self, kind: type, limit_s: float = 120.0) -> object:
        """Run until one of ``kind`` is told from now on; the first is returned."""
        mark = len(self.told)
        assert self.world.run(lambda: any(isinstance(it, kind) for it in self.collect()[mark:]), limit_s), kind
        return next(it for it in self.told[mark:] if isinstance(it, kind))

    def collect(self) -> list[object]:
        self.told += self.hub.take_happenings()
        return self.told

    def all(self, kind: type) -> list[object]:
        return [it for it in self.collect() if isinstance(it, kind)]


def make_hub(**plan: object) -> Hub:
    members = [Member(EUI, "ppmid", CODE)]
    whole = HubPlan(20, members, lambda now: UTC_AT_ZERO + int(now), pan_id=0x1A62, answer_zdo=True, **plan)  # type: ignore[arg-type]
    return Hub(whole, random.Random(1))


def pair(code: bytes = CODE, *, image: bool = False, **device: object) -> Pair:
    world = World(seed=1)
    hub = make_hub()
    if image:
        hub.ota.table.add(IMAGE)
    scripted = ScriptedDevice(EUI, code)
    for name, value in device.items():
        setattr(scripted, name, value)
    world.attach(HUB, hub)
    world.attach(EUI, scripted)
    return Pair(world, hub, scripted)


@pytest.fixture
def joined() -> Pair:
    made = pair()
    made.until(TunnelOpened)
    made.run(1.0)
    return made


def test_from_nothing_to_an_open_tunnel() -> None:
    it = pair(image=True)
    opened = it.until(TunnelOpened)
    it.run(1.0)
    assert opened == TunnelOpened(EUI, 1, 1500)
    assert it.device.hub_maximum == 1500
    assert it.all(NetworkUp) == [NetworkUp(HUB, 0x1A62, 20, restored=False)]
    assert it.device.network is not None
    assert it.all(DeviceSeen) == [DeviceSeen(EUI, it.device.network.short_address, known=True)]
    assert it.all(DeviceNotified) == [DeviceNotified(EUI)]
    (notify,) = it.device.frames(Cluster.OTA)
    assert ota.ImageNotify.decode(notify.payload) == ota.ImageNotify(100, *IMAGE.file_id)


def test_a_wrong_install_code_stays_outside() -> None:
    it = pair(code=add_crc(bytes(16)))
    it.run(60.0)
    assert set(it.device.statuses) == {RadioStatus.KEY_EXCHANGE_FAILED}
    assert it.all(DeviceSeen) == []


def test_the_network_stays_open_until_the_device_is_there() -> None:
    world, hub = World(seed=1), make_hub()
    world.attach(HUB, hub)
    world.run(lambda: False, 3600.0)
    device = ScriptedDevice(EUI, CODE)
    world.attach(EUI, device)
    assert Pair(world, hub, device).until(DeviceSeen)


def test_the_hub_tells_the_time(joined: Pair) -> None:
    joined.device.read_time()
    assert joined.until(TimeAsked) == TimeAsked(EUI)
    joined.run(1.0)
    (answer,) = joined.device.frames(Cluster.TIME)
    values = foundation.ReadAttributesResponse.decode(answer.payload).values()
    assert values[time_cluster.ATTRIBUTE_TIME] == UTC_AT_ZERO + int(joined.world.now - 1.0)
    assert values[time_cluster.ATTRIBUTE_TIME_STATUS] == 3
    assert answer.to_client


def test_attributes_that_it_has_not(joined: Pair) -> None:
    joined.device.say(Cluster.OTA, 0, foundation.ReadAttributes((5,)).encode(), specific=False)
    joined.device.say(Cluster.TIME, 2, bytes.fromhex("0000e201000000"), specific=False)  # write Time
    joined.device.say(Cluster.TIME, 0x0C, b"\x00\x00\x10", specific=False)
    joined.run(1.0)
    read, written, discover = joined.device.heard[-3:]
    assert foundation.ReadAttributesResponse.decode(read.payload).records[0].status == ZclStatus.UNSUPPORTED_ATTRIBUTE
    refusal = foundation.WriteAttributesResponse.decode(written.payload)
    assert refusal.failures == ((ZclStatus.READ_ONLY, 0),)
    assert foundation.DefaultResponse.decode(discover.payload).status == ZclStatus.UNSUP_GENERAL_COMMAND


def test_ota_and_malformed(joined: Pair) -> None:
    joined.device.say_ota(ota.QueryNextImageRequest(1, 2, 3))
    queried = joined.until(ImageQueried)
    assert isinstance(queried, ImageQueried)
    assert queried.status == ZclStatus.NO_IMAGE_AVAILABLE
    joined.device.say(Cluster.OTA, 3, b"\x00\x01")
    assert joined.until(BadFrame)
    joined.run(1.0)
    refused = foundation.DefaultResponse.decode(joined.device.heard[-1].payload)
    assert refused == foundation.DefaultResponse(3, ZclStatus.MALFORMED_COMMAND)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (zdo.MatchDescReq(0, 0x0109, (Cluster.OTA,), ()), zdo.MatchDescRsp(0, 0, (1,))),
        (zdo.MatchDescReq(0, 0x0109, (Cluster.TIME,), (Cluster.TUNNELING,)), zdo.MatchDescRsp(0, 0, (1,))),
        (zdo.MatchDescReq(0, 0x0104, (Cluster.OTA,), ()), zdo.MatchDescRsp(0, 0, ())),
        (zdo.ActiveEpReq(0), zdo.ActiveEpRsp(0, 0, (1,))),
        (zdo.SimpleDescReq(0, 9), zdo.SimpleDescRsp(zdo.ZdpStatus.NOT_ACTIVE, 0)),
    ],
)
def test_zdo_of_the_hub_itself(joined: Pair, question: zdo.ZdoCommand, answer: zdo.ZdoCommand) -> None:
    joined.device.ask_zdo(question)
    joined.run(1.0)
    assert joined.device.zdo_answer == answer


def test_simple_and_node_descriptor(joined: Pair) -> None:
    joined.device.ask_zdo(zdo.SimpleDescReq(0, 1))
    joined.run(1.0)
    simple = joined.device.zdo_answer
    assert isinstance(simple, zdo.SimpleDescRsp)
    assert simple.descriptor is not None
    assert Cluster.OTA in simple.descriptor.input_clusters
    joined.device.ask_zdo(zdo.NodeDescReq(0))
    joined.run(1.0)
    node = joined.device.zdo_answer
    assert isinstance(node, zdo.NodeDescRsp)
    assert len(node.descriptor) == 13


# the tunnel


@pytest.mark.parametrize("size", [1, 7, 68, 160, 1500])
def test_a_message_comes_up_in_any_pieces(joined: Pair, size: int) -> None:
    octets = MESSAGE + MESSAGE
    for start in range(0, len(octets), size):
        joined.device.transfer(octets[start : start + size])
    joined.run(5.0)
    assert joined.all(MessageUp) == [MessageUp(EUI, MESSAGE)] * 2


def test_a_message_goes_down_in_the_devices_size() -> None:
    it = pair(maximum_incoming=160)
    it.until(TunnelOpened)
    octets = MESSAGE * 5
    it.hub.send_message(EUI, octets, it.world.now)
    assert it.until(MessageDown) == MessageDown(EUI, octets, delivered=True)
    assert max(len(part) for part in it.device.messages) == 160
    assert b"".join(it.device.messages) == octets


def test_messages_go_down_in_order(joined: Pair) -> None:
    for octets in (b"one", b"two", b"three"):
        joined.hub.send_message(EUI, octets, joined.world.now)
    joined.run(2.0)
    assert joined.device.messages == [b"one", b"two", b"three"]


def test_a_message_waits_for_the_tunnel() -> None:
    it = pair()
    it.hub.send_message(EUI, b"early", 0.0)
    assert it.until(MessageDown) == MessageDown(EUI, b"early", delivered=True)


def test_a_message_for_a_stranger(joined: Pair) -> None:
    joined.hub.send_message(EUI + 1, b"x", joined.world.now)
    assert joined.until(MessageDown) == MessageDown(EUI + 1, b"x", delivered=False, reason="not a device of this hub")


def test_a_device_that_is_away_gets_its_message_later(joined: Pair) -> None:
    joined.world.blocked.add(EUI)
    joined.hub.send_message(EUI, b"later", joined.world.now)
    joined.run(70.0)
    assert joined.device.messages == []
    joined.world.blocked.clear()
    assert joined.until(MessageDown) == MessageDown(EUI, b"later", delivered=True)


def test_a_device_that_stays_away_does_not_get_it(joined: Pair) -> None:
    joined.world.blocked.add(EUI)
    joined.hub.send_message(EUI, b"never", joined.world.now)
    assert joined.until(MessageDown, 600.0) == MessageDown(EUI, b"never", delivered=False, reason="not acknowledged")


def test_half_a_message_starts_anew_on_a_fresh_tunnel() -> None:
    it = pair(maximum_incoming=160)
    it.until(TunnelOpened)
    octets = bytes(range(200))
    it.hub.send_message(EUI, octets, it.world.now)
    assert it.world.run(lambda: bool(it.device.messages), 5.0)
    it.world.blocked.add(EUI)
    it.run(20.0)
    it.world.blocked.clear()
    assert isinstance(it.until(TunnelOpened), TunnelOpened)
    it.until(MessageDown)
    assert b"".join(it.device.messages[1:]) == octets


def test_busy_is_asked_again_after_three_minutes() -> None:
    it = pair(tunnel_status=tunnel.TunnelStatus.BUSY)
    refused = it.until(TunnelNotOpened)
    assert refused == TunnelNotOpened(EUI, "BUSY", 180.0)
    it.device.tunnel_status = tunnel.TunnelStatus.SUCCESS
    at = it.world.now
    it.until(TunnelOpened, 300.0)
    assert it.world.now - at == pytest.approx(180.0, abs=1.0)


def test_no_more_ids_closes_the_tunnel_before(joined: Pair) -> None:
    joined.device.tunnel_status = tunnel.TunnelStatus.NO_MORE_IDS
    joined.world.detach(EUI)
    joined.world.attach(EUI, joined.device)
    refused = joined.until(TunnelNotOpened)
    assert isinstance(refused, TunnelNotOpened)
    assert "closed the one before" in refused.reason
    joined.device.tunnel_status = tunnel.TunnelStatus.SUCCESS
    joined.until(TunnelOpened)
    closes = [frame for frame in joined.device.frames(Cluster.TUNNELING) if frame.command == 1]
    assert [tunnel.CloseTunnel.decode(frame.payload).tunnel for frame in closes] == [1]


def test_a_protocol_that_the_device_has_not_is_not_asked_for_again() -> None:
    it = pair(tunnel_status=tunnel.TunnelStatus.PROTOCOL_NOT_SUPPORTED)
    assert it.until(TunnelNotOpened) == TunnelNotOpened(EUI, "protocol not supported", None)
    it.run(3600.0)
    assert len(it.device.frames(Cluster.TUNNELING)) == 1


def test_silence_is_asked_again() -> None:
    it = pair(tunnel_answers=False)
    it.until(TunnelNotOpened)
    it.device.tunnel_answers = True
    assert it.until(TunnelOpened)


def test_an_answer_to_an_older_request_opens_nothing() -> None:
    it = pair(tunnel_answers=False)
    it.until(TunnelNotOpened)
    it.run(31.0)  # asked again by now
    first, second = it.device.frames(Cluster.TUNNELING)[:2]
    octets = tunnel.RequestTunnelResponse(9, 0, 1500).encode()
    it.device.answer(ZclFrame(Cluster.TUNNELING, 0, octets, first.sequence, to_client=True))
    it.run(1.0)
    assert it.all(TunnelOpened) == []
    it.device.answer(ZclFrame(Cluster.TUNNELING, 0, octets, second.sequence, to_client=True))
    assert it.until(TunnelOpened) == TunnelOpened(EUI, 9, 1500)


def test_reopened_when_the_device_announces_itself(joined: Pair) -> None:
    joined.device.transfer(MESSAGE[:40])  # half a message, then it restarts
    joined.run(1.0)
    joined.world.detach(EUI)
    joined.world.attach(EUI, joined.device)
    assert joined.until(TunnelOpened) == TunnelOpened(EUI, 2, 1500)
    joined.device.transfer(MESSAGE)
    assert joined.until(MessageUp) == MessageUp(EUI, MESSAGE)


def test_a_device_that_lost_the_tunnel_gets_the_message_on_the_next(joined: Pair) -> None:
    joined.hub.send_message(EUI, b"acknowledged by the radio", joined.world.now)
    joined.until(MessageDown)
    joined.device.messages.clear()
    error = tunnel.TransferDataError(1, tunnel.TransferStatus.NO_SUCH_TUNNEL)
    joined.device.say(Cluster.TUNNELING, error.TO_CLIENT, error.encode(), to_client=True)
    assert joined.until(TunnelClosed)
    assert joined.until(MessageDown) == MessageDown(EUI, b"acknowledged by the radio", delivered=True)
    assert joined.device.messages == [b"acknowledged by the radio"]


def test_a_tunnel_that_is_not_open_is_refused(joined: Pair) -> None:
    joined.device.transfer(MESSAGE, tunnel_id=77)
    assert joined.until(BadFrame)
    joined.run(1.0)
    assert joined.all(MessageUp) == []
    last = joined.device.frames(Cluster.TUNNELING)[-1]
    assert tunnel.decode_to_server(last.command, last.payload) == tunnel.TransferDataError(77, 0)


def test_garbage_and_half_messages_are_dropped(joined: Pair) -> None:
    joined.device.transfer(b"hello")
    assert joined.until(BadFrame)
    joined.device.transfer(MESSAGE[:50])
    assert joined.until(BadFrame, 120.0)
    joined.device.transfer(MESSAGE)
    assert joined.until(MessageUp) == MessageUp(EUI, MESSAGE)


def test_closure_notification_reopens(joined: Pair) -> None:
    notice = tunnel.ClosureNotification(1)
    joined.device.say(Cluster.TUNNELING, notice.COMMAND, notice.encode(), to_client=True)
    assert joined.until(TunnelOpened) == TunnelOpened(EUI, 2, 1500)


# restarts


def test_the_hub_restarts_and_finds_its_devices(joined: Pair) -> None:
    hub = make_hub()
    joined.world.attach(HUB, hub)
    again = Pair(joined.world, hub, joined.device)
    assert isinstance(again.until(TunnelOpened), TunnelOpened)
    assert again.all(NetworkUp) == [NetworkUp(HUB, 0x1A62, 20, restored=True)]


def test_a_frame_from_an_unknown_address_waits_for_its_owner(joined: Pair) -> None:
    hub = make_hub()
    hub._look_for_members = lambda: None  # type: ignore[method-assign]
    joined.world.attach(HUB, hub)
    again = Pair(joined.world, hub, joined.device)
    again.until(NetworkUp)
    joined.device.say_ota(ota.QueryNextImageRequest(1, 2, 3))
    assert isinstance(again.until(ImageQueried), ImageQueried)


def test_the_radio_goes_away_and_comes_back(joined: Pair) -> None:
    joined.hub.receive(radio.RadioLost("unplugged"), joined.world.now)
    assert joined.until(NetworkDown) == NetworkDown("unplugged")
    joined.hub.send_message(EUI, b"kept", joined.world.now)
    joined.world.attach(HUB, joined.hub)
    assert joined.until(MessageDown) == MessageDown(EUI, b"kept", delivered=True)


def test_a_lost_network_is_restored(joined: Pair) -> None:
    joined.hub.receive(radio.NetworkLost("left"), joined.world.now)
    joined.until(NetworkDown)
    assert isinstance(joined.until(NetworkUp), NetworkUp)


def test_a_device_that_nobody_listed_gets_nothing() -> None:
    it = pair()
    it.until(TunnelOpened)
    stranger = ScriptedDevice(EUI + 1, CODE)
    it.world.seats[HUB].install_codes[EUI + 1] = CODE
    it.hub.ota.table.add(IMAGE)
    it.world.seats[HUB].permit_until = it.world.now + 60
    it.world.attach(EUI + 1, stranger)
    seen = it.until(DeviceSeen)
    assert isinstance(seen, DeviceSeen)
    assert not seen.known
    stranger.say_ota(ota.QueryNextImageRequest(0x10B5, 1, 0x01000000))
    queried = it.until(ImageQueried)
    assert isinstance(queried, ImageQueried)
    assert queried.status == ZclStatus.NOT_AUTHORIZED


def test_a_device_without_the_endpoint_is_asked_a_few_times() -> None:
    it = pair(matches=False)
    it.until(DeviceSeen)
    it.run(3600.0)
    asked = [r for r in it.world.seats[HUB].traffic if r.cluster == zdo.MatchDescReq.CLUSTER]
    assert len(asked) == 6


CLUSTERS = st.sampled_from([0, 3, 0x0A, 0x19, 0x0704, 0x0800, 0x0006, 0x0013, 0x8000, 0x8001, 0x8006, 0x1234])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 2]),
            CLUSTERS,
            st.binary(max_size=40),
            st.booleans(),
            st.sampled_from(["", "0110", "0910"]),
        ),
        max_size=10,
    )
)
def test_any_frame_changes_nothing_and_raises_nothing(frames: list[tuple[int, int, bytes, bool, str]]) -> None:
    it = pair()
    it.until(TunnelOpened)
    short = it.device.network.short_address if it.device.network else 0
    for endpoint, cluster, payload, everybody, head in frames:
        octets = bytes.fromhex(head) + payload
        event = radio.ApsIndication(short, 7, endpoint, cluster, octets, broadcast=everybody)
        it.hub.receive(event, it.world.now)
        it.run(15.0)
    for told in it.collect():
        assert happenings.line(told)
        assert happenings.as_object(told)["event"]
    it.world.detach(EUI)
    it.world.attach(EUI, it.device)
    it.until(TunnelOpened, 200.0)
