"""The OTA client as transcripts: blocks, the server that lets wait, silence, and a restart in between."""

from __future__ import annotations

import pytest
from ota_lab import (
    DAY_S,
    FILE_ID,
    FOUND,
    HOUR_S,
    HUB,
    IMAGE,
    OCTETS,
    QUERY,
    Lab,
    block,
    block_request,
)

from agent.settings import OtaSettings
from agent.zigbee import ota_messages as ota
from agent.zigbee.clusters import Cluster
from agent.zigbee.ota_events import (
    BlockReceived,
    DownloadResume,
    ImageOffered,
    NoImage,
    TransferAborted,
    TransferComplete,
    TransferPaused,
    TransferResumed,
)
from agent.zigbee.ota_states import State
from agent.zigbee.zcl import ZclFrame, ZclStatus


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
        assert lab.events() == [], "the owner knows: what it began is not what ended"
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
