"""The OTA client as transcripts: a whole update, then what leads to a query and what its answer leads to."""

from __future__ import annotations

import pytest
from ota_lab import (
    DAY_S,
    EUI,
    FILE_ID,
    FOUND,
    HOUR_S,
    IMAGE,
    OCTETS,
    QUERY,
    RUNNING,
    Lab,
    block,
    block_request,
    end_response,
)

from agent.zigbee import ota_messages as ota
from agent.zigbee.clusters import Cluster
from agent.zigbee.ota_events import (
    ActivateNow,
    BlockReceived,
    Ignored,
    ImageOffered,
    NoImage,
    OtaIdentity,
    TransferComplete,
)
from agent.zigbee.ota_states import State
from agent.zigbee.zcl import ZclFrame, ZclStatus


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
