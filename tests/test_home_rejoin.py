"""Life on the HAN, the whole device in virtual time: the hub away, elsewhere, or silent while an update goes on."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from agent.boot.state import Slot
from agent.errors import StorageError
from agent.events import JoinNetwork, RadioLost
from agent.gbcs.use_cases import PpmidActivationAlert
from agent.image.version import Version
from agent.settings import HealthSettings
from agent.update.facts import FactName
from agent.update.states import State
from agent.zigbee.joining import JoinState
from agent.zigbee.whereabouts import Sight
from tests.home import DEVICE_EUI, HUB_EUI, Home
from tests.update_rig import NEW, OLD

HOUR = 3_600.0
KINDS = pytest.mark.parametrize("kind", ["router", "end-device"])


def alerts(home: Home) -> list[tuple[int, bool]]:
    """Version and outcome of every activation alert that the head end verified."""
    bodies = [report.payload for report in home.reports if report.verified]
    return [(body.version, body.succeeded) for body in bodies if isinstance(body, PpmidActivationAlert)]


def reported(home: Home, version: Version, *, success: bool) -> bool:
    return alerts(home) == [(version.file_version, success)]


def sights(home: Home) -> list[object]:
    return [facts["sight"] for facts in home.logged("network sought")]


def in_mid_download(kind: str = "router", keys: str = "off") -> tuple[Home, int]:
    """And the offset."""
    home = Home(logical_type=kind, keys=keys)
    home.offer()
    assert home.run_until(lambda: home.device._endpoint.ota.progress().offset > 5_000)
    return home, home.device._endpoint.ota.progress().offset


def on_trial(kind: str = "router", **settings: float) -> Home:
    """The new version has just come up, and has not heard the hub yet."""
    home = Home(logical_type=kind, health=HealthSettings(**settings))
    home.offer()
    assert home.run_until(lambda: home.boots[-1] == str(NEW))
    assert home.device.update_state is State.TRIAL
    return home


def check_finished(home: Home) -> None:
    """Updated, reported once, without a second download and without joining anew."""
    assert home.run_until(lambda: reported(home, NEW, success=True), 12 * HOUR), home.log[-20:]
    assert len(home.logged("download starts")) == 1
    assert home.device._endpoint.joining.state is JoinState.ONLINE
    assert len([facts for facts in home.logged("network up") if facts["joined"]]) == 1


@KINDS
@pytest.mark.parametrize("pan_id", [None, 0x1111])
@pytest.mark.parametrize("keys", ["off", "suite-2"])
def test_the_hub_goes_to_another_channel_or_pan_in_mid_transfer(kind: str, pan_id: int | None, keys: str) -> None:
    home, before = in_mid_download(kind, keys)
    assert home.hub.move_network(25, pan_id, home.world.now)
    assert home.run_until(lambda: Sight.MOVED.value in sights(home), HOUR)
    assert home.device._endpoint.ota.progress().offset - before <= 200
    (words,) = {facts["detail"] for facts in home.logged("network sought") if facts["sight"] == Sight.MOVED.value}
    assert "is heard on channel 25" in str(words)
    check_finished(home)
    if keys != "off":
        assert len(home.logged("link key made")) == 1
    assert home.hub.network is not None
    network = home.device._endpoint.joining.network
    assert network is not None
    assert (network.channel, network.pan_id) == (25, home.hub.network.pan_id)


def test_an_idle_device_misses_its_hub_within_a_quarter_of_an_hour() -> None:
    home = Home(channels=[20])  # to join on; the network is followed wherever it goes
    assert home.run_until(lambda: bool(home.logged("tunnel open")))
    home.run(300.0)
    assert home.hub.move_network(25, 0x1111, home.world.now)
    assert home.run_until(lambda: len(home.logged("tunnel open")) == 2, 900.0), home.log[-20:]


@KINDS
def test_the_hub_goes_elsewhere_in_the_middle_of_the_key_establishment(kind: str) -> None:
    home = Home(keys="suite-2", logical_type=kind)
    assert home.run_until(lambda: home.device._endpoint.joining.state is JoinState.KEYING, 60.0)
    assert home.hub.move_network(25, None, home.world.now)
    assert home.run_until(lambda: bool(home.logged("tunnel open")), HOUR), home.log[-20:]
    assert Sight.MOVED.value in sights(home)


@KINDS
def test_a_hub_that_is_gone_for_hours_and_back_elsewhere(kind: str) -> None:
    home, _ = in_mid_download(kind)
    home.hub_off()
    home.run(5 * HOUR)
    assert sights(home)[-1] == Sight.ABSENT.value
    told = [entry.what for entry in home.journal.events(limit=50)]
    assert told.count("network sought: no beacon of our network 02DB000000000C4F on channels 11-26") == 1
    fact = home.journal.facts.read(FactName.SOUGHT)
    assert fact is not None
    assert fact.values["sight"] == "absent"
    assert 8 < len(sights(home)) < 20
    home.hub_on()
    home.offer()  # as one that reads its images from hub.toml
    assert home.run_until(lambda: home.hub.network is not None)
    assert home.hub.move_network(11, None, home.world.now)
    check_finished(home)


@KINDS
def test_a_device_that_restarts_while_its_hub_is_off_keeps_its_network(kind: str) -> None:
    home, _ = in_mid_download(kind)
    home.hub_off()
    home.run(600.0)
    home.lose_power()
    home.run(2 * HOUR)
    assert home.world.seats[DEVICE_EUI].network is not None, "joining anew would have cost it"
    assert sights(home)[-1] == Sight.ABSENT.value
    home.hub_on()
    home.offer()
    check_finished(home)


def test_another_short_address_in_mid_transfer() -> None:
    home, _ = in_mid_download()
    home.world.change_address(DEVICE_EUI, 0x4242)
    assert home.logged("address changed")[0]["reason"] == "the chip took another short address"
    check_finished(home)
    assert home.hub.members.by_eui[DEVICE_EUI].short == 0x4242
    assert len(home.logged("tunnel open")) >= 2


# --- the health clock


@KINDS
def test_a_hub_that_is_off_for_three_hours_in_the_trial_fails_no_good_image(kind: str) -> None:
    home = on_trial(kind)
    home.hub_off()
    home.run(3 * HOUR)
    assert home.boots == [str(OLD), str(NEW)]
    assert len(home.logged("trial waits for the hub")) == 1
    home.hub_on()
    check_finished(home)
    home.run(2 * HOUR)
    assert alerts(home) == [(NEW.file_version, True)]
    assert home.boots == [str(OLD), str(NEW)]


@KINDS
def test_a_hub_that_is_off_for_longer_than_the_silence_allowed(kind: str) -> None:
    home = on_trial(kind, max_silence_s=2 * HOUR)
    home.hub_off()
    assert home.run_until(lambda: home.boots[-1] == str(OLD), 3 * HOUR)
    assert 2 * HOUR <= home.world.now <= 2 * HOUR + 300.0
    assert home.logged("trial failed")[0]["reason"] == "no beacon of the hub for 7200 s (health.max_silence_s)"
    home.hub_on()
    assert home.run_until(lambda: bool(alerts(home)), 3 * HOUR)
    home.run(2 * HOUR)
    assert alerts(home) == [(OLD.file_version, False)]
    reason = home.logged("update reverted")[0]["reason"]
    assert reason == "unhealthy: no beacon of the hub for 7200 s (health.max_silence_s)"


def test_deaf_code_goes_back_after_its_limit_though_the_hub_is_there() -> None:
    home = on_trial()
    began = home.world.now
    home.world.deaf.add(DEVICE_EUI)
    assert home.run_until(lambda: home.boots[-1] == str(OLD), HOUR)
    assert home.world.now - began == pytest.approx(180.0, abs=5.0)
    assert sights(home)[-1] == Sight.UNKNOWN.value
    assert home.logged("trial failed")[0]["reason"] == "the hub did not answer within 180 s (health.limit_s)"
    home.world.deaf.clear()
    assert home.run_until(lambda: reported(home, OLD, success=False), 2 * HOUR)


def test_a_hub_whose_beacon_is_heard_but_which_does_not_answer_lets_the_clock_run() -> None:
    home = on_trial()
    began = home.world.now
    home.world.detach(HUB_EUI)  # its chip goes on
    assert home.run_until(lambda: home.boots[-1] == str(OLD), HOUR)
    assert home.world.now - began == pytest.approx(180.0, abs=5.0)
    assert sights(home)[-1] == Sight.HERE.value


def test_a_restart_in_the_silence_waits_for_the_hub_anew() -> None:
    home = on_trial()
    home.hub_off()
    home.run(HOUR)
    home.lose_power()
    home.run(HOUR)
    assert home.boots == [str(OLD), str(NEW), str(NEW)]
    home.hub_on()
    check_finished(home)


def test_nobody_joins_anew_as_long_as_the_chip_remembers_its_network() -> None:
    home = Home()
    asked: list[object] = []
    execute = home.world._execute

    def spy(seat, handle, request):  # type: ignore[no-untyped-def]
        asked.append(request)
        execute(seat, handle, request)

    home.world._execute = spy  # type: ignore[method-assign]
    assert home.run_until(lambda: bool(home.logged("tunnel open")))
    asked.clear()
    home.hub_off()
    home.run(5 * HOUR)
    home.lose_power()
    home.run(5 * HOUR)
    assert asked
    assert not [request for request in asked if isinstance(request, JoinNetwork)]


# --- the self-tests


def fails_its_self_test(home: Home, reason: str) -> None:
    """The trial ends with this reason, in the log of the old program too, and the head end hears of the failure."""
    assert home.run_until(lambda: home.boots[-1] == str(OLD), HOUR), home.log[-20:]
    assert home.logged("self-test failed")[0]["reason"] == reason
    assert home.logged("trial failed")[0]["reason"] == reason
    assert home.run_until(lambda: reported(home, OLD, success=False)), home.log[-20:]
    assert home.logged("update reverted")[0]["reason"] == f"unhealthy: {reason}"


def test_a_slot_that_changed_under_the_running_trial() -> None:
    home = on_trial()
    area = home.rig.areas[Slot.B]
    area.write(5_000, bytes(3))
    area.sync()
    fails_its_self_test(home, "self-test slot: slot B does not hold the image that runs")


def test_a_key_that_is_gone(tmp_path: Path) -> None:
    home = Home(starts_on=False)
    folder = tmp_path / "keys"
    shutil.copytree(home.identity.device_keys, folder)
    home.identity = replace(home.identity, device_keys=folder)
    home.power_up()
    home.offer()
    assert home.run_until(lambda: home.boots[-1] == str(NEW))
    key = folder / f"{DEVICE_EUI:016x}-ds.key"
    octets = key.read_bytes()
    key.unlink()
    assert home.run_until(lambda: bool(home.logged("self-test failed")))
    key.write_bytes(octets)  # the old program cannot report without it
    reason = str(home.logged("self-test failed")[0]["reason"])
    assert reason.startswith("self-test keys: ")
    assert key.name in reason
    check_finished(home)  # tried again, and all is well


def test_a_journal_that_takes_nothing_and_a_radio_that_is_gone() -> None:
    home = on_trial()

    def full() -> None:
        raise StorageError("the journal cannot be written: disk full")

    home.journal.prove_writable = full  # type: ignore[method-assign]
    fails_its_self_test(home, "self-test journal: the journal cannot be written: disk full")

    home = on_trial()
    assert home.run_until(lambda: bool(home.logged("hub found")))
    home.run(1.0)
    home.device.receive(RadioLost("unplugged"), home.world.now)
    assert home.run_until(lambda: bool(home.logged("self-test failed")), 60.0)
    assert home.logged("self-test failed")[0]["reason"] == "self-test radio: the radio is not there"
    home.device.start(home.world.now)
    check_finished(home)
