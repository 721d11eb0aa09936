"""The update machine on real slots, boot state, first stage and journal: from the offer to the one report."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.boot.places import MissingArea
from agent.boot.state import EndReason, Slot, SlotState
from agent.image.ota_form import Form
from agent.image.version import Version
from agent.update.commands import BeginDownload, Decline, EndUpgrade, Note
from agent.update.states import State
from tests.update_rig import NEW, NEWER, OLD, UTC, Rig, ota_file

FILE = ota_file(NEW)


def staged(rig: Rig) -> Rig:
    rig.start()
    rig.download(FILE)
    assert rig.machine.state is State.STAGED
    return rig


def on_trial(rig: Rig, now: float = 10.0) -> Rig:
    staged(rig)
    rig.machine.activate_now()
    assert rig.restarting
    rig.start(now)
    assert rig.running.version == NEW
    assert rig.machine.state is State.TRIAL
    return rig


def test_an_update_runs_from_the_offer_to_one_report() -> None:
    rig = on_trial(Rig())
    rig.machine.hub_answered(12.0, UTC + 12)
    assert rig.slot_state(Slot.B) is SlotState.TRIAL, "too soon: it has not stayed up long enough"
    rig.machine.handle_timer(15.0)
    assert rig.slot_state(Slot.B) is SlotState.CONFIRMED
    assert rig.reports == [f"activated True 1.1.0 {UTC + 15}"]
    assert rig.machine.state is State.IDLE
    assert rig.start(20.0).state is State.IDLE
    assert len(rig.reports) == 1


def test_the_image_lies_verbatim_in_the_slot_that_does_not_run() -> None:
    rig = staged(Rig())
    image = FILE[60:]
    assert rig.areas[Slot.B].read_medium(0, len(image)) == image
    assert rig.slot_state(Slot.A) is SlotState.CONFIRMED
    assert rig.of(EndUpgrade) == [EndUpgrade(0, NEW.file_version)]


def test_a_trial_without_an_answer_from_the_hub_goes_back_and_reports_failure() -> None:
    rig = on_trial(Rig())
    assert rig.machine.next_deadline() == 190.0
    rig.machine.handle_timer(190.0)
    assert rig.restarting
    rig.start(191.0)
    assert rig.running.version == OLD
    assert rig.slot_record(Slot.B).reason is EndReason.UNHEALTHY
    assert rig.reports == [], "no report before the hub's time is known"
    rig.machine.hub_answered(195.0, UTC + 195)
    assert rig.reports == [f"activated False 1.0.0 {UTC + 195}"]
    rig.start(200.0).hub_answered(205.0, UTC + 205)
    assert len(rig.reports) == 1


def test_an_image_whose_trial_failed_is_not_fetched_again_but_another_is() -> None:
    rig = on_trial(Rig())
    rig.machine.handle_timer(190.0)
    rig.start(191.0).hub_answered(195.0, UTC + 195)
    rig.machine.offered(NEW.file_version, len(FILE))
    (decline,) = rig.of(Decline)
    assert isinstance(decline, Decline)
    assert "failed its trial" in decline.reason
    rig.machine.offered(NEWER.file_version, len(FILE))
    assert rig.machine.state is State.DOWNLOADING


def test_a_trial_that_never_comes_up_spends_its_tries_and_goes_back() -> None:
    rig = staged(Rig())
    rig.machine.activate_now()
    versions = []
    for _ in range(5):  # the machine loses power each time before the program says anything
        rig.start(new_boot=True)
        versions.append(rig.running.version)
    assert versions == [NEW, NEW, NEW, OLD, OLD]
    rig.machine.hub_answered(1.0, UTC)
    assert rig.reports == [f"activated False 1.0.0 {UTC}"]


def test_power_lost_between_confirm_and_report_is_repaired_at_the_next_start() -> None:
    rig = on_trial(Rig())
    rig.slots.confirm()  # the commit is durable; the program dies before the journal hears of it
    rig.start(20.0)
    assert (rig.running.version, rig.running.trial) == (NEW, False)
    rig.machine.hub_answered(21.0, UTC + 21)
    assert rig.reports == [f"activated True 1.1.0 {UTC + 21}"]


def test_power_lost_between_decision_and_arming_arms_again() -> None:
    rig = staged(Rig())
    rig.machine.decide("the hub said now")  # journalled; power falls before carry_out
    rig.start()
    assert rig.restarting, "the old program arms the trial that was decided"
    rig.start()
    assert rig.running.version == NEW


def test_a_download_resumes_at_the_last_checkpoint() -> None:
    rig = Rig()
    rig.start()
    rig.machine.offered(NEW.file_version, len(FILE))
    rig.feed(FILE, 0, 9000)
    assert rig.machine.record.offset_octets == 60 + 8192
    rig.start()
    rig.machine.offered(NEW.file_version, len(FILE))
    begun = rig.of(BeginDownload)
    assert begun == [BeginDownload(60 + 8192, len(FILE), NEW.file_version)]
    rig.feed(FILE, 60 + 8192)
    assert rig.machine.state is State.STAGED


def test_another_offer_replaces_what_was_being_fetched() -> None:
    rig = Rig()
    rig.start()
    rig.machine.offered(NEW.file_version, len(FILE))
    rig.feed(FILE, 0, 5000)
    newer = ota_file(NEWER)
    rig.download(newer, NEWER)
    assert rig.machine.state is State.STAGED
    assert rig.areas[Slot.B].read_medium(0, 200) == newer[60:260]


def test_the_running_version_and_older_ones_are_declined() -> None:
    rig = Rig()
    rig.start()
    for version in (OLD, Version(0, 9, 0)):
        rig.machine.offered(version.file_version, 1000)
    declined = rig.of(Decline)
    assert len(declined) == 2
    assert rig.machine.state is State.IDLE


def test_a_refused_image_leaves_the_running_version_and_a_later_good_one_succeeds() -> None:
    rig = Rig()
    rig.start()
    bad = bytearray(FILE)
    bad[5000] ^= 1
    rig.download(bytes(bad))
    assert rig.of(EndUpgrade) == [EndUpgrade(0x96, NEW.file_version)]
    assert rig.machine.state is State.IDLE
    assert rig.start().state is State.IDLE
    assert rig.running.version == OLD
    rig.download(FILE)
    assert rig.machine.state is State.STAGED


def test_a_foreign_image_is_refused_before_it_is_stored() -> None:
    rig = Rig()
    rig.start()
    foreign = FILE[:12] + b"\x99\x99" + FILE[14:]
    rig.machine.offered(NEW.file_version, len(foreign))
    rig.feed(foreign, 0, 150)
    assert rig.of(EndUpgrade) == [EndUpgrade(0x96, NEW.file_version)]
    reasons = [note.facts.get("reason") for note in rig.of(Note) if isinstance(note, Note)]
    assert "image-type" in reasons


def test_a_timed_activation_survives_a_restart_and_waits_for_the_hubs_clock() -> None:
    rig = staged(Rig())
    rig.machine.activate_at(0.0, 600.0, UTC + 600)
    rig.start(0.0)
    rig.machine.handle_timer(10_000.0)
    assert not rig.restarting, "a clock that nobody set must not activate anything"
    rig.machine.hub_answered(10.0, UTC + 100)
    assert rig.machine.next_deadline() == pytest.approx(510.0)
    rig.machine.handle_timer(509.0)
    assert not rig.restarting
    rig.machine.handle_timer(510.0)
    assert rig.restarting


def test_our_own_clock_never_activates_when_the_hub_has_none() -> None:
    rig = staged(Rig())
    rig.machine.activate_at(0.0, 600.0, UTC + 600)
    rig.start(0.0).hub_answered(1.0, UTC + 90_000, clock_known=False)
    rig.machine.handle_timer(100_000.0)
    assert not rig.restarting
    rig.machine.hub_answered(100_001.0, UTC + 90_000)
    assert rig.restarting


def test_a_time_that_passed_while_the_device_was_off_activates_at_once() -> None:
    rig = staged(Rig())
    rig.machine.activate_at(0.0, 600.0, UTC + 600)
    rig.start(0.0).hub_answered(1.0, UTC + 90_000)
    assert rig.restarting


def test_an_hcalcs_holds_whatever_the_hub_says() -> None:
    rig = staged(Rig(by_command_only=True))
    rig.machine.activate_now()
    assert rig.machine.state is State.HELD
    rig.machine.activate_at(0.0, 1.0, UTC + 1)
    rig.machine.handle_timer(100.0)
    assert rig.machine.state is State.HELD
    assert not rig.restarting
    rig.start(new_boot=True)
    assert rig.running.version == OLD, "a held image never starts by accident"
    rig.machine.decide("CS06")
    rig.machine.carry_out()
    assert rig.restarting


def test_a_pending_image_can_be_cancelled_and_never_runs() -> None:
    rig = staged(Rig())
    assert rig.machine.cancel("asked by the engineer")
    assert rig.slot_state(Slot.B) is SlotState.EMPTY
    rig.start(new_boot=True)
    assert rig.running.version == OLD
    assert not rig.machine.cancel("again")


def test_a_pending_image_whose_slot_was_spoilt_is_fetched_again_and_one_that_cannot_be_read_is_kept() -> None:
    rig = staged(Rig())
    area = rig.areas[Slot.B]
    rig.areas[Slot.B] = MissingArea("b.bin: cannot read: Input/output error")  # type: ignore[assignment]
    assert rig.start().state is State.STAGED
    rig.areas[Slot.B] = area
    assert rig.start().state is State.STAGED
    area.write(100, bytes([area.read(100, 1)[0] ^ 1]))
    area.sync()
    assert rig.start().state is State.IDLE
    assert [note.event for note in rig.of(Note) if isinstance(note, Note)] == ["pending image lost"]
    rig.download(ota_file(NEW))
    assert rig.machine.state is State.STAGED


def test_the_security_counter_rises_only_after_confirm_and_then_refuses_older_images() -> None:
    rig = on_trial(Rig())
    rig.machine.hub_answered(20.0, UTC + 20)
    state = rig.store.load().state
    assert state is not None
    assert state.security_counter == 7


EVENTS = st.lists(
    st.sampled_from(
        [
            "offer",
            "offer newer",
            "blocks",
            "all",
            "now",
            "at",
            "hold",
            "hub",
            "timer",
            "cancel",
            "restart",
            "cut",
            "abort",
        ]
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(events=EVENTS, by_command=st.booleans())
def test_no_order_of_events_runs_an_image_that_was_not_verified(events: list[str], by_command: bool) -> None:
    rig = Rig(by_command_only=by_command, form=Form.GB_PPMID)
    rig.start()
    now, position = 0.0, 0
    for event in events:
        now += 1.0
        machine = rig.machine
        if event.startswith("offer"):
            version = NEWER if "newer" in event else NEW
            file = ota_file(version)
            machine.offered(version.file_version, len(file))
            begun = rig.of(BeginDownload)
            position = begun[-1].offset_octets if begun and isinstance(begun[-1], BeginDownload) else 0
        elif event in ("blocks", "all"):
            if machine.state is State.DOWNLOADING:
                file = ota_file(Version.from_file_version(machine.record.file_version))
                stop = len(file) if event == "all" else min(len(file), position + 3000)
                rig.feed(file, position, stop)
                position = stop
        elif event == "now":
            machine.activate_now()
        elif event == "at":
            machine.activate_at(now, 2.0, UTC + int(now) + 2)
        elif event == "hold":
            machine.hold()
        elif event == "hub":
            machine.hub_answered(now, UTC + int(now))
        elif event == "timer":
            now += 10.0
            machine.handle_timer(now)
        elif event == "cancel":
            machine.cancel("test")
        elif event == "abort":
            machine.transfer_aborted("test")
        if event in ("restart", "cut") or rig.restarting:
            rig.start(now, new_boot=event == "cut")
        running = rig.slot_record(Slot[rig.running.slot])
        assert running.state in (SlotState.CONFIRMED, SlotState.TRIAL)
        assert by_command is False or rig.running.version == OLD, (
            "without a command, an HCALCS never leaves its version"
        )
    ended = [report.split()[1] for report in rig.reports]
    assert ended.count("True") <= 2


@pytest.mark.parametrize("started", [7.572999999999945, 0.1, 1e9 + 0.3])
def test_a_trial_is_decided_at_its_very_deadline_however_the_sum_rounds(started: float) -> None:
    rig = on_trial(Rig(), started)
    rig.machine.hub_answered(started + 0.1, UTC)
    deadline = rig.machine.next_deadline()
    assert deadline is not None
    rig.machine.handle_timer(deadline)
    assert rig.slot_state(Slot.B) is SlotState.CONFIRMED
