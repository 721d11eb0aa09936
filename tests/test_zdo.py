"""ZDO payloads: ours against zigpy's octets, round trips, and fuzz."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import zigpy.types as t
import zigpy.zdo.types as zigpy_zdo
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import FormatError
from agent.zigbee import zdo
from agent.zigbee.clusters import Cluster, describe_endpoint, is_secured

EUI = 0x0011223344556677
ZIGPY_EUI = t.EUI64.convert("00:11:22:33:44:55:66:77")
DESCRIPTOR = zdo.SimpleDescriptor(1, 0x0109, 0x0506, 0, (0, 3, 0x0704), (0x0019,))
NODE_DESCRIPTOR = bytes.fromhex("01408E000052A000002CA00000")


def zigpy_octets(cluster: int, *values: Any) -> bytes:
    """The payload behind the sequence number, by zigpy's own schema."""
    _names, kinds = zigpy_zdo.CLUSTERS[zigpy_zdo.ZDOCmd(cluster)]
    return bytes(t.serialize(values, kinds))


def zigpy_descriptor() -> zigpy_zdo.SizePrefixedSimpleDescriptor:
    return zigpy_zdo.SizePrefixedSimpleDescriptor(
        endpoint=1,
        profile=0x0109,
        device_type=0x0506,
        device_version=0,
        input_clusters=[0, 3, 0x0704],
        output_clusters=[0x0019],
    )


CASES: list[tuple[zdo.ZdoCommand, tuple[Any, ...]]] = [
    (zdo.NwkAddrReq(EUI), (ZIGPY_EUI, 0, 0)),
    (zdo.IeeeAddrReq(0x1234), (t.NWK(0x1234), 0, 0)),
    (zdo.NodeDescReq(0x1234), (t.NWK(0x1234),)),
    (zdo.SimpleDescReq(0x1234, 7), (t.NWK(0x1234), 7)),
    (zdo.SimpleDescRsp(0, 0x1234, DESCRIPTOR), (0, t.NWK(0x1234), zigpy_descriptor())),
    (zdo.ActiveEpReq(0), (t.NWK(0),)),
    (zdo.ActiveEpRsp(0, 0, (1, 242)), (0, t.NWK(0), [1, 242])),
    (zdo.MatchDescReq(0, 0x0109, (0x19,), ()), (t.NWK(0), 0x0109, [0x19], [])),
    (zdo.MatchDescRsp(0, 0, (1,)), (0, t.NWK(0), [1])),
    (zdo.DeviceAnnce(0x1234, EUI, 0x8E), (t.NWK(0x1234), ZIGPY_EUI, 0x8E)),
    (zdo.MgmtLeaveReq(EUI, 0x80), (ZIGPY_EUI, 0x80)),
    (zdo.MgmtLeaveRsp(0), (0,)),
]


@pytest.mark.parametrize(("ours", "theirs"), CASES, ids=lambda case: type(case).__name__)
def test_equals_zigpy(ours: zdo.ZdoCommand, theirs: tuple[Any, ...]) -> None:
    octets = zdo.pack(0x55, ours)
    assert octets == b"\x55" + zigpy_octets(ours.CLUSTER, *theirs)
    assert zdo.unpack(ours.CLUSTER, octets) == (0x55, ours)


def test_single_address_responses() -> None:
    # status, EUI least significant first, short address
    octets = bytes.fromhex("07 00 7766554433221100 3412")
    assert zdo.unpack(0x8000, octets) == (7, zdo.NwkAddrRsp(0, EUI, 0x1234))
    assert zdo.unpack(0x8001, octets) == (7, zdo.IeeeAddrRsp(0, EUI, 0x1234))


def test_node_descriptor_is_there_only_with_success() -> None:
    found = zdo.NodeDescRsp(0, 0x1234, NODE_DESCRIPTOR)
    assert zdo.unpack(0x8002, zdo.pack(1, found)) == (1, found)
    absent = zdo.NodeDescRsp(zdo.ZdpStatus.DEVICE_NOT_FOUND, 0x1234)
    assert zdo.unpack(0x8002, zdo.pack(1, absent)) == (1, absent)


def test_simple_descriptor_of_an_absent_endpoint() -> None:
    absent = zdo.SimpleDescRsp(zdo.ZdpStatus.INVALID_EP, 0x1234)
    assert zdo.pack(1, absent) == bytes.fromhex("01 82 3412 00")
    assert zdo.unpack(0x8004, zdo.pack(1, absent)) == (1, absent)


def test_other_clusters_are_none() -> None:
    assert zdo.unpack(0x0036, b"\x01\x02") == (1, None)


@given(st.sampled_from([*range(0x10), 0x13, 0x34, 0x8034, *range(0x8000, 0x8010)]), st.binary(max_size=60))
def test_only_format_error_escapes(cluster: int, octets: bytes) -> None:
    with contextlib.suppress(FormatError):
        zdo.unpack(cluster, octets)


def test_roles_have_the_clusters_of_their_job() -> None:
    for role in ("ppmid", "hcalcs"):
        shape = describe_endpoint(role, 1).simple_descriptor()
        assert Cluster.TUNNELING in shape.input_clusters
        assert Cluster.OTA in shape.output_clusters
    generic = describe_endpoint("ppmid", 1, 0x0104)
    assert Cluster.OTA in generic.output_clusters
    assert max(generic.input_clusters + generic.output_clusters) < 0x0700


def test_ota_and_tunnel_travel_secured_on_smart_energy_only() -> None:
    assert is_secured(Cluster.OTA, 0x0109)
    assert is_secured(Cluster.TUNNELING, 0x0109)
    assert not is_secured(Cluster.TIME, 0x0109)
    assert not is_secured(Cluster.KEY_ESTABLISHMENT, 0x0109)
    assert not is_secured(Cluster.OTA, 0x0104)
