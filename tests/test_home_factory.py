"""Both slots bad: the factory agent joins, fetches an image, and hands over to it; in virtual time, both roles."""

from __future__ import annotations

import pytest

from agent.boot.places import MissingArea
from agent.boot.state import EndReason, Slot, SlotState
from agent.boot.store import COPY_OFFSETS
from agent.gbcs.use_cases import (
    ActivateFirmwareResponse,
    ActivationOutcome,
    Payload,
    PpmidActivationAlert,
    ReadVersionResponse,
    ReceiptAlert,
)
from agent.image.version import Version
from agent.update.commands import FACTORY
from agent.update.states import State
from boards.bench.settings import Activation, ActivationKind
from tests.home import DEVICE_EUI, Home
from tests.update_rig import NEW, NEWER, OLD, SLOT_OCTETS, image, ota_file

NONE = str(FACTORY.version)


def spoil(home: Home, *slots: Slot) -> None:
    """One bit of each image, while the device is off. The confirmed mark stays."""
    for slot in slots or tuple(Slot):
        area = home.rig.areas[slot]
        octet = area.read(100, 1)[0]
        area.write(100, bytes([octet ^ 1]))
        area.sync()


def lose_boot_state(home: Home) -> None:
    for offset in COPY_OFFSETS:
        home.rig.store._area.write(offset, bytes(512))
    home.rig.store._area.sync()


def lose_marks(home: Home) -> None:
    for area in home.rig.areas.values():
        area.write(SLOT_OCTETS - 4096, bytes(4096))
        area.sync()


def factory(role: str = "ppmid", **how: object) -> Home:
    """A device that comes up with two bad slots."""
    home = Home(role, starts_on=False, **how)  # type: ignore[arg-type]
    spoil(home)
    home.power_up()
    assert home.device.is_factory
    return home


def told(home: Home, kind: type) -> list[Payload]:
    found = [report for report in home.reports if isinstance(report.payload, kind)]
    assert [report.problem for report in found] == [""] * len(found)
    return [report.payload for report in found if report.payload is not None]


def alerts(home: Home) -> list[tuple[int, bool]]:
    return [(one.version, one.succeeded) for one in told(home, PpmidActivationAlert)]  # type: ignore[union-attr]


def test_it_joins_fetches_activates_and_the_new_code_reports() -> None:
    home = factory()
    home.run(600.0)
    assert home.device.hub_answers, "it answers the hub as any device"
    home.offer()
    assert home.run_until(lambda: bool(alerts(home)))
    assert alerts(home) == [(NEW.file_version, True)]
    assert home.boots == [NONE, str(NEW)]
    assert home.rig.slot_state(Slot[home.rig.running.slot]) is SlotState.CONFIRMED
    home.lose_power()
    assert home.boots[-1] == str(NEW)


def test_the_version_that_it_ran_before_is_taken_again() -> None:
    """No hub offers a device what it runs; this one runs nothing."""
    home = factory()
    home.offer(OLD)
    assert home.run_until(lambda: bool(alerts(home)))
    assert alerts(home) == [(OLD.file_version, True)]


def test_nothing_unverified_and_nothing_that_was_withdrawn_is_activated() -> None:
    home = factory()
    withdrawn = ota_file(NEW).replace(image(NEW), image(NEW, security_counter=6))
    assert len(withdrawn) == len(ota_file(NEW))
    damaged = bytearray(ota_file(NEW))
    damaged[5000] ^= 1
    home.offer(octets=withdrawn)
    assert home.run_until(lambda: len(home.logged("image refused")) == 1)
    home.restart_hub()
    home.offer(octets=bytes(damaged))
    assert home.run_until(lambda: len(home.logged("image refused")) == 2, 200_000.0)
    assert [line["reason"] for line in home.logged("image refused")] == ["security-counter", "hash"]
    assert home.boots == [NONE]
    assert home.rig.store.load().state.security_counter == 7  # type: ignore[union-attr]


def test_a_trial_that_fails_leads_back_to_it_reports_and_another_version_is_taken() -> None:
    home = factory()
    home.offer()
    assert home.run_until(lambda: home.boots[-1] == str(NEW))
    home.world.deaf.add(DEVICE_EUI)  # the radio code of the new image is broken
    assert home.run_until(lambda: home.boots[-1] == NONE)
    home.world.deaf.discard(DEVICE_EUI)
    assert home.run_until(lambda: bool(alerts(home)))
    assert alerts(home) == [(FACTORY.version.file_version, False)]
    failed = home.rig.slot_record(Slot.A)
    assert (failed.state, failed.reason) == (SlotState.BAD, EndReason.UNHEALTHY)
    home.run(3 * 86_400.0)
    assert home.boots == [NONE, str(NEW), NONE], "what failed here is not tried again by itself"
    home.offer(NEWER)
    assert home.run_until(lambda: len(alerts(home)) == 2, 3 * 86_400.0)
    assert alerts(home)[-1] == (NEWER.file_version, True)
    assert home.rig.running.slot == "B", "the slots take turns"


def test_a_trial_whose_tries_the_power_spends_leads_back_to_it() -> None:
    home = factory()
    home.offer()
    assert home.run_until(lambda: home.boots[-1] == str(NEW))
    for _ in range(3):
        home.lose_power()
    assert home.boots == [NONE, str(NEW), str(NEW), str(NEW), NONE]
    assert home.run_until(lambda: bool(alerts(home)))
    assert alerts(home) == [(0, False)]
    assert home.rig.slot_record(Slot.A).reason.name.startswith("POWER")


def test_an_hcalcs_holds_what_it_fetched_until_its_supplier_s_command() -> None:
    home = factory("hcalcs")
    home.offer()
    assert home.run_until(lambda: bool(told(home, ReceiptAlert)) and home.device._update.state is State.HELD)
    home.run(3 * 86_400.0)
    assert home.boots == [NONE], "the factory agent activates nothing by itself"
    home.backhaul.activate_firmware(DEVICE_EUI, home.world.now)
    assert home.run_until(lambda: bool(told(home, ActivateFirmwareResponse)))
    (answer,) = told(home, ActivateFirmwareResponse)
    assert (answer.result.outcome, answer.result.version) == (ActivationOutcome.SUCCESS, NEW.file_version)  # type: ignore[union-attr]
    assert home.boots == [NONE, str(NEW)]


def test_an_hcalcs_whose_trial_fails_answers_code_3_from_the_factory_agent() -> None:
    home = factory("hcalcs")
    home.offer()
    assert home.run_until(lambda: bool(told(home, ReceiptAlert)) and home.device._update.state is State.HELD)
    home.backhaul.activate_firmware(DEVICE_EUI, home.world.now)
    assert home.run_until(lambda: home.boots[-1] == str(NEW))
    home.world.deaf.add(DEVICE_EUI)
    assert home.run_until(lambda: home.boots[-1] == NONE)
    home.world.deaf.discard(DEVICE_EUI)
    assert home.run_until(lambda: bool(told(home, ActivateFirmwareResponse)))
    (answer,) = told(home, ActivateFirmwareResponse)
    assert (answer.result.outcome, answer.result.version) == (ActivationOutcome.FAILURE, 0)  # type: ignore[union-attr]


def test_an_image_that_was_held_when_the_running_one_broke_is_still_activated_by_the_command() -> None:
    home = Home("hcalcs")
    home.offer()
    assert home.run_until(lambda: bool(told(home, ReceiptAlert)) and home.device._update.state is State.HELD)
    spoil(home, Slot.A)
    home.lose_power()
    assert home.device.is_factory
    assert home.device._update.state is State.HELD
    home.backhaul.activate_firmware(DEVICE_EUI, home.world.now)
    assert home.run_until(lambda: bool(told(home, ActivateFirmwareResponse)))
    (answer,) = told(home, ActivateFirmwareResponse)
    assert answer.result.outcome is ActivationOutcome.SUCCESS  # type: ignore[union-attr]
    assert home.boots == [str(OLD), NONE, str(NEW)]


def test_asked_for_its_version_it_says_that_there_is_none() -> None:
    home = factory("hcalcs")
    home.run(60.0)
    home.backhaul.read_firmware_version(DEVICE_EUI, home.world.now)
    assert home.run_until(lambda: bool(told(home, ReadVersionResponse)))
    assert [answer.version for answer in told(home, ReadVersionResponse)] == [0]  # type: ignore[union-attr]


@pytest.mark.parametrize("role", ["ppmid", "hcalcs"])
def test_boot_state_and_marks_lost_end_in_it_and_a_held_image_does_not_run(role: str) -> None:
    home = Home(role)
    home.offer(activation=Activation(ActivationKind.WAIT))
    assert home.run_until(lambda: home.device._update.state is State.HELD)
    lose_boot_state(home)
    lose_marks(home)
    home.lose_power()
    assert home.boots == [str(OLD), NONE]
    assert [home.rig.slot_state(slot) for slot in Slot] == [SlotState.UNKNOWN, SlotState.UNKNOWN]
    assert home.run_until(lambda: home.device._update.state is State.HELD, 3 * 86_400.0), "it is fetched again"
    assert len(home.logged("pending image lost")) == 1
    assert [home.rig.slot_state(slot) for slot in Slot] == [SlotState.WRITTEN, SlotState.UNKNOWN]


def test_a_download_that_the_running_image_began_goes_on_in_the_factory_agent() -> None:
    home = Home()
    home.offer()
    assert home.run_until(lambda: home.device._update.record.offset_octets > 4096)
    spoil(home, Slot.A)
    home.lose_power()
    assert home.device.is_factory
    assert home.run_until(lambda: bool(alerts(home)))
    assert alerts(home) == [(NEW.file_version, True)]
    assert len(home.logged("download resumes")) == 1
    assert len(home.logged("download starts")) == 1


def test_a_slot_that_cannot_be_opened_leaves_the_other_one() -> None:
    home = Home(starts_on=False)
    spoil(home)
    home.rig.areas[Slot.A] = MissingArea("a.bin: it does not exist")  # type: ignore[assignment]
    home.power_up()
    home.offer()
    assert home.run_until(lambda: bool(alerts(home)))
    assert alerts(home) == [(NEW.file_version, True)]
    assert home.rig.running.slot == "B"


def test_a_device_runs_on_while_its_other_slot_is_gone_and_declines_what_it_cannot_store() -> None:
    home = Home(starts_on=False)
    home.rig.areas[Slot.B] = MissingArea("b.bin: it does not exist")  # type: ignore[assignment]
    home.power_up()
    home.offer()
    assert home.run_until(lambda: bool(home.logged("offer declined")))
    assert home.logged("offer declined")[0]["reason"] == "b.bin: it does not exist"
    home.lose_power()
    home.run(600.0)
    assert home.device.hub_answers
    assert home.boots == [str(OLD), str(OLD)]


def test_a_version_below_every_image() -> None:
    assert FACTORY.version == Version.from_file_version(0)
    assert FACTORY.is_factory
