"""The OTA client, as transcripts: what comes from the server, what goes to it, what the owner hears."""

from __future__ import annotations

import pytest
from ota_lab import (
    EUI,
    FAR_AWAY_S,
    FILE_ID,
    FOUND,
    HUB,
    IDENTITY,
    IMAGE,
    OCTETS,
    QUERY,
    RUNNING,
    Lab,
    block,
    block_request,
    end_response,
)

from agent.settings import OtaSettings
from agent.zigbee import ota_messages as ota
from agent.zigbee.clusters import Cluster
from agent.zigbee.ota_attributes import read_attributes
from agent.zigbee.ota_events import (
    ActivateAt,
    ActivateNow,
    ActivationPolicy,
    BlockReceived,
    DownloadResume,
    HoldForCommand,
    Ignored,
    ImageOffered,
    NoImage,
    OtaIdentity,
    TimeoutPolicy,
    TransferAborted,
    TransferComplete,
    TransferPaused,
    TransferResumed,
    UpgradeEndUnanswered,
)
from agent.zigbee.ota_states import State
from agent.zigbee.zcl import ZclFrame, ZclStatus

HOUR_S, DAY_S = 3_600.0, 86_400.0
HCALCS = OtaIdentity(
    IMAGE.manufacturer,
    IMAGE.image_type,
    3,
    RUNNING,
    EUI,
    activation_policy=ActivationPolicy.OUT_OF_BAND,
    timeout_policy=TimeoutPolicy.DO_NOT_APPLY,
)


def test_a_whole_update() -> None:
    lab = Lab()
    # its own query as soon as the server is found, with the hardware version
    assert lab.sent() == [QUERY]
    # Query Next Image Response: SUCCESS, 1.1.0, 120 octets
    assert lab.server(FOUND) is ZclStatus.SUCCESS
    assert lab.events() == [ImageOffered(IMAGE)]
    # the owner takes it from the start
    assert lab.client.begin_download(0, lab.now)
    assert lab.sent() == [block_request(0)]
    # each block brings the next request, the last one asks for what is left
    lab.server(block(0))
    assert lab.sent() == [block_request(50)]
    lab.server(block(50))
    assert lab.sent() == [block_request(100, 20)]
    lab.server(block(100))
    assert lab.sent() == []
    received = [BlockReceived(0, OCTETS[:50]), BlockReceived(50, OCTETS[50:100]), BlockReceived(100, OCTETS[100:])]
    assert lab.events() == [*received, TransferComplete(IMAGE)]
    # verified: Upgrade End SUCCESS; the server answers "now"
    assert lab.client.end_upgrade(ZclStatus.SUCCESS, lab.now)
    assert lab.sent() == [ota.UpgradeEndRequest(0, *FILE_ID)]
    lab.server(end_response(1000, 0))
    assert lab.events() == [ActivateNow()]
    assert lab.client.state is State.ACTIVATING
    assert lab.run_for(30 * DAY_S) == []  # nothing more until the restart


class TestNotify:
    def lab(self) -> Lab:
        lab = Lab()
        assert lab.sent() == [QUERY]
        lab.server(ota.QueryNextImageResponse(ZclStatus.NO_IMAGE_AVAILABLE))
        assert lab.events() == [NoImage(0x98)]
        return lab

    @pytest.mark.parametrize(
        "notify",
        [
            ota.ImageNotify(100),
            ota.ImageNotify(1),
            ota.ImageNotify(1, 0x9999),
            ota.ImageNotify(1, 0x1234, 0x9999),
            ota.ImageNotify(1, 0x1234, 0x5678, RUNNING),
        ],
    )
    def test_unicast_is_always_answered(self, notify: ota.ImageNotify) -> None:
        lab = self.lab()
        assert lab.server(notify) is ZclStatus.SUCCESS
        assert lab.sent() == [QUERY]

    @pytest.mark.parametrize(
        ("notify", "answered"),
        [
            (ota.ImageNotify(100), True),
            (ota.ImageNotify(100, 0x1234), True),
            (ota.ImageNotify(100, 0xFFFF), True),
            (ota.ImageNotify(100, 0x9999), False),
            (ota.ImageNotify(100, 0x1234, 0x5678), True),
            (ota.ImageNotify(100, 0x1234, 0xFFFF), True),
            (ota.ImageNotify(100, 0x1234, 0x9999), False),
            (ota.ImageNotify(100, 0x1234, 0x5678, 0x01010000), True),
            (ota.ImageNotify(100, 0x1234, 0x5678, 0xFFFFFFFF), True),
            (ota.ImageNotify(100, 0x1234, 0x5678, RUNNING), False),
        ],
    )
    def test_broadcast_is_filtered(self, notify: ota.ImageNotify, answered: bool) -> None:
        lab = self.lab()
        lab.server(notify, broadcast=True)
        assert lab.sent() == ([QUERY] if answered else [])

    def test_jitter_is_the_share_that_answers(self) -> None:
        answers = 0
        for seed in range(400):
            lab = Lab(seed=seed)
            lab.sent()
            lab.server(ota.ImageNotify(25), broadcast=True)
            answers += len(lab.sent())
        assert 60 < answers < 140  # 25 % of 400, give or take

    def test_reserved_payload_type_is_malformed(self) -> None:
        lab = self.lab()
        frame = ZclFrame(Cluster.OTA, 0x00, bytes([4, 100]), 1, to_client=True)
        assert lab.client.receive(frame, 0, False, lab.now) is ZclStatus.MALFORMED_COMMAND
        assert lab.sent() == []

    def test_in_a_transfer_unicast_asks_and_the_transfer_goes_on(self) -> None:
        lab = Lab().downloading()
        lab.server(ota.ImageNotify(100))
        assert lab.sent() == [QUERY]
        lab.server(FOUND)  # the same image: nothing to decide
        assert lab.events() == []
        lab.server(block(0))
        assert lab.sent() == [block_request(50)]


class TestQuery:
    def test_daily_with_jitter(self) -> None:
        lab = Lab()
        times = []
        for _day in range(30):
            assert lab.sent() == [QUERY]
            lab.server(ota.QueryNextImageResponse(ZclStatus.NO_IMAGE_AVAILABLE))
            asked = lab.now
            lab.now = lab.client.next_deadline() or 0.0
            times.append(lab.now - asked)
            lab.client.handle_timer(lab.now)
        assert all(DAY_S - HOUR_S <= seconds <= DAY_S + HOUR_S for seconds in times)
        assert len(set(times)) == 30

    def test_unanswered_is_repeated_ever_more_slowly(self) -> None:
        lab = Lab()
        assert len(lab.run_for(HOUR_S)) <= 11
        assert len(lab.run_for(10 * HOUR_S)) <= 11

    def test_the_version_after_an_update_without_restart(self) -> None:
        lab = Lab()
        lab.sent()
        lab.client.set_running_version(0x01010000)
        lab.client.query_now(lab.now)
        assert lab.sent() == [ota.QueryNextImageRequest(0x1234, 0x5678, 0x01010000, 3)]

    @pytest.mark.parametrize("status", [ZclStatus.NOT_AUTHORIZED, ZclStatus.MALFORMED_COMMAND])
    def test_error_as_default_response(self, status: ZclStatus) -> None:
        lab = Lab()
        lab.sent()
        lab.default_response(0x01, status)
        assert lab.events() == [NoImage(status)]
        assert lab.run_for(HOUR_S) == []

    def test_offer_for_another_device_is_no_offer(self) -> None:
        lab = Lab()
        lab.sent()
        lab.server(ota.QueryNextImageResponse(0, ota.ImageFound(0x1234, 0x9999, 0x01010000, 120)))
        assert lab.events() == []
        assert not lab.client.begin_download(0, lab.now)

    def test_unasked_answer_is_no_offer(self) -> None:
        lab = Lab()
        lab.sent()
        lab.server(ota.QueryNextImageResponse(ZclStatus.NO_IMAGE_AVAILABLE))
        lab.events()
        lab.server(FOUND)
        assert lab.events(ignored=True) == [Ignored("query response that nobody asked for")]

    def test_declined(self) -> None:
        lab = Lab()
        lab.sent()
        lab.server(FOUND)
        lab.client.decline()
        assert not lab.client.begin_download(0, lab.now)
        assert lab.run_for(HOUR_S) == []

    def test_nothing_goes_out_without_a_server(self) -> None:
        lab = Lab(online=False)
        lab.client.query_now(lab.now)
        assert lab.run_for(30 * DAY_S) == []
        assert lab.client.next_deadline() is None


class TestDeviceSpecific:
    IDENTITY = OtaIdentity(IMAGE.manufacturer, IMAGE.image_type, 3, RUNNING, EUI, device_specific=True)
    ASK = ota.QueryDeviceSpecificFileRequest(EUI, IMAGE.manufacturer, IMAGE.image_type, RUNNING, 2)

    def test_asks_with_its_address_and_downloads_with_it(self) -> None:
        lab = Lab(self.IDENTITY)
        assert lab.sent() == [self.ASK]
        lab.server(ota.QueryDeviceSpecificFileResponse(0, IMAGE))
        assert lab.events() == [ImageOffered(IMAGE)]
        lab.client.begin_download(0, lab.now)
        # Image Block Request with field control bit 0 and the request node address
        assert lab.sent() == [ota.ImageBlockRequest(*FILE_ID, 0, 50, EUI)]

    def test_a_server_without_it_is_asked_in_the_ordinary_way(self) -> None:
        lab = Lab(self.IDENTITY)
        assert lab.sent() == [self.ASK]
        lab.default_response(0x08, ZclStatus.UNSUP_CLUSTER_COMMAND)
        assert lab.sent() == [QUERY]
        lab.server(FOUND)
        assert lab.events() == [ImageOffered(IMAGE)]


class TestBlocks:
    def test_short_blocks(self) -> None:
        lab = Lab().downloading()
        lab.server(block(0, 7))
        assert lab.sent() == [block_request(7)]
        assert lab.events() == [BlockReceived(0, OCTETS[:7])]

    def test_duplicates_and_blocks_out_of_order_start_nothing(self) -> None:
        lab = Lab().downloading()
        lab.server(block(0))
        assert lab.sent() == [block_request(50)]
        lab.server(block(0))
        lab.server(block(100))
        assert lab.sent() == []
        assert lab.events() == [BlockReceived(0, OCTETS[:50])]
        progress = lab.client.progress()
        assert (progress.blocks, progress.duplicates, progress.out_of_order) == (1, 1, 1)

    def test_the_same_offset_again_after_the_time_out(self) -> None:
        lab = Lab().downloading()
        lab.server(block(0))
        assert lab.run_for(11) == [block_request(50)] * 3
        lab.server(block(50))  # the late answer to the first request
        assert lab.sent() == [block_request(100)]
        lab.server(block(50))  # the answer to the second one
        assert lab.run_for(4) == []
        assert lab.client.progress().retries == 2

    def test_an_empty_block_is_asked_again(self) -> None:
        lab = Lab().downloading()
        lab.server(ota.ImageBlock(*FILE_ID, 0, b""))
        assert lab.sent() == []
        assert lab.run_for(5) == [block_request(0)]

    @pytest.mark.parametrize("version", [0, 0xFFFFFFFF])
    def test_file_version_not_echoed(self, version: int) -> None:
        lab = Lab().downloading()
        lab.server(ota.ImageBlock(IMAGE.manufacturer, IMAGE.image_type, version, 0, OCTETS[:50]))
        assert lab.events() == [BlockReceived(0, OCTETS[:50])]

    @pytest.mark.parametrize(
        "wrong",
        [
            ota.ImageBlock(0x1234, 0x5678, 0x01020000, 0, OCTETS[:50]),
            ota.ImageBlock(0x1234, 0x9999, 0x01010000, 0, OCTETS[:50]),
            ota.ImageBlock(0x9999, 0x5678, 0x01010000, 0, OCTETS[:50]),
            ota.ImageBlock(0x1234, 0x5678, 0x01010000, 100, OCTETS[:50]),
        ],
    )
    def test_octets_of_another_image(self, wrong: ota.ImageBlock) -> None:
        lab = Lab().downloading()
        for _ in range(4):
            lab.server(wrong)
            assert lab.events() == []
        lab.server(wrong)
        assert lab.events() == [TransferAborted("server serves another image", ZclStatus.ABORT)]
        assert lab.sent() == [ota.UpgradeEndRequest(ZclStatus.ABORT, *FILE_ID)]

    def test_a_stray_wrong_block_does_no_harm(self) -> None:
        lab = Lab().downloading()
        lab.server(ota.ImageBlock(0x1234, 0x5678, 0x01020000, 0, OCTETS[:50]))
        lab.server(block(0))
        assert lab.events() == [BlockReceived(0, OCTETS[:50])]

    def test_truncated_response_is_malformed(self) -> None:
        lab = Lab().downloading()
        frame = ZclFrame(Cluster.OTA, 0x05, block(0).encode()[:-1], 1, to_client=True)
        assert lab.client.receive(frame, 0, False, lab.now) is ZclStatus.MALFORMED_COMMAND
        assert lab.run_for(5) == [block_request(0)]

    def test_another_node_is_not_our_server(self) -> None:
        lab = Lab().downloading()
        assert lab.server(block(0), source=0x4321) is ZclStatus.NOT_AUTHORIZED
        assert lab.events() == []

    def test_a_response_by_broadcast_changes_nothing(self) -> None:
        lab = Lab().downloading()
        lab.server(block(0), broadcast=True)
        assert lab.events() == []

    def test_unknown_command(self) -> None:
        lab = Lab().downloading()
        frame = ZclFrame(Cluster.OTA, 0x42, b"", 1, to_client=True)
        assert lab.client.receive(frame, 0, False, lab.now) is ZclStatus.UNSUP_CLUSTER_COMMAND

    @pytest.mark.parametrize("status", [ZclStatus.ABORT, ZclStatus.NOT_AUTHORIZED, ZclStatus.NO_IMAGE_AVAILABLE])
    def test_the_server_ends_it(self, status: ZclStatus) -> None:
        lab = Lab().downloading()
        lab.server(ota.BlockRefused(status))
        assert lab.events() == [TransferAborted(f"server answers {status.name}", status)]
        assert lab.client.state is State.NORMAL
        assert lab.run_for(HOUR_S) == []

    def test_unsup_as_default_response_ends_it(self) -> None:
        lab = Lab().downloading()
        lab.default_response(0x03, ZclStatus.UNSUP_CLUSTER_COMMAND)
        assert lab.events() == [TransferAborted("server answers UNSUP_CLUSTER_COMMAND", 0x81)]

    def test_malformed_is_asked_again_but_not_for_ever(self) -> None:
        lab = Lab().downloading()
        for _ in range(2):
            lab.default_response(0x03, ZclStatus.MALFORMED_COMMAND)
            assert lab.run_for(5) == [block_request(0)]
        lab.default_response(0x03, ZclStatus.MALFORMED_COMMAND)
        assert lab.events() == [TransferAborted("server answers MALFORMED_COMMAND", 0x80)]

    def test_cancelled_by_the_owner(self) -> None:
        lab = Lab().downloading()
        assert lab.client.cancel(lab.now)
        assert lab.sent() == [ota.UpgradeEndRequest(ZclStatus.ABORT, *FILE_ID)]
        lab.default_response(0x06, ZclStatus.SUCCESS)
        assert lab.client.state is State.NORMAL


class TestWaiting:
    @pytest.mark.parametrize(
        ("wait", "seconds"),
        [
            (ota.WaitForData(700_000_000, 700_000_060), 60.0),
            (ota.WaitForData(0, 45), 45.0),
            (ota.WaitForData(700_000_000, 700_000_000), 1.0),
            (ota.WaitForData(700_000_060, 700_000_000), 1.0),
            (ota.WaitForData(0, 700_000_000), 86_400.0),
        ],
    )
    def test_asks_again_when_told(self, wait: ota.WaitForData, seconds: float) -> None:
        lab = Lab().downloading()
        lab.server(wait)
        assert lab.events() == [TransferPaused("server asks to wait", seconds)]
        assert lab.run_for(seconds - 0.5) == []
        assert lab.run_for(0.5) == [block_request(0)]
        lab.server(block(0))
        assert lab.events() == [TransferResumed(0), BlockReceived(0, OCTETS[:50])]

    @pytest.mark.parametrize(("unit_ms", "seconds"), [(1, 0.25), (1000, 250.0)])
    def test_minimum_block_period(self, unit_ms: int, seconds: float) -> None:
        lab = Lab(settings=OtaSettings(block_period_unit_ms=unit_ms)).downloading()
        lab.server(ota.WaitForData(0, 1, 250))
        assert lab.run_for(1) == [block_request(0)]
        assert lab.client.block_period == 250
        lab.server(block(0))
        assert lab.run_for(seconds - 0.01) == []
        assert lab.run_for(0.02) == [block_request(50)]


class TestSilence:
    def paused(self) -> Lab:
        lab = Lab().downloading()
        lab.server(block(0))
        assert lab.run_for(200) == [block_request(50)] * 31  # the first and thirty retries
        assert lab.events() == [BlockReceived(0, OCTETS[:50]), TransferPaused("server silent", 300.0)]
        return lab

    def test_pauses_and_probes_in_turn(self) -> None:
        lab = self.paused()
        assert lab.run_for(4 * 300) == [block_request(50), QUERY, block_request(50), QUERY]

    def test_a_day_of_silence_is_cheap_and_loses_nothing(self) -> None:
        lab = self.paused()
        assert len(lab.run_for(DAY_S)) <= 24 * 12
        lab.server(block(50))
        assert lab.events() == [TransferResumed(50), BlockReceived(50, OCTETS[50:100])]
        assert lab.sent() == [block_request(100)]

    def test_a_server_that_forgot_the_session_offers_the_image_again(self) -> None:
        lab = self.paused()
        assert lab.run_for(300) == [block_request(50)]
        lab.server(ota.BlockRefused(ZclStatus.ABORT))
        assert lab.sent() == [QUERY]
        lab.server(FOUND)
        assert lab.sent() == [block_request(50)]  # the same offset
        lab.server(block(50))
        assert lab.events() == [TransferResumed(50), BlockReceived(50, OCTETS[50:100])]

    def test_an_abort_after_that_is_the_end(self) -> None:
        lab = self.paused()
        lab.run_for(300)
        lab.server(ota.BlockRefused(ZclStatus.ABORT))
        lab.sent()
        lab.server(FOUND)
        lab.server(ota.BlockRefused(ZclStatus.ABORT))
        assert lab.events() == [TransferAborted("server answers ABORT", ZclStatus.ABORT)]

    def test_a_server_that_has_it_no_more(self) -> None:
        lab = self.paused()
        lab.run_for(300)
        lab.server(ota.BlockRefused(ZclStatus.ABORT))
        lab.server(ota.QueryNextImageResponse(ZclStatus.NO_IMAGE_AVAILABLE))
        reason = "server offers the image no more: NO_IMAGE_AVAILABLE"
        assert lab.events() == [NoImage(0x98), TransferAborted(reason, 0x98)]

    def test_a_newer_image_replaces_the_paused_one(self) -> None:
        lab = self.paused()
        lab.server(ota.ImageNotify(100))
        newer = ota.ImageFound(0x1234, 0x5678, 0x01020000, 60)
        lab.server(ota.QueryNextImageResponse(0, newer))
        assert lab.events() == [ImageOffered(newer)]
        lab.sent()
        assert lab.client.begin_download(0, lab.now)
        assert lab.events() == [TransferAborted("replaced by another image", None)]
        assert lab.sent() == [ota.ImageBlockRequest(0x1234, 0x5678, 0x01020000, 0, 50)]

    def test_network_gone_and_back(self) -> None:
        lab = Lab().downloading()
        lab.server(block(0))
        lab.client.server_lost()
        assert lab.run_for(DAY_S) == []
        assert lab.events() == [BlockReceived(0, OCTETS[:50]), TransferPaused("server lost", None)]
        lab.client.server_found(HUB, lab.now)
        assert lab.sent() == [block_request(50)]


class TestRestart:
    def test_resumes_at_the_checkpoint_without_a_query(self) -> None:
        lab = Lab(resume=DownloadResume(IMAGE, 50))
        assert lab.sent() == [block_request(50)]
        lab.server(block(50))
        assert lab.events()[-2:] == [TransferResumed(50), BlockReceived(50, OCTETS[50:100])]

    def test_a_server_that_forgot_is_asked_for_the_image(self) -> None:
        lab = Lab(resume=DownloadResume(IMAGE, 50))
        assert lab.sent() == [block_request(50)]
        lab.server(ota.BlockRefused(ZclStatus.ABORT))
        assert lab.sent() == [QUERY]
        lab.server(FOUND)
        assert lab.sent() == [block_request(50)]

    def test_all_octets_here_is_complete_again(self) -> None:
        lab = Lab(resume=DownloadResume(IMAGE, 120))
        assert lab.events() == [TransferComplete(IMAGE)]
        assert lab.sent() == []
        assert lab.client.end_upgrade(ZclStatus.SUCCESS, lab.now)
        assert lab.sent() == [ota.UpgradeEndRequest(0, *FILE_ID)]

    def test_an_offset_beyond_the_image_is_no_resume(self) -> None:
        lab = Lab(resume=DownloadResume(IMAGE, 121))
        assert lab.sent() == [QUERY]


class TestUpgradeEnd:
    def test_later_on_the_servers_time(self) -> None:
        lab = Lab().ending()
        lab.server(end_response(700_000_000, 700_000_000 + 86_400))
        assert lab.events() == [ActivateAt(86_400.0, 700_086_400)]
        assert lab.client.state is State.COUNTDOWN
        lab.client.server_lost()  # the countdown needs no server
        lab.run_for(86_399)
        assert lab.events() == []
        lab.run_for(1)
        assert lab.events() == [ActivateNow()]

    @pytest.mark.parametrize(("current", "upgrade"), [(1000, 0), (0, 0), (1000, 1000), (1000, 999), (0xFFFFFFFF, 0)])
    def test_now(self, current: int, upgrade: int) -> None:
        lab = Lab().ending()
        lab.server(end_response(current, upgrade))
        assert lab.events() == [ActivateNow()]

    def test_offset_of_a_server_without_clock(self) -> None:
        lab = Lab().ending()
        lab.clock.set(700_000_000, lab.now)
        lab.server(end_response(0, 60))
        assert lab.events() == [ActivateAt(60.0, 700_000_060)]

    def test_a_time_that_nobody_can_measure_holds(self) -> None:
        lab = Lab().ending()
        lab.server(end_response(0xFFFFFFFF, 700_000_060))
        assert lab.events() == [HoldForCommand()]

    def test_a_time_on_the_hubs_clock(self) -> None:
        lab = Lab().ending()
        lab.clock.set(700_000_000, lab.now)
        lab.server(end_response(0xFFFFFFFF, 700_000_060))
        assert lab.events() == [ActivateAt(60.0, 700_000_060)]

    def test_wait_asks_again_every_hour_until_told(self) -> None:
        lab = Lab().ending()
        lab.server(end_response(1000, 0xFFFFFFFF))
        assert lab.events() == [HoldForCommand()]
        asked = [frame for frame in lab.run_for(DAY_S) if isinstance(frame, ota.UpgradeEndRequest)]
        assert asked == [ota.UpgradeEndRequest(0, *FILE_ID)] * 24
        lab.server(end_response(1000, 0xFFFFFFFF))
        assert lab.events() == []  # told before
        lab.server(end_response(1000, 0))  # unsolicited
        assert lab.events() == [ActivateNow()]

    def test_an_hcalcs_holds_whatever_the_time(self) -> None:
        for response in (
            ota.UpgradeEndResponse(0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),  # what a CH sends
            end_response(1000, 0),
        ):
            lab = Lab(HCALCS).ending()
            lab.server(response)
            assert lab.events() == [HoldForCommand()]
            assert read_attributes(lab.client)[6].value == 6

    def test_a_response_for_another_image_is_ignored(self) -> None:
        lab = Lab().ending()
        lab.server(ota.UpgradeEndResponse(0x1234, 0x5678, 0x01020000, 0, 0))
        assert lab.events(ignored=True) == [Ignored("Upgrade End Response for version 0x01020000")]
        assert lab.client.state is State.ENDING

    def test_a_response_without_an_image_is_ignored(self) -> None:
        lab = Lab().downloading()
        lab.server(end_response(0, 0))
        assert lab.events() == []
        assert lab.client.state is State.DOWNLOADING

    @pytest.mark.parametrize(("identity", "apply"), [(IDENTITY, True), (HCALCS, False)])
    def test_unanswered(self, identity: OtaIdentity, apply: bool) -> None:
        lab = Lab(identity).ending()
        assert lab.run_for(120) == [ota.UpgradeEndRequest(0, *FILE_ID)] * 2  # three in all
        assert lab.events() == [UpgradeEndUnanswered(apply)]
        assert lab.client.state is State.HOLDING
        lab.server(end_response(0, 0))  # late
        assert lab.client.state is (State.ACTIVATING if apply else State.HOLDING)

    def test_unanswered_while_the_server_is_gone_is_not_counted(self) -> None:
        lab = Lab().ending()
        lab.client.server_lost()
        lab.run_for(DAY_S)
        assert lab.events() == []
        lab.client.server_found(HUB, lab.now)
        assert lab.sent() == [ota.UpgradeEndRequest(0, *FILE_ID)]

    @pytest.mark.parametrize("status", [ZclStatus.INVALID_IMAGE, ZclStatus.ABORT])
    def test_a_bad_image_is_reported_until_the_server_has_heard(self, status: ZclStatus) -> None:
        lab = Lab().complete()
        assert lab.client.end_upgrade(status, lab.now)
        assert lab.run_for(5) == [ota.UpgradeEndRequest(status, *FILE_ID)] * 2
        lab.server(end_response(0, 0))  # zigpy answers so even for a failed image
        assert lab.events() == []
        assert lab.client.state is State.NORMAL

    def test_a_report_that_nobody_hears_ends_too(self) -> None:
        lab = Lab().complete()
        lab.client.end_upgrade(ZclStatus.INVALID_IMAGE, lab.now)
        lab.run_for(150)
        assert lab.client.state is State.NORMAL

    def test_require_more_image(self) -> None:
        lab = Lab().complete()
        assert lab.client.end_upgrade(ZclStatus.REQUIRE_MORE_IMAGE, lab.now)
        assert lab.sent() == [ota.UpgradeEndRequest(ZclStatus.REQUIRE_MORE_IMAGE, *FILE_ID)]
        lab.default_response(0x06, ZclStatus.SUCCESS)
        assert lab.sent() == [QUERY]
        assert read_attributes(lab.client)[6].value == 5

    def test_a_newer_image_may_replace_one_that_waits(self) -> None:
        lab = Lab(HCALCS).ending()
        lab.server(end_response(0xFFFFFFFF, 0xFFFFFFFF))
        lab.server(ota.ImageNotify(100))
        newer = ota.ImageFound(0x1234, 0x5678, 0x01020000, 60)
        lab.server(ota.QueryNextImageResponse(0, newer))
        assert lab.events() == [HoldForCommand(), ImageOffered(newer)]
        assert lab.client.begin_download(0, lab.now)
        assert lab.client.state is State.DOWNLOADING

    def test_the_offer_of_what_is_here_already_is_ignored(self) -> None:
        lab = Lab(HCALCS).ending()
        lab.server(end_response(0xFFFFFFFF, 0xFFFFFFFF))
        lab.server(ota.ImageNotify(100))
        lab.server(FOUND)
        assert lab.events() == [HoldForCommand()]

    def test_holding_for_200_days_goes_on_asking(self) -> None:
        lab = Lab(HCALCS, OtaSettings(query_interval_s=30 * DAY_S)).ending()
        lab.server(end_response(0xFFFFFFFF, 0xFFFFFFFF))
        assert len(lab.run_for(200 * DAY_S)) >= 200 * 24

    def test_waiting_for_two_years_takes_no_time(self) -> None:
        lab = Lab(settings=OtaSettings(query_interval_s=30 * DAY_S)).ending()
        lab.server(end_response(1, 1 + int(FAR_AWAY_S)))
        lab.run_for(FAR_AWAY_S)
        assert lab.events()[-1] == ActivateNow()


def test_attributes() -> None:
    lab = Lab().downloading()
    lab.server(block(0))
    values = {name: typed.value for name, typed in read_attributes(lab.client).items()}
    assert values == {
        0x0000: HUB.eui,
        0x0001: 50,
        0x0002: RUNNING,
        0x0003: 2,
        0x0004: 0xFFFFFFFF,
        0x0005: 0xFFFF,
        0x0006: 1,
        0x0007: 0x1234,
        0x0008: 0x5678,
        0x0009: 0,
        0x000B: 0,
        0x000C: 0,
        0xFFFD: 3,
    }
    lab = Lab().ending()
    values = {name: typed.value for name, typed in read_attributes(lab.client).items()}
    assert (values[1], values[4], values[5], values[6]) == (120, IMAGE.file_version, 2, 3)
