"""Asking for an image: at start, every 24 h with jitter, after a notify, again while unanswered (ZCL 11.13.3 to 5)."""

from __future__ import annotations

from random import Random

from agent.settings import OtaSettings
from agent.zigbee import ota_messages as ota
from agent.zigbee.ota_context import OtaContext
from agent.zigbee.ota_download import Download
from agent.zigbee.ota_events import ImageOffered, NoImage
from agent.zigbee.ota_rules import STACK_VERSION, why_notify_is_ignored
from agent.zigbee.ota_states import QUERY_STATES, TRANSFER_STATES, State
from agent.zigbee.zcl import ZclStatus, status_name

LONGEST_RETRY_S = 3_600.0  # our choice: an unanswered query is repeated, doubling up to one an hour
_HERE_ALREADY = frozenset({State.COMPLETE, State.ENDING, State.HOLDING, State.COUNTDOWN, State.ACTIVATING})


class QuerySchedule:
    """The time of the next query, and whether an answer is awaited. Sends nothing itself."""

    def __init__(self, settings: OtaSettings, random: Random) -> None:
        self._settings = settings
        self._random = random
        self._retry_s = settings.response_timeout_s
        self.outstanding = False
        self.wake: float | None = None

    def asked(self, now: float) -> None:
        """A query goes out now; unanswered, it is repeated after a time that doubles."""
        if not self.outstanding:
            self._retry_s = self._settings.response_timeout_s
        self.outstanding = True
        self.wake = now + self._retry_s
        self._retry_s = min(self._retry_s * 2, LONGEST_RETRY_S)

    def rest(self, now: float) -> None:
        """Answered, or not needed: the next one is the daily one."""
        self.outstanding = False
        jitter_s = self._random.uniform(-1, 1) * self._settings.query_jitter_s
        self.wake = now + max(self._settings.query_interval_s + jitter_s, self._settings.response_timeout_s)

    def stop(self) -> None:
        """The server is gone: an answer is no longer awaited."""
        self.outstanding = False
        self.wake = None


class Query:
    """Sends queries and judges their answers; holds the offer until the owner has decided."""

    def __init__(self, context: OtaContext, random: Random) -> None:
        self._context = context
        self._random = random
        self._specific = context.identity.device_specific
        self.schedule = QuerySchedule(context.settings, random)
        self.offer: ota.ImageFound | None = None

    def deadline(self) -> float | None:
        """When the next query is due, if the image's state lets one go out."""
        return self.schedule.wake if self._context.state in QUERY_STATES else None

    def now(self, now: float) -> None:
        """Ask at once, if there is a server."""
        if self._context.server is None:
            return
        who = self._context.identity
        if self._specific:
            # our choice: by the version that runs, as the ordinary query does
            version = who.running_file_version
            self._context.send(
                ota.QueryDeviceSpecificFileRequest(who.eui, who.manufacturer, who.image_type, version, STACK_VERSION)
            )
        else:
            self._context.send(
                ota.QueryNextImageRequest(
                    who.manufacturer, who.image_type, who.running_file_version, who.hardware_version
                )
            )
        self.schedule.asked(now)

    def unless_awaited(self, now: float) -> None:
        """Ask at once, unless an answer is awaited already."""
        if not self.schedule.outstanding:
            self.now(now)

    def notified(self, notify: ota.ImageNotify, broadcast: bool, now: float) -> None:
        """An Image Notify from our server: a query or a reason why not."""
        reason = why_notify_is_ignored(notify, self._context.identity, broadcast, self._random)
        if broadcast and reason is None and self._context.state in TRANSFER_STATES:
            reason = "broadcast notify during a transfer"
        if reason is None:
            self.now(now)
        else:
            self._context.ignore(reason)

    def refused(self, command: int, status: int, download: Download, now: float) -> None:
        """An error in a Default Response. A server without device specific files is asked in the ordinary way."""
        specific = command == ota.QueryDeviceSpecificFileRequest.COMMAND and self._specific
        if specific and status in (ZclStatus.UNSUP_CLUSTER_COMMAND, ZclStatus.UNSUP_GENERAL_COMMAND):
            self._specific = False
            self.now(now)
        else:
            self.answered(ota.QueryNextImageResponse(status), download, now)

    def answered(self, response: ota.QueryNextImageResponse, download: Download, now: float) -> None:
        """The server's answer, or an error status in a Default Response."""
        context, image = self._context, response.image
        if not self.schedule.outstanding:
            return context.ignore("query response that nobody asked for")
        self.schedule.rest(now)
        if image is None:
            context.say(NoImage(response.status))
            if context.state is State.PAUSED:
                download.end(f"server offers the image no more: {status_name(response.status)}", response.status)
            return None
        if (image.manufacturer, image.image_type) != (context.identity.manufacturer, context.identity.image_type):
            return context.ignore(f"offer for 0x{image.manufacturer:04X}/0x{image.image_type:04X}")
        if download.transfer is not None and download.transfer.image == image:
            if context.state in TRANSFER_STATES:
                return download.come_back(now, offered=True)
            if context.state in _HERE_ALREADY:
                return context.ignore("offer of the image that is here already")
        self.offer = image
        return context.say(ImageOffered(image))
