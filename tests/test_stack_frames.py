"""NWK and APS frames, commands, beacons and the stored state: round trips, and only FormatError escapes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import FormatError
from agent.events import LogicalType
from boards.virtual.air.octets import Reader
from boards.virtual.stack import aps_frames, nwk_frames, state
from boards.virtual.stack.aps_frames import ApsFrame, ApsType, Delivery, Fragmentation
from boards.virtual.stack.interface import LinkKeyEntry, Neighbour, NetworkState
from boards.virtual.stack.nwk_frames import NwkFrame, NwkType
from boards.virtual.stack.security import Auxiliary, KeyId, decode_auxiliary, protect, unprotect

U8, U16 = st.integers(0, 0xFF), st.integers(0, 0xFFFF)
EUI = st.integers(0, (1 << 64) - 1)

NWK_FRAMES = st.builds(
    NwkFrame,
    st.sampled_from(NwkType),
    U16,
    U16,
    U8,
    U8,
    st.binary(max_size=80),
    st.booleans(),
    st.booleans(),
    st.none() | EUI,
    st.none() | EUI,
)


@st.composite
def aps_data(draw: st.DrawFn) -> ApsFrame:
    kind = draw(st.sampled_from([ApsType.DATA, ApsType.ACK]))
    delivery = draw(st.sampled_from(Delivery)) if kind == ApsType.DATA else Delivery.UNICAST
    to_group = delivery == Delivery.GROUP
    fragmentation = draw(st.sampled_from(Fragmentation))
    fragmented = fragmentation != Fragmentation.NONE
    return ApsFrame(
        kind,
        draw(U8),
        draw(st.binary(max_size=80)),
        delivery,
        0xFF if to_group else draw(U8),
        draw(U16) if to_group else 0,
        draw(U16),
        draw(U16),
        draw(U8),
        draw(st.booleans()),
        draw(st.booleans()),
        fragmentation,
        draw(U8) if fragmented else 0,
        draw(U8) if fragmented and kind == ApsType.ACK else 0,
    )


@given(NWK_FRAMES)
def test_nwk_round_trip(frame: NwkFrame) -> None:
    header = nwk_frames.encode_header(frame)
    assert nwk_frames.decode(header + frame.payload) == (frame, header)


@given(aps_data())
def test_aps_round_trip(frame: ApsFrame) -> None:
    header = aps_frames.encode_header(frame)
    assert aps_frames.decode(header + frame.payload) == (frame, header)


def test_overheads_are_those_of_the_medium_model() -> None:
    """8 NWK, 18 NWK security with MIC, 8 APS, 9 APS security with MIC."""
    nwk = nwk_frames.encode_header(NwkFrame(NwkType.DATA, 0, 1, 30, 1, b""))
    aps = aps_frames.encode_header(ApsFrame(ApsType.DATA, 1))
    network = Auxiliary(KeyId.NETWORK, 1, 2, 0)
    data = Auxiliary(KeyId.DATA, 1)
    assert len(nwk) == 8
    assert len(aps) == 8
    assert len(protect(bytes(16), b"", network, 2, b"")) == 18
    assert len(protect(bytes(16), b"", data, 2, b"")) == 9


@given(
    st.sampled_from(KeyId),
    st.integers(0, 0xFFFFFFFE),
    st.none() | EUI,
    U8,
    st.binary(max_size=20),
    st.binary(max_size=60),
)
def test_protection_opens_again_and_says_level_0_on_the_air(
    key_id: KeyId, counter: int, source: int | None, sequence: int, header: bytes, plain: bytes
) -> None:
    auxiliary = Auxiliary(key_id, counter, source, sequence if key_id == KeyId.NETWORK else 0)
    octets = protect(bytes(16), header, auxiliary, 7, plain)
    assert octets.startswith(header)
    assert octets[len(header)] & 7 == 0
    reader = Reader(octets[len(header) :], "test")
    assert decode_auxiliary(reader) == auxiliary
    assert unprotect(bytes(16), header, auxiliary, 7, reader.rest()) == plain


def test_the_last_frame_counter_is_never_taken() -> None:
    with pytest.raises(FormatError, match="never used"):
        decode_auxiliary(Reader(b"\x00\xff\xff\xff\xff", "test"))


PARSERS: list[Callable[[bytes], object]] = [
    nwk_frames.decode,
    aps_frames.decode,
    nwk_frames.decode_beacon,
    state.from_json,
    lambda octets: decode_auxiliary(Reader(octets, "test")),
    lambda octets: nwk_frames.decode_route_request(Reader(octets, "test")),
    lambda octets: nwk_frames.decode_route_reply(Reader(octets, "test")),
    lambda octets: nwk_frames.decode_leave(Reader(octets, "test")),
    lambda octets: aps_frames.decode_transport_key(Reader(octets, "test")),
    lambda octets: aps_frames.decode_update_device(Reader(octets, "test")),
    lambda octets: aps_frames.decode_tunnel(Reader(octets, "test")),
]


@given(st.sampled_from(PARSERS), st.binary(max_size=100))
def test_only_format_errors_escape(parser: Callable[[bytes], object], octets: bytes) -> None:
    with contextlib.suppress(FormatError):
        parser(octets)


@given(st.builds(nwk_frames.Beacon, EUI, *[st.booleans()] * 4, st.integers(0, 15), U8))
def test_beacon_round_trip(beacon: nwk_frames.Beacon) -> None:
    assert nwk_frames.decode_beacon(beacon.encode()) == beacon


@given(st.booleans(), st.booleans())
def test_capability_and_leave_round_trip(one: bool, other: bool) -> None:
    capability = nwk_frames.Capability(one, other)
    assert nwk_frames.decode_capability(capability.encode()) == capability
    leave = nwk_frames.Leave(one, other)
    assert nwk_frames.decode_leave(Reader(leave.encode()[1:], "test")) == leave


def test_capability_of_a_mains_powered_router() -> None:
    assert nwk_frames.Capability(True, True).encode() == 0x8E


STATE = NetworkState(
    LogicalType.ROUTER,
    0x1234,
    20,
    0x0BAD,
    0x00DB1234567890A0,
    bytes(range(16)),
    0xFFFFFFFFFFFFFFFF,
    outgoing_counter=2048,
    parent_short=0,
    neighbours=(Neighbour(5, 0, LogicalType.COORDINATOR, 0, True), Neighbour(6, 9, None, 1, False)),
    addresses=((5, 0), (6, 9)),
    link_keys=(LinkKeyEntry(5, bytes(16), True, 1024, 7),),
)


def test_the_state_survives_its_json() -> None:
    assert state.from_json(state.to_json(STATE)) == STATE
    assert "network_key=" not in repr(STATE)


@pytest.mark.parametrize(
    "change",
    [
        {"network_key": b"short"},
        {"channel": 27},
        {"short": 0x10000},
        {"outgoing_counter": -1},
        {"trust_center": 1 << 64},
        {"link_keys": (LinkKeyEntry(5, bytes(15)),)},
    ],
)
def test_a_state_out_of_range_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        state.from_json(state.to_json(dataclasses.replace(STATE, **change)))  # type: ignore[arg-type]
