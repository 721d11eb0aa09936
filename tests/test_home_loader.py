"""``tryboot`` and ``uboot`` under the whole device in virtual time: an update is a restart of the machine. No metal."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from agent.boot.backends import LoaderSlots
from agent.boot.state import EndReason, Slot, SlotState
from agent.gbcs.use_cases import ActivateFirmwareResponse, ActivationOutcome, PpmidActivationAlert, ReceiptAlert
from agent.settings import OtaSettings
from agent.update.commands import FACTORY
from agent.update.states import State
from boards.bench.settings import ServerSettings
from tests.home import DEVICE_EUI
from tests.loader_home import MACHINES, LoaderCutHome, LoaderHome
from tests.loader_lab import TrybootMachine
from tests.powercut.cuts import WAYS, PlannedCut, Task
from tests.powercut.home import WatchedDisk
from tests.powercut.run import BLOCK_OCTETS, Result, finish
from tests.powercut.scenarios import BY_NAME
from tests.test_home_factory import spoil
from tests.update_rig import NEW, NEWER, OLD

CUTS = 8  # a scenario and machine
A, B = Slot.A, Slot.B


@pytest.fixture(params=sorted(MACHINES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def started(home: LoaderHome) -> list[Slot]:
    return home.machine.started


def alerts(home: LoaderHome) -> list[tuple[int, bool]]:
    assert [report.problem for report in home.reports] == [""] * len(home.reports)
    found = [report.payload for report in home.reports]
    return [(one.version, one.succeeded) for one in found if isinstance(one, PpmidActivationAlert)]


def committed(home: LoaderHome) -> Slot | None:
    return home.machine.loader().look().committed


def in_trial(kind: str, folder: Path) -> LoaderHome:
    home = LoaderHome(kind=kind, folder=folder)
    home.offer()
    assert home.run_until(lambda: home.boots[-1] == str(NEW))
    return home


def test_a_whole_update(kind: str, tmp_path: Path) -> None:
    home = in_trial(kind, tmp_path)
    assert home.run_until(lambda: bool(alerts(home)))
    assert alerts(home) == [(NEW.file_version, True)]
    assert (started(home), committed(home)) == ([A, B], B)
    home.lose_power()
    home.run(600.0)
    assert (started(home)[-1], home.boots[-1], len(alerts(home))) == (B, str(NEW), 1)


def test_a_trial_that_hears_no_hub_goes_back_and_is_reported(kind: str, tmp_path: Path) -> None:
    home = in_trial(kind, tmp_path)
    home.world.blocked.add(DEVICE_EUI)
    assert home.run_until(lambda: home.boots[-1] == str(OLD))
    home.world.blocked.discard(DEVICE_EUI)
    assert home.run_until(lambda: bool(alerts(home)))
    assert alerts(home) == [(OLD.file_version, False)]
    assert (started(home), committed(home)) == ([A, B, A], A)
    assert home.rig.slot_record(B).reason is EndReason.UNHEALTHY


@pytest.mark.parametrize(("end", "reason"), [("crash", "CRASHED"), ("lose_power", "POWER")])
def test_a_trial_that_never_lasts_spends_its_tries_and_goes_back(
    kind: str, tmp_path: Path, end: str, reason: str
) -> None:
    home = in_trial(kind, tmp_path)
    for _ in range(3):
        assert home.boots[-1] == str(NEW)
        getattr(home, end)()
    assert home.boots == [str(OLD), *[str(NEW)] * 3, str(OLD)]
    assert home.run_until(lambda: bool(alerts(home)))
    assert alerts(home) == [(OLD.file_version, False)]
    record = home.rig.slot_record(B)
    assert record.state is SlotState.BAD
    assert record.reason.name.startswith(reason)
    assert (started(home)[-1], committed(home)) == (A, A)


def test_a_trial_that_was_marked_bad_and_ended_before_it_could_ask_for_a_restart(kind: str, tmp_path: Path) -> None:
    home = in_trial(kind, tmp_path)
    LoaderSlots(home.rig.store, home.rig.areas, B, home.machine.loader()).mark_bad(B, EndReason.UNHEALTHY)
    home.crash()
    assert (home.boots[-1], started(home)) == (str(OLD), [A, B, A])


def test_a_loader_that_insists_on_a_bad_slot_gets_the_factory_agent_and_no_endless_restarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a Pi whose firmware walks on to the next partition, since it finds nothing in the committed one."""
    home = LoaderHome(folder=tmp_path)
    machine = home.machine
    assert isinstance(machine, TrybootMachine)
    come_up = machine.come_up

    def walk_on() -> None:
        come_up()
        machine.node("partition", 3)

    monkeypatch.setattr(machine, "come_up", walk_on)
    home.lose_power()
    assert home.device.is_factory
    assert committed(home) is A


def test_a_confirmed_program_that_crashes_is_started_anew_without_a_restart_of_the_machine(
    kind: str, tmp_path: Path
) -> None:
    home = LoaderHome(kind=kind, folder=tmp_path)
    home.crash()
    assert (started(home), home.boots) == ([A], [str(OLD), str(OLD)])


def test_an_hcalcs_restarts_its_machine_by_the_command_alone(kind: str, tmp_path: Path) -> None:
    home = LoaderHome("hcalcs", kind=kind, folder=tmp_path)
    home.offer()
    assert home.run_until(
        lambda: (
            home.device._update.state is State.HELD
            and any(isinstance(report.payload, ReceiptAlert) for report in home.reports)
        )
    )
    home.lose_power()
    home.run(86_400.0)
    assert started(home) == [A, A]
    home.backhaul.activate_firmware(DEVICE_EUI, home.world.now)
    found: list[ActivateFirmwareResponse] = []
    assert home.run_until(
        lambda: bool(
            [found.append(one.payload) for one in home.reports if isinstance(one.payload, ActivateFirmwareResponse)]
        )
    )
    assert found[0].result is not None
    assert (found[0].result.outcome, started(home)) == (ActivationOutcome.SUCCESS, [A, A, B])


def test_a_spoilt_firmware_slot_leads_to_the_other_base(kind: str, tmp_path: Path) -> None:
    home = in_trial(kind, tmp_path)
    assert home.run_until(lambda: bool(alerts(home)))
    spoil(home, B)
    home.lose_power()
    assert (started(home), committed(home)) == ([A, B, B, A], A)
    assert home.boots[-1] == str(OLD)


def test_without_a_good_firmware_slot_it_is_the_factory_agent_of_the_base_that_was_started(
    kind: str, tmp_path: Path
) -> None:
    home = in_trial(kind, tmp_path)
    assert home.run_until(lambda: bool(alerts(home)))
    spoil(home)
    home.lose_power()
    assert home.boots[-1] == str(FACTORY.version)
    home.offer(NEWER)
    assert home.run_until(lambda: len(alerts(home)) == 2, 3 * 86_400.0)
    assert alerts(home)[-1] == (NEWER.file_version, True)
    assert committed(home) is started(home)[-1] is Slot[home.rig.running.slot]
    home.lose_power()
    assert home.boots[-1] == str(NEWER)


def test_a_lost_boot_state_is_rebuilt_from_the_marks_and_the_loader_follows(kind: str, tmp_path: Path) -> None:
    home = in_trial(kind, tmp_path)
    assert home.run_until(lambda: bool(alerts(home)))
    area = home.rig.store._area
    area.write(0, bytes(home.rig.store.size_octets))
    area.sync()
    home.lose_power()
    assert (home.boots[-1], started(home)[-1]) == (str(NEW), B)


def cut_home(kind: str, folder: Path, scenario: str, cuts: tuple[PlannedCut, ...], seed: int) -> LoaderCutHome:
    chosen = BY_NAME[scenario]
    return LoaderCutHome(
        chosen.role,
        ota=OtaSettings(block_octets=BLOCK_OCTETS),
        server=ServerSettings(block_octets=BLOCK_OCTETS),
        disk=WatchedDisk(seed),
        deaf=chosen.deaf,
        cuts=list(cuts),
        keys=chosen.keys,
        chip_lag_s=chosen.chip_lag_s,
        kind=kind,
        folder=folder,
    )


def run_cut(kind: str, folder: Path, scenario: str, cut: PlannedCut | None, seed: int = 0) -> Result:
    cuts = (cut,) if cut else ()
    folder.mkdir()
    return finish(BY_NAME[scenario], cut_home(kind, folder, scenario, cuts, seed), Result(Task(scenario, cuts, seed)))


@pytest.mark.parametrize("scenario", ["ppmid-update", "ppmid-unhealthy", "ppmid-factory", "hcalcs-activate"])
def test_a_cut_anywhere_ends_as_it_may(kind: str, scenario: str, tmp_path: Path) -> None:
    whole = run_cut(kind, tmp_path / "whole", scenario, None)
    assert whole.failure == ""
    choose = random.Random(f"{kind} {scenario}")
    for number in sorted(choose.sample(range(1, whole.operations + 1), CUTS)):
        cut = PlannedCut(number, choose.choice(WAYS))
        result = run_cut(kind, tmp_path / str(number), scenario, cut, number)
        assert (result.failure, result.cuts_made) == ("", 1), f"cut {cut} in {result.where}"
