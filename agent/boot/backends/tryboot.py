"""Raspberry Pi A/B boot partitions: ``autoboot.txt`` and the one-shot ``tryboot`` flag. Untested on metal.

- **Arm**: ``0 tryboot`` in systemd's reboot parameter. The flag is one-shot and both it and the parameter die with the
  power, so the journal arms again after every boot. The firmware counts nothing: the journal does.
- **Commit**: ``autoboot.txt`` in place. On FAT the textbook way (new file, fsync, rename, fsync of the folder) may
  leave a directory entry that points at a freed cluster, and O_TRUNC an empty file. So the file keeps one length of
  512 octets, one sector: one pwrite over it, fsync, read back through a fresh open. Old and new differ in two digits,
  so that even a torn sector names existing partitions twice; `LoaderControl.reconcile` then writes it again.

After a commit the firmware never goes back by itself: set ``kernel_watchdog_timeout=`` in config.txt,
``RuntimeWatchdogSec=`` for systemd, and ``panic=10`` on the kernel command line.

Sources: Raspberry Pi documentation, "autoboot.txt" and "/proc/device-tree/chosen/bootloader"; systemd,
``/run/systemd/reboot-param``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from agent.boot.area import FileArea, Medium, explain
from agent.boot.backends.loader import LoaderLook
from agent.boot.refusal import BootRefusedError
from agent.boot.state import Slot
from agent.errors import StorageError

AUTOBOOT_OCTETS = 512  # the firmware reads no more, and one sector is written whole or torn, never scattered
TRYBOOT = "0 tryboot"
# The oldest bootloader whose tryboot_a_b is right: an older one starts the wrong slot, or does not tell its number.
MINIMUM_BOOTLOADER = {
    "brcm,bcm2711": datetime(2022, 11, 25, tzinfo=UTC),  # Pi 4, CM4, Pi 400
    "brcm,bcm2712": datetime(2024, 5, 13, tzinfo=UTC),  # Pi 5, CM5
}
REMEDY = "write it anew with provision_autoboot while the medium is at hand"


@dataclass(frozen=True, slots=True)
class TrybootPlaces:
    """Where the firmware's and systemd's files are, and which partition holds which slot."""

    autoboot: Path = Path("/boot/autoboot/autoboot.txt")  # the first FAT partition, mounted where you like
    partitions: Mapping[Slot, int] = field(default_factory=lambda: {Slot.A: 2, Slot.B: 3})
    reboot_param: Path = Path("/run/systemd/reboot-param")
    device_tree: Path = Path("/proc/device-tree")


class Autoboot:
    """``autoboot.txt`` of AUTOBOOT_OCTETS in this module's form."""

    def __init__(self, area: Medium, partitions: Mapping[Slot, int]) -> None:
        """Raises StorageError when it has another length: an overwrite in place would not be whole."""
        if area.size_octets != AUTOBOOT_OCTETS:
            raise StorageError(f"autoboot.txt: {area.size_octets} octets, not {AUTOBOOT_OCTETS}: {REMEDY}")
        self._area = area
        self._forms = {slot: render(slot, partitions) for slot in Slot}
        self._torn = [_form(partitions[slot], partitions[slot]) for slot in Slot]

    def committed(self) -> Slot | None:
        """None when a write was torn: it names one partition twice. Raises StorageError for any other content."""
        octets = self._area.read(0, AUTOBOOT_OCTETS)
        for slot, form in self._forms.items():
            if octets == form:
                return slot
        if octets not in self._torn:
            raise StorageError(f"autoboot.txt: not as han-agent writes it for these partitions: {REMEDY}")
        return None

    def commit(self, slot: Slot) -> None:
        """In place, durable and read back on return."""
        wanted = self._forms[slot]
        if self._area.read(0, AUTOBOOT_OCTETS) != wanted:
            self._area.write(0, wanted)
        self._area.sync()  # also of what a process that was killed left in the cache
        if self._area.read_medium(0, AUTOBOOT_OCTETS) != wanted:
            raise StorageError("autoboot.txt: reads back other octets than were written: replace the card")


class Tryboot:
    """An `agent.boot.backends.loader.Loader`."""

    counts_tries = False

    def __init__(self, autoboot: Medium, places: TrybootPlaces) -> None:
        self._places = places
        self._autoboot = Autoboot(autoboot, places.partitions)

    def check(self) -> None:
        chips = self._read_node("compatible").decode("ascii", "replace").split("\0")
        chip = next((chip for chip in chips if chip in MINIMUM_BOOTLOADER), None)
        if chip is None:
            raise BootRefusedError(
                f"tryboot is known to work on Pi 4 and 5 only, not on {', '.join(filter(None, chips))}"
            )
        built = datetime.fromtimestamp(self._read_number("chosen/bootloader/build-timestamp"), UTC)
        if built < MINIMUM_BOOTLOADER[chip]:
            raise BootRefusedError(
                f"the bootloader is of {built:%Y-%m-%d}, {chip} needs {MINIMUM_BOOTLOADER[chip]:%Y-%m-%d} or newer: "
                "update it with rpi-eeprom-update"
            )

    def look(self) -> LoaderLook:
        number = self._read_number("chosen/bootloader/partition")
        running = next((slot for slot, partition in self._places.partitions.items() if partition == number), None)
        if running is None:
            raise StorageError(
                f"this machine started from partition {number}, which is no slot: correct the partitions"
            )
        return LoaderLook(running, self._autoboot.committed(), self._reboot_param() == TRYBOOT)

    def arm(self, slot: Slot, tries: int) -> None:
        """The flag means "the other one": the one that is not committed, so that one must be settled first."""
        del tries  # the firmware does not count
        self._autoboot.commit(slot.other)
        path = self._places.reboot_param
        try:
            path.write_text(TRYBOOT + "\n", encoding="ascii")
        except OSError as error:
            raise explain(error, path, "write") from None

    def commit(self, slot: Slot) -> None:
        self._autoboot.commit(slot)
        if self._reboot_param() == TRYBOOT:
            self._places.reboot_param.unlink(missing_ok=True)

    def restart_arguments(self) -> tuple[str, ...]:
        return (f"--reboot-argument={TRYBOOT}",) if self._reboot_param() == TRYBOOT else ()

    def _reboot_param(self) -> str:
        try:
            return self._places.reboot_param.read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise explain(error, self._places.reboot_param, "read") from None

    def _read_number(self, name: str) -> int:
        octets = self._read_node(name)
        if len(octets) != 4:
            raise StorageError(f"{self._places.device_tree / name}: {len(octets)} octets, 4 expected (big-endian)")
        return int.from_bytes(octets, "big")

    def _read_node(self, name: str) -> bytes:
        path = self._places.device_tree / name
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise StorageError(f"{path}: not there: no Raspberry Pi, or its bootloader is too old to tell") from None
        except OSError as error:
            raise explain(error, path, "read") from None


def render(committed: Slot, partitions: Mapping[Slot, int]) -> bytes:
    """AUTOBOOT_OCTETS octets: ``committed`` starts, and the other one for the tryboot flag. Raises StorageError."""
    numbers = {partitions[slot] for slot in Slot}
    if len(numbers) != 2 or not all(1 <= number <= 9 for number in numbers):
        raise StorageError(f"partitions {sorted(numbers)}: two different ones from 1 to 9 are needed")
    return _form(partitions[committed], partitions[committed.other])


def provision_autoboot(path: Path, committed: Slot, partitions: Mapping[Slot, int]) -> None:
    """Make the file in its final length. Not safe against a power cut: for a person with the medium at hand."""
    octets = render(committed, partitions)
    try:
        with path.open("wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise explain(error, path, "write") from None


def open_autoboot(path: Path) -> FileArea:
    """The file, for `Tryboot`; close it. Raises StorageError."""
    return FileArea.open(path)


def _form(normal: int, trial: int) -> bytes:
    text = f"[all]\ntryboot_a_b=1\nboot_partition={normal}\n[tryboot]\nboot_partition={trial}\n"
    return text.encode("ascii").ljust(AUTOBOOT_OCTETS, b"\n")
