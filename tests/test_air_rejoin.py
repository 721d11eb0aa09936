"""Life on the HAN on the emulated air: hub elsewhere, away or silent, short address conflict; real agent, real MT.

``tests/test_home_rejoin.py`` has more cases, without chips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from agent.events import LeaveNetwork
from agent.settings import HealthSettings
from agent.update.states import State
from agent.zigbee.whereabouts import Sight
from boards.virtual.stack.stack import Stack
from tests.air_home import AirHome
from tests.home import DEVICE_EUI, HUB_EUI
from tests.test_home_rejoin import HOUR, alerts, check_finished, reported, sights
from tests.update_rig import NEW, OLD

Make = Callable[..., AirHome]


@pytest.fixture
def make() -> Iterator[Make]:
    """Homes that are closed however the test ends."""
    homes: list[AirHome] = []

    def new(**options: object) -> AirHome:
        homes.append(AirHome(**options))  # type: ignore[arg-type]
        return homes[-1]

    yield new
    for home in homes:
        home.close()


def in_mid_download(home: AirHome) -> AirHome:
    home.offer()
    assert home.run_until(lambda: home.device._endpoint.ota.progress().offset > 3_000), home.log[-20:]
    return home


def on_trial(home: AirHome) -> AirHome:
    """The new version has been started, and its radio is not yet open."""
    home.offer()
    assert home.run_until(lambda: home.boots[-1] == str(NEW)), home.log[-20:]
    assert home.device.update_state is State.ACTIVATING
    return home


@pytest.mark.parametrize("kind", ["router", "end-device"])
def test_the_hub_goes_to_another_channel_and_pan_in_mid_transfer(make: Make, kind: str) -> None:
    home = in_mid_download(make(logical_type=kind, keys="suite-2"))
    assert home.hub.move_network(25, 0x1111, home.world.now)
    assert home.run_until(lambda: Sight.MOVED.value in sights(home)), home.log[-20:]
    check_finished(home)
    assert len(home.logged("link key made")) == 1
    network = home.device._endpoint.joining.network
    assert network is not None
    assert (network.channel, network.pan_id) == (25, 0x1111)


def test_a_hub_that_is_gone_for_hours_and_back_elsewhere(make: Make) -> None:
    home = in_mid_download(make())
    home.hub_off()
    home.run(4 * HOUR)
    assert sights(home)[-1] == Sight.ABSENT.value
    home.hub_on()
    home.offer()  # as one that reads its images from hub.toml
    assert home.run_until(lambda: home.hub.network is not None)
    assert home.hub.move_network(11, None, home.world.now)
    check_finished(home)


def test_a_short_address_conflict_in_mid_transfer(make: Make) -> None:
    home = in_mid_download(make())
    before = home.world.claim_address(0x5555)
    assert home.run_until(lambda: bool(home.logged("address changed"))), home.log[-20:]
    (facts,) = home.logged("address changed")
    assert facts["reason"] == "short address conflict with 0000000000005555"
    check_finished(home)
    now = home.hub.members.by_eui[DEVICE_EUI].short
    assert now not in (None, before)
    assert now == home.world.board.chips[1].short


def test_a_hub_that_is_off_for_hours_in_the_trial_fails_no_good_image(make: Make) -> None:
    home = on_trial(make())
    home.hub_off()
    home.run(3 * HOUR)
    assert home.boots == [str(OLD), str(NEW)]
    home.hub_on()
    check_finished(home)


def test_a_chip_whose_scans_never_end_proves_nothing_and_the_clock_runs(make: Make) -> None:
    home = on_trial(make())
    home.hub_off()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stack, "active_scan", lambda *_: None)
        assert home.run_until(lambda: home.boots[-1] == str(OLD), 300.0), home.log[-20:]
    assert set(sights(home)) == {Sight.UNKNOWN.value}
    assert home.logged("network sought")[0]["detail"] == "network discovery failed: no answer in time"
    home.hub_on()
    assert home.run_until(lambda: reported(home, OLD, success=False)), home.log[-20:]


def test_a_hub_that_is_off_for_too_long(make: Make) -> None:
    home = on_trial(make(health=HealthSettings(max_silence_s=1_800.0)))
    home.hub_off()
    assert home.run_until(lambda: home.boots[-1] == str(OLD)), home.log[-20:]
    home.hub_on()
    assert home.run_until(lambda: reported(home, OLD, success=False)), home.log[-20:]
    home.run(600.0)
    assert len(alerts(home)) == 1


@pytest.mark.parametrize(
    ("kind", "words"),
    [("router", "but the hub does not answer"), ("end-device", "it does not take us: BDB: NoNetwork")],
)
def test_a_hub_with_another_network_key_under_the_same_extended_pan_id(make: Make, kind: str, words: str) -> None:
    """Nothing helps but a new permit; the device says what it hears, and keeps what it has."""
    home = in_mid_download(make(logical_type=kind))
    home.hub.desk.ask(LeaveNetwork(), lambda _result, _now: None)
    home.run(5.0)
    home.restart_hub()

    def told() -> bool:
        lines = home.logged("network sought" if kind == "router" else "join failed")
        return any(
            "is heard on channel 20" in str(facts["detail"]) and words in str(facts["detail"]) for facts in lines
        )

    assert home.run_until(told, HOUR), home.log[-20:]
    assert home.device._endpoint.joining.network is not None


def test_a_hub_whose_beacon_is_heard_but_which_does_not_answer_lets_the_clock_run(make: Make) -> None:
    home = on_trial(make())
    home.world.detach(HUB_EUI)  # its chip goes on, and answers ZDO
    assert home.run_until(lambda: home.boots[-1] == str(OLD), HOUR), home.log[-20:]
    assert home.logged("trial failed")[0]["reason"] == "the hub did not answer within 180 s (health.limit_s)"
    home._start_hub()
    assert home.run_until(lambda: reported(home, OLD, success=False)), home.log[-20:]
