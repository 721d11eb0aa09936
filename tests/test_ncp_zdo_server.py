"""The ZDO server alone: descriptors as zigpy parses them, and what is not answered."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import zigpy.types as zt
import zigpy.zdo.types as zdo_t
from hypothesis import given
from hypothesis import strategies as st

from boards.virtual.ncp.zdo_server import Endpoint, ZdoRequest, ZdoServer, mac_capability
from boards.virtual.stack.interface import LogicalType, Neighbour

EUI, SHORT = 0x00124B0011223344, 0x5A5A
ENDPOINT = Endpoint(1, 0x0109, 0x0502, 1, (0x0000, 0x0704), (0x0019, 0x000A))
CHILD = 0x0202020202020202


@dataclass
class FakeHost:
    """A device as the server sees it, that writes down what it is told to do."""

    eui: int = EUI
    short: int = SHORT
    extended_pan_id: int = 0x1122334455667788
    logical_type: LogicalType = LogicalType.ROUTER
    endpoints: dict[int, Endpoint] = field(default_factory=lambda: {1: ENDPOINT})
    maximum_transfer_octets: int = 160
    known: list[Neighbour] = field(default_factory=list)
    done: list[tuple[str, int]] = field(default_factory=list)

    def neighbours(self) -> list[Neighbour]:
        return self.known

    def permit_join(self, duration_s: int) -> None:
        self.done.append(("permit", duration_s))

    def leave_soon(self, rejoin: bool) -> None:
        self.done.append(("leave", rejoin))

    def remove_child(self, eui: int, rejoin: bool) -> bool:
        self.done.append((f"remove {eui:X}", rejoin))
        return eui == CHILD

    def energy_scan(self, channels: tuple[int, ...]) -> dict[int, int]:
        return {channel: channel for channel in channels}


def ask(host: FakeHost, cluster: int, body: bytes, broadcast: bool = False) -> bytes | None:
    """The body of the answer, its sequence number checked and taken off."""
    answer = ZdoServer(host).answer(ZdoRequest(cluster, b"\x77" + body, 0x0000, broadcast))
    if answer is None:
        return None
    assert answer[0] == cluster | 0x8000
    assert answer[1][:1] == b"\x77"
    return answer[1][1:]


def short(value: int = SHORT) -> bytes:
    return value.to_bytes(2, "little")


@pytest.mark.parametrize("kind", list(LogicalType))
def test_node_descriptor(kind: LogicalType) -> None:
    answer = ask(FakeHost(logical_type=kind), 0x0002, short())
    assert answer is not None
    assert answer[:3] == b"\x00" + short()
    descriptor, rest = zdo_t.NodeDescriptor.deserialize(answer[3:])
    assert rest == b""
    assert descriptor.is_valid
    assert descriptor.logical_type == kind.value
    assert descriptor.maximum_incoming_transfer_size == 160
    assert int(descriptor.mac_capability_flags) == mac_capability(kind)
    assert descriptor.is_receiver_on_when_idle == (kind is not LogicalType.END_DEVICE)


def test_simple_descriptor_and_active_endpoints() -> None:
    host = FakeHost()
    answer = ask(host, 0x0004, short() + b"\x01")
    assert answer is not None
    descriptor, rest = zdo_t.SizePrefixedSimpleDescriptor.deserialize(answer[3:])
    assert rest == b""
    assert (descriptor.endpoint, descriptor.profile, descriptor.device_type) == (1, 0x0109, 0x0502)
    assert descriptor.input_clusters == [0x0000, 0x0704]
    assert descriptor.output_clusters == [0x0019, 0x000A]
    assert ask(host, 0x0004, short() + b"\x02") == b"\x83" + short() + b"\x00"
    assert ask(host, 0x0004, short() + b"\x00") == b"\x82" + short() + b"\x00"
    assert ask(host, 0x0005, short()) == b"\x00" + short() + b"\x01\x01"
    assert ask(host, 0x0005, short(1)) == b"\x81" + short(1) + b"\x00"


def test_match_descriptor() -> None:
    host = FakeHost()
    ota_client = short(0x0109) + b"\x00" + b"\x01\x19\x00"
    ota_server = short(0x0109) + b"\x01\x19\x00" + b"\x00"
    assert ask(host, 0x0006, short() + ota_client) == b"\x00" + short() + b"\x01\x01"
    assert ask(host, 0x0006, short() + ota_server) == b"\x00" + short() + b"\x00"
    assert ask(host, 0x0006, short(0xFFFD) + ota_client, broadcast=True) == b"\x00" + short() + b"\x01\x01"
    assert ask(host, 0x0006, short(0xFFFD) + ota_server, broadcast=True) is None
    assert ask(host, 0x0006, short() + short(0x0104) + ota_client[2:]) == b"\x00" + short() + b"\x00"


def test_addresses() -> None:
    sleepy = Neighbour(0xABCD, 0x0102, LogicalType.END_DEVICE, 1, False)
    host = FakeHost(known=[sleepy])
    own = EUI.to_bytes(8, "little")
    assert ask(host, 0x0000, own + b"\x00\x00", broadcast=True) == b"\x00" + own + short()
    assert ask(host, 0x0000, own + b"\x01\x00") == b"\x00" + own + short() + b"\x01\x00\x02\x01"
    assert ask(host, 0x0000, own[::-1] + b"\x00\x00", broadcast=True) is None
    child = sleepy.eui.to_bytes(8, "little")
    assert ask(host, 0x0000, child + b"\x00\x00", broadcast=True) == b"\x00" + child + b"\x02\x01"
    assert ask(host, 0x0001, short() + b"\x00\x00") == b"\x00" + own + short()
    assert ask(host, 0x0001, short(9) + b"\x00\x00") == b"\x81" + bytes(8) + short(9)


def test_neighbours_come_three_at_a_time() -> None:
    known = [Neighbour(n, n, LogicalType.ROUTER, 2, True, 200) for n in range(1, 6)]
    answer = ask(FakeHost(known=known), 0x0031, b"\x03")
    assert answer is not None
    table, rest = zdo_t.Neighbors.deserialize(answer[1:])
    assert rest == b""
    assert (table.Entries, table.StartIndex) == (5, 3)
    assert [(n.nwk, n.device_type, n.relationship, n.lqi) for n in table.NeighborTableList] == [
        (4, 1, 2, 200),
        (5, 1, 2, 200),
    ]


def test_management() -> None:
    host = FakeHost()
    assert ask(host, 0x0036, b"\x3c\x01") == b"\x00"
    assert ask(host, 0x0036, b"\x00\x01", broadcast=True) is None
    assert ask(host, 0x0034, bytes(8) + b"\x80") == b"\x00"
    assert ask(host, 0x0034, b"\x01" * 8 + b"\x00") == b"\x81", "no child of ours"
    assert ask(host, 0x0034, CHILD.to_bytes(8, "little") + b"\x80") == b"\x00"
    assert host.done[:3] == [("permit", 60), ("permit", 0), ("leave", True)]
    assert host.done[3:] == [("remove 101010101010101", False), ("remove 202020202020202", True)]
    scanned = ask(host, 0x0038, zt.Channels.ALL_CHANNELS.serialize() + b"\x04\x01")
    assert scanned is not None
    assert scanned[-17:] == bytes((16, *range(11, 27)))
    moved = ask(host, 0x0038, zt.Channels.ALL_CHANNELS.serialize() + b"\xfe\x00")
    assert moved is not None
    assert moved[:1] == b"\x84"


def test_what_is_not_served() -> None:
    host = FakeHost()
    assert ask(host, 0x0021, bytes(20)) == b"\x84"
    assert ask(host, 0x0021, bytes(20), broadcast=True) is None
    assert ask(host, 0x0002, b"\x01") == b"\x80"  # cut short
    assert ZdoServer(host).answer(ZdoRequest(0x8002, b"\x01\x00", 0, False)) is None
    assert ZdoServer(host).answer(ZdoRequest(0x0013, bytes(12), 0, True)) is None
    assert ZdoServer(host).answer(ZdoRequest(0x0002, b"", 0, False)) is None


@given(st.integers(0, 0xFFFF), st.binary(max_size=60), st.booleans(), st.sampled_from(list(LogicalType)))
def test_no_request_raises(cluster: int, payload: bytes, broadcast: bool, kind: LogicalType) -> None:
    ZdoServer(FakeHost(logical_type=kind)).answer(ZdoRequest(cluster, payload, 1, broadcast))
    ZdoServer(FakeHost(logical_type=kind)).answer(ZdoRequest(cluster & 0x3F, payload, 1, broadcast))
