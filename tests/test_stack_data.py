"""APS data over a good and a bad air: acknowledgements, fragments, duplicates, link keys, garbage."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stack_world import DEVICE_EUI, HUB_EUI, Chip, World, request

from boards.virtual.air import mac
from boards.virtual.air.mac import FrameType, MacFrame, Mode
from boards.virtual.air.medium import AirSettings
from boards.virtual.air.radio import Radio
from boards.virtual.stack.core import StackSettings
from boards.virtual.stack.interface import Status
from boards.virtual.stack.nwk_frames import NwkFrame, NwkType, encode_header
from boards.virtual.stack.security import Auxiliary, KeyId, protect

KEY = bytes(range(16))


def give_link_keys(world: World, device: Chip, key: bytes = KEY) -> None:
    world.hub.stack.set_link_key(DEVICE_EUI, device.short, key)
    device.stack.set_link_key(HUB_EUI, 0, key)


def payload_of(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def test_an_indication_carries_what_was_sent() -> None:
    world = World()
    device = world.pair()
    assert world.send(device, 1, request(0, b"hello")) == Status.SUCCESS
    (got,) = world.hub.indications
    assert (got.source, got.source_eui, got.payload) == (device.short, DEVICE_EUI, b"hello")
    assert (got.source_endpoint, got.destination_endpoint, got.cluster, got.profile) == (1, 1, 0x0019, 0x0109)
    assert (got.broadcast, got.aps_security, got.group, got.lqi) == (False, False, None, 255)


@pytest.mark.parametrize("size", [0, 1, 82, 83, 133, 160, 170, 1500])
@pytest.mark.parametrize("secured", [False, True])
@pytest.mark.parametrize("window", [1, 3, 8])
def test_every_size_arrives_whole_in_both_directions(size: int, secured: bool, window: int) -> None:
    world = World(stack=StackSettings(aps_window=window))
    device = world.pair()
    give_link_keys(world, device)
    payload = payload_of(size)
    assert world.send(device, 1, request(0, payload, aps_security=secured)) == Status.SUCCESS
    assert world.send(world.hub, 2, request(device.short, payload, aps_security=secured)) == Status.SUCCESS
    for chip in (world.hub, device):
        (got,) = chip.indications
        assert (got.payload, got.aps_security) == (payload, secured)


@pytest.mark.parametrize("size", [21, 133, 170, 1500])
@pytest.mark.parametrize("loss", [0.1, 0.3])
def test_a_bad_air_delivers_once_or_the_confirm_says_so(size: int, loss: float) -> None:
    world = World(AirSettings(loss=loss, duplicate=0.1, delay_s=0.005), seed=size)
    device = world.pair()
    give_link_keys(world, device)
    delivered = 0
    for handle in range(12):
        payload = payload_of(size, handle)
        status = world.send(device, handle, request(0, payload, aps_security=handle % 2 == 1), limit_s=600.0)
        world.scheduler.run_for(1.0)
        copies = [one.payload for one in world.hub.indications].count(payload)
        assert copies <= 1
        if status == Status.SUCCESS:
            assert copies == 1
            delivered += 1
        else:
            assert status in (Status.APS_NO_ACK, Status.MAC_NO_ACK, Status.NO_ROUTE)
    assert delivered >= 11
    assert [one.payload for one in world.hub.indications if len(one.payload) != size] == []


def test_nobody_there_is_reported_after_every_retry() -> None:
    world = World()
    device = world.pair()
    short = device.short
    device.stack.stop()
    assert world.send(world.hub, 1, request(short, b"x", aps_ack=False)) == Status.MAC_NO_ACK
    assert world.send(world.hub, 2, request(short, b"x")) in (Status.MAC_NO_ACK, Status.NO_ROUTE)
    assert world.send(world.hub, 3, request(0x7777, b"x")) == Status.NO_ROUTE


def test_a_chip_that_hears_but_whose_answers_are_lost_is_no_aps_ack() -> None:
    """The device hears under another link key: MAC acknowledges, APS does not."""
    world = World()
    device = world.pair()
    world.hub.stack.set_link_key(DEVICE_EUI, device.short, KEY)
    device.stack.set_link_key(HUB_EUI, 0, bytes(16))
    assert world.send(world.hub, 1, request(device.short, b"x", aps_security=True)) == Status.APS_NO_ACK
    assert device.indications == []
    assert device.stack.statistics.mic_failures == 4  # the first and three retries


def test_without_a_link_key_a_secured_request_is_refused() -> None:
    world = World()
    device = world.pair()
    other = world.chip(DEVICE_EUI + 1)
    assert world.send(device, 1, request(0x7777, b"x", aps_security=True)) == Status.NO_LINK_KEY
    assert world.send(other, 1, request(0, b"x")) == Status.APS_FAIL


def test_what_cannot_be_sent_is_refused_at_once() -> None:
    world = World(stack=StackSettings(maximum_transfer_octets=160))
    device = world.pair()
    assert world.send(device, 1, request(0, bytes(161))) == Status.INVALID_PARAMETER
    assert world.send(device, 2, request(0xFFFD, bytes(83))) == Status.INVALID_PARAMETER
    assert world.send(device, 3, request(0, bytes(160))) == Status.SUCCESS


def test_a_receiver_with_less_room_never_acknowledges_too_much() -> None:
    world = World()
    world.stack_settings = StackSettings(maximum_transfer_octets=160)
    device = world.pair()
    assert world.send(world.hub, 1, request(device.short, bytes(160))) == Status.SUCCESS
    assert world.send(world.hub, 2, request(device.short, bytes(161))) == Status.APS_NO_ACK
    assert [len(one.payload) for one in device.indications] == [160]


def test_many_requests_at_once_are_all_confirmed_in_any_order() -> None:
    world = World(AirSettings(loss=0.1), seed=9)
    device = world.pair()
    for handle in range(100):
        device.stack.data_request(handle, request(0, bytes((handle,))))
    assert world.scheduler.run_while(lambda: len(device.confirms) < 101, 300.0)  # and the announcement
    assert sorted(one.payload[0] for one in world.hub.indications) == list(range(100))
    for handle in range(200, 400):
        device.stack.data_request(handle, request(0, b"x"))
    world.scheduler.run_for(60.0)
    statuses = [device.status_of(handle) for handle in range(200, 400)]
    assert statuses.count(Status.MEMORY) == 72
    assert statuses.count(Status.SUCCESS) == 128


def test_broadcast_reaches_everybody_and_a_request_to_oneself_goes_nowhere() -> None:
    world = World()
    device = world.pair()
    assert world.send(world.hub, 1, request(0xFFFD, b"all", aps_ack=False)) == Status.SUCCESS
    world.scheduler.run_for(1.0)
    (got,) = device.indications
    assert (got.payload, got.broadcast) == (b"all", True)
    assert world.hub.indications == []
    attempts = world.air.statistics.attempts
    assert world.send(device, 2, request(device.short, b"me")) == Status.SUCCESS
    assert device.indications[-1].payload == b"me"
    assert world.air.statistics.attempts == attempts


def test_a_group_message_names_its_group() -> None:
    world = World()
    device = world.pair()
    assert world.send(world.hub, 1, request(0x0002, b"group", group=True)) == Status.SUCCESS
    world.scheduler.run_for(1.0)
    assert [(one.group, one.broadcast, one.payload) for one in device.indications] == [(2, True, b"group")]


class Rogue:
    """A radio that replays what it hears, or sends what it likes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.radio = Radio(world.air, 0xBAD, 0)
        state = world.hub.started[0]
        self.radio.channel, self.radio.pan_id, self.radio.short = state.channel, state.pan_id, 0x0BAD
        self.radio.start()

    def send(self, source: int, destination: int, payload: bytes) -> None:
        pan = self.radio.pan_id
        frame = MacFrame(
            FrameType.DATA, 0, pan, destination, Mode.SHORT, pan, source, Mode.SHORT, payload, ack_request=True
        )
        self.radio.send(frame, lambda _status: None)
        self.world.scheduler.run_for(0.1)


def test_a_replayed_frame_and_one_with_a_wrong_mic_are_dropped() -> None:
    world = World()
    device = world.pair()
    heard: list[bytes] = []
    deliver = world.air.deliver

    def listen(sender: object, octets: bytes) -> MacFrame | None:
        heard.append(octets)
        return deliver(sender, octets)  # type: ignore[arg-type]

    world.air.deliver = listen  # type: ignore[method-assign]
    assert world.send(device, 1, request(0, b"once", aps_ack=False)) == Status.SUCCESS
    data = next(frame for frame in map(mac.decode, heard) if frame.kind == FrameType.DATA and frame.source)
    rogue = Rogue(world)
    rogue.send(device.short, 0, data.payload)
    assert world.hub.stack.statistics.replays == 1
    changed = bytearray(data.payload)
    changed[9:13] = b"\xff\xff\xff\x7f"  # a counter from the future
    rogue.send(device.short, 0, bytes(changed))
    assert world.hub.stack.statistics.mic_failures == 1
    world.scheduler.run_for(1.0)
    assert [one.payload for one in world.hub.indications] == [b"once"]
    assert world.send(device, 2, request(0, b"twice")) == Status.SUCCESS


def test_a_replayed_aps_frame_is_dropped_even_under_a_new_nwk_counter() -> None:
    """Somebody who has the network key repeats a link-key frame: the APS counter gives it away."""
    world = World()
    device = world.pair()
    give_link_keys(world, device)
    frames: list[bytes] = []
    send = device.stack._nwk.send

    def listen(kind: NwkType, destination: int, payload: bytes, *rest: object) -> None:
        frames.append(payload)
        send(kind, destination, payload, *rest)  # type: ignore[arg-type]

    device.stack._nwk.send = listen  # type: ignore[method-assign]
    assert world.send(device, 1, request(0, b"secret", aps_security=True)) == Status.SUCCESS
    state = world.hub.started[0]
    frame = NwkFrame(NwkType.DATA, 0, device.short, 30, 77, frames[0])
    header, auxiliary = encode_header(frame), Auxiliary(KeyId.NETWORK, 0, 0xBAD, 0)
    Rogue(world).send(0x0BAD, 0, protect(state.network_key, header, auxiliary, 0xBAD, frames[0]))
    assert world.hub.stack.statistics.replays == 1
    assert len(world.hub.indications) == 1


def test_an_unsecured_frame_is_not_taken_once_on_the_network() -> None:
    world = World()
    device = world.pair()
    frame = NwkFrame(NwkType.DATA, device.short, 0, 30, 1, b"\x00\x01\x19\x00\x09\x01\x01\x01boo", secured=False)
    Rogue(world).send(0, device.short, encode_header(frame) + frame.payload)
    assert device.indications == []
    assert device.stack.statistics.unsecured == 1


GARBAGE_WORLD = World(seed=77)
GARBAGE_DEVICE = GARBAGE_WORLD.pair()
GARBAGE_ROGUE = Rogue(GARBAGE_WORLD)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    kind=st.sampled_from(FrameType),
    payload=st.binary(max_size=90),
    sealed=st.booleans(),
    nwk_kind=st.sampled_from(NwkType),
    counter=st.integers(0, 2**31),
    mode=st.sampled_from([Mode.SHORT, Mode.EXTENDED]),
)
def test_garbage_on_any_layer_harms_nobody(
    kind: FrameType, payload: bytes, sealed: bool, nwk_kind: NwkType, counter: int, mode: Mode
) -> None:
    """Also behind a right network key: MAC commands, NWK commands, APS frames of random octets."""
    world, rogue = GARBAGE_WORLD, GARBAGE_ROGUE
    pan = rogue.radio.pan_id
    if sealed:
        frame = NwkFrame(nwk_kind, 0, 0x0BAD, 2, counter & 0xFF, payload[:60])
        header, auxiliary = encode_header(frame), Auxiliary(KeyId.NETWORK, counter, 0xBAD, 0)
        payload = protect(world.hub.started[0].network_key, header, auxiliary, 0xBAD, frame.payload)
        kind = FrameType.DATA
    rogue.radio.send(
        MacFrame(kind, 0, pan, 0, Mode.SHORT, pan, 0x0BAD, mode, payload, ack_request=True), lambda _status: None
    )
    world.scheduler.run_for(0.05)
    before = len(world.hub.indications)
    handle = len(GARBAGE_DEVICE.confirms) + 1
    assert world.send(GARBAGE_DEVICE, handle, request(0, b"still there", aps_ack=False)) == Status.SUCCESS
    world.scheduler.run_for(0.05)
    assert b"still there" in [one.payload for one in world.hub.indications[before:]]
