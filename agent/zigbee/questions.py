"""What joining asks of radio and hub: requests with their handles, ZDO questions with their sequence numbers."""

from __future__ import annotations

from agent.events import BROADCAST_AWAKE, COORDINATOR, ApsRequest, LogicalType, NetworkInfo, RadioRequest
from agent.zigbee import zdo
from agent.zigbee.clusters import Cluster
from agent.zigbee.foundation import ReadAttributes
from agent.zigbee.peer import OutgoingZcl, Peer
from agent.zigbee.time_cluster import ATTRIBUTE_TIME, ATTRIBUTE_TIME_STATUS

_CAPABILITY = {LogicalType.ROUTER: 0x8E, LogicalType.END_DEVICE: 0x80}  # R21 2.3.2.3.6: mains, receiver on; neither


class Questions:
    """``take`` gives what was asked since it was last called."""

    def __init__(self, profile: int) -> None:
        self.wanted = Cluster.OTA  # what the hub's endpoint is looked for by
        self._profile = profile
        self._zdo_sequence = 0
        self._match_sequence: int | None = None  # of the Match_Desc_req whose answer counts
        self._next_handle = 1
        self._outbox: list[tuple[int, RadioRequest | OutgoingZcl]] = []

    def put(self, request: RadioRequest | OutgoingZcl) -> int:
        """Its handle."""
        handle = self._next_handle
        self._next_handle += 1
        self._outbox.append((handle, request))
        return handle

    def take(self) -> list[tuple[int, RadioRequest | OutgoingZcl]]:
        """New requests with their handles."""
        requests, self._outbox = self._outbox, []
        return requests

    def announce(self, network: NetworkInfo) -> None:
        """Device_annce, on which a hub opens the tunnel anew."""
        capability = _CAPABILITY.get(network.logical_type, _CAPABILITY[LogicalType.ROUTER])
        self._zdo(zdo.DeviceAnnce(network.short_address, network.eui, capability), BROADCAST_AWAKE)

    def ask_eui(self) -> None:
        """Who the coordinator is."""
        self._match_sequence = None
        self._zdo(zdo.IeeeAddrReq(COORDINATOR), COORDINATOR)

    def ask_endpoint(self, wanted: Cluster) -> None:
        """Which endpoint of it has this server. An answer to an earlier question does not count any more."""
        self.wanted = wanted
        self._match_sequence = self._zdo(zdo.MatchDescReq(COORDINATOR, self._profile, (wanted,), ()), COORDINATOR)

    def is_about_endpoint(self, sequence: int) -> bool:
        """Whether a Match_Desc_rsp answers the question asked last."""
        return sequence == self._match_sequence

    def read_time(self, hub: Peer) -> None:
        """The hub's clock: needs no APS security, so it tells a lost key from a lost network."""
        request = ReadAttributes((ATTRIBUTE_TIME, ATTRIBUTE_TIME_STATUS))
        self.put(OutgoingZcl(hub, Cluster.TIME, request.COMMAND, request.encode(), cluster_specific=False))

    def _zdo(self, command: zdo.ZdoCommand, destination: int) -> int:
        self._zdo_sequence = (self._zdo_sequence + 1) & 0xFF
        payload = zdo.pack(self._zdo_sequence, command)
        unicast = destination != BROADCAST_AWAKE
        self.put(ApsRequest(destination, 0, 0, 0, command.CLUSTER, payload, aps_ack=unicast))
        return self._zdo_sequence
