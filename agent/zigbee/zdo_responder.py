"""ZDO answers of a device with one endpoint, for a radio whose chip does not give them (the in-process one)."""

from __future__ import annotations

from agent.events import LogicalType, NetworkInfo
from agent.zigbee import zdo
from agent.zigbee.clusters import EndpointDescription
from agent.zigbee.zdo import ZdpStatus

_ANY_PROFILE = 0xFFFF
_FREQUENCY_2400 = 0x08 << 3
_DESCRIPTOR_TYPE = {LogicalType.COORDINATOR: 0x00, LogicalType.ROUTER: 0x01, LogicalType.END_DEVICE: 0x02}
_CAPABILITY = {LogicalType.COORDINATOR: 0x8F, LogicalType.ROUTER: 0x8E, LogicalType.END_DEVICE: 0x8C}
_MAXIMUM_OCTETS = 82  # R21 2.3.2.3.8: one frame without fragmentation


def answer_zdo(request: zdo.ZdoCommand, network: NetworkInfo, endpoint: EndpointDescription) -> zdo.ZdoCommand | None:
    """The response to ``request``; None when none is due (not about us, or not a request that we know)."""
    here = network.short_address
    match request:
        case zdo.MatchDescReq():
            return _match(request, here, endpoint)
        case zdo.NwkAddrReq(eui=network.eui):
            return zdo.NwkAddrRsp(ZdpStatus.SUCCESS, network.eui, here)
        case zdo.IeeeAddrReq(short_address=address) if address == here:
            return zdo.IeeeAddrRsp(ZdpStatus.SUCCESS, network.eui, here)
        case zdo.NodeDescReq(short_address=address) if address == here:
            return zdo.NodeDescRsp(ZdpStatus.SUCCESS, here, _node_descriptor(network.logical_type))
        case zdo.ActiveEpReq() | zdo.SimpleDescReq() if request.short_address == here:
            return _describe(request, here, endpoint)
        case _:
            return None


def _describe(request: zdo.ActiveEpReq | zdo.SimpleDescReq, here: int, endpoint: EndpointDescription) -> zdo.ZdoCommand:
    if isinstance(request, zdo.ActiveEpReq):
        return zdo.ActiveEpRsp(ZdpStatus.SUCCESS, here, (endpoint.endpoint,))
    if request.endpoint != endpoint.endpoint:
        return zdo.SimpleDescRsp(ZdpStatus.NOT_ACTIVE, here)
    return zdo.SimpleDescRsp(ZdpStatus.SUCCESS, here, endpoint.simple_descriptor())


def _match(request: zdo.MatchDescReq, here: int, endpoint: EndpointDescription) -> zdo.ZdoCommand | None:
    fits = request.profile in (_ANY_PROFILE, endpoint.profile) and (
        not set(request.input_clusters).isdisjoint(endpoint.input_clusters)
        or not set(request.output_clusters).isdisjoint(endpoint.output_clusters)
    )
    if fits:
        return zdo.MatchDescRsp(ZdpStatus.SUCCESS, here, (endpoint.endpoint,))
    if request.short_address == here:
        return zdo.MatchDescRsp(ZdpStatus.SUCCESS, here, ())
    return None  # R21 2.4.4.2.7: a broadcast that does not match stays without answer


def _node_descriptor(logical_type: LogicalType) -> bytes:
    """R21 2.3.2.3, 13 octets."""
    maximum = _MAXIMUM_OCTETS.to_bytes(2, "little")
    head = bytes([_DESCRIPTOR_TYPE[logical_type], _FREQUENCY_2400, _CAPABILITY[logical_type], 0, 0, _MAXIMUM_OCTETS])
    return head + maximum + bytes(2) + maximum + bytes(1)
