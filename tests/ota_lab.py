"""An OTA client on the table: frames go in and out by hand, time is a number."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from agent.settings import OtaSettings
from agent.zigbee import ota_messages as ota
from agent.zigbee.clusters import Cluster
from agent.zigbee.foundation import DefaultResponse
from agent.zigbee.ota_client import OtaClient
from agent.zigbee.ota_events import (
    ActivationPolicy,
    DownloadResume,
    Ignored,
    ImageOffered,
    OtaEvent,
    OtaIdentity,
    TimeoutPolicy,
)
from agent.zigbee.peer import Peer
from agent.zigbee.time_cluster import HubClock
from agent.zigbee.zcl import ZclFrame, ZclStatus

EUI = 0x0011223344556677
HUB = Peer(0x0000, 1, 0xAABBCCDDEEFF0011)
RUNNING = 0x01000000
IMAGE = ota.ImageFound(0x1234, 0x5678, 0x01010000, 120)
FILE_ID = (IMAGE.manufacturer, IMAGE.image_type, IMAGE.file_version)
OCTETS = bytes(range(120))
IDENTITY = OtaIdentity(IMAGE.manufacturer, IMAGE.image_type, 3, RUNNING, EUI)
QUERY = ota.QueryNextImageRequest(IMAGE.manufacturer, IMAGE.image_type, RUNNING, 3)
FOUND = ota.QueryNextImageResponse(0, IMAGE)
HOUR_S, DAY_S = 3_600.0, 86_400.0
FAR_AWAY_S = 2 * 365 * DAY_S
HCALCS = OtaIdentity(
    IMAGE.manufacturer,
    IMAGE.image_type,
    3,
    RUNNING,
    EUI,
    activation_policy=ActivationPolicy.OUT_OF_BAND,
    timeout_policy=TimeoutPolicy.DO_NOT_APPLY,
)


def block_request(offset: int, octets: int = 50) -> ota.ImageBlockRequest:
    return ota.ImageBlockRequest(*FILE_ID, offset, min(octets, IMAGE.image_size - offset))


def block(offset: int, octets: int = 50) -> ota.ImageBlock:
    return ota.ImageBlock(*FILE_ID, offset, OCTETS[offset : offset + octets])


def end_response(current: int, upgrade: int) -> ota.UpgradeEndResponse:
    return ota.UpgradeEndResponse(*FILE_ID, current, upgrade)


class Lab:
    """One client, its clock and what it said so far."""

    def __init__(
        self,
        identity: OtaIdentity = IDENTITY,
        settings: OtaSettings | None = None,
        resume: DownloadResume | None = None,
        seed: int = 1,
        online: bool = True,
    ) -> None:
        self.now = 1000.0
        self.clock = HubClock()
        self.settings = settings or OtaSettings()
        self.client = OtaClient(identity, self.settings, Random(seed), self.clock, resume)
        self.log: list[OtaEvent] = []
        self.frames_out = 0
        if online:
            self.client.server_found(HUB, self.now)
            self.client.handle_timer(self.now)

    def sent(self) -> list[Any]:
        """Commands that the client wants to send now; the radio delivers them at once."""
        commands = []
        for handle, frame in self.client.frames_to_send():
            self.frames_out += 1
            assert frame.peer == HUB
            assert frame.cluster == Cluster.OTA
            assert not frame.to_client
            commands.append(ota.decode_to_server(frame.command, frame.payload))
            self.client.frame_sent(handle, True, self.now)
        return commands

    def server(self, message: ota.OtaToClient, broadcast: bool = False, source: int = 0) -> ZclStatus | None:
        """One command of the server arrives."""
        frame = ZclFrame(Cluster.OTA, message.COMMAND, message.encode(), 7, to_client=True)
        return self.client.receive(frame, source, broadcast, self.now)

    def default_response(self, command: int, status: int) -> ZclStatus | None:
        payload = DefaultResponse(command, status).encode()
        frame = ZclFrame(Cluster.OTA, DefaultResponse.COMMAND, payload, 7, cluster_specific=False, to_client=True)
        return self.client.receive(frame, 0, False, self.now)

    def events(self, ignored: bool = False) -> list[OtaEvent]:
        """Events since the last call; Ignored ones only when wanted."""
        events = list(self._take())
        self.log += events
        return [event for event in events if ignored or not isinstance(event, Ignored)]

    def _take(self) -> Iterator[OtaEvent]:
        while (event := self.client.next_event()) is not None:
            yield event

    def run_until(self, when: float) -> list[Any]:
        """Let time pass with a silent server; the commands sent on the way."""
        commands = self.sent()
        while (deadline := self.client.next_deadline()) is not None and deadline <= when:
            self.now = max(self.now, deadline)
            self.client.handle_timer(self.now)
            commands += self.sent()
        self.now = max(self.now, when)
        return commands

    def run_for(self, seconds: float) -> list[Any]:
        return self.run_until(self.now + seconds)

    def downloading(self) -> Lab:
        """Up to the first block request, which is taken."""
        assert self.sent() == [QUERY]
        self.server(FOUND)
        assert self.events() == [ImageOffered(IMAGE)]
        assert self.client.begin_download(0, self.now)
        assert self.sent() == [block_request(0)]
        return self

    def complete(self) -> Lab:
        """All octets here, the owner's verdict wanted."""
        self.downloading()
        for offset in (0, 50, 100):
            self.server(block(offset))
            self.sent()
        self.events()
        return self

    def ending(self) -> Lab:
        """Upgrade End SUCCESS sent."""
        self.complete()
        assert self.client.end_upgrade(ZclStatus.SUCCESS, self.now)
        assert self.sent() == [ota.UpgradeEndRequest(0, *FILE_ID)]
        return self
