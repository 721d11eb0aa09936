"""One card: a Raspberry Pi OS image, a device's folder, its first firmware and a wheelhouse, into an image to write.

The output is made under another name and renamed when it is whole and durable. The same inputs make the same octets.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent.boot.area import explain, sync_folder
from agent.boot.places import Places
from agent.boot.provision import Provisioned, provision
from agent.boot.state import Slot
from agent.errors import SettingsError, StorageError
from agent.image.ota_form import Form
from boards.raspberry_pi.profile import Profile
from flash.first_firmware import first_requirements
from flash.sd import boot_files
from flash.sd.accounts import Account, make_account
from flash.sd.base import Base, is_root, read_base
from flash.sd.device import DeviceFolder, read_device
from flash.sd.device_config import CONFIG, KEYS, STATE, card_config
from flash.sd.environment import PREFIX, check_wheelhouse, environment_edits, install
from flash.sd.ext4 import Absent, Edit, Ext4, File, Folder, Link, NewExt4, folders_above, make_ext4
from flash.sd.fat import FatFiles
from flash.sd.layout import GPT_BASIC_DATA, MBR_FAT, Layout, Part, Partition, Table, Wishes, plan_card, seeded_uuid
from flash.sd.source import Show, copy_image, put_file
from flash.sd.table import read_table, write_table
from flash.sd.tools import require_tools
from flash.sd.units import unit_edits, units_folder

TOOLS = ("sfdisk", "mke2fs", "debugfs", "e2fsck", "resize2fs", "mcopy", "systemd-sysusers")
FACTS = f"{PREFIX}/card.json"
GPT_ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
ROOT_RESERVE_OCTETS = 64 * 1024 * 1024  # our choice: what the system needs to come up and to log
SSH_KEYS_UNIT = "/usr/lib/systemd/system/regenerate_ssh_host_keys.service"
SSH_KEYS_LINK = "/etc/systemd/system/multi-user.target.wants/regenerate_ssh_host_keys.service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """``identity``: a device's folder. ``arch``: "" asks the image. ``wishes``: seed "" takes the device's EUI."""

    image: Path
    profile: Profile
    identity: Path
    firmware: Path
    wheelhouse: Path
    wishes: Wishes = field(default_factory=lambda: Wishes(""))
    arch: str = ""


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


def build_card(inputs: Inputs, output: Path, show: Show) -> Card:
    """Make ``output``. Raises SettingsError, StorageError, BootRefusedError; nothing of it is left then."""
    require_tools(TOOLS)
    device = read_device(inputs.identity)
    _check_profile(inputs, device)
    firmware = _read(inputs.firmware, "--firmware")
    digest = _digest(inputs, device, firmware)
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
    root_number = _find_root(job.partial, had, job.scratch).number
    wishes = job.inputs.wishes
    layout = plan_card(had, root_number, Wishes(
        wishes.seed or job.device.settings.eui.upper(), wishes.table, wishes.root_octets, wishes.data_octets
    ))  # fmt: skip
    root = Ext4(job.partial, layout[root_number].start_octets, job.scratch)
    date = _date(root)
    base = read_base(root, job.inputs.arch)
    _check_base(job, base)
    job.show("partitions", 0, 1)
    write_table(job.partial, layout)
    if layout[root_number].size_octets != had[root_number].size_octets:
        root.grow(layout[root_number].size_octets, date)
    names = {had.partuuid(one.number): layout.partuuid(one.number) for one in had.partitions}
    done = _fill_slots(job, layout, base)
    first_boot = _edit_boot(job, layout, names, date)
    account = make_account(root, units_folder() / "han-agent.sysusers", job.scratch / "accounts", date)
    edits = [*_root_edits(job, root, layout, base, account, names, first_boot), *_install(job, base, date)]
    edits.append(File(FACTS, _facts(job, done, base)))
    job.show("root", 0, 1)
    _check_room(root, edits)
    root.apply(edits, date)
    root.check()
    _make_data(job, layout, account, date)
    return Card(
        output, job.device.settings.eui.upper(), layout, base.title, base.python, base.arch, done.version,
        root.superblock().free_octets, job.digest,
    )  # fmt: skip


def _check_profile(inputs: Inputs, device: DeviceFolder) -> None:
    profile, named = inputs.profile, device.settings.board.profile
    if named and not named.endswith(".toml") and named != profile.name:
        raise SettingsError(f"{device.config}: board.profile: {named!r}, but --profile is {profile.name!r}")
    if inputs.wishes.table is Table.GPT and not profile.gpt:
        raise SettingsError(f"--table gpt: a {profile.title} does not boot from it; leave --table out")


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


def _edit_boot(job: _Job, layout: Layout, names: dict[str, str], date: int) -> bool:
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
        files.write("cmdline.txt", boot_files.rename_partitions(edited, names))
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


def _install(job: _Job, base: Base, date: int) -> Iterator[Edit]:
    job.show("agent", 0, 1)
    packages = install(job.inputs.wheelhouse, base, job.scratch / "environment", date)
    return environment_edits(packages, base)


def _root_edits(
    job: _Job, root: Ext4, layout: Layout, base: Base, account: Account, names: dict[str, str], first_boot: bool
) -> Iterator[Edit]:
    """Everything in the root but the environment."""
    if root.stat([PREFIX]):
        raise SettingsError(f"the image has an agent in {PREFIX} already; start from the image as it was published")
    ours = [layout.partuuid(layout.find(part).number) for part in (Part.SLOT_A, Part.SLOT_B, Part.BOOT_STATE)]
    yield from account.edits
    radio = job.device.settings.radio.path
    yield from unit_edits(units_folder(), radio, watchdog=job.inputs.profile.driver == "rpi-gpio")
    for place, text in (
        ("/etc/udev/rules.d/61-han-agent-slots.rules", boot_files.udev_rules(ours)),
        ("/etc/systemd/system/han-agent.service.d/partitions.conf", boot_files.unit_drop_in(ours)),
    ):
        yield from folders_above(place)
        yield File(place, text.encode())
    yield from _device_edits(job, base, account, (ours[0], ours[1], ours[2]))
    fstab = boot_files.rename_partitions((root.read("/etc/fstab") or b"").decode(), names)
    data = layout.partuuid(layout.find(Part.DATA).number)
    yield File("/etc/fstab", boot_files.edit_fstab(fstab, data).encode())
    yield from (Absent(path) for path in boot_files.EXPANSION_LINKS)
    if root.stat([boot_files.CLOUD_FOLDER]):
        yield File(boot_files.CLOUD_FILE, boot_files.CLOUD_TEXT.encode())
    if first_boot and root.stat([SSH_KEYS_UNIT]):
        yield Link(SSH_KEYS_LINK, SSH_KEYS_UNIT)


def _device_edits(job: _Job, base: Base, account: Account, slots: tuple[str, str, str]) -> Iterator[Edit]:
    """device.toml and keys: for root to write, for the agent's group to read."""
    gid = account.gid
    yield Folder("/etc/han-agent", 0o750, 0, gid, force=True)
    yield Folder(KEYS, 0o750, 0, gid)
    yield Folder(f"{KEYS}/trust", 0o750, 0, gid)
    text = card_config(job.device.text, job.device.config, base.base_abi, slots)
    yield File(CONFIG, text.encode(), 0o640, 0, gid)
    yield from (File(f"/etc/han-agent/{name}", octets, 0o640, 0, gid) for name, octets in job.device.files.items())
    yield from folders_above(STATE)
    yield Folder(STATE, 0o750, account.uid, gid, force=True)


def _make_data(job: _Job, layout: Layout, account: Account, date: int) -> None:
    job.show("data", 0, 1)
    data = layout.find(Part.DATA)
    seed = job.inputs.wishes.seed or job.device.settings.eui.upper()
    wanted = NewExt4(
        "han-data", seeded_uuid(seed, "data"), seeded_uuid(seed, "hash"), account.uid, account.gid, 0o750
    )  # fmt: skip
    make_ext4(job.partial, data.start_octets, data.size_octets, wanted, date, job.scratch)
    Ext4(job.partial, data.start_octets, job.scratch).check()


def _check_room(root: Ext4, edits: list[Edit]) -> None:
    block = root.superblock()
    sizes = [
        edit.source.stat().st_size if isinstance(edit.source, Path) else len(edit.source)
        for edit in edits
        if isinstance(edit, File)
    ]
    folders = sum(isinstance(edit, Folder) for edit in edits)
    needed = sum(-(-size // block.block_octets) for size in sizes) * block.block_octets
    needed += folders * block.block_octets + ROOT_RESERVE_OCTETS
    if needed > block.free_octets or len(edits) > block.free_inodes:
        raise StorageError(
            f"the image's root has {block.free_octets // 2**20} MiB free and {block.free_inodes} inodes, "
            f"{-(-needed // 2**20)} MiB and {len(edits)} are needed: give it more with --root-size"
        )


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


def _digest(inputs: Inputs, device: DeviceFolder, firmware: bytes) -> str:
    """Over everything that the card is made of; the wheels are the agent, the tools of this machine are not in it."""
    wishes = inputs.wishes
    parts: dict[str, object] = {
        "image": _hash_file(inputs.image),
        "device": device.text,
        "files": {name: hashlib.sha256(octets).hexdigest() for name, octets in device.files.items()},
        "firmware": hashlib.sha256(firmware).hexdigest(),
        "wheels": {wheel.name: _hash_file(wheel) for wheel in check_wheelhouse(inputs.wheelhouse)},
        "units": {path.name: _hash_file(path) for path in sorted(units_folder().glob("han-agent*"))},
        "profile": repr(inputs.profile),
        "wishes": [wishes.seed, wishes.table and wishes.table.value, wishes.root_octets, wishes.data_octets],
        "arch": inputs.arch,
        "date": os.environ.get("SOURCE_DATE_EPOCH", ""),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


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


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}; name another file") from None


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{option} {path}: cannot be read: {error.strerror}") from None
