"""What a device remembers of a version whose trial failed on it: when it fetches it again, and when it never does."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.boot.state import EndReason, Slot
from agent.errors import EXIT_OK, EXIT_REFUSED
from agent.update.commands import BeginDownload, Decline
from agent.update.database import open_database
from agent.update.failed_version import UNJUDGED_ATTEMPTS, UNJUDGED_PAUSE_S, FailedVersion
from agent.update.journal import Journal
from agent.update.states import State
from tests.device_folder import DeviceFolder, make_device
from tests.update_rig import NEW, NEWER, OLD, UTC, Rig, ota_file

FILE = ota_file(NEW)

UNHEALTHY = "unhealthy: the hub did not answer within 180 s (health.limit_s)"


def revert(rig: Rig, utc: int, *, power: bool) -> None:
    """One whole activation of NEW that ends for power alone, or for the hub's silence; reported at ``utc``."""
    rig.machine.offered(NEW.file_version, len(FILE), utc)
    rig.feed(FILE)
    rig.machine.activate_now()
    if power:
        for _ in range(4):
            rig.start(new_boot=True)
    else:
        rig.start(10.0)
        rig.machine.handle_timer(190.0)
        rig.start(191.0)
    assert rig.running.version == OLD
    rig.machine.hub_answered(0.0, utc)


def answer(rig: Rig, utc: int | None, version: int = NEW.file_version) -> BeginDownload | Decline:
    """What the machine says to an offer."""
    rig.collect()
    rig.commands.clear()
    rig.machine.offered(version, len(FILE), utc)
    (command,) = [one for kind in (BeginDownload, Decline) for one in rig.of(kind)]
    assert isinstance(command, BeginDownload | Decline)
    return command


def started() -> Rig:
    rig = Rig()
    rig.start()
    return rig


def test_a_version_not_judged_is_fetched_again_after_a_pause_and_once_only() -> None:
    rig = started()
    revert(rig, UTC, power=True)
    assert rig.slot_record(Slot.B).reason is EndReason.POWER_OR_RESET
    assert [event.what for event in rig.journal.events()][-2:] == [
        "activation failed slot=B reason=power_or_reset",
        "update reverted version=1.0.0 reason=power_or_reset",
    ]
    early = answer(rig, UTC + UNJUDGED_PAUSE_S - 1)
    assert isinstance(early, Decline)
    assert "could not be tried here (power or reset); again 6 h later" in early.reason
    revert(rig, UTC + UNJUDGED_PAUSE_S, power=True)
    assert len(rig.reports) == UNJUDGED_ATTEMPTS == 2, "each attempt has its report"
    late = answer(rig, UTC + 100 * UNJUDGED_PAUSE_S)
    assert isinstance(late, Decline)
    assert "failed its trial on this device (power or reset)" in late.reason
    assert isinstance(answer(rig, UTC, NEWER.file_version), BeginDownload)


def test_the_count_outlives_a_restart_and_a_second_attempt_can_succeed() -> None:
    rig = started()
    revert(rig, UTC, power=True)
    rig.start(new_boot=True)
    assert isinstance(answer(rig, UTC + 1), Decline)
    assert isinstance(answer(rig, UTC + UNJUDGED_PAUSE_S), BeginDownload)
    rig.feed(FILE)
    rig.machine.activate_now()
    rig.start(10.0)
    rig.machine.hub_answered(20.0, UTC + UNJUDGED_PAUSE_S + 100)
    assert rig.reports[-1].startswith("activated True 1.1.0")


def test_a_version_that_was_judged_stays_refused_whatever_ended_its_other_trials() -> None:
    rig = started()
    revert(rig, UTC, power=True)
    revert(rig, UTC + UNJUDGED_PAUSE_S, power=False)
    decline = answer(rig, UTC + 100 * UNJUDGED_PAUSE_S)
    assert isinstance(decline, Decline)
    assert f"({UNHEALTHY})" in decline.reason


def test_a_clock_that_was_set_back_does_not_lengthen_the_pause_and_none_does_not_end_it() -> None:
    rig = started()
    revert(rig, UTC, power=True)
    assert isinstance(answer(rig, None), Decline)
    assert isinstance(answer(rig, UTC - 1), BeginDownload)


def test_another_version_that_is_fetched_takes_the_memory_away() -> None:
    rig = started()
    revert(rig, UTC, power=False)
    assert isinstance(answer(rig, UTC, NEWER.file_version), BeginDownload)
    rig.machine.cancel("the engineer asked for it")
    assert isinstance(answer(rig, UTC), BeginDownload)


def test_the_engineer_clears_it() -> None:
    rig = started()
    revert(rig, UTC, power=False)
    forgotten = rig.machine.retry()
    assert forgotten == FailedVersion(NEW.file_version, UNHEALTHY, 0, UTC)
    assert rig.machine.retry() is None
    assert isinstance(answer(rig, UTC), BeginDownload)
    assert rig.machine.state is State.DOWNLOADING


# --- han-agent update retry -------------------------------------------------------------------------------------------


@pytest.fixture
def device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> DeviceFolder:
    made = make_device(tmp_path)
    made.provision(capsys)
    return made


def journal_of(device: DeviceFolder) -> Journal:
    return Journal(open_database(device.database))


def test_retry_of_a_device_at_rest(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    journal_of(device).set_failed_version(FailedVersion(0x0101_0000, "unhealthy", 0, UTC))
    status = device.json(capsys, "status")
    assert status["failed_version"] == {
        "version": "1.1.0",
        "reason": "unhealthy",
        "unjudged_attempts": 0,
        "time": "2027-01-15T08:00:00Z",
        "again": None,
    }
    assert device.call("status") == EXIT_OK
    assert "failed version    1.1.0, ended: unhealthy, 2027-01-15T08:00:00Z; fetched again after another version" in (
        capsys.readouterr().out
    )
    told = device.json(capsys, "update", "retry")
    assert (told["forgotten"]["version"], told["by_running_device"]) == ("1.1.0", False)
    assert journal_of(device).failed_version() is None
    assert journal_of(device).events()[-1].what == "failed version may be fetched again version=1.1.0"
    assert device.call("update", "retry") == EXIT_REFUSED
    assert "nothing to retry" in capsys.readouterr().out


def test_a_version_not_judged_says_when_it_is_fetched_again(
    device: DeviceFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    journal_of(device).set_failed_version(FailedVersion(0x0101_0000, "power_or_reset", 1, UTC))
    assert device.call("status") == EXIT_OK
    assert "1.1.0, ended: power or reset, 2027-01-15T08:00:00Z; fetched again from 2027-01-15T14:00:00Z on" in (
        capsys.readouterr().out
    )
