"""The OTA client (ZCL 11.13): a pure machine with time as an argument.

It downloads in order what its owner wants, until the server or the owner ends it, and asks the server when to
upgrade. Bad input changes nothing: ``receive`` returns the status for a Default Response, and an ``Ignored`` event says
why. Its parts: ``ota_states`` (the table), ``ota_query``, ``ota_download``, ``ota_upgrade``, ``ota_rules``.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from agent.errors import FormatError
from agent.settings import OtaSettings
from agent.zigbee import ota_messages as ota
from agent.zigbee.foundation import DefaultResponse
from agent.zigbee.ota_context import OtaContext
from agent.zigbee.ota_download import Download
from agent.zigbee.ota_events import DownloadResume, OtaEvent, OtaIdentity, Progress
from agent.zigbee.ota_query import Query
from agent.zigbee.ota_states import TRANSFER_STATES, Input, State
from agent.zigbee.ota_upgrade import UpgradeEnd
from agent.zigbee.peer import OutgoingZcl, Peer
from agent.zigbee.time_cluster import HubClock
from agent.zigbee.zcl import ZclFrame, ZclStatus

_QUERIES = (ota.QueryNextImageRequest.COMMAND, ota.QueryDeviceSpecificFileRequest.COMMAND)
_BLOCKS = (ota.ImageBlockRequest.COMMAND, ota.ImagePageRequest.COMMAND)


class OtaClient:
    """See the module. ``resume`` is what the owner's journal knows of an interrupted download."""

    def __init__(
        self,
        identity: OtaIdentity,
        settings: OtaSettings,
        random: Random,
        clock: HubClock,
        resume: DownloadResume | None = None,
    ) -> None:
        self._context = OtaContext(identity, settings, clock)
        self._query = Query(self._context, random)
        self._end = UpgradeEnd(self._context, self._query.now)
        self._download = Download(self._context, self._query.unless_awaited, self._end.begin)
        if resume is not None:
            self._download.begin(resume.image, resume.offset, doubtful=True, now=0.0)

    # --- what the owner can see

    @property
    def state(self) -> State:
        """Where the image is on its way."""
        return self._context.state

    @property
    def server(self) -> Peer | None:
        """The OTA server, while there is one."""
        return self._context.server

    @property
    def identity(self) -> OtaIdentity:
        """What the device is to the server."""
        return self._context.identity

    @property
    def settings(self) -> OtaSettings:
        """Times and bounds."""
        return self._context.settings

    @property
    def image(self) -> ota.ImageFound | None:
        """The image on its way, or the last one."""
        return self._download.transfer.image if self._download.transfer else None

    @property
    def block_period(self) -> int:
        """Attribute 0x0009: the server's minimum block period, in the configured unit."""
        return self._download.pace.period

    def progress(self) -> Progress:
        """The counters of the present (or last) transfer."""
        return self._download.transfer.progress() if self._download.transfer else Progress()

    # --- the network

    def server_found(self, server: Peer, now: float) -> None:
        """The OTA server of the hub is there (again)."""
        context, was = self._context, self._context.server
        context.server = server
        if was is not None:
            return  # at most its address has changed: what is awaited times out and is asked again
        if context.state is State.PAUSED:
            self._query.schedule.rest(now)
            self._download.come_back(now, offered=False)
        else:
            self._query.schedule.wake = now
            self._end.server_found(now)

    def server_lost(self) -> None:
        """No network, or no answer for too long: nothing is sent until the server is found again."""
        context = self._context
        context.server = None
        context.outbox.clear()
        self._query.schedule.stop()
        if context.state in TRANSFER_STATES:
            self._download.pause("server lost", None)

    def receive(self, frame: ZclFrame, source: int, broadcast: bool, now: float) -> ZclStatus | None:
        """A frame of the OTA cluster to the client, from short address ``source``.

        Returns the status for a Default Response; None when nothing is to be answered.
        """
        context = self._context
        if context.server is None or source != context.server.short_address:
            context.ignore(f"OTA frame from 0x{source:04X}, which is not our server")
            return ZclStatus.NOT_AUTHORIZED if frame.cluster_specific else None
        try:
            if not frame.cluster_specific:
                self._default_response(DefaultResponse.decode(frame.payload), now)
                return None
            message = ota.decode_to_client(frame.command, frame.payload)
        except FormatError as error:
            context.ignore(str(error))
            return ZclStatus.MALFORMED_COMMAND if frame.cluster_specific else None
        if message is None:
            context.ignore(f"0x{frame.command:02X} is no OTA command to a client")
            return ZclStatus.UNSUP_CLUSTER_COMMAND
        self._dispatch(message, broadcast, now)
        return ZclStatus.SUCCESS

    def _dispatch(self, message: ota.OtaToClient, broadcast: bool, now: float) -> None:
        if isinstance(message, ota.ImageNotify):
            self._query.notified(message, broadcast, now)
        elif broadcast:
            self._context.ignore("a response by broadcast")
        elif isinstance(message, ota.QueryNextImageResponse):
            self._query.answered(message, self._download, now)
        elif isinstance(message, ota.UpgradeEndResponse):
            self._end.receive(message, now)
        else:
            self._download.receive(message, now)

    def _default_response(self, response: DefaultResponse, now: float) -> None:
        if response.command == ota.UpgradeEndRequest.COMMAND:
            self._end.default_response(response.status, now)
        elif response.status == ZclStatus.SUCCESS:
            return
        elif response.command in _QUERIES:
            self._query.refused(response.command, response.status, self._download, now)
        elif response.command in _BLOCKS:
            self._download.refused(response.status, now)

    # --- time

    def next_deadline(self) -> float | None:
        """When ``handle_timer`` is next needed."""
        context = self._context
        wakes = [self._query.deadline()] if context.server else []
        if context.server or context.state is State.COUNTDOWN:
            wakes.append(context.wake)
        return min((wake for wake in wakes if wake is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Do what is due; harmless when called early."""
        context = self._context
        alive = context.server is not None or context.state is State.COUNTDOWN
        if alive and context.wake is not None and now >= context.wake:
            if context.state in TRANSFER_STATES:
                self._download.handle_timer(now)
            else:
                self._end.handle_timer(now)
        query = self._query.deadline()
        if query is not None and now >= query:
            self._query.now(now)

    # --- what goes out

    def frames_to_send(self) -> list[tuple[int, OutgoingZcl]]:
        """New frames, each with the handle that ``frame_sent`` brings back."""
        frames, self._context.outbox = self._context.outbox, []
        return frames

    def frame_sent(self, handle: int, delivered: bool, now: float) -> None:
        """The radio is done with a frame: the time-out of an awaited block counts from here."""
        context = self._context
        if handle == context.awaited and context.state is State.DOWNLOADING:
            context.awaited_delivered = delivered
            context.wake = now + context.settings.response_timeout_s

    def next_event(self) -> OtaEvent | None:
        """The oldest event not yet taken."""
        return self._context.events.popleft() if self._context.events else None

    # --- the owner's decisions

    def begin_download(self, offset: int, now: float) -> bool:
        """Take the offered image from ``offset`` on; the octets before it are durable. False: no offer, bad offset."""
        offer = self._query.offer
        if offer is None or not self._download.begin(offer, offset, doubtful=False, now=now):
            return False
        self._query.offer = None
        return True

    def decline(self) -> None:
        """Leave the offered image alone; the next query may bring it again."""
        self._query.offer = None

    def end_upgrade(self, status: ZclStatus, now: float) -> bool:
        """The owner's verdict after TransferComplete: SUCCESS, INVALID_IMAGE, REQUIRE_MORE_IMAGE or ABORT."""
        return self._finish(Input.VERIFIED if status is ZclStatus.SUCCESS else Input.REJECTED, status, now)

    def cancel(self, now: float) -> bool:
        """Drop the image, in whatever state; the server hears ABORT where it still waits for an end."""
        self._query.offer = None
        return self._finish(Input.CANCEL, ZclStatus.ABORT, now)

    def query_now(self, now: float) -> None:
        """Ask the server for an image at once; nothing without a server."""
        self._query.now(now)

    def set_running_version(self, file_version: int) -> None:
        """The version that the running code reports of itself (after an activation without a restart)."""
        self._context.identity = replace(self._context.identity, running_file_version=file_version)

    def _finish(self, how: Input, status: ZclStatus, now: float) -> bool:
        if not self._context.move(how):
            return False
        if self._context.state in (State.ENDING, State.REPORTING) and self.image is not None:
            self._end.begin(self.image, status, now)
        return True
