"""Joining in virtual time: the test is the radio and the hub, and hears what the owner hears."""

from __future__ import annotations

from agent.events import (
    ApsRequest,
    Beacon,
    DiscoverNetworks,
    JoinNetwork,
    LogicalType,
    NetworkInfo,
    RadioRequest,
    RadioResult,
    RadioStatus,
    RestoreNetwork,
)
from agent.zigbee import zdo
from agent.zigbee.foundation import Value
from agent.zigbee.joining import JoinEvent, Joining, JoinState
from agent.zigbee.peer import OutgoingZcl
from agent.zigbee.time_cluster import HubClock

EUI, HUB_EUI = 0x0011223344556677, 0xAABBCCDDEEFF0011
NETWORK = NetworkInfo(EUI, 0x1234, 0xABCD, 0x99, 15, LogicalType.ROUTER)
JOIN = JoinNetwork(bytes.fromhex("83FED3407A939723A5C639B26916D505C3B5"), (15,))
GIVEN = JoinNetwork(bytes.fromhex("83FED3407A932B70"), (20,))
ANNOUNCE = zdo.DeviceAnnce(0x1234, EUI, 0x8E)
MATCH = zdo.MatchDescReq(0, 0x0109, (0x19,), ())
IEEE = zdo.IeeeAddrReq(0)
OK = RadioResult(RadioStatus.OK, NETWORK)
NONE = RadioResult(RadioStatus.NO_NETWORK)
DISCOVER = DiscoverNetworks(tuple(range(11, 27)))
NOT_TAKEN_BACK = RadioResult(RadioStatus.NOT_TAKEN_BACK, NETWORK, "no parent answers")


def beacon(channel: int = 15, pan_id: int = 0xABCD, sender: int = 0, network: int = 0x99, lqi: int = 200) -> Beacon:
    return Beacon(channel, pan_id, network, sender, permits_joining=False, link_quality=lqi)


def heard(*beacons: Beacon) -> RadioResult:
    return RadioResult(RadioStatus.OK, beacons=beacons)


class Lab:
    def __init__(self, join: JoinNetwork | None = JOIN) -> None:
        self.now = 100.0
        self.clock = HubClock()
        self.joining = Joining(join, 0x0109, LogicalType.ROUTER, self.clock)
        self.last = 0
        self.matches: list[int] = []  # sequence numbers of the Match_Desc_req so far

    def asked(self) -> list[zdo.ZdoCommand | RadioRequest | str | None]:
        """Requests since the last call; ZDO ones decoded, the read of the Time cluster as a word."""
        requests: list[zdo.ZdoCommand | RadioRequest | str | None] = []
        for handle, request in self.joining.requests_to_send():
            self.last = handle
            if isinstance(request, OutgoingZcl):
                assert request.payload == bytes.fromhex("0000 0100")
                requests.append(f"read time of endpoint {request.peer.endpoint}")
            elif isinstance(request, ApsRequest):
                sequence, command = zdo.unpack(request.cluster, request.payload)
                requests.append(command)
                if isinstance(command, zdo.MatchDescReq):
                    self.matches.append(sequence)
            else:
                requests.append(request)
        return requests

    def done(self, result: RadioResult) -> None:
        self.joining.request_done(self.last, result, self.now)

    def zdo(self, command: zdo.ZdoCommand, source: int = 0, sequence: int | None = None) -> None:
        """To the last Match_Desc_req, unless told otherwise."""
        last = self.matches[-1] if self.matches else 0
        self.joining.receive_zdo(last if sequence is None else sequence, command, source, self.now)

    def time(self, values: dict[int, Value]) -> None:
        self.joining.time_answered(values, 0, self.now)

    def events(self) -> list[JoinEvent]:
        events = []
        while (event := self.joining.next_event()) is not None:
            events.append(event)
        return events

    def next(self) -> float:
        """Go to the next deadline; how long that took."""
        deadline = self.joining.next_deadline()
        assert deadline is not None
        passed, self.now = deadline - self.now, deadline
        self.joining.handle_timer(self.now)
        return passed

    def silence(self, shown: RadioResult, back: RadioResult = OK) -> float:
        """To the end of the next search that nobody answers; a discovery before it shows ``shown``."""
        passed = self.next()
        if self.joining.state is JoinState.DISCOVERING:
            assert self.asked() == [DISCOVER]
            self.done(shown)
            assert self.asked() == [RestoreNetwork()]
            self.done(back)
        assert self.asked() == [IEEE, MATCH]
        return passed

    def online(self) -> Lab:
        self.joining.start(self.now)
        self.asked()
        self.done(OK)
        self.asked()
        self.zdo(zdo.IeeeAddrRsp(0, HUB_EUI, 0))
        self.zdo(zdo.MatchDescRsp(0, 0, (8,)))
        assert self.joining.state is JoinState.ONLINE
        self.asked()
        self.events()
        return self
