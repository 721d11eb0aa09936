"""The OTA client's end: Upgrade End, its answer, and the time to upgrade (ZCL 11.13.9)."""

from __future__ import annotations

from collections.abc import Callable

from agent.zigbee.ota_context import OtaContext
from agent.zigbee.ota_events import (
    ActivateAt,
    ActivateNow,
    ActivationPolicy,
    HoldForCommand,
    TimeoutPolicy,
    UpgradeEndUnanswered,
)
from agent.zigbee.ota_messages import ImageFound, UpgradeEndRequest, UpgradeEndResponse
from agent.zigbee.ota_rules import is_of_image, when_to_upgrade
from agent.zigbee.ota_states import ANSWERABLE_STATES, Input, State
from agent.zigbee.zcl import ZclStatus, status_name

END_RETRY_FACTOR = 4  # our choice: Upgrade End is repeated after 1, 4, 16 ... response time-outs
LONGEST_HOLD_QUERY_S = 3_600.0  # ZCL 11.13.9.6: at least every 60 minutes

Answer = ActivateNow | ActivateAt | HoldForCommand


class UpgradeEnd:
    """Reports how the download ended, and waits for the server's word. ``query`` makes the client ask for an image."""

    def __init__(self, context: OtaContext, query: Callable[[float], None]) -> None:
        self._context = context
        self._query = query
        self._status = ZclStatus.SUCCESS
        self._image: ImageFound | None = None
        self._tries = 0

    def begin(self, image: ImageFound, status: ZclStatus, now: float) -> None:
        """The state has just become ENDING or REPORTING: send Upgrade End with this status."""
        self._image, self._status, self._tries = image, status, 0
        self._send(now)

    def server_found(self, now: float) -> None:
        """Say again what is still unanswered."""
        if self._context.state in (State.ENDING, State.REPORTING):
            self._tries = 0
            self._send(now)

    def handle_timer(self, now: float) -> None:
        """The wake has come."""
        context = self._context
        if context.state is State.COUNTDOWN:
            context.move(Input.TIME_REACHED)
            context.say(ActivateNow())
        elif context.state is State.HOLDING:
            self._send(now)
            context.wake = now + self._hold_interval_s()
        elif self._tries < context.settings.end_request_tries:
            self._send(now)
        elif context.state is State.REPORTING:
            self._reported(now)
        elif context.move(Input.ANSWER_HOLD):
            context.wake = now + self._hold_interval_s()
            context.say(UpgradeEndUnanswered(context.identity.timeout_policy is TimeoutPolicy.APPLY))

    def receive(self, response: UpgradeEndResponse, now: float) -> None:
        """The server's word, asked for or not; from REPORTING it only ends the repetitions."""
        context = self._context
        if self._image is None or context.state not in (*ANSWERABLE_STATES, State.REPORTING):
            return context.ignore("Upgrade End Response without an image that waits")
        if not is_of_image(response, self._image):
            return context.ignore(f"Upgrade End Response for version 0x{response.file_version:08X}")
        if context.state is State.REPORTING:
            return self._reported(now)
        out_of_band = context.identity.activation_policy is ActivationPolicy.OUT_OF_BAND
        return self._obey(when_to_upgrade(response, context.clock.utc(now), out_of_band), now)

    def default_response(self, status: int, now: float) -> None:
        """Servers answer the report of a failed image with a Default Response."""
        if self._context.state is State.REPORTING:
            self._reported(now)
        elif status != ZclStatus.SUCCESS:
            self._context.ignore(f"server answers Upgrade End with {status_name(status)}")

    def _obey(self, answer: Answer, now: float) -> None:
        context, was = self._context, self._context.state
        if isinstance(answer, ActivateNow):
            context.move(Input.ANSWER_NOW)
        elif isinstance(answer, ActivateAt):
            context.move(Input.ANSWER_LATER)
            context.wake = now + answer.seconds
        else:
            context.move(Input.ANSWER_HOLD)
            context.wake = now + self._hold_interval_s()
            if was is State.HOLDING:
                return  # told before
        context.say(answer)

    def _reported(self, now: float) -> None:
        more = self._status is ZclStatus.REQUIRE_MORE_IMAGE
        self._context.move(Input.REPORTED_MORE if more else Input.REPORTED)
        if more:
            self._query(now)

    def _hold_interval_s(self) -> float:
        return min(self._context.settings.hold_query_interval_s, LONGEST_HOLD_QUERY_S)

    def _send(self, now: float) -> None:
        context, image = self._context, self._image
        if image is None:
            return
        request = UpgradeEndRequest(self._status, image.manufacturer, image.image_type, image.file_version)
        pause_s = context.settings.response_timeout_s * END_RETRY_FACTOR**self._tries
        self._tries += 1
        if context.server is not None:
            context.await_answer(context.send(request), now + pause_s)
