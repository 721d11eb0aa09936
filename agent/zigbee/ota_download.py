"""The OTA client's transfer: DOWNLOADING, WAITING and PAUSED (ZCL 11.13.6 to 11.13.8).

The same offset is asked again after each response time-out. A server that stays silent pauses the transfer, never ends
it; while paused, a probe now and then asks either for the next block (a server that keeps its session but
answers no query in it) or for the image (one that forgot the session).
"""

from __future__ import annotations

from collections.abc import Callable

from agent.zigbee import ota_messages as ota
from agent.zigbee.ota_context import OtaContext
from agent.zigbee.ota_events import (
    SERVER_SILENT,
    BlockReceived,
    TransferAborted,
    TransferComplete,
    TransferPaused,
    TransferResumed,
)
from agent.zigbee.ota_rules import wait_seconds
from agent.zigbee.ota_states import TRANSFER_STATES, Input, State
from agent.zigbee.ota_transfer import Pace, Transfer, Worth
from agent.zigbee.zcl import ZclStatus, status_name

APS_ACK_FOR_BLOCKS = False  # our choice: a lost request is asked again anyway, and the acks would halve the speed
MALFORMED_TO_ABORT = 3  # our choice: so often the server may find the same request malformed


class Download:
    """Holds the transfer while there is one.

    ``query`` makes the client ask for an image unless an answer is awaited already, ``report`` send Upgrade End.
    """

    def __init__(
        self,
        context: OtaContext,
        query: Callable[[float], None],
        report: Callable[[ota.ImageFound, ZclStatus, float], None],
    ) -> None:
        self._context = context
        self._query = query
        self._report = report
        self._malformed = 0
        self.transfer: Transfer | None = None
        self.pace = Pace()

    def begin(self, image: ota.ImageFound, offset: int, doubtful: bool, now: float) -> bool:
        """Start or resume at ``offset``. False when the state or the offset does not allow it."""
        context, complete = self._context, offset == image.image_size
        if not 0 <= offset <= image.image_size or not context.move(Input.BEGIN_AT_END if complete else Input.BEGIN):
            return False
        self.transfer = Transfer(image, offset, doubtful)
        self.pace.start_anew()
        self._malformed = 0
        if complete:
            context.say(TransferComplete(image))
        elif context.server is None:
            self.pause("no server yet", None)
        else:
            self._request(self.transfer, now)
        return True

    def handle_timer(self, now: float) -> None:
        """The wake has come."""
        context, transfer = self._context, self.transfer
        if transfer is None:
            return
        if context.state is State.PAUSED:
            self._probe(transfer, now)
        elif context.state is State.WAITING:
            context.move(Input.WAIT_OVER)
            self._request(transfer, now)
        elif context.awaited is None:
            self._request(transfer, now)
        else:
            self._unanswered(transfer, now)

    def receive(self, response: ota.ImageBlockResponse, now: float) -> None:
        """An Image Block Response from our server."""
        transfer = self.transfer
        if transfer is None or self._context.state not in TRANSFER_STATES:
            self._context.ignore("Image Block Response without a transfer")
        elif isinstance(response, ota.ImageBlock):
            self._block(transfer, response, now)
        elif isinstance(response, ota.WaitForData):
            self._wait(transfer, response, now)
        else:
            self.refused(response.status, now)

    def refused(self, status: int, now: float) -> None:
        """Another status than SUCCESS and WAIT_FOR_DATA, in a block response or a Default Response."""
        context, transfer = self._context, self.transfer
        if transfer is None or context.state not in TRANSFER_STATES:
            return context.ignore(f"{status_name(status)} without a transfer")
        if status == ZclStatus.MALFORMED_COMMAND and self._malformed + 1 < MALFORMED_TO_ABORT:
            self._malformed += 1  # the air or the server garbled it: the time-out asks again
            return context.ignore("server found our request malformed")
        if transfer.doubtful:  # it may only have forgotten the session; a query opens another
            if context.state is not State.PAUSED:
                self.pause(f"server answers {status_name(status)}: asking for the image again", now)
            return self._query(now)
        return self.end(f"server answers {status_name(status)}", status)

    def end(self, reason: str, status: int | None) -> None:
        """The server ended the transfer."""
        if self._context.move(Input.REFUSED):
            self._context.say(TransferAborted(reason, status))

    def pause(self, reason: str, now: float | None) -> None:
        """No octets for now. ``now`` None: nothing is tried until the server is back."""
        context, transfer = self._context, self.transfer
        if transfer is None or not context.move(Input.SILENCE):
            return
        pause_s = context.settings.pause_after_retries_s
        context.wake = None if now is None else now + pause_s
        transfer.doubtful = transfer.interrupted = True
        transfer.tries = transfer.probes = 0
        self.pace.start_anew()
        context.say(TransferPaused(reason, None if now is None else pause_s))

    def come_back(self, now: float, offered: bool) -> None:
        """The server is (again) there: ask on at the same offset. ``offered``: it has just offered this very image."""
        if self.transfer is not None and self._context.move(Input.COME_BACK):
            self.transfer.doubtful = not offered
            self._request(self.transfer, now)

    def _block(self, transfer: Transfer, block: ota.ImageBlock, now: float) -> None:
        worth, offset = transfer.judge(block), block.offset
        if worth is Worth.WRONG:
            return self._wrong_block(transfer, block, now)
        if worth not in (Worth.NEXT, Worth.LAST):
            return None
        self._malformed = 0
        self.pace.answered()
        self._context.move(Input.LAST_BLOCK if worth is Worth.LAST else Input.BLOCK)
        self._tell_resumed(transfer, offset)
        self._context.say(BlockReceived(offset, block.data))
        if worth is Worth.LAST:
            return self._context.say(TransferComplete(transfer.image))
        unit_ms = self._context.settings.block_period_unit_ms
        when = self.pace.next_request(transfer.last_request, now, unit_ms)
        if when > now:
            self._context.wake = when
        else:
            self._request(transfer, now)
        return None

    def _tell_resumed(self, transfer: Transfer, offset: int) -> None:
        if transfer.interrupted:
            transfer.interrupted = False
            self._context.say(TransferResumed(offset))

    def _wrong_block(self, transfer: Transfer, block: ota.ImageBlock, now: float) -> None:
        context = self._context
        context.ignore(f"block at {block.offset} is of version 0x{block.file_version:08X}, or outside the image")
        if transfer.serves_another_image() and context.move(Input.GIVE_UP):
            context.say(TransferAborted("server serves another image", ZclStatus.ABORT))
            self._report(transfer.image, ZclStatus.ABORT, now)

    def _wait(self, transfer: Transfer, wait: ota.WaitForData, now: float) -> None:
        context = self._context
        seconds = wait_seconds(wait, context.settings.query_interval_s)
        context.move(Input.WAIT_FOR_DATA)
        context.wake = now + seconds
        if wait.block_period is not None:
            self.pace.period = wait.block_period
        transfer.tries = transfer.probes = 0
        transfer.interrupted = True
        context.say(TransferPaused("server asks to wait", seconds))

    def _request(self, transfer: Transfer, now: float) -> None:
        context = self._context
        node_eui = context.identity.eui if context.identity.device_specific else None
        request = transfer.request(context.settings.block_octets, node_eui, now)
        handle = context.send(request, aps_ack=APS_ACK_FOR_BLOCKS)
        context.await_answer(handle, now + context.settings.response_timeout_s)

    def _unanswered(self, transfer: Transfer, now: float) -> None:
        if self._context.awaited_delivered:
            self.pace.lost()
        if transfer.tries > self._context.settings.maximum_retries:
            self.pause(SERVER_SILENT, now)
        else:
            self._request(transfer, now)

    def _probe(self, transfer: Transfer, now: float) -> None:
        transfer.probes += 1
        if transfer.probes % 2:
            self._request(transfer, now)
        else:
            self._query(now)
        self._context.wake = now + self._context.settings.pause_after_retries_s
