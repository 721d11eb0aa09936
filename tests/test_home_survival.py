"""What was done to a device while it was off, what it does then, and that it can be updated afterwards.

The whole device in virtual time: it has been updated once (1.0.0 in slot A, 1.1.0 in slot B, both confirmed). The table
of these outcomes stands in agent/boot/README.md.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.boot.area import Medium
from agent.boot.control import SlotsControl
from agent.boot.mark import read_mark
from agent.boot.state import EndReason, Slot, SlotState
from agent.boot.store import COPY_OFFSETS, Finding
from agent.errors import StorageError
from agent.gbcs.use_cases import ActivateFirmwareAlert, PpmidActivationAlert, ReceiptAlert
from agent.image.refusal import ABORT
from agent.update.commands import FACTORY
from agent.update.journal import Journal
from agent.update.states import State
from boards.bench.happenings import TransferEnded
from boards.bench.settings import Activation, ActivationKind
from boards.virtual.disk import Fault
from tests.home import DEVICE_EUI, Home
from tests.update_rig import NEW, NEWER, OLD, SLOT_OCTETS, image
from tests.update_rig import UTC as STARTED_UTC

HOUR_S, DAY_S = 3_600, 86_400.0
YEARS_S = 5 * 365 * DAY_S


def write(area: Medium, offset: int, octets: bytes) -> None:
    area.write(offset, octets)
    area.sync()


def flip(area: Medium, offset: int) -> None:
    write(area, offset, bytes([area.read(offset, 1)[0] ^ 1]))


def flip_the_active_slot(home: Home) -> None:
    flip(home.rig.areas[Slot.B], 100)


def flip_both_slots(home: Home) -> None:
    for area in home.rig.areas.values():
        flip(area, 100)


def swap_the_slots(home: Home) -> None:
    contents = {slot: area.read(0, SLOT_OCTETS) for slot, area in home.rig.areas.items()}
    for slot, area in home.rig.areas.items():
        write(area, 0, contents[slot.other])


def put_back_the_old_image(home: Home) -> None:
    """Signed, and confirmed once on this device: but not what the boot state names for this slot."""
    write(home.rig.areas[Slot.B], 0, home.rig.areas[Slot.A].read(0, SLOT_OCTETS))


def put_back_a_withdrawn_image(home: Home) -> None:
    """Signed, with a security counter below the one that was reached."""
    for area in home.rig.areas.values():
        write(area, 0, image(OLD, security_counter=6))


def zero_the_boot_state(home: Home) -> None:
    write(home.rig.store._area, 0, bytes(home.rig.store.size_octets))  # type: ignore[arg-type]


def tear_one_copy(home: Home) -> None:
    write(home.rig.store._area, COPY_OFFSETS[1] + 200, bytes(64))  # type: ignore[arg-type]


def tear_both_copies(home: Home) -> None:
    for offset in COPY_OFFSETS:
        write(home.rig.store._area, offset + 200, bytes(64))  # type: ignore[arg-type]


def lose_the_journal(home: Home) -> None:
    home.rig.connection = sqlite3.connect(":memory:", isolation_level=None)


Deed = Callable[[Home], None]
OUTCOMES: Mapping[Deed, tuple[str, str]] = {  # version and slot that run at the next start
    flip_the_active_slot: (str(OLD), "A"),
    flip_both_slots: (str(FACTORY.version), ""),
    swap_the_slots: (str(NEW), "A"),
    put_back_the_old_image: (str(OLD), "A"),
    put_back_a_withdrawn_image: (str(FACTORY.version), ""),
    zero_the_boot_state: (str(NEW), "B"),
    tear_one_copy: (str(NEW), "B"),
    tear_both_copies: (str(NEW), "B"),
    lose_the_journal: (str(NEW), "B"),
}


def alerts(home: Home) -> list[tuple[int, bool]]:
    """Every CS09 that the head end has verified."""
    assert [report.problem for report in home.reports] == [""] * len(home.reports)
    found = [report.payload for report in home.reports]
    return [(one.version, one.succeeded) for one in found if isinstance(one, PpmidActivationAlert)]


def updated(kind: type[Home] = Home) -> Home:
    home = kind()
    home.offer()
    assert home.run_until(lambda: alerts(home) == [(NEW.file_version, True)])
    home.run(60.0)
    home.told.clear()
    home.restart_hub()  # which offers nothing any more
    home.run(60.0)
    return home


@pytest.mark.parametrize("deed", OUTCOMES, ids=lambda deed: deed.__name__)
def test_it_comes_up_as_it_may_and_takes_the_next_image(deed: Deed) -> None:
    home = updated()
    deed(home)
    home.lose_power()
    assert (home.boots[-1], home.rig.running.slot) == OUTCOMES[deed]
    home.run(600.0)
    assert home.device.hub_answers
    assert alerts(home) == [], "nothing was activated, and nothing is reported"
    assert home.rig.store.load().finding is Finding.WHOLE
    home.offer(NEWER)
    assert home.run_until(lambda: alerts(home) == [(NEWER.file_version, True)], 3 * DAY_S)
    home.lose_power()
    assert home.boots[-1] == str(NEWER)


def test_the_table_names_every_deed() -> None:
    text = (Path(__file__).parents[1] / "agent" / "boot" / "README.md").read_text(encoding="utf-8")
    named = {deed.__name__ for deed in OUTCOMES}
    assert {name for name in named if f"`{name}`" not in text} == set()


class Shortened:
    """A slot whose partition was cut."""

    def __init__(self, area: Medium, size_octets: int) -> None:
        self._area = area
        self.size_octets = size_octets

    def __getattr__(self, name: str) -> object:
        return getattr(self._area, name)


def test_a_slot_that_became_shorter_than_its_image_does_not_run_and_takes_no_longer_one() -> None:
    home = updated()
    home.rig.areas[Slot.B] = Shortened(home.rig.areas[Slot.B], 12_288)  # type: ignore[assignment, arg-type]
    home.lose_power()
    assert (home.boots[-1], home.rig.running.slot) == (str(OLD), "A")
    home.offer(NEWER)
    assert home.run_until(lambda: bool(home.logged("image refused")), 3 * DAY_S)
    assert (home.logged("image refused")[0]["reason"], home.boots[-1]) == ("size", str(OLD))


def counting_down(after_s: int) -> Home:
    """A PPMID that holds a whole image, told when to activate it."""
    home = Home()
    home.offer(activation=Activation(ActivationKind.AFTER, after_s))
    assert home.run_until(lambda: home.device._update.state is State.COUNTDOWN)
    return home


def test_a_medium_that_is_full_when_a_newer_image_replaces_a_pending_one_is_waited_out() -> None:
    """Nothing waits for the older one any more, and the next daily query brings the newer one again."""
    home = counting_down(2 * HOUR_S)
    home.disk.fail_at(len(home.disk.operations) + 1, Fault.ENOSPC, lasting=True)
    home.offer(NEWER)
    assert home.run_until(lambda: bool(home.logged("download waits")), 60.0)
    home.run(60.0)
    home.disk.heal()
    ended = [
        one.status for one in home.told if isinstance(one, TransferEnded) and one.file_version == NEWER.file_version
    ]
    assert ended == [ABORT], "the head end heard of it"
    assert home.run_until(lambda: alerts(home) == [(NEWER.file_version, True)], 2 * DAY_S)
    assert home.boots == [str(OLD), str(NEWER)]


def test_what_was_decided_before_a_medium_ends_the_program_is_told_all_the_same() -> None:
    home = Home()
    home.run(30.0)
    home.disk.fail_at(len(home.disk.operations) + 1, Fault.EIO)
    home.offer()
    with pytest.raises(StorageError):
        home.run(60.0)
    home.restart()
    assert home.run_until(lambda: alerts(home) == [(NEW.file_version, True)], DAY_S)
    assert [one["version"] for one in home.logged("download starts")] == [str(NEW)]
    assert [one["offset_octets"] for one in home.logged("download resumes")] == [0]


def test_an_activation_that_the_boot_state_refuses_is_reported_and_the_next_image_is_taken() -> None:
    """An engineer marked the slot bad beside the running device, and the time to activate it comes."""
    home = counting_down(2 * HOUR_S)
    SlotsControl(home.rig.store, home.rig.areas, Slot.A).mark_bad(Slot.B, EndReason.CANCELLED)
    assert home.run_until(lambda: alerts(home) == [(OLD.file_version, False)], DAY_S)
    assert home.boots == [str(OLD)]
    home.told.clear()
    home.offer(NEWER)
    assert home.run_until(lambda: alerts(home) == [(NEWER.file_version, True)], 2 * DAY_S)


# --- what waits for its activation, and time --------------------------------------------------------------------------


class Clocks(Home):
    """``hub_s`` and ``own_s`` are what the two clocks are off by."""

    hub_s = 0.0
    own_s = 0.0

    def _utc(self, now: float) -> int:
        return super()._utc(now) + int(self.hub_s)

    def power_up(self) -> None:
        super().power_up()
        self.device._wall_clock = self._own_clock

    def open_journal(self) -> Journal:
        return Journal(self.rig.open_database(), wall_clock=self._own_clock)

    def _own_clock(self) -> float:
        return STARTED_UTC + self.world.now + self.own_s


def holding(kind: type[Home] = Home) -> Home:
    home = kind("hcalcs")
    home.offer()
    assert home.run_until(
        lambda: (
            home.device._update.state is State.HELD
            and any(isinstance(report.payload, ReceiptAlert) for report in home.reports)
        )
    )
    return home


def dated(home: Home, after_s: float) -> datetime:
    due = datetime.fromtimestamp(STARTED_UTC + int(home.world.now + after_s), UTC)
    home.backhaul.activate_firmware(DEVICE_EUI, home.world.now, at=due)
    assert home.run_until(lambda: home.journal.order("dated") is not None)
    home.run(60.0)
    return due


def actioned(home: Home) -> list[ActivateFirmwareAlert]:
    return [one.payload for one in home.reports if isinstance(one.payload, ActivateFirmwareAlert)]


@pytest.mark.parametrize("deed", [zero_the_boot_state, tear_both_copies], ids=lambda deed: deed.__name__)
def test_a_held_image_never_starts_by_a_lost_boot_state_and_is_fetched_again(deed: Deed) -> None:
    home = holding()
    deed(home)
    home.lose_power()
    assert home.boots == [str(OLD), str(OLD)]
    assert home.rig.slot_state(Slot.B) is SlotState.UNKNOWN
    assert home.run_until(lambda: home.device._update.state is State.HELD, 3 * DAY_S)
    home.backhaul.activate_firmware(DEVICE_EUI, home.world.now)
    assert home.run_until(lambda: home.boots[-1] == str(NEW))


def test_own_clock_jumped_by_years_activates_nothing_and_dates_no_report() -> None:
    home = holding(Clocks)
    due = dated(home, 2 * DAY_S)
    home.own_s = YEARS_S  # type: ignore[attr-defined]
    home.lose_power()
    home.run(DAY_S)
    assert home.boots == [str(OLD), str(OLD)]
    assert home.run_until(lambda: bool(actioned(home)), 2 * DAY_S)
    assert abs(actioned(home)[0].time - due) < timedelta(minutes=5), "the hub's time, not ours"


def test_a_lost_journal_and_an_own_clock_years_behind_repeat_no_counter() -> None:
    """A machine without a clock chip: a new journal begins its originator counter at the hub's time."""
    home = updated(Clocks)
    used = home.journal.counter("own")
    lose_the_journal(home)
    home.own_s = -YEARS_S  # type: ignore[attr-defined]
    home.lose_power()
    home.offer(NEWER)
    assert home.run_until(lambda: alerts(home) == [(NEWER.file_version, True)], 3 * DAY_S)
    (report,) = home.reports
    assert report.message is not None
    assert report.message.counter > used > 0


def test_the_hub_s_clock_jumped_years_ahead_carries_out_what_is_due_then() -> None:
    home = holding(Clocks)
    dated(home, 30 * DAY_S)
    home.hub_s = YEARS_S  # type: ignore[attr-defined]
    assert home.run_until(lambda: bool(actioned(home)), 2 * DAY_S)
    assert home.boots[-1] == str(NEW)


def test_the_hub_s_clock_jumped_years_back_holds_until_it_is_right_again() -> None:
    home = holding(Clocks)
    dated(home, DAY_S)
    home.hub_s = -YEARS_S  # type: ignore[attr-defined]
    home.lose_power()
    home.run(3 * DAY_S)
    assert home.boots == [str(OLD), str(OLD)], "held: by the hub's clock its time has not come"
    home.hub_s = 0.0  # type: ignore[attr-defined]
    assert home.run_until(lambda: bool(actioned(home)), 2 * DAY_S)
    assert home.boots[-1] == str(NEW)


def test_every_confirmed_slot_bears_its_mark() -> None:
    """What the rows about a lost boot state stand on."""
    home = updated()
    assert {slot for slot, area in home.rig.areas.items() if read_mark(area)} == set(Slot)
