"""One card: a Raspberry Pi OS image, a device's folder, its first firmware and a wheelhouse, into an image to write.

The output is made under another name and renamed when it is whole and durable. The same inputs make the same octets.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from agent.boot.area import explain, sync_folder
from agent.boot.places import Places
from agent.boot.provision import Provisioned, provision
from agent.boot.state import Slot
from agent.errors import SettingsError, StorageError
from agent.image.ota_form import Form
from flash.first_firmware import first_requirements
from flash.sd import boot_files
from flash.sd.accounts import make_account
from flash.sd.base import Base, is_root, read_base
from flash.sd.device import DeviceFolder, read_device
from flash.sd.environment import PREFIX, environment_edits, install
from flash.sd.ext4 import Ext4, File, NewExt4, make_ext4
from flash.sd.fat import FatFiles
from flash.sd.inputs import Inputs, check_profile, digest_inputs, read_firmware
from flash.sd.layout import GPT_BASIC_DATA, MBR_FAT, Layout, Part, Partition, plan_card, seeded_uuid
from flash.sd.root_files import Installation, check_room, root_edits
from flash.sd.source import Show, copy_image, put_file
from flash.sd.table import read_table, write_table
from flash.sd.tools import require_tools
from flash.sd.units import units_folder

TOOLS = ("sfdisk", "mke2fs", "debugfs", "e2fsck", "resize2fs", "mcopy", "systemd-sysusers")
FACTS = f"{PREFIX}/card.json"
GPT_ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"


@dataclass(frozen=True, slots=True)
class Card:
    """What was made. ``already``: it was there, made of the same inputs, and nothing was written."""

    path: Path
    eui: str
    layout: Layout
    system: str
    python: str
    arch: str
    firmware: str
    root_free_octets: int
    inputs: str
    already: bool = False


@dataclass(frozen=True, slots=True)
class _Job:
    """What every step needs."""

    inputs: Inputs
    device: DeviceFolder
    firmware: bytes
    digest: str
    partial: Path
    scratch: Path
    show: Show

    @property
    def seed(self) -> str:
        """What names partitions and file systems."""
        return self.inputs.wishes.seed or self.device.settings.eui.upper()


def build_card(inputs: Inputs, output: Path, show: Show) -> Card:
    """Make ``output``. Raises SettingsError, StorageError, BootRefusedError; nothing of it is left then."""
    require_tools(TOOLS)
    device = read_device(inputs.identity)
    check_profile(inputs, device)
    firmware = read_firmware(inputs.firmware)
    digest = digest_inputs(inputs, device, firmware)
    if output.exists():
        return _judge_existing(output, digest)
    with _partial(output) as partial, tempfile.TemporaryDirectory(prefix="han-card-") as scratch:
        return _build(_Job(inputs, device, firmware, digest, partial, Path(scratch), show), output)


def read_facts(card: Path) -> Mapping[str, str]:
    """What a card's image says of itself; empty for any other file."""
    with tempfile.TemporaryDirectory(prefix="han-card-") as scratch:
        try:
            layout = read_table(card)
            root = Ext4(card, _find_root(card, layout, Path(scratch)).start_octets, Path(scratch))
            facts = json.loads(root.read(FACTS) or b"{}")
        except (SettingsError, StorageError, ValueError):
            return {}
    return facts if isinstance(facts, dict) else {}


def _build(job: _Job, output: Path) -> Card:
    copy_image(job.inputs.image, job.partial, job.show)
    had = read_table(job.partial)
    number = _find_root(job.partial, had, job.scratch).number
    root = Ext4(job.partial, had[number].start_octets, job.scratch)
    date = _date(root)
    base = read_base(root, job.inputs.arch)
    _check_base(job, base)
    layout = plan_card(had, number, replace(job.inputs.wishes, seed=job.seed))
    job.show("partitions", 0, 1)
    write_table(job.partial, layout)
    if layout[number].size_octets != had[number].size_octets:
        root.grow(layout[number].size_octets, date)
    firmware = _fill_slots(job, layout, base)
    account = make_account(root, units_folder() / "han-agent.sysusers", job.scratch / "accounts", date)
    renamed = {had.partuuid(one.number): layout.partuuid(one.number) for one in had.partitions}
    lost_firstboot = _edit_boot(job, layout, renamed, date)
    wanted = Installation(job.device, job.inputs.profile, base, account, layout, renamed, lost_firstboot)
    _fill_root(job, root, wanted, _facts(job, firmware, base), date)
    _make_data(job, wanted, date)
    free = root.superblock().free_octets
    facts = (base.title, base.python, base.arch, firmware.version, free, job.digest)
    return Card(output, job.device.settings.eui.upper(), layout, *facts)


def _fill_root(job: _Job, root: Ext4, wanted: Installation, facts: bytes, date: int) -> None:
    edits = list(root_edits(root, wanted))
    job.show("agent", 0, 1)
    packages = install(job.inputs.wheelhouse, wanted.base, job.scratch / "environment", date)
    edits += [*environment_edits(packages, wanted.base), File(FACTS, facts)]
    job.show("root", 0, 1)
    check_room(root, edits)
    root.apply(edits, date)
    root.check()


def _check_base(job: _Job, base: Base) -> None:
    board = job.device.settings.board.profile
    if board and job.inputs.profile.driver == "rpi-gpio" and not base.has_gpio:
        raise SettingsError(
            f"{job.device.config}: [board] needs RPi.GPIO, and the image has neither python3-rpi.gpio nor "
            "python3-rpi-lgpio: take an image that has, or leave [board] out"
        )


def _find_root(image: Path, layout: Layout, scratch: Path) -> Partition:
    for one in layout.partitions:
        file_system = Ext4(image, one.start_octets, scratch)
        try:
            block = file_system.superblock()
        except StorageError:
            continue
        if is_root(file_system):
            if not block.clean:
                raise StorageError(
                    f"the image's root (partition {one.number}) was not unmounted cleanly: mount and unmount it, or "
                    "take the image as it was published"
                )
            return one
    raise SettingsError("the image has no ext4 partition with an operating system: name a Raspberry Pi OS image")


def _date(root: Ext4) -> int:
    """What everything that is written bears: SOURCE_DATE_EPOCH, or when the image's root was last written."""
    told = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(told) if told.isdigit() else root.superblock().written


def _edit_boot(job: _Job, layout: Layout, renamed: Mapping[str, str], date: int) -> bool:
    """cmdline.txt and config.txt; whether bookworm's firstboot was in there, which also makes SSH host keys."""
    boot = next((one for one in layout.partitions if one.kind in (*MBR_FAT, GPT_BASIC_DATA, GPT_ESP)), None)
    if boot is None:
        return False
    files = FatFiles(job.partial, boot.start_octets, job.scratch, date)
    profile = job.inputs.profile
    on_uart = bool(profile.uart) and job.device.settings.radio.path == profile.uart
    cmdline = files.read("cmdline.txt")
    if cmdline is not None:
        edited = boot_files.edit_cmdline(cmdline, free_console=on_uart and profile.console_on_uart)
        files.write("cmdline.txt", boot_files.rename_partitions(edited, renamed))
    if on_uart:
        files.write("config.txt", boot_files.edit_config(files.read("config.txt") or "", profile.boot_config))
    return cmdline is not None and boot_files.FIRSTBOOT in cmdline.split()


def _fill_slots(job: _Job, layout: Layout, base: Base) -> Provisioned:
    """The first firmware, judged as the device will, into slot A and the boot state. Raises BootRefusedError."""
    folder = job.scratch / "slots"
    (folder / "trust").mkdir(parents=True)
    for name, octets in job.device.files.items():
        if name.startswith("keys/trust/"):
            (folder / "trust" / Path(name).name).write_bytes(octets)
    settings = job.device.settings
    slots = {Slot.A: folder / Part.SLOT_A.value, Slot.B: folder / Part.SLOT_B.value}
    places = Places(slots, folder / Part.BOOT_STATE.value, folder / "trust", settings.health.tries)
    requirements = first_requirements(settings, folder / "trust", base.base_abi)
    done = provision(places, job.firmware, Form(settings.image.form), requirements, again=False)
    for part in (Part.SLOT_A, Part.SLOT_B, Part.BOOT_STATE):
        put_file(folder / part.value, job.partial, layout.find(part).start_octets)
    return done


def _make_data(job: _Job, wanted: Installation, date: int) -> None:
    job.show("data", 0, 1)
    data, account = wanted.layout.find(Part.DATA), wanted.account
    uuids = (seeded_uuid(job.seed, "data"), seeded_uuid(job.seed, "hash"))
    new = NewExt4("han-data", *uuids, account.uid, account.gid, 0o750)
    make_ext4(job.partial, data.start_octets, data.size_octets, new, date, job.scratch)
    Ext4(job.partial, data.start_octets, job.scratch).check()


def _facts(job: _Job, done: Provisioned, base: Base) -> bytes:
    facts = {
        "inputs": job.digest,
        "eui": job.device.settings.eui.upper(),
        "firmware": done.version,
        "firmware_hash": done.image_hash.hex(),
        "profile": job.inputs.profile.name,
        "python": base.python,
    }
    return (json.dumps(facts, indent=2, sort_keys=True) + "\n").encode()


def _judge_existing(output: Path, digest: str) -> Card:
    facts = read_facts(output)
    if facts.get("inputs") != digest:
        what = "made of other inputs" if facts else "no card of ours"
        raise StorageError(f"{output}: is there already, {what}; nothing is overwritten: remove it or name another")
    layout = read_table(output)
    return Card(output, facts["eui"], layout, "", facts["python"], "", facts["firmware"], 0, digest, already=True)


@contextmanager
def _partial(output: Path) -> Iterator[Path]:
    """A name beside ``output`` that becomes it at the end; a partial file of a run that was killed is written over."""
    partial = output.with_name(f".{output.name}.partial")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("r+b") as file:
            os.fsync(file.fileno())
        partial.rename(output)
        sync_folder(output.parent)
    except OSError as error:
        raise explain(error, output, "write") from None
    finally:
        partial.unlink(missing_ok=True)
