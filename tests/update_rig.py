"""A device's update side on a disk in memory: real slots, boot state, first stage and journal, no radio.

``start`` is what a power-up does: the first stage chooses, the update machine decides. The image's code is not run; the
version that runs is read from the copy that the first stage verified, as the code would read it of itself.
"""

from __future__ import annotations

import os
import random
import sqlite3
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from agent.boot.area import explain as explain_fault
from agent.boot.control import SlotsControl
from agent.boot.first_stage import FirstStage, Started
from agent.boot.handover import Handover
from agent.boot.slots import SlotWriter
from agent.boot.state import BootState, Slot, SlotRecord, SlotState
from agent.boot.store import BootStateStore
from agent.image import mcuboot
from agent.image.ota_form import Form, Trailer
from agent.image.signature import key_hash
from agent.image.verdict import Requirements
from agent.image.version import Version
from agent.update.commands import FACTORY, Command, Policy, Restart, Running
from agent.update.database import Connection, Database, explain, renew
from agent.update.firmware_slots import FirmwareSlots
from agent.update.journal import Journal, OutboxRow, Record
from agent.update.machine import UpdateMachine
from agent.update.trial import SelfTest, TrialLimits
from boards.virtual.disk import Disk, MediumFault
from boards.virtual.disk.files import DiskFiles
from boards.virtual.disk.sqlite import DiskConnection
from tests.image_factory import HEADER, craft, make_key, ota

SLOT_OCTETS = 64 * 1024
STATE_OCTETS = 128 * 1024
UTC = 1_800_000_000  # the hub's clock at now = 0
PAYLOAD = bytes(range(256)) * 48  # three checkpoints of 4096 octets
OLD, NEW, NEWER = Version(1, 0, 0), Version(1, 1, 0), Version(1, 2, 0)


@cache
def image(version: Version, payload: bytes = PAYLOAD, security_counter: int = 7) -> bytes:
    """A signed Manufacturer Image."""
    counter = (mcuboot.SECURITY_COUNTER, security_counter.to_bytes(4, "little"))
    return craft(payload=payload, version=(version.major, version.minor, version.revision), protected=(counter,))


def ota_file(version: Version, form: Form = Form.GB_PPMID, trailer: Trailer | None = None) -> bytes:
    """The OTA file round it."""
    header = HEADER.__class__(
        manufacturer_code=HEADER.manufacturer_code,
        image_type=HEADER.image_type,
        file_version=version.file_version,
        total_octets=0,
        header_string=HEADER.header_string,
        hardware_versions=HEADER.hardware_versions,
    )
    return ota(image(version), form, header, trailer)


@dataclass
class Posted:
    """A reporter that posts what it is told as plain words, in the outbox as the real one does."""

    journal: Journal

    def activated(self, *, success: bool, record: Record, version: Version, utc: int) -> None:
        words = f"activated {success} {version} {utc}"
        self.journal.post(OutboxRow(str(self.journal.next_own_counter(utc)), "CS09", words.encode(), record.update_id))

    def received(self, *, verified: bool, image_hash: bytes, update_id: str, utc: int) -> None:
        del verified, image_hash, update_id, utc


@dataclass
class Rig:
    """One device. Keep it over restarts; ``machine`` is the running program's.

    ``on_disk``: the database lies on the disk with everything else, and shares its operations and its power.
    """

    by_command_only: bool = False
    form: Form = Form.GB_PPMID
    disk: Disk = field(default_factory=Disk)
    on_disk: bool = False
    boot_number: int = 0
    self_tests: tuple[SelfTest, ...] = ()

    def __post_init__(self) -> None:
        self.files = DiskFiles(self.disk, "data")
        self.connection: Connection | None = None
        self.areas = {slot: self.disk.area(f"slot {slot.name}", SLOT_OCTETS) for slot in Slot}
        self.store = BootStateStore(self.disk.area("boot state", STATE_OCTETS))
        self.trusted = {key_hash(make_key()): make_key().public_key()}
        self.commands: list[Command] = []
        self._provision()

    def _provision(self) -> None:
        self.store.replace(BootState())
        writer = SlotWriter.begin(self.store, self.areas[Slot.A], Slot.A, None)
        writer.write(image(OLD))
        written = writer.finish()
        control = SlotsControl(self.store, self.areas, None)
        control.mark_written(Slot.A, written, 7)
        control.mark_good(Slot.A)

    def choose(self) -> Handover:
        """The first stage: which slot runs, and what it tells the program in it."""
        stage = FirstStage(self.store, self.areas, self.trusted, self.boot_number.to_bytes(16))
        try:
            started = stage.choose()
        finally:
            stage.close()
        return self.take(started)

    def take(self, started: Started) -> Handover:
        """The program starts: what it knows of itself."""
        handover = started.handover
        if started.descriptor is None or handover.slot is None:
            self.running = FACTORY
            return handover
        with os.fdopen(started.descriptor, "rb") as copy:
            copy.seek(0)
            version = mcuboot.parse(copy.read(), allow_trailing=True).version
        self.running = Running(version, handover.slot.name, handover.image_hash, handover.trial)
        return handover

    def open_database(self) -> Database:
        """The program's own opening of its database."""
        if self.on_disk:
            try:
                if self.files.exists("journal.db-wal"):
                    renew(self.files.open("journal.db-wal", create=False))
                self.connection = DiskConnection(self.files, "journal.db")
            except sqlite3.Error as error:
                raise explain(error, "journal.db") from error
            except MediumFault as error:
                raise explain_fault(error, Path("journal.db-wal"), "write") from None
        elif self.connection is None:
            self.connection = sqlite3.connect(":memory:", isolation_level=None)
        return Database(self.connection, name="journal.db")

    def close_database(self) -> None:
        """What a program does when it ends, and the kernel when the program is killed. Raises PowerCut."""
        if self.on_disk and self.connection is not None:
            connection, self.connection = self.connection, None
            connection.close()

    def start(self, now: float = 0.0, *, new_boot: bool = False) -> UpdateMachine:
        """Power up: the first stage, then the first act of the program that it starts."""
        self.boot_number += new_boot
        handover = self.choose()
        control = SlotsControl(self.store, self.areas, handover.slot)
        self.close_database()
        self.journal = Journal(self.open_database(), wall_clock=lambda: UTC)
        self.slots = FirmwareSlots(control, self.areas, tries=3)
        self.reporter = Posted(self.journal)
        self.machine = UpdateMachine(
            self.journal, self.slots, self.reporter, self.running, self._policy(), random.Random(1)
        )
        self.machine.self_tests = self.self_tests
        self.commands = []
        self.machine.start(now)
        self.collect()
        return self.machine

    def _policy(self) -> Policy:
        state = self.store.load().state
        requirements = Requirements(
            manufacturer_code=HEADER.manufacturer_code,
            image_type=HEADER.image_type,
            hardware_version=2,
            trusted_keys=self.trusted,
            maximum_octets=100_000,
            slot_octets=SLOT_OCTETS - 4096,
            minimum_security_counter=state.security_counter if state else 0,
            running_version=None if self.running.is_factory else self.running.version,
        )
        return Policy(
            form=self.form,
            requirements=requirements,
            checkpoint_octets=4096,
            by_command_only=self.by_command_only,
            trial=TrialLimits(minimum_uptime_s=5.0, limit_s=180.0, max_silence_s=21_600.0),
        )

    def collect(self) -> None:
        """Take the commands that are waiting."""
        while (command := self.machine.next_command()) is not None:
            self.commands.append(command)

    def of(self, kind: type[Command]) -> list[Command]:
        """The commands of one kind so far."""
        self.collect()
        return [command for command in self.commands if isinstance(command, kind)]

    @property
    def restarting(self) -> bool:
        """Whether the machine asked for a restart."""
        return bool(self.of(Restart))

    def feed(self, file: bytes, start: int = 0, stop: int | None = None, block: int = 50) -> None:
        """Blocks of the file, as the OTA client brings them."""
        end = len(file) if stop is None else stop
        for offset in range(start, end, block):
            self.machine.block(file[offset : min(end, offset + block)], 0.0)

    def download(self, file: bytes, version: Version = NEW) -> None:
        """Offer and transfer a whole file."""
        self.machine.offered(version.file_version, len(file))
        self.feed(file)
        self.collect()

    def slot_record(self, slot: Slot) -> SlotRecord:
        """What the boot state says now."""
        state = self.store.load().state
        assert state is not None
        return state[slot]

    def slot_state(self, slot: Slot) -> SlotState:
        """Its state alone."""
        return self.slot_record(slot).state

    @property
    def reports(self) -> list[str]:
        """What was posted to go up."""
        return [row.message.decode() for row in self.journal.undelivered()]
