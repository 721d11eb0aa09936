"""Machines with a boot loader of their own, on a disk in memory, and what a device does on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from agent.boot.backends.loader import Loader, LoaderControl
from agent.boot.backends.tryboot import AUTOBOOT_OCTETS, Tryboot, TrybootPlaces, render
from agent.boot.backends.uboot import Uboot
from agent.boot.slots import WrittenImage
from agent.boot.state import BootState, EndReason, Slot, SlotRecord, SlotState
from agent.boot.store import BootStateStore
from boards.virtual.disk import Disk, DiskArea, PowerCut, Survival

TRIES = 3
NEW = WrittenImage(bytes(range(32)), 5000)
JOURNAL_OCTETS = 128 * 1024
SETTLE_STARTS = 20


class Machine(Protocol):
    """``started`` lists the slots that the loader started, in order."""

    disk: Disk
    journal: BootStateStore
    started: list[Slot]

    def come_up(self) -> None:
        """The boot loader starts a slot."""

    def restart(self) -> None:
        """An orderly restart is asked for: the next ``come_up`` is its other half."""

    def lose_power(self) -> None:
        """What is volatile is gone."""

    def loader(self) -> Loader:
        """As the device opens it."""

    def control(self) -> LoaderControl: ...


class TrybootMachine:
    """A Pi 5: reads autoboot.txt with code of its own, and writes what it did into a device tree."""

    def __init__(self, folder: Path, disk: Disk | None = None, journal: BootStateStore | None = None) -> None:
        self.disk = disk or Disk()
        self.journal = journal or BootStateStore(self.disk.area("journal", JOURNAL_OCTETS))
        self.autoboot = self.disk.area("autoboot.txt", AUTOBOOT_OCTETS)
        self.places = TrybootPlaces(
            partitions={Slot.A: 2, Slot.B: 3},
            reboot_param=folder / "run" / "reboot-param",
            device_tree=folder / "device-tree",
        )
        self.started: list[Slot] = []
        self.flag = False
        for made in (self.places.reboot_param.parent, self.places.device_tree / "chosen" / "bootloader"):
            made.mkdir(parents=True)
        (self.places.device_tree / "compatible").write_bytes(b"raspberrypi,5-model-b\0brcm,bcm2712\0")
        self.node("build-timestamp", 1_731_000_000)
        self.autoboot.write(0, render(Slot.A, self.places.partitions))
        self.autoboot.sync()
        if journal is None:
            prepare(self.journal)

    def node(self, name: str, value: int) -> None:
        (self.places.device_tree / "chosen" / "bootloader" / name).write_bytes(value.to_bytes(4, "big"))

    def come_up(self) -> None:
        sections = read_autoboot(self.autoboot.read_medium(0, AUTOBOOT_OCTETS))
        assert sections["all"]["tryboot_a_b"] == "1"
        partition = int(sections["tryboot" if self.flag else "all"]["boot_partition"])
        self.node("partition", partition)
        self.node("tryboot", int(self.flag))
        self.lose_power()
        self.started.append(Slot(partition - 2))

    def restart(self) -> None:
        param = self.places.reboot_param
        self.flag = param.exists() and param.read_text(encoding="ascii") == "0 tryboot\n"

    def lose_power(self) -> None:
        self.flag = False
        self.places.reboot_param.unlink(missing_ok=True)

    def loader(self) -> Tryboot:
        return Tryboot(self.autoboot, self.places)

    def control(self) -> LoaderControl:
        return LoaderControl(self.journal, self.loader())


def read_autoboot(octets: bytes) -> dict[str, dict[str, str]]:
    """As the firmware reads it: sections, and ``name=value``."""
    sections: dict[str, dict[str, str]] = {}
    for line in octets.decode("ascii").splitlines():
        if line.startswith("["):
            sections[line.strip("[]")] = {}
        elif "=" in line:
            name, _, value = line.partition("=")
            sections[list(sections)[-1]][name] = value
    return sections


class UbootMachine:
    """U-Boot with its boot count, a redundant environment, and the boot script of `agent.boot.backends.uboot`."""

    def __init__(self, folder: Path, disk: Disk | None = None, journal: BootStateStore | None = None) -> None:
        self.disk = disk or Disk()
        self.journal = journal or BootStateStore(self.disk.area("journal", JOURNAL_OCTETS))
        self.environment = DiskEnvironment(self.disk.area("environment", 8192))
        self.environment.write({"han_slot": "a", "altbootcmd": "run other"})
        self.cmdline = folder / "cmdline"
        self.started: list[Slot] = []
        if journal is None:
            prepare(self.journal)

    def come_up(self) -> None:
        variables = self.environment.read()
        slot = Slot["AB"["ab".index(variables["han_slot"])]]
        if variables.get("upgrade_available") == "1":
            count = int(variables["bootcount"]) + 1
            self.environment.write({"bootcount": str(count)})
            if count > int(variables["bootlimit"]):
                slot = slot.other
        self.cmdline.write_text(f"root=/dev/mmcblk0p2 han.slot={slot.name.lower()} quiet\n", encoding="ascii")
        self.started.append(slot)

    def restart(self) -> None:
        """Nothing of U-Boot's is volatile."""

    def lose_power(self) -> None:
        """Nor here."""

    def loader(self) -> Uboot:
        return Uboot(self.environment, self.cmdline)

    def control(self) -> LoaderControl:
        return LoaderControl(self.journal, self.loader())


class DiskEnvironment:
    """Two copies; the one with the higher flag and a right checksum holds. A change writes the other one, and syncs."""

    def __init__(self, area: DiskArea) -> None:
        self._area = area

    def read(self) -> dict[str, str]:
        return self._newest()[1]

    def write(self, changes: dict[str, str]) -> None:
        flag, variables = self._newest()
        text = "\n".join(f"{name}={value}" for name, value in {**variables, **changes}.items())
        octets = f"{flag + 1}\n{text}\n".encode("ascii")
        copy = sum(octets).to_bytes(4, "big") + len(octets).to_bytes(2, "big") + octets
        assert len(copy) <= 4096
        self._area.write((flag + 1) % 2 * 4096, copy)
        self._area.sync()

    def _newest(self) -> tuple[int, dict[str, str]]:
        copies = [(0, dict[str, str]())]
        for offset in (0, 4096):
            head = self._area.read(offset, 6)
            octets = self._area.read(offset + 6, min(int.from_bytes(head[4:], "big"), 4090))
            if octets and sum(octets) == int.from_bytes(head[:4], "big"):
                flag, *lines = octets.decode("ascii").splitlines()
                copies.append((int(flag), dict(line.split("=", 1) for line in lines)))
        return max(copies, key=lambda copy: copy[0])


def prepare(journal: BootStateStore) -> None:
    """Slot A confirmed, slot B written and verified."""
    confirmed = SlotRecord(state=SlotState.CONFIRMED, security_counter=1)
    written = SlotRecord(
        state=SlotState.WRITTEN, security_counter=2, image_octets=NEW.image_octets, image_hash=NEW.image_hash
    )
    journal.replace(BootState(active=Slot.A, security_counter=1, a=confirmed, b=written))


# --- what a device does on them ---------------------------------------------------------------------------------------

Trial = Callable[[LoaderControl], bool]  # True: ask for a restart


def healthy(control: LoaderControl) -> bool:
    control.report_running()
    control.confirm()
    return False


def unhealthy(control: LoaderControl) -> bool:
    control.report_running()
    control.mark_bad(Slot.B, EndReason.UNHEALTHY)
    return True


def hangs(control: LoaderControl) -> bool:
    """A hardware watchdog ends it before a line of ours has run."""
    return True


def settle(machine: Machine, trial: Trial, *, wanted: bool = True) -> None:
    """Start again and again until nothing more happens. ``wanted``: an image that waits is activated."""
    for _ in range(SETTLE_STARTS):
        try:
            if not one_start(machine, trial, wanted=wanted):
                return
        except PowerCut:
            machine.disk.power_on()
            machine.lose_power()
    raise AssertionError(f"it never came to rest: {machine.started}")


def one_start(machine: Machine, trial: Trial, *, wanted: bool = True) -> bool:
    """From one start to the next. True: there is a next one."""
    machine.come_up()
    under_trial = machine.journal.load().state
    if trial is hangs and under_trial is not None and under_trial.trial is machine.started[-1]:
        machine.lose_power()
        return True
    control = machine.control()
    again = control.reconcile()
    status = control.status()
    if not again and status.trial is not None and status.trial is status.running:
        again = trial(control)
    elif not again and wanted and status.slots[Slot.B].state is SlotState.WRITTEN:
        control.activate(Slot.B, TRIES)
        again = True
    if again:
        machine.restart()
    return again


def every_cut(make: Callable[[], Machine], trial: Trial) -> Iterator[tuple[str, Machine]]:
    """A machine for every operation of the whole course and every way to lose power there, settled afterwards."""
    measured = make()
    measured.disk.power_on()
    settle(measured, trial)
    total = len(measured.disk.operations)
    assert total > 5
    for number in range(1, total + 1):
        for survival in Survival:
            machine = make()
            machine.disk.reseed(number)
            machine.disk.cut_at(number, survival)
            settle(machine, trial)
            yield f"cut at {number} of {total}, {survival.name}", machine
