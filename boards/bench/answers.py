"""What the hub answers about itself: its Time cluster, other attributes, and ZDO where its chip does not."""

from __future__ import annotations

from collections.abc import Callable

from agent.events import NetworkInfo
from agent.zigbee import foundation as zcl
from agent.zigbee import time_cluster, zdo
from agent.zigbee.cbke.messages import ATTRIBUTE_SUITES
from agent.zigbee.clusters import Cluster, DeviceId
from agent.zigbee.zcl import ZclFrame, ZclStatus
from boards.bench.desk import Desk, Peer

INPUT_CLUSTERS = (Cluster.BASIC, Cluster.TIME, Cluster.OTA, Cluster.KEY_ESTABLISHMENT)
OUTPUT_CLUSTERS = (Cluster.TUNNELING, Cluster.KEY_ESTABLISHMENT)
# R21 2.3.2.3: coordinator; 2.4 GHz; full function, mains, receiver on; no manufacturer code; 82 octets buffer, 1500 in
# and out; Trust Center
NODE_DESCRIPTOR = bytes.fromhex("00408f0000") + bytes([82]) + bytes.fromhex("dc050100dc0500")
ZCL_VERSION = 3
POWER_MAINS = 1


def simple_descriptor(endpoint: int, profile: int) -> zdo.SimpleDescriptor:
    """The hub's application endpoint: an energy service interface."""
    return zdo.SimpleDescriptor(
        endpoint, profile, DeviceId.ENERGY_SERVICE_INTERFACE, 0, tuple(INPUT_CLUSTERS), tuple(OUTPUT_CLUSTERS)
    )


class AttributeServer:
    """Foundation commands to the hub's server clusters. ``utc(now)`` is UTCTime, 0xFFFFFFFF while unknown.

    ``suites()`` is attribute 0x0000 of Key Establishment, None where the hub does not take part in it.
    """

    def __init__(
        self, desk: Desk, utc: Callable[[float], int], suites: Callable[[], int | None] = lambda: None
    ) -> None:
        self._desk = desk
        self._utc = utc
        self._suites = suites

    def receive(self, peer: Peer, frame: ZclFrame, now: float) -> None:
        """One foundation command. Raises FormatError, which the hub answers with MALFORMED_COMMAND."""
        if frame.command in (zcl.ReadAttributesResponse.COMMAND, zcl.DefaultResponse.COMMAND):
            return
        if frame.command == zcl.ReadAttributes.COMMAND:
            wanted = zcl.ReadAttributes.decode(frame.payload).attributes
            known = self._attributes(frame.cluster, now)
            response = zcl.ReadAttributesResponse(tuple(_record(attribute, known) for attribute in wanted))
            self._desk.reply_foundation(peer, frame, response.COMMAND, response.encode())
        elif frame.command == zcl.WriteAttributes.COMMAND:
            written = zcl.WriteAttributes.decode(frame.payload).records
            known = self._attributes(frame.cluster, now)
            failures = tuple((_write_status(attribute, known), attribute) for attribute, _ in written)
            refusal = zcl.WriteAttributesResponse(failures)
            self._desk.reply_foundation(peer, frame, refusal.COMMAND, refusal.encode())
        else:
            self._desk.default_response(peer, frame, ZclStatus.UNSUP_GENERAL_COMMAND)

    def _attributes(self, cluster: int, now: float) -> dict[int, zcl.Typed]:
        if cluster == Cluster.BASIC:
            return {
                0x0000: zcl.Typed(zcl.ZclType.UINT8, ZCL_VERSION),
                0x0007: zcl.Typed(zcl.ZclType.ENUM8, POWER_MAINS),
            }
        suites = self._suites()
        if cluster == Cluster.KEY_ESTABLISHMENT and suites is not None:
            return {ATTRIBUTE_SUITES: zcl.Typed(zcl.ZclType.BITMAP16, suites)}
        if cluster != Cluster.TIME:
            return {}
        utc = self._utc(now)
        known = utc != time_cluster.INVALID_TIME
        status = time_cluster.STATUS_MASTER | time_cluster.STATUS_SYNCHRONIZED if known else 0
        return {
            time_cluster.ATTRIBUTE_TIME: zcl.Typed(zcl.ZclType.UTC_TIME, utc),
            time_cluster.ATTRIBUTE_TIME_STATUS: zcl.Typed(zcl.ZclType.BITMAP8, status),
            time_cluster.ATTRIBUTE_TIME_ZONE: zcl.Typed(zcl.ZclType.INT32, 0),
            time_cluster.ATTRIBUTE_LOCAL_TIME: zcl.Typed(zcl.ZclType.UINT32, utc),
        }


def _record(attribute: int, known: dict[int, zcl.Typed]) -> zcl.ReadRecord:
    typed = known.get(attribute)
    status = ZclStatus.SUCCESS if typed else ZclStatus.UNSUPPORTED_ATTRIBUTE
    return zcl.ReadRecord(attribute, status, typed)


def _write_status(attribute: int, known: dict[int, zcl.Typed]) -> int:
    return ZclStatus.READ_ONLY if attribute in known else ZclStatus.UNSUPPORTED_ATTRIBUTE


def answer_zdo(command: zdo.ZdoCommand, network: NetworkInfo, endpoint: zdo.SimpleDescriptor) -> zdo.ZdoCommand | None:
    """The hub's answer to a ZDO request about itself; None when it is not asked, or about another node."""
    ok, own = zdo.ZdpStatus.SUCCESS, network.short_address
    if isinstance(command, zdo.NwkAddrReq):
        return zdo.NwkAddrRsp(ok, network.eui, own) if command.eui == network.eui else None
    if getattr(command, "short_address", None) not in (own, 0xFFFC, 0xFFFD, 0xFFFF):
        return None
    match command:
        case zdo.IeeeAddrReq():
            answer: zdo.ZdoCommand | None = zdo.IeeeAddrRsp(ok, network.eui, own)
        case zdo.NodeDescReq():
            answer = zdo.NodeDescRsp(ok, own, NODE_DESCRIPTOR)
        case zdo.ActiveEpReq():
            answer = zdo.ActiveEpRsp(ok, own, (endpoint.endpoint,))
        case zdo.SimpleDescReq():
            found = command.endpoint == endpoint.endpoint
            answer = zdo.SimpleDescRsp(ok, own, endpoint) if found else zdo.SimpleDescRsp(zdo.ZdpStatus.NOT_ACTIVE, own)
        case zdo.MatchDescReq():
            answer = _match(command, own, endpoint)
        case _:
            answer = None
    return answer


def _match(command: zdo.MatchDescReq, own: int, endpoint: zdo.SimpleDescriptor) -> zdo.MatchDescRsp | None:
    """R21 2.4.3.1.7: one cluster in common is a match; a broadcast without a match gets no answer."""
    common = set(command.input_clusters) & set(endpoint.input_clusters)
    common |= set(command.output_clusters) & set(endpoint.output_clusters)
    if command.profile == endpoint.profile and common:
        return zdo.MatchDescRsp(zdo.ZdpStatus.SUCCESS, own, (endpoint.endpoint,))
    return zdo.MatchDescRsp(zdo.ZdpStatus.SUCCESS, own, ()) if command.short_address == own else None
