"""A sleepy device in virtual time: the real device and the real hub, whose answers and commands wait for its polls."""

from __future__ import annotations

from itertools import pairwise

import pytest

from agent.events import LogicalType, SetPollRate
from agent.gbcs.use_cases import ReceiptAlert
from agent.update.states import State
from agent.zigbee.hub_contact import TIME_REFRESH_S
from boards.bench.happenings import DeviceSeen
from boards.bench.settings import ServerSettings
from tests.home import DEVICE_EUI, HUB_EUI, Home
from tests.test_home_hcalcs import of, outcomes
from tests.test_home_ppmid import alerted
from tests.update_rig import NEW

FAST, REST = SetPollRate(0.1, 0.1), SetPollRate(7.5, 0.1)


def sleepy(role: str = "ppmid", **more: object) -> Home:
    return Home(role=role, keys="suite-2", logical_type="end-device", **more)  # type: ignore[arg-type]


def rates(home: Home) -> list[SetPollRate]:
    return [rate for _, rate in home.world.seats[DEVICE_EUI].poll_rates]


def fast_s(home: Home, since: int) -> float:
    """How long the chip was told to poll fast after that many changes."""
    changes = home.world.seats[DEVICE_EUI].poll_rates[since:]
    return sum(end - start for (start, rate), (end, _) in pairwise(changes) if rate == FAST)


def downloading(home: Home, octets: int) -> bool:
    record = home.device._update.record
    return record.state is State.DOWNLOADING and record.offset_octets >= octets


def test_a_sleepy_ppmid_completes_an_update_with_key_establishment() -> None:
    home = sleepy()
    home.run(60.0)
    assert rates(home) == [FAST, REST]
    home.offer()
    assert home.run_until(lambda: alerted(home), 600.0)
    assert home.boots == ["1.0.0", "1.1.0"]
    home.run(60.0)
    assert rates(home) == [FAST, REST, FAST, FAST, REST, FAST, REST]  # transfer, new code, its report: a spell each
    seen = [one for one in home.told if isinstance(one, DeviceSeen)]
    assert seen
    assert all(one.sleeps for one in seen)


@pytest.mark.parametrize("seed", range(3))
def test_with_loss_it_ends_the_same(seed: int) -> None:
    home = sleepy(loss=0.1, seed=seed)
    home.offer()
    assert home.run_until(lambda: alerted(home), 7_200.0)
    home.run(600.0)
    assert len(home.reports) == 1
    assert rates(home)[-1] == REST


def test_a_notify_and_a_command_reach_it_at_rest_within_a_poll() -> None:
    """Unicast: a broadcast would not. The hub's patience with the tunnel is longer than a device sleeps."""
    home = sleepy("hcalcs")
    home.run(3_000.0)
    assert rates(home)[-1] == REST
    offered = home.world.now
    home.offer()
    assert home.run_until(lambda: bool(home.logged("download starts")), 60.0)
    assert home.world.now - offered < 8.0
    assert home.run_until(lambda: bool(of(home, ReceiptAlert)), 3_600.0)
    home.run(1_000.0)
    assert rates(home)[-1] == REST
    asked = home.world.now
    home.backhaul.activate_firmware(DEVICE_EUI, home.world.now)
    assert home.run_until(lambda: bool(outcomes(home)), 600.0)
    assert home.world.now - asked < 60.0
    assert home.boots == ["1.0.0", "1.1.0"]
    assert len(home.logged("tunnel open")) <= 2  # one a start: silence never made the hub ask again


def test_a_transfer_is_resumed_after_lost_power() -> None:
    home = sleepy()
    home.offer()
    assert home.run_until(lambda: downloading(home, 1), 600.0)
    home.lose_power()
    assert home.run_until(lambda: alerted(home), 1_200.0)
    assert home.logged("download resumes")
    assert home.reports[-1].problem == ""


def test_a_hub_that_is_away_for_a_day_costs_no_battery_and_the_transfer_goes_on() -> None:
    home = sleepy()
    home.offer()
    assert home.run_until(lambda: downloading(home, 1), 600.0)
    home.world.blocked.add(HUB_EUI)
    before = len(rates(home))
    home.run(86_400.0)
    assert fast_s(home, before) < 120.0
    assert rates(home)[-1] == REST
    home.world.blocked.clear()
    assert home.run_until(lambda: alerted(home), 7_200.0)


def test_a_slow_server_is_not_a_reason_to_write_the_chips_memory_for_every_block() -> None:
    """Blocks at a distance below what the device lingers: one spell of fast polling."""
    home = sleepy(server=ServerSettings(minimum_block_period_ms=2_000))
    home.run(60.0)
    before = len(rates(home))
    home.offer()
    assert home.run_until(lambda: downloading(home, 8_192), 3_600.0)
    assert len(rates(home)) - before == 1


def test_a_day_at_rest_is_a_few_seconds_of_fast_polling_for_each_look_at_the_hubs_clock() -> None:
    home = sleepy()
    home.run(600.0)
    before = len(rates(home))
    home.run(86_400.0)
    spells = 86_400.0 / TIME_REFRESH_S[LogicalType.END_DEVICE] + 2  # and the daily query
    assert len(rates(home)) - before <= 2 * spells
    assert fast_s(home, before) < 5.0 * spells


@pytest.mark.parametrize(("joined", "set_later"), [("router", "end-device"), ("end-device", "router")])
def test_another_type_in_the_settings_takes_effect_at_the_next_join_and_says_so(joined: str, set_later: str) -> None:
    home = Home(logical_type=joined)
    home.run(60.0)
    told = len(rates(home))
    home.logical_type = set_later
    home.restart()
    home.run(60.0)
    assert home.logged("logical type differs")[-1] == {"wanted": set_later, "found": joined}
    assert len(rates(home)) == told
    home.offer()
    assert home.run_until(lambda: alerted(home), 3_600.0)


def test_a_router_is_never_told_to_poll() -> None:
    home = Home()
    home.offer()
    assert home.run_until(lambda: alerted(home))
    assert rates(home) == []
    assert NEW.file_version == home.reports[-1].payload.version  # type: ignore[union-attr]
