"""A PPMID is updated in virtual time: the real device and the real hub in one process."""

from __future__ import annotations

import pytest

from agent.boot.state import Slot, SlotState
from agent.gbcs.use_cases import PpmidActivationAlert
from boards.bench.settings import Activation, ActivationKind
from tests.home import DEVICE_EUI, Home
from tests.update_rig import NEW, NEWER, OLD


def alerted(home: Home) -> bool:
    return any(isinstance(report.payload, PpmidActivationAlert) for report in home.reports)


def test_a_newer_image_replaces_one_in_mid_transfer() -> None:
    home = Home()
    home.offer()
    assert home.run_until(lambda: home.device._update.record.offset_octets >= 4096)
    home.offer(NEWER)
    assert home.run_until(lambda: alerted(home))
    assert home.boots == [str(OLD), str(NEWER)]
    assert [(one["version"], one.get("replaces")) for one in home.logged("download starts")] == [
        (str(NEW), None),
        (str(NEWER), str(NEW)),
    ]


def test_the_whole_way_from_joining_to_the_verified_alert() -> None:
    home = Home()
    home.offer()
    assert home.run_until(lambda: alerted(home))
    (report,) = home.reports
    assert isinstance(report.payload, PpmidActivationAlert)
    assert (report.payload.version, report.payload.succeeded) == (NEW.file_version, True)
    assert (report.signature.value, report.mac.value, report.problem) == ("ok", "absent", "")
    assert report.device_eui == DEVICE_EUI
    assert home.boots == ["1.0.0", "1.1.0"]
    assert home.rig.slot_state(Slot.B) is SlotState.CONFIRMED


@pytest.mark.parametrize("seed", range(5))
def test_with_loss_it_ends_the_same_with_one_report(seed: int) -> None:
    home = Home(loss=0.1, seed=seed)
    home.offer()
    assert home.run_until(lambda: alerted(home), 7_200.0)
    home.run(600.0)
    assert len(home.reports) == 1
    assert home.boots[-1] == "1.1.0"


def test_a_tunnel_that_another_version_journalled_is_no_hindrance() -> None:
    home = Home()
    home.run(60.0)
    home.journal.set_tunnel('{"of a later version": 1}')
    home.restart()
    home.offer()
    assert home.run_until(lambda: alerted(home))


def test_a_timed_activation_happens_at_the_hubs_time() -> None:
    home = Home()
    home.offer(activation=Activation(ActivationKind.AFTER, 7_200))
    assert not home.run_until(lambda: alerted(home), 7_000.0)
    assert home.boots == ["1.0.0"]
    assert home.run_until(lambda: alerted(home), 600.0)
    assert home.boots == ["1.0.0", "1.1.0"]
