"""The hub's OTA Upgrade server (cluster 0x0019, ZCL 11.13), pure: every call takes ``now``.

Blocks are served to whoever names a file that is on offer, with or without a query before: a device resumes after a
restart of either side. ``handle_timer`` sends what is due later: page blocks, paced and late responses, notifies.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from agent.zigbee import ota_messages as ota
from agent.zigbee.zcl import ZclFrame, ZclStatus
from boards.bench.desk import Desk, Peer
from boards.bench.faults import Faults
from boards.bench.happenings import DeviceNotified, ImageQueried, TransferEnded, TransferProgress
from boards.bench.images import ImageTable, NotOffered, ServedImage, Wanted
from boards.bench.members import Member
from boards.bench.ota_session import Block, Session, upgrade_answer
from boards.bench.settings import UTC_UNKNOWN, ServerSettings

OTA_CLUSTER = 0x0019
JITTER_EVERYBODY = 100
PERIOD_TRIES = 3  # a device that does not take the block period over is held to it all the same
NO_UPGRADE = (ZclStatus.INVALID_IMAGE, ZclStatus.ABORT, ZclStatus.REQUIRE_MORE_IMAGE)


@dataclass(order=True, slots=True)
class _Later:
    due: float
    number: int
    action: Callable[[float], None] = field(compare=False)


class OtaServer:
    """``utc(now)`` is ZigBee UTCTime, 0xFFFFFFFF while unknown."""

    def __init__(
        self,
        desk: Desk,
        settings: ServerSettings,
        utc: Callable[[float], int],
        rng: random.Random,
        faults: Faults | None = None,
    ) -> None:
        self.table = ImageTable()
        self.sessions: dict[int, Session] = {}
        self.faults = faults or Faults()
        self.paused_until: float | None = None  # WAIT_FOR_DATA to everybody until then
        self._desk = desk
        self._settings = settings
        self._utc = utc
        self._random = rng
        self._later: list[_Later] = []
        self._count = 0
        self._notifies: dict[int, int] = {}  # by EUI: which notify is the latest

    # what the operator does

    def notify(self, member: Member, now: float) -> bool:
        """Send an Image Notify for what is on offer to this device. False: nothing is, or its endpoint is not known."""
        image, peer = self.table.for_device(member.eui), member.peer
        if image is None or peer is None or not member.authorised:
            return False
        notify = ota.ImageNotify(JITTER_EVERYBODY, *image.file_id)
        self._desk.send(peer, self._desk.command(OTA_CLUSTER, notify.COMMAND, notify.encode(), to_client=True))
        self._desk.tell(DeviceNotified(member.eui))
        if self._settings.notify_interval_s > 0:
            number = self._notifies[member.eui] = self._notifies.get(member.eui, 0) + 1
            again = now + self._settings.notify_interval_s
            self._at(again, lambda at: self._notify_again(member, image, number, at))
        return True

    def answer_upgrade(self, member: Member, now: float) -> bool:
        """Send the Upgrade End Response unasked, to a device that was told to wait. False: it holds nothing of ours."""
        session, peer = self.sessions.get(member.eui), member.peer
        if session is None or peer is None or session.answer is None or session.answer[1] is None:
            return False
        image = self.table.by_file_id(session.file_id, member.eui)
        if image is None:
            return False
        response = upgrade_answer(image, self._utc(now))
        session.answer = (ZclStatus.SUCCESS, response.upgrade_time)
        self._desk.send(peer, self._desk.command(OTA_CLUSTER, response.COMMAND, response.encode(), to_client=True))
        return True

    # the node's side

    def next_deadline(self) -> float | None:
        """When something is due."""
        return self._later[0].due if self._later else None

    def handle_timer(self, now: float) -> None:
        """Send what is due."""
        while self._later and self._later[0].due <= now:
            heapq.heappop(self._later).action(now)

    def receive(self, member: Member, peer: Peer, frame: ZclFrame, now: float) -> None:
        """One OTA command of a device. Raises FormatError, which the hub answers with MALFORMED_COMMAND."""
        command = ota.decode_to_server(frame.command, frame.payload)
        if isinstance(command, ota.QueryNextImageRequest | ota.QueryDeviceSpecificFileRequest):
            self._query(member, peer, frame, command, now)
        elif isinstance(command, ota.ImageBlockRequest):
            self._block_request(member, peer, frame, command, now)
        elif isinstance(command, ota.ImagePageRequest) and self._settings.page_requests:
            self._page_request(member, peer, frame, command, now)
        elif isinstance(command, ota.UpgradeEndRequest):
            self._upgrade_end(member, peer, frame, command, now)
        else:
            self._desk.default_response(peer, frame, ZclStatus.UNSUP_CLUSTER_COMMAND)

    # queries

    def _query(
        self,
        member: Member,
        peer: Peer,
        frame: ZclFrame,
        query: ota.QueryNextImageRequest | ota.QueryDeviceSpecificFileRequest,
        now: float,
    ) -> None:
        specific = isinstance(query, ota.QueryDeviceSpecificFileRequest)
        hardware = None if isinstance(query, ota.QueryDeviceSpecificFileRequest) else query.hardware_version
        wanted = Wanted(member.eui, query.manufacturer, query.image_type, query.file_version, hardware, specific)
        found = self.table.find(wanted) if member.authorised else NotOffered("the device is not authorised")
        if isinstance(found, ServedImage):
            status = ZclStatus.SUCCESS
            self._begin(member, found, now)
            response = ota.QueryNextImageResponse(status, ota.ImageFound(*found.file_id, len(found.octets)))
        else:
            status = ZclStatus.NO_IMAGE_AVAILABLE if member.authorised else ZclStatus.NOT_AUTHORIZED
            response = ota.QueryNextImageResponse(status)
        command = (ota.QueryDeviceSpecificFileResponse if specific else ota.QueryNextImageResponse).COMMAND
        self._desk.reply(peer, frame, command, response.encode())
        offered = found.file_version if isinstance(found, ServedImage) else None
        why = found if isinstance(found, NotOffered) else NotOffered("")
        told = (member.eui, query.file_version, hardware, status, offered, why.reason, why.mismatched_version)
        self._desk.tell(ImageQueried(*told))

    def _begin(self, member: Member, image: ServedImage, now: float) -> Session:
        """The session of this file; a query wakes a forgotten one, and after a file was given back begins a new one."""
        session = self.sessions.get(member.eui)
        if session is None or session.file_id != image.file_id or session.forgotten or session.given_back:
            session = self.sessions[member.eui] = Session(image.file_id, now)
        return session

    def _notify_again(self, member: Member, image: ServedImage, number: int, now: float) -> None:
        """A device that has not asked for this file is told of it once more."""
        session = self.sessions.get(member.eui)
        asked = session is not None and session.file_id == image.file_id
        if not asked and self._notifies[member.eui] == number:
            self.notify(member, now)

    # blocks

    def _block_request(
        self, member: Member, peer: Peer, frame: ZclFrame, request: ota.ImageBlockRequest, now: float
    ) -> None:
        block = self._requested_block(member, peer, frame, request, now)
        if block is None:
            return
        session = self.sessions[member.eui]
        period_ms = self._settings.minimum_block_period_ms
        slow = request.block_period is not None and request.block_period >= period_ms
        if request.block_period is not None and not slow and session.period_told < PERIOD_TRIES:
            self._say(peer, frame, ota.WaitForData(0, 0, period_ms))
            session.period_told += 1
            return
        earliest = (session.last_block_at or 0.0) + period_ms / 1000
        if session.last_block_at is not None and not slow and now < earliest:
            session.page += 1
            self._send_block_at(earliest, block, session, session.page)
        else:
            self._send_block(block, session, now)

    def _page_request(
        self, member: Member, peer: Peer, frame: ZclFrame, request: ota.ImagePageRequest, now: float
    ) -> None:
        block = self._requested_block(member, peer, frame, request, now)
        if block is None:
            return
        session = self.sessions[member.eui]
        session.pages += 1
        session.page += 1
        end = min(request.offset + request.page_size, len(block.image.octets))
        spacing_s = max(request.spacing_ms, self._settings.minimum_block_period_ms) / 1000
        self._page_block(block, session, session.page, end, spacing_s, now)

    def _page_block(self, block: Block, session: Session, page: int, end: int, spacing_s: float, now: float) -> None:
        """Send one block of a page and plan the next, unless a newer page took its place."""
        if session.page != page:
            return
        sent = self._send_block(block.clipped(end), session, now)
        following = block.offset + max(sent, 1)
        if following < end:
            rest = replace(block, offset=following)
            self._at(now + spacing_s, lambda at: self._page_block(rest, session, page, end, spacing_s, at))

    def _requested_block(
        self,
        member: Member,
        peer: Peer,
        frame: ZclFrame,
        request: ota.ImageBlockRequest | ota.ImagePageRequest,
        now: float,
    ) -> Block | None:
        """The block asked for; None when the request was answered otherwise, or by silence."""
        file_id = (request.manufacturer, request.image_type, request.file_version)
        image = self.table.by_file_id(file_id, member.eui)
        length = min(request.maximum_octets, self._settings.block_octets)
        if image is None or not member.authorised:
            gone = ZclStatus.ABORT if file_id in self.table.withdrawn else ZclStatus.NO_IMAGE_AVAILABLE
            self._say(peer, frame, ota.BlockRefused(gone if member.authorised else ZclStatus.NOT_AUTHORIZED))
            return None
        if request.offset >= len(image.octets) or length == 0:
            self._desk.default_response(peer, frame, ZclStatus.MALFORMED_COMMAND)
            return None
        session = self.sessions.get(member.eui)
        if session is None or session.file_id != file_id:
            session = self.sessions[member.eui] = Session(file_id, now)
        block = Block(member, peer, frame, image, request.offset, length)
        return None if self._held_back(block, session, now) else block

    def _held_back(self, block: Block, session: Session, now: float) -> bool:
        """True when the pause or a fault takes the place of the block."""
        faults, device, offset = self.faults, block.member.eui, block.offset
        faults.count_response()
        if faults.strikes("forget_at", device, offset):
            session.forgotten = True
        if faults.strikes("silent_at", device, offset):
            session.silent_until = now + faults.plan.silent_s
        if session.forgotten or now < session.silent_until or faults.every(faults.plan.drop_every):
            return True
        if faults.strikes("abort_at", device, offset):
            self._say(block.peer, block.frame, ota.BlockRefused(ZclStatus.ABORT))
        elif faults.strikes("wait_at", device, offset):
            self._wait(block, session, faults.plan.wait_s, now, clock=not faults.plan.wait_without_clock)
        elif self.paused_until is not None and now < self.paused_until:
            self._wait(block, session, max(1, int(self.paused_until - now)), now, clock=True)
        else:
            return False
        return True

    def _wait(self, block: Block, session: Session, seconds: int, now: float, *, clock: bool) -> None:
        """WAIT_FOR_DATA; without a clock of ours (or on purpose) the request time is the offset."""
        current = self._utc(now)
        session.waits += 1
        if not clock or current == UTC_UNKNOWN:
            self._say(block.peer, block.frame, ota.WaitForData(0, seconds, self._settings.minimum_block_period_ms))
        else:
            waits = ota.WaitForData(current, current + seconds, self._settings.minimum_block_period_ms)
            self._say(block.peer, block.frame, waits)

    def _say(self, peer: Peer, frame: ZclFrame, response: ota.WaitForData | ota.BlockRefused) -> None:
        self._desk.reply(peer, frame, response.COMMAND, response.encode())

    def _send_block_at(self, due: float, block: Block, session: Session, page: int) -> None:
        """A paced response; a newer request of the same device takes its place."""

        def send(now: float) -> None:
            if session.page == page:
                self._send_block(block, session, now)

        self._at(due, send)

    def _send_block(self, block: Block, session: Session, now: float) -> int:
        """Send it, count it, tell it. Returns its octets."""
        faults = self.faults
        data = faults.block(block.image.octets, block.offset, block.length)
        manufacturer, image_type, version = block.image.file_id
        if faults.strikes("wrong_version_at", block.member.eui, block.offset):
            version ^= 1
        payload = ota.ImageBlock(manufacturer, image_type, version, block.offset, data).encode()

        def send(_now: float) -> None:
            self._desk.reply(block.peer, block.frame, ota.ImageBlock.COMMAND, payload, ack=self._settings.block_aps_ack)

        if faults.every(faults.plan.late_every):
            self._at(now + faults.plan.late_s, send)
        else:
            send(now)
        for _ in range(faults.plan.repeat_responses):
            send(now)
        self._count_block(block, session, len(data), now)
        return len(data)

    def _count_block(self, block: Block, session: Session, length: int, now: float) -> None:
        end = block.offset + length
        session.resumed = session.resumed or (session.blocks == 0 and block.offset > 0)
        session.repeats += end <= session.reached
        session.reached = max(session.reached, end)
        session.blocks += 1
        session.octets += length
        session.last_block_at = now
        size = len(block.image.octets)
        progress = TransferProgress(
            block.member.eui, session.reached, size, session.blocks, session.repeats, session.resumed
        )
        self._desk.tell(progress)

    # the end

    def _upgrade_end(
        self, member: Member, peer: Peer, frame: ZclFrame, request: ota.UpgradeEndRequest, now: float
    ) -> None:
        file_id = (request.manufacturer, request.image_type, request.file_version)
        session = self.sessions.get(member.eui)
        if session is not None and session.forgotten:
            return
        if not member.authorised:
            self._desk.default_response(peer, frame, ZclStatus.NOT_AUTHORIZED)
            return
        if request.status != ZclStatus.SUCCESS:
            self._given_back(member, peer, frame, request, now)
            return
        image = self.table.by_file_id(file_id, member.eui)
        if image is None:
            self._desk.default_response(peer, frame, ZclStatus.ABORT)
            return
        response = upgrade_answer(image, self._utc(now))
        self._desk.reply(peer, frame, response.COMMAND, response.encode())
        self._tell_end(member, request, response, now)

    def _given_back(
        self, member: Member, peer: Peer, frame: ZclFrame, request: ota.UpgradeEndRequest, now: float
    ) -> None:
        """The device does not want what it has; the Default Response says that it was heard (ZCL 11.13.9.3)."""
        known = request.status in NO_UPGRADE
        status = ZclStatus.SUCCESS if known else ZclStatus.MALFORMED_COMMAND
        self._desk.default_response(peer, _wanting_response(frame), status)
        if known:
            self._tell_end(member, request, None, now)

    def _tell_end(
        self, member: Member, request: ota.UpgradeEndRequest, response: ota.UpgradeEndResponse | None, now: float
    ) -> None:
        """Told once for each new answer: a waiting device asks again every hour."""
        file_id = (request.manufacturer, request.image_type, request.file_version)
        session = self.sessions.get(member.eui)
        if session is None or session.file_id != file_id:
            session = self.sessions[member.eui] = Session(file_id, now)
        upgrade_time = response.upgrade_time if response else None
        answer = (request.status, upgrade_time)
        if session.answer == answer:
            return
        session.answer = answer
        session.page += 1  # an old page goes no further
        current = response.current_time if response else None
        counts = (session.blocks, session.repeats, now - session.started_at)
        self._desk.tell(TransferEnded(member.eui, request.file_version, request.status, current, upgrade_time, *counts))

    def _at(self, due: float, action: Callable[[float], None]) -> None:
        self._count += 1
        heapq.heappush(self._later, _Later(due, self._count, action))


def _wanting_response(frame: ZclFrame) -> ZclFrame:
    """The same request, as if its sender had not disabled the Default Response: this one is always owed."""
    return ZclFrame(frame.cluster, frame.command, frame.payload, frame.sequence, disable_default_response=False)
