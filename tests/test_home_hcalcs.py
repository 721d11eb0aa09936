"""An HCALCS in virtual time: distributed, held, and activated by nothing but its supplier's signed command."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from agent.boot.state import Slot, SlotState
from agent.gbcs.use_cases import (
    ActivateFirmwareAlert,
    ActivateFirmwareResponse,
    ActivationOutcome,
    EventCode,
    Payload,
    ReadVersionResponse,
    ReceiptAlert,
)
from agent.update.states import State
from boards.bench.settings import UTC_UNKNOWN, Activation, ActivationKind
from tests.home import DEVICE_EUI, Home
from tests.update_rig import NEW, NEWER, OLD
from tests.update_rig import UTC as STARTED_UTC


def of(home: Home, kind: type) -> list[Payload]:
    """The payloads of one kind that the head end has seen and verified."""
    found = [report for report in home.reports if isinstance(report.payload, kind)]
    assert [report.problem for report in found] == [""] * len(found)
    return [report.payload for report in found if report.payload is not None]


class LateClock(Home):
    """A hub that does not know the time until ``knows`` is set."""

    knows = False

    def _utc(self, now: float) -> int:
        return super()._utc(now) if self.knows else UTC_UNKNOWN


def holding(kind: type[Home] = Home) -> Home:
    home = kind("hcalcs")
    home.offer()
    assert home.run_until(lambda: bool(of(home, ReceiptAlert)))
    assert home.run_until(lambda: home.device._update.state is State.HELD)
    return home


def outcomes(home: Home, kind: type = ActivateFirmwareResponse) -> list[tuple[ActivationOutcome, int] | None]:
    answers = [answer.result for answer in of(home, kind)]  # type: ignore[union-attr]
    return [None if result is None else (result.outcome, result.version) for result in answers]


def at(home: Home, seconds: float) -> datetime:
    return datetime.fromtimestamp(STARTED_UTC + int(home.world.now + seconds), UTC)


def test_two_steps_distributed_then_activated_by_the_command() -> None:
    home = holding()
    (receipt,) = of(home, ReceiptAlert)
    assert isinstance(receipt, ReceiptAlert)
    assert receipt.event_code is EventCode.FIRMWARE_VERIFIED
    home.run(3 * 86_400.0)
    assert home.boots == ["1.0.0"], "three days of holding change nothing"
    home.backhaul.activate_firmware(DEVICE_EUI, home.world.now)
    assert home.run_until(lambda: bool(outcomes(home)))
    assert outcomes(home) == [(ActivationOutcome.SUCCESS, NEW.file_version)]
    assert home.boots == ["1.0.0", "1.1.0"]
    assert home.rig.slot_state(Slot.B) is SlotState.CONFIRMED


def test_a_hub_that_says_now_activates_nothing() -> None:
    home = Home("hcalcs")
    home.offer(activation=Activation(ActivationKind.NOW))
    home.run(7_200.0)
    assert home.device._update.state is State.HELD
    assert home.boots == ["1.0.0"]


def test_a_held_image_survives_the_loss_of_power_and_is_activated_afterwards() -> None:
    home = holding()
    home.lose_power()
    home.backhaul.activate_firmware(DEVICE_EUI, home.world.now)
    assert home.run_until(lambda: bool(outcomes(home)))
    assert outcomes(home) == [(ActivationOutcome.SUCCESS, NEW.file_version)]


def test_without_an_image_the_answer_is_one_and_with_another_hash_two() -> None:
    home = Home("hcalcs")
    home.run(60.0)
    home.backhaul.activate_firmware(DEVICE_EUI, home.world.now, bytes(32))
    assert home.run_until(lambda: bool(outcomes(home)))
    home.offer()
    assert home.run_until(lambda: home.device._update.state is State.HELD)
    home.backhaul.activate_firmware(DEVICE_EUI, home.world.now, bytes(32))
    assert home.run_until(lambda: len(outcomes(home)) == 2)
    assert outcomes(home) == [
        (ActivationOutcome.NO_IMAGE, OLD.file_version),
        (ActivationOutcome.HASH_MISMATCH, OLD.file_version),
    ]
    assert home.boots == ["1.0.0"]


def test_a_dated_command_happens_at_its_time_although_the_device_was_restarted() -> None:
    home = holding()
    home.backhaul.activate_firmware(DEVICE_EUI, home.world.now, at=at(home, 3_600))
    assert home.run_until(lambda: outcomes(home) == [None])
    home.lose_power()
    home.run(3_000.0)
    assert home.boots == ["1.0.0", "1.0.0"]
    assert home.run_until(lambda: bool(of(home, ActivateFirmwareAlert)))
    (alert,) = of(home, ActivateFirmwareAlert)
    assert isinstance(alert, ActivateFirmwareAlert)
    assert alert.event_code is EventCode.FUTURE_DATED_ACTIONED
    assert alert.result.version == NEW.file_version
    assert home.boots[-1] == "1.1.0"


def test_a_dated_command_whose_time_passes_while_the_device_is_off_happens_late_with_the_true_time() -> None:
    home = holding()
    due = at(home, 600)
    home.backhaul.activate_firmware(DEVICE_EUI, home.world.now, at=due)
    assert home.run_until(lambda: outcomes(home) == [None])
    home.world.detach(DEVICE_EUI)
    home.world.run(lambda: False, 7_200.0)
    home.restart()
    assert home.run_until(lambda: bool(of(home, ActivateFirmwareAlert)))
    (alert,) = of(home, ActivateFirmwareAlert)
    assert isinstance(alert, ActivateFirmwareAlert)
    assert alert.time - due > timedelta(seconds=6_000)
    assert alert.event_code is EventCode.FUTURE_DATED_ACTIONED


def test_a_dated_command_waits_for_a_hub_that_knows_the_time() -> None:
    home = holding(LateClock)
    long_past = datetime(2020, 1, 1, tzinfo=UTC)  # past on every clock, but nobody has told the device so
    home.backhaul.activate_firmware(DEVICE_EUI, home.world.now, at=long_past)
    assert home.run_until(lambda: outcomes(home) == [None])
    home.run(2 * 3_600.0)
    assert home.boots == ["1.0.0"], "our own clock must not activate anything"
    home.knows = True
    assert home.run_until(lambda: bool(of(home, ActivateFirmwareAlert)), 2 * 3_600.0)
    assert home.boots[-1] == "1.1.0"


def test_a_cancelled_command_never_happens() -> None:
    home = holding()
    home.backhaul.activate_firmware(DEVICE_EUI, home.world.now, at=at(home, 600))
    assert home.run_until(lambda: outcomes(home) == [None])
    home.backhaul.cancel_activation(DEVICE_EUI, home.world.now)
    assert home.run_until(lambda: outcomes(home) == [None, None])
    home.run(7_200.0)
    assert of(home, ActivateFirmwareAlert) == []
    assert home.boots == ["1.0.0"]
    assert home.device._update.state is State.HELD


def test_a_new_image_replaces_the_held_one_and_the_dated_command_reports_its_failure() -> None:
    home = holding()
    home.backhaul.activate_firmware(DEVICE_EUI, home.world.now, at=at(home, 3_600))
    assert home.run_until(lambda: outcomes(home) == [None])
    home.offer(NEWER)
    assert home.run_until(lambda: home.device._update.state is State.HELD and len(of(home, ReceiptAlert)) == 2)
    assert home.run_until(lambda: bool(of(home, ActivateFirmwareAlert)), 7_200.0)
    assert outcomes(home, ActivateFirmwareAlert) == [(ActivationOutcome.HASH_MISMATCH, OLD.file_version)]
    (alert,) = of(home, ActivateFirmwareAlert)
    assert isinstance(alert, ActivateFirmwareAlert)
    assert alert.event_code is EventCode.FUTURE_DATED_NOT_ACTIONED
    assert home.boots == ["1.0.0"]


def test_the_version_can_be_read() -> None:
    home = Home("hcalcs")
    home.run(60.0)
    home.backhaul.read_firmware_version(DEVICE_EUI, home.world.now)
    assert home.run_until(lambda: bool(of(home, ReadVersionResponse)))
    (answer,) = of(home, ReadVersionResponse)
    assert answer == ReadVersionResponse(OLD.file_version, succeeded=True)


def test_a_replayed_command_has_no_effect_and_is_in_the_security_log() -> None:
    home = holding()
    request = home.backhaul.activate_firmware(DEVICE_EUI, home.world.now, bytes(32))
    assert home.run_until(lambda: len(outcomes(home)) == 1)
    home.hub.send_message(DEVICE_EUI, request.octets, home.world.now)
    home.run(120.0)
    assert len(outcomes(home)) == 1
    (line,) = home.journal.events("security")
    assert line.code == EventCode.UNEXPECTED_COMMAND
    assert "replayed" in line.what


def test_an_image_that_its_supplier_did_not_sign_is_not_held() -> None:
    home = Home("hcalcs")
    octets = bytearray(home.file(NEW))
    octets[-1] ^= 1
    home.offer(octets=bytes(octets))
    assert home.run_until(lambda: bool(of(home, ReceiptAlert)))
    (receipt,) = of(home, ReceiptAlert)
    assert isinstance(receipt, ReceiptAlert)
    assert receipt.event_code is EventCode.FIRMWARE_VERIFICATION_FAILED
    assert home.device._update.state is State.IDLE
    home.offer(NEWER)
    assert home.run_until(lambda: home.device._update.state is State.HELD)
