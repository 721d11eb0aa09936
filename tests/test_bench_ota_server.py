"""The hub's OTA server against transcripts: what a device asks, what it is told, in virtual time."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import FormatError
from agent.events import ApsRequest
from agent.zigbee import foundation
from agent.zigbee import ota_messages as ota
from agent.zigbee.clusters import Cluster
from agent.zigbee.zcl import ZclFrame, ZclStatus
from boards.bench.desk import Desk, Peer
from boards.bench.faults import FaultPlan, Faults
from boards.bench.happenings import ImageQueried, TransferEnded, TransferProgress
from boards.bench.images import ServedImage
from boards.bench.members import Member
from boards.bench.ota_server import OtaServer
from boards.bench.settings import UTC_UNKNOWN, Activation, ActivationKind, ServerSettings

EUI = 0x90B3D51F30010000
UTC_AT_ZERO = 800_000_000
IMAGE = ServedImage("new.ota", 0x10B5, 0x0001, 0x01010000, bytes(range(256)) * 4, hardware=(1, 3))
ASK = ota.QueryNextImageRequest(0x10B5, 0x0001, 0x01000000, 2)

Answer = (
    ota.ImageNotify
    | ota.QueryNextImageResponse
    | ota.ImageBlock
    | ota.WaitForData
    | ota.BlockRefused
    | ota.UpgradeEndResponse
    | ota.QueryDeviceSpecificFileResponse
    | foundation.DefaultResponse
)


@dataclass
class Bench:
    """One device before one server; ``utc_known`` False is a hub without the time."""

    settings: ServerSettings = ServerSettings()  # noqa: RUF009
    faults: Faults = field(default_factory=Faults)
    utc_known: bool = True

    def __post_init__(self) -> None:
        self.now = 0.0
        self.desk = Desk()
        self.server = OtaServer(self.desk, self.settings, self.utc, random.Random(1), self.faults)
        self.member = Member(EUI, "ppmid", short=0x1234, endpoint=7)
        self.sequence = 0

    def utc(self, now: float) -> int:
        return UTC_AT_ZERO + int(now) if self.utc_known else UTC_UNKNOWN

    def ask(self, command: ota.OtaToServer, *, quiet: bool = True) -> list[Answer]:
        """Send one command and take what comes back at once."""
        self.sequence += 1
        frame = ZclFrame(
            Cluster.OTA, command.COMMAND, command.encode(), self.sequence & 0xFF, disable_default_response=quiet
        )
        self.server.receive(self.member, Peer(0x1234, 7), frame, self.now)
        return self.answers()

    def answers(self) -> list[Answer]:
        return [self._decode(request) for _, request in self.desk.take_requests() if isinstance(request, ApsRequest)]

    def wait(self, seconds: float) -> list[Answer]:
        """Let time pass from deadline to deadline."""
        end, got = self.now + seconds, []
        while (due := self.server.next_deadline()) is not None and due <= end:
            self.now = due
            self.server.handle_timer(due)
            got += self.answers()
        self.now = end
        return got

    def told(self, kind: type) -> list[object]:
        return [happening for happening in self.desk.told if isinstance(happening, kind)]

    @staticmethod
    def _decode(request: ApsRequest) -> Answer:
        assert (request.destination, request.destination_endpoint, request.profile) == (0x1234, 7, 0x0109)
        frame = ZclFrame.decode(request.cluster, request.payload)
        assert frame.to_client
        if not frame.cluster_specific:
            assert frame.command == foundation.DefaultResponse.COMMAND
            return foundation.DefaultResponse.decode(frame.payload)
        answer = ota.decode_to_client(frame.command, frame.payload)
        assert answer is not None
        return answer


def block(offset: int, octets: int = 50, period: int | None = None) -> ota.ImageBlockRequest:
    return ota.ImageBlockRequest(*IMAGE.file_id, offset, octets, None, period)


def offered(image: ServedImage = IMAGE, **bench: object) -> Bench:
    made = Bench(**bench)  # type: ignore[arg-type]
    made.server.table.add(image)
    return made


def with_activation(kind: ActivationKind, value: int = 0, form: str = "gb-ppmid") -> ServedImage:
    return ServedImage("new.ota", *IMAGE.file_id, IMAGE.octets, form, activation=Activation(kind, value))


def test_a_whole_transfer() -> None:
    bench = offered()
    # the hub tells: manufacturer, type and version, to everybody (jitter 100)
    assert bench.server.notify(bench.member, 0.0)
    assert bench.answers() == [ota.ImageNotify(100, *IMAGE.file_id)]
    # the device asks and is offered
    assert bench.ask(ASK) == [ota.QueryNextImageResponse(0, ota.ImageFound(*IMAGE.file_id, 1024))]
    # blocks to the end; the last is short
    got = b""
    while len(got) < 1024:
        bench.now += 0.1
        (answer,) = bench.ask(block(len(got)))
        assert isinstance(answer, ota.ImageBlock)
        assert answer.offset == len(got)
        got += answer.data
    assert got == IMAGE.octets
    # it has it all and may upgrade now
    (end,) = bench.ask(ota.UpgradeEndRequest(0, *IMAGE.file_id))
    assert end == ota.UpgradeEndResponse(*IMAGE.file_id, 0, 0)
    progress = bench.told(TransferProgress)
    assert progress[-1] == TransferProgress(EUI, 1024, 1024, 21, 0)
    (ended,) = bench.told(TransferEnded)
    assert isinstance(ended, TransferEnded)
    assert (ended.status, ended.upgrade_time, ended.blocks) == (0, 0, 21)
    # asked again: answered again, told once
    assert bench.ask(ota.UpgradeEndRequest(0, *IMAGE.file_id)) == [end]
    assert len(bench.told(TransferEnded)) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"manufacturer": 0x10B6}, "no image of manufacturer 0x10B6"),
        ({"image_type": 2}, "type 0x0002"),
        ({"file_version": 0x01010000}, "runs version 0x01010000 already"),
        ({"file_version": 0x02000000}, "is older"),
        ({"hardware_version": 4}, "hardware 0x0001 to 0x0003, not 0x0004"),
    ],
)
def test_no_image_and_why(change: dict[str, int], words: str) -> None:
    bench = offered()
    asked = {"manufacturer": 0x10B5, "image_type": 1, "file_version": 0x01000000, "hardware_version": 2} | change
    assert bench.ask(ota.QueryNextImageRequest(**asked)) == [ota.QueryNextImageResponse(ZclStatus.NO_IMAGE_AVAILABLE)]
    (queried,) = bench.told(ImageQueried)
    assert isinstance(queried, ImageQueried)
    assert words in queried.reason


def test_an_image_for_another_device_is_not_offered() -> None:
    bench = offered(ServedImage("x", *IMAGE.file_id, IMAGE.octets, devices=frozenset({EUI + 1})))
    assert bench.ask(ASK) == [ota.QueryNextImageResponse(ZclStatus.NO_IMAGE_AVAILABLE)]
    assert bench.ask(block(0)) == [ota.BlockRefused(ZclStatus.NO_IMAGE_AVAILABLE)]
    assert not bench.server.notify(bench.member, 0.0)


def test_older_on_purpose() -> None:
    bench = offered(ServedImage("old", 0x10B5, 1, 0x00090000, IMAGE.octets, also_older=True))
    assert bench.ask(ASK) == [ota.QueryNextImageResponse(0, ota.ImageFound(0x10B5, 1, 0x00090000, 1024))]


def test_the_highest_version_wins() -> None:
    bench = offered()
    bench.server.table.add(ServedImage("newer", 0x10B5, 1, 0x01020000, b"x" * 100))
    assert bench.ask(ASK) == [ota.QueryNextImageResponse(0, ota.ImageFound(0x10B5, 1, 0x01020000, 100))]


def test_device_specific_file() -> None:
    bench = offered()
    query = ota.QueryDeviceSpecificFileRequest(EUI, 0x10B5, 1, 0x01000000, 2)
    assert bench.ask(query) == [ota.QueryDeviceSpecificFileResponse(ZclStatus.NO_IMAGE_AVAILABLE)]
    bench.server.table.add(ServedImage("own", 0x10B5, 1, 0x01030000, b"y" * 70, target=EUI))
    assert bench.ask(query) == [ota.QueryDeviceSpecificFileResponse(0, ota.ImageFound(0x10B5, 1, 0x01030000, 70))]


def test_not_authorised() -> None:
    bench = offered()
    bench.member.authorised = False
    assert bench.ask(ASK) == [ota.QueryNextImageResponse(ZclStatus.NOT_AUTHORIZED)]
    assert bench.ask(block(0)) == [ota.BlockRefused(ZclStatus.NOT_AUTHORIZED)]
    end = bench.ask(ota.UpgradeEndRequest(0, *IMAGE.file_id))
    assert end == [foundation.DefaultResponse(6, ZclStatus.NOT_AUTHORIZED)]


def test_blocks_without_a_query_resume() -> None:
    bench = offered()
    (answer,) = bench.ask(block(500))
    assert isinstance(answer, ota.ImageBlock)
    assert answer.data == IMAGE.octets[500:550]
    assert bench.told(TransferProgress) == [TransferProgress(EUI, 550, 1024, 1, 0, resumed=True)]


def test_the_server_caps_the_block() -> None:
    bench = offered(settings=ServerSettings(block_octets=30))
    (answer,) = bench.ask(block(0, 255))
    assert isinstance(answer, ota.ImageBlock)
    assert len(answer.data) == 30


@pytest.mark.parametrize(("offset", "octets"), [(1024, 50), (0xFFFFFFFF, 50), (0, 0)])
def test_an_impossible_block(offset: int, octets: int) -> None:
    bench = offered()
    assert bench.ask(block(offset, octets)) == [foundation.DefaultResponse(3, ZclStatus.MALFORMED_COMMAND)]


def test_a_withdrawn_image_is_aborted() -> None:
    bench = offered()
    bench.ask(block(0))
    assert bench.server.table.withdraw("new.ota") == IMAGE
    assert bench.ask(block(50)) == [ota.BlockRefused(ZclStatus.ABORT)]
    assert bench.server.table.withdraw("new.ota") is None


def test_pause_tells_to_wait() -> None:
    bench = offered()
    bench.server.paused_until = 90.0
    utc = UTC_AT_ZERO
    assert bench.ask(block(0)) == [ota.WaitForData(utc, utc + 90, 0)]
    bench.wait(90)
    assert isinstance(bench.ask(block(0))[0], ota.ImageBlock)


def test_pause_without_a_clock() -> None:
    bench = offered(utc_known=False)
    bench.server.paused_until = 90.0
    assert bench.ask(block(0)) == [ota.WaitForData(0, 90, 0)]


def test_minimum_block_period_is_told_to_a_device_that_knows_it() -> None:
    bench = offered(settings=ServerSettings(minimum_block_period_ms=250))
    assert bench.ask(block(0, period=0)) == [ota.WaitForData(0, 0, 250)]
    assert isinstance(bench.ask(block(0, period=250))[0], ota.ImageBlock)
    assert isinstance(bench.ask(block(50, period=250))[0], ota.ImageBlock)


def test_a_device_that_does_not_take_the_period_over_is_held_to_it() -> None:
    bench = offered(settings=ServerSettings(minimum_block_period_ms=250))
    assert [bench.ask(block(0, period=0)) for _ in range(3)] == [[ota.WaitForData(0, 0, 250)]] * 3
    assert isinstance(bench.ask(block(0, period=0))[0], ota.ImageBlock)
    assert bench.ask(block(50, period=0)) == []
    (answer,) = bench.wait(0.25)
    assert isinstance(answer, ota.ImageBlock)


def test_pacing_answers_the_latest_request_only() -> None:
    bench = offered(settings=ServerSettings(minimum_block_period_ms=1000))
    assert len(bench.ask(block(0))) == 1
    assert bench.ask(block(50)) == []
    bench.now = 0.4
    assert bench.ask(block(50)) == []
    answers = bench.wait(10)
    assert answers == [ota.ImageBlock(*IMAGE.file_id, 50, IMAGE.octets[50:100])]


def test_a_page_comes_spaced() -> None:
    bench = offered()
    first = bench.ask(ota.ImagePageRequest(*IMAGE.file_id, 100, 50, 120, 40))
    rest = bench.wait(1.0)
    blocks = [(answer.offset, len(answer.data)) for answer in first + rest if isinstance(answer, ota.ImageBlock)]
    assert blocks == [(100, 50), (150, 50), (200, 20)]


def test_a_new_page_replaces_the_old() -> None:
    bench = offered()
    bench.ask(ota.ImagePageRequest(*IMAGE.file_id, 0, 50, 1000, 40))
    bench.wait(0.1)
    (first,) = bench.ask(ota.ImagePageRequest(*IMAGE.file_id, 600, 50, 100, 40))
    (second,) = bench.wait(5.0)
    assert isinstance(first, ota.ImageBlock)
    assert isinstance(second, ota.ImageBlock)
    assert (first.offset, second.offset) == (600, 650)


def test_no_page_requests() -> None:
    bench = offered(settings=ServerSettings(page_requests=False))
    answer = bench.ask(ota.ImagePageRequest(*IMAGE.file_id, 0, 50, 1000, 40))
    assert answer == [foundation.DefaultResponse(4, ZclStatus.UNSUP_CLUSTER_COMMAND)]


@pytest.mark.parametrize(
    ("image", "utc_known", "expected"),
    [
        (with_activation(ActivationKind.NOW), True, (*IMAGE.file_id, 0, 0)),
        (with_activation(ActivationKind.AFTER, 60), True, (*IMAGE.file_id, UTC_AT_ZERO, UTC_AT_ZERO + 60)),
        (with_activation(ActivationKind.AFTER, 60), False, (*IMAGE.file_id, 0, 60)),
        (with_activation(ActivationKind.AT, UTC_AT_ZERO + 9), True, (*IMAGE.file_id, UTC_AT_ZERO, UTC_AT_ZERO + 9)),
        (with_activation(ActivationKind.AT, UTC_AT_ZERO - 9), True, (*IMAGE.file_id, 0, 0)),
        # a time that cannot be told yet: wait and ask again
        (with_activation(ActivationKind.AT, UTC_AT_ZERO), False, (*IMAGE.file_id, UTC_UNKNOWN, UTC_UNKNOWN)),
        (with_activation(ActivationKind.WAIT), True, (*IMAGE.file_id, UTC_AT_ZERO, UTC_UNKNOWN)),
        # what a hub tells an HCALCS: wildcards, both times unknown
        (
            with_activation(ActivationKind.WAIT, form="gb-hcalcs"),
            True,
            (0xFFFF, 0xFFFF, 0xFFFFFFFF, UTC_UNKNOWN, UTC_UNKNOWN),
        ),
    ],
)
def test_upgrade_end_response(image: ServedImage, utc_known: bool, expected: tuple[int, ...]) -> None:
    bench = offered(image, utc_known=utc_known)
    assert bench.ask(ota.UpgradeEndRequest(0, *IMAGE.file_id)) == [ota.UpgradeEndResponse(*expected)]


def test_a_waiting_device_is_released() -> None:
    bench = offered(with_activation(ActivationKind.WAIT))
    assert not bench.server.answer_upgrade(bench.member, 0.0)
    bench.ask(ota.UpgradeEndRequest(0, *IMAGE.file_id))
    bench.server.table.set_activation("new.ota", Activation(ActivationKind.NOW))
    assert bench.server.answer_upgrade(bench.member, 1.0)
    assert bench.answers() == [ota.UpgradeEndResponse(*IMAGE.file_id, 0, 0)]


@pytest.mark.parametrize("status", [ZclStatus.INVALID_IMAGE, ZclStatus.ABORT, ZclStatus.REQUIRE_MORE_IMAGE])
def test_a_refused_image_is_heard(status: ZclStatus) -> None:
    bench = offered()
    answer = bench.ask(ota.UpgradeEndRequest(status, *IMAGE.file_id), quiet=False)
    assert answer == [foundation.DefaultResponse(6, 0)]
    (ended,) = bench.told(TransferEnded)
    assert isinstance(ended, TransferEnded)
    assert (ended.status, ended.upgrade_time) == (status, None)


def test_a_second_transfer_of_an_image_that_was_given_back_has_its_own_end() -> None:
    bench = offered()
    for times in (1, 2):
        bench.ask(ASK)
        bench.ask(ota.UpgradeEndRequest(ZclStatus.ABORT, *IMAGE.file_id), quiet=False)
        bench.ask(ota.UpgradeEndRequest(ZclStatus.ABORT, *IMAGE.file_id), quiet=False)
        assert len(bench.told(TransferEnded)) == times


def test_an_end_without_sense() -> None:
    bench = offered()
    assert bench.ask(ota.UpgradeEndRequest(0x42, *IMAGE.file_id)) == [
        foundation.DefaultResponse(6, ZclStatus.MALFORMED_COMMAND)
    ]
    assert bench.ask(ota.UpgradeEndRequest(0, 1, 2, 3)) == [foundation.DefaultResponse(6, ZclStatus.ABORT)]
    assert bench.told(TransferEnded) == []


def test_notifies_repeat_until_the_device_asks() -> None:
    bench = offered(settings=ServerSettings(notify_interval_s=60.0))
    bench.server.notify(bench.member, 0.0)
    bench.server.notify(bench.member, 0.0)  # a second call does not start a second chain
    bench.answers()
    assert len(bench.wait(180.0)) == 3
    bench.ask(ASK)
    assert bench.wait(1800.0) == []


# faults on purpose


def test_fault_abort_strikes_once() -> None:
    bench = offered(faults=Faults(FaultPlan(abort_at=100)))
    assert isinstance(bench.ask(block(50))[0], ota.ImageBlock)
    assert bench.ask(block(100)) == [ota.BlockRefused(ZclStatus.ABORT)]
    assert isinstance(bench.ask(block(100))[0], ota.ImageBlock)


def test_fault_wait_without_clock() -> None:
    bench = offered(faults=Faults(FaultPlan(wait_at=0, wait_s=7, wait_without_clock=True)))
    assert bench.ask(block(0)) == [ota.WaitForData(0, 7, 0)]


def test_fault_silence_ends() -> None:
    bench = offered(faults=Faults(FaultPlan(silent_at=50, silent_s=60.0)))
    assert bench.ask(block(50)) == []
    bench.now = 59.0
    assert bench.ask(block(50)) == []
    bench.now = 60.0
    assert len(bench.ask(block(50))) == 1


def test_fault_forgotten_session_wakes_with_a_query() -> None:
    bench = offered(faults=Faults(FaultPlan(forget_at=50)))
    assert bench.ask(block(50)) == []
    assert bench.ask(ota.UpgradeEndRequest(0, *IMAGE.file_id)) == []
    assert len(bench.ask(ASK)) == 1
    assert len(bench.ask(block(50))) == 1


def test_fault_foreign_and_corrupt_octets() -> None:
    bench = offered(faults=Faults(FaultPlan(foreign_from=60, corrupt_at=52), b"\xff" * 1024))
    (answer,) = bench.ask(block(50, 20))
    assert isinstance(answer, ota.ImageBlock)
    assert answer.data == bytes([50, 51, 52 ^ 1, *range(53, 60)]) + b"\xff" * 10


def test_fault_repeats_late_short_and_wrong_version() -> None:
    assert len(offered(faults=Faults(FaultPlan(repeat_responses=2))).ask(block(0))) == 3
    late = offered(faults=Faults(FaultPlan(late_every=1, late_s=3.0)))
    assert late.ask(block(0)) == []
    assert len(late.wait(3.0)) == 1
    (short,) = offered(faults=Faults(FaultPlan(short_every=1))).ask(block(0))
    assert isinstance(short, ota.ImageBlock)
    assert len(short.data) == 25
    (wrong,) = offered(faults=Faults(FaultPlan(wrong_version_at=0))).ask(block(0))
    assert isinstance(wrong, ota.ImageBlock)
    assert wrong.file_version == IMAGE.file_version ^ 1


def test_fault_drops_every_second() -> None:
    bench = offered(faults=Faults(FaultPlan(drop_every=2)))
    assert [len(bench.ask(block(0))) for _ in range(4)] == [1, 0, 1, 0]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=30), st.booleans()), max_size=12))
def test_any_octets_are_answered_or_a_format_error(frames: list[tuple[int, bytes, bool]]) -> None:
    bench = offered()
    for command, payload, quiet in frames:
        frame = ZclFrame(Cluster.OTA, command, payload, 1, disable_default_response=quiet)
        try:
            bench.server.receive(bench.member, Peer(0x1234, 7), frame, bench.now)
        except FormatError:
            continue
        assert len(bench.desk.take_requests()) <= 1
        bench.now += 0.5
        bench.server.handle_timer(bench.now)
    assert bench.server.table.images == {"new.ota": IMAGE}


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 64), st.booleans())
def test_a_persistent_device_always_gets_the_image(chance: random.Random, size: int, paged: bool) -> None:
    faults = Faults(FaultPlan(drop_every=3, late_every=5, short_every=4, repeat_responses=1, abort_at=300, wait_at=600))
    bench = offered(faults=faults)
    got = bytearray()
    for _ in range(3000):
        request = block(len(got), size)
        page = ota.ImagePageRequest(*IMAGE.file_id, len(got), size, 200, 10)
        answers = bench.ask(page if paged and chance.random() < 0.3 else request) + bench.wait(4.0)
        for answer in answers:
            if isinstance(answer, ota.ImageBlock) and answer.offset == len(got):
                got += answer.data
        if len(got) == len(IMAGE.octets):
            break
    assert bytes(got) == IMAGE.octets
