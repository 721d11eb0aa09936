"""The OTA client as transcripts: Upgrade End, what the server answers, and the attributes."""

from __future__ import annotations

import pytest
from ota_lab import (
    DAY_S,
    FAR_AWAY_S,
    FILE_ID,
    FOUND,
    HCALCS,
    HUB,
    IDENTITY,
    IMAGE,
    QUERY,
    RUNNING,
    Lab,
    block,
    end_response,
)

from agent.settings import OtaSettings
from agent.zigbee import ota_messages as ota
from agent.zigbee.ota_attributes import read_attributes
from agent.zigbee.ota_events import (
    ActivateAt,
    ActivateNow,
    HoldForCommand,
    Ignored,
    ImageOffered,
    OtaIdentity,
    UpgradeEndUnanswered,
)
from agent.zigbee.ota_states import State
from agent.zigbee.zcl import ZclStatus


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
