"""The tryboot backend: autoboot.txt in place, a volatile flag, a journal; power cut at every write. No metal here."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_factory import steady
from loader_lab import (
    TRIES,
    Trial,
    TrybootMachine,
    every_cut,
    hangs,
    healthy,
    one_start,
    read_autoboot,
    settle,
    unhealthy,
)

from agent.boot.area import FileArea, make_area_file
from agent.boot.backends import open_loader
from agent.boot.backends.loader import LoaderControl
from agent.boot.backends.tryboot import (
    AUTOBOOT_OCTETS,
    Autoboot,
    Tryboot,
    TrybootPlaces,
    open_autoboot,
    provision_autoboot,
    render,
)
from agent.boot.backends.uboot import Uboot
from agent.boot.places import BOOT_STATE_OCTETS, BootChoice
from agent.boot.refusal import BootRefusedError
from agent.boot.state import EndReason, Slot, SlotState
from agent.boot.store import BootStateStore
from agent.errors import StorageError
from boards.virtual.disk import Disk

PARTITIONS = {Slot.A: 2, Slot.B: 3}


@pytest.fixture
def machine(tmp_path: Path) -> TrybootMachine:
    return TrybootMachine(tmp_path)


def committed(machine: TrybootMachine) -> Slot | None:
    return Autoboot(machine.autoboot, PARTITIONS).committed()


def test_a_trial_that_is_healthy_is_committed(machine: TrybootMachine) -> None:
    settle(machine, healthy)
    assert machine.started == [Slot.A, Slot.B]
    status = machine.control().status()
    assert (status.running, status.active, status.trial, status.security_counter) == (Slot.B, Slot.B, None, 2)
    assert committed(machine) is Slot.B
    machine.lose_power()
    settle(machine, healthy)
    assert machine.started == [Slot.A, Slot.B, Slot.B]


def test_nothing_is_committed_before_the_confirm(machine: TrybootMachine) -> None:
    assert one_start(machine, healthy)
    machine.come_up()
    assert machine.started[-1] is Slot.B
    assert not machine.control().reconcile()
    assert committed(machine) is Slot.A


def test_an_unhealthy_trial_goes_back(machine: TrybootMachine) -> None:
    settle(machine, unhealthy)
    assert machine.started == [Slot.A, Slot.B, Slot.A]
    record = machine.control().status().slots[Slot.B]
    assert (record.state, record.reason) == (SlotState.BAD, EndReason.UNHEALTHY)
    assert committed(machine) is Slot.A


def test_a_trial_that_never_runs_is_tried_as_often_as_it_may_be(machine: TrybootMachine) -> None:
    settle(machine, hangs)
    assert machine.started == [Slot.A, *[Slot.B, Slot.A] * TRIES]
    record = machine.control().status().slots[Slot.B]
    assert (record.state, record.reason) == (SlotState.BAD, EndReason.NEVER_STARTED)


def test_arming_dies_with_the_power_and_the_journal_arms_again(machine: TrybootMachine) -> None:
    assert one_start(machine, healthy)
    machine.lose_power()
    assert one_start(machine, healthy), "not armed again"
    assert machine.started == [Slot.A, Slot.A]
    settle(machine, healthy)
    assert machine.started == [Slot.A, Slot.A, Slot.B]


def test_a_second_reconcile_in_one_boot_spends_no_second_try(machine: TrybootMachine) -> None:
    one_start(machine, healthy)
    machine.lose_power()
    machine.come_up()
    control = machine.control()
    assert control.reconcile()
    left = control.status().slots[Slot.B].tries_left
    assert machine.control().reconcile()
    assert control.status().slots[Slot.B].tries_left == left == TRIES - 2


def test_a_cancelled_trial_is_disarmed(machine: TrybootMachine) -> None:
    machine.come_up()
    control = machine.control()
    control.activate(Slot.B, TRIES)
    control.cancel(Slot.B)
    machine.restart()
    settle(machine, healthy)
    assert machine.started == [Slot.A, Slot.A]


def test_a_lost_journal_takes_what_is_committed(machine: TrybootMachine) -> None:
    settle(machine, healthy)
    machine.disk.area("journal", 128 * 1024).write(0, bytes(128 * 1024))
    settle(machine, healthy)
    status = machine.control().status()
    assert (status.active, status.slots[Slot.B].state, status.slots[Slot.A].state) == (
        Slot.B,
        SlotState.CONFIRMED,
        SlotState.EMPTY,
    )


def test_a_firmware_that_went_back_by_itself_is_not_fought(machine: TrybootMachine) -> None:
    settle(machine, healthy)
    machine.come_up()
    machine.node("partition", PARTITIONS[Slot.A])
    assert not machine.control().reconcile()
    assert committed(machine) is Slot.B


def test_marking_the_active_slot_bad_commits_the_other(machine: TrybootMachine) -> None:
    settle(machine, healthy)
    machine.control().mark_bad(Slot.B, EndReason.CANCELLED)
    assert committed(machine) is Slot.A
    settle(machine, healthy, wanted=False)
    assert machine.started[-1] is Slot.A


# --- power ------------------------------------------------------------------------------------------------------------


def test_an_update_survives_every_cut(tmp_path: Path) -> None:
    numbers = itertools.count()
    for where, machine in every_cut(lambda: TrybootMachine(tmp_path / str(next(numbers))), healthy):
        status = machine.control().status()
        assert (status.running, status.active, status.trial) == (Slot.B, Slot.B, None), where
        assert committed(machine) is Slot.B, where


@pytest.mark.parametrize("trial", [unhealthy, hangs])
def test_a_rollback_survives_every_cut(tmp_path: Path, trial: Trial) -> None:
    numbers = itertools.count()
    for where, machine in every_cut(lambda: TrybootMachine(tmp_path / str(next(numbers))), trial):
        status = machine.control().status()
        assert (status.running, status.active) == (Slot.A, Slot.A), where
        assert status.slots[Slot.B].state is SlotState.BAD, where
        assert committed(machine) is Slot.A, where


def test_the_sweep_finds_a_file_that_is_truncated_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted bug, so that the sweeps above can be believed: what O_TRUNC does, or a new file that is renamed."""

    def truncate_then_write(autoboot: Autoboot, slot: Slot) -> None:
        area = autoboot._area
        area.erase(0, AUTOBOOT_OCTETS)
        area.write(0, render(slot, PARTITIONS))
        area.sync()

    monkeypatch.setattr(Autoboot, "commit", truncate_then_write)
    numbers = itertools.count()
    with pytest.raises((KeyError, StorageError)):
        list(every_cut(lambda: TrybootMachine(tmp_path / str(next(numbers))), healthy))


def test_a_torn_autoboot_still_names_partitions_that_exist() -> None:
    forms = [render(slot, PARTITIONS) for slot in Slot]
    for old, new in (forms, forms[::-1]):
        for at in range(AUTOBOOT_OCTETS + 1):
            area = Disk().area("autoboot.txt", AUTOBOOT_OCTETS)
            area.write(0, new[:at] + old[at:])
            sections = read_autoboot(area.read(0, AUTOBOOT_OCTETS))
            assert {sections[name]["boot_partition"] for name in ("all", "tryboot")} <= {"2", "3"}
            autoboot = Autoboot(area, PARTITIONS)
            assert autoboot.committed() in (*Slot, None)
            autoboot.commit(Slot.B)
            assert autoboot.committed() is Slot.B


def test_a_commit_is_one_write_of_one_sector_and_one_sync(machine: TrybootMachine) -> None:
    autoboot = Autoboot(machine.autoboot, PARTITIONS)
    machine.disk.power_on()
    autoboot.commit(Slot.B)
    told = [(each.area, each.kind, each.offset, each.length) for each in machine.disk.operations]
    assert told == [("autoboot.txt", "write", 0, 512), ("autoboot.txt", "sync", 0, 0)]
    machine.disk.power_on()
    autoboot.commit(Slot.B)
    assert [each.kind for each in machine.disk.operations] == ["sync"], "it may be in the cache only"


# --- what it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compatible", "built", "message"),
    [
        (b"brcm,bcm2711\0", 1_620_000_000, "bootloader is of 2021-05-03, brcm,bcm2711 needs 2022-11-25 or newer"),
        (b"brcm,bcm2712\0", 1_700_000_000, "needs 2024-05-13 or newer"),
        (b"raspberrypi,model-zero-2-w\0brcm,bcm2837\0", 1_731_000_000, "Pi 4 and 5 only, not on raspberrypi,model"),
    ],
)
def test_nothing_is_armed_on_a_bootloader_that_cannot(
    machine: TrybootMachine, compatible: bytes, built: int, message: str
) -> None:
    machine.come_up()
    (machine.places.device_tree / "compatible").write_bytes(compatible)
    machine.node("build-timestamp", built)
    with pytest.raises(BootRefusedError, match=message):
        machine.control().activate(Slot.B, TRIES)
    assert machine.control().status().slots[Slot.B].state is SlotState.WRITTEN
    assert not machine.places.reboot_param.exists()


def test_a_machine_that_is_no_pi_says_so(machine: TrybootMachine) -> None:
    with pytest.raises(StorageError, match="chosen/bootloader/partition: not there: no Raspberry Pi"):
        machine.control()


@pytest.mark.parametrize("number", [0, 1, 9])
def test_a_partition_that_is_no_slot(machine: TrybootMachine, number: int) -> None:
    machine.come_up()
    machine.node("partition", number)
    with pytest.raises(StorageError, match=f"started from partition {number}, which is no slot"):
        machine.control()


def test_an_autoboot_of_another_hand_is_left_alone() -> None:
    area = Disk().area("autoboot.txt", AUTOBOOT_OCTETS)
    area.write(0, b"[all]\nboot_partition=2\n")
    with pytest.raises(StorageError, match=r"not as han-agent writes it.*provision_autoboot"):
        Autoboot(area, PARTITIONS).committed()
    with pytest.raises(StorageError, match="65 octets, not 512"):
        Autoboot(Disk().area("autoboot.txt", 65), PARTITIONS)


@given(
    st.sampled_from([render(slot, PARTITIONS) for slot in Slot]),
    st.integers(0, AUTOBOOT_OCTETS - 1),
    st.binary(min_size=1, max_size=40),
)
@settings(steady)
def test_any_content_is_a_slot_or_torn_or_a_storage_error(form: bytes, at: int, damage: bytes) -> None:
    area = Disk().area("autoboot.txt", AUTOBOOT_OCTETS)
    octets = (form[:at] + damage + form[at + len(damage) :])[:AUTOBOOT_OCTETS]
    area.write(0, octets)
    try:
        slot = Autoboot(area, PARTITIONS).committed()
    except StorageError:
        return
    sections = read_autoboot(octets)
    named = [sections[name]["boot_partition"] for name in ("all", "tryboot")]
    assert (slot is None) == (named[0] == named[1])
    assert slot is None or PARTITIONS[slot] == int(named[0])


@pytest.mark.parametrize("partitions", [{Slot.A: 2, Slot.B: 2}, {Slot.A: 0, Slot.B: 3}, {Slot.A: 2, Slot.B: 12}])
def test_partitions_that_would_not_tear_well(partitions: dict[Slot, int]) -> None:
    with pytest.raises(StorageError, match="two different ones from 1 to 9"):
        render(Slot.A, partitions)


# --- on real files ----------------------------------------------------------------------------------------------------


def test_it_works_on_real_files(machine: TrybootMachine, tmp_path: Path) -> None:
    make_area_file(tmp_path / "journal", BOOT_STATE_OCTETS)
    file = tmp_path / "autoboot.txt"
    provision_autoboot(file, Slot.A, PARTITIONS)
    inode = file.stat().st_ino
    machine.come_up()
    known = machine.places
    places = TrybootPlaces(file, PARTITIONS, known.reboot_param, known.device_tree)
    with FileArea.open(tmp_path / "journal") as journal, open_autoboot(file) as autoboot:
        control = LoaderControl(BootStateStore(journal), Tryboot(autoboot, places))
        assert not control.reconcile()
        assert control.status().active is Slot.A
        machine.node("partition", 3)
        control = LoaderControl(BootStateStore(journal), Tryboot(autoboot, places))
        with pytest.raises(BootRefusedError, match="EMPTY"):
            control.confirm()
        assert file.read_bytes() == render(Slot.A, PARTITIONS)
    assert (file.stat().st_ino, file.stat().st_size) == (inode, AUTOBOOT_OCTETS), "not in place"


def test_the_configuration_names_it(tmp_path: Path) -> None:
    provision_autoboot(tmp_path / "autoboot.txt", Slot.A, PARTITIONS)
    with ExitStack() as stack:
        assert isinstance(open_loader(BootChoice("tryboot", tmp_path / "autoboot.txt"), stack), Tryboot)
        assert isinstance(open_loader(BootChoice("uboot"), stack), Uboot)
        assert open_loader(BootChoice(), stack) is None
        with pytest.raises(StorageError, match=r"autoboot\.txt: cannot open"):
            open_loader(BootChoice("tryboot", tmp_path / "gone" / "autoboot.txt"), stack)
