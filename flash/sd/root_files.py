"""What is written into the image's root beside the agent's environment: accounts, units, device.toml, keys, fstab."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.errors import SettingsError, StorageError
from boards.raspberry_pi.profile import Profile
from flash.sd import boot_files
from flash.sd.accounts import Account
from flash.sd.base import Base
from flash.sd.device import DeviceFolder
from flash.sd.device_config import CONFIG, KEYS, STATE, card_config
from flash.sd.environment import PREFIX
from flash.sd.ext4 import Absent, Edit, Ext4, File, Folder, Link, folders_above
from flash.sd.layout import Layout, Part
from flash.sd.units import SYSTEM, unit_edits, units_folder

SSH_KEYS_UNIT = "/usr/lib/systemd/system/regenerate_ssh_host_keys.service"
SSH_KEYS_LINK = f"{SYSTEM}/multi-user.target.wants/regenerate_ssh_host_keys.service"
SLOT_RULES = "/etc/udev/rules.d/61-han-agent-slots.rules"
SLOT_DROP_IN = f"{SYSTEM}/han-agent.service.d/partitions.conf"
RESERVE_OCTETS = 64 * 1024 * 1024  # our choice: what the system needs to come up and to log


@dataclass(frozen=True, slots=True)
class Installation:
    """One device on one image. ``renamed``: PARTUUIDs of the image and of the card. ``lost_firstboot``: bookworm's
    firstboot, which also makes SSH host keys, was taken out of cmdline.txt.
    """

    device: DeviceFolder
    profile: Profile
    base: Base
    account: Account
    layout: Layout
    renamed: Mapping[str, str]
    lost_firstboot: bool

    @property
    def slots(self) -> tuple[str, str, str]:
        """PARTUUIDs of slot A, slot B and boot state."""
        a, b, state = (
            self.layout.partuuid(self.layout.find(part).number) for part in (Part.SLOT_A, Part.SLOT_B, Part.BOOT_STATE)
        )
        return a, b, state


def root_edits(root: Ext4, wanted: Installation) -> Iterator[Edit]:
    """Raises SettingsError when there is an agent already, or device.toml cannot be edited."""
    if root.stat([PREFIX]):
        raise SettingsError(f"the image has an agent in {PREFIX} already; start from the image as it was published")
    yield from wanted.account.edits
    radio = wanted.device.settings.radio.path
    yield from unit_edits(units_folder(), radio, watchdog=wanted.profile.driver == "rpi-gpio")
    slots = list(wanted.slots)
    for place, text in (
        (SLOT_RULES, boot_files.udev_rules(slots)),
        (SLOT_DROP_IN, boot_files.unit_drop_in(slots)),
    ):
        yield from folders_above(place)
        yield File(place, text.encode())
    yield from _device_edits(wanted)
    yield from _boot_edits(root, wanted)


def check_room(root: Ext4, edits: Sequence[Edit]) -> None:
    """Raises StorageError, with the remedy, when the root is too small for them."""
    block = root.superblock()
    sizes = [
        edit.source.stat().st_size if isinstance(edit.source, Path) else len(edit.source)
        for edit in edits
        if isinstance(edit, File)
    ]
    folders = sum(isinstance(edit, Folder) for edit in edits)
    blocks = folders + sum(-(-size // block.block_octets) for size in sizes)
    needed = blocks * block.block_octets + RESERVE_OCTETS
    if needed > block.free_octets or len(edits) > block.free_inodes:
        raise StorageError(
            f"the image's root has {block.free_octets >> 20} MiB free and {block.free_inodes} inodes, "
            f"{-(-needed >> 20)} MiB and {len(edits)} are needed: give it more with --root-size"
        )


def _device_edits(wanted: Installation) -> Iterator[Edit]:
    """device.toml and keys: for root to write, for the agent's group to read."""
    account, device = wanted.account, wanted.device
    yield Folder("/etc/han-agent", 0o750, 0, account.gid, force=True)
    yield Folder(KEYS, 0o750, 0, account.gid)
    yield Folder(f"{KEYS}/trust", 0o750, 0, account.gid)
    text = card_config(device.text, device.config, wanted.base.base_abi, wanted.slots)
    yield File(CONFIG, text.encode(), 0o640, 0, account.gid)
    for name, octets in device.files.items():
        yield File(f"/etc/han-agent/{name}", octets, 0o640, 0, account.gid)
    yield from folders_above(STATE)
    yield Folder(STATE, 0o750, account.uid, account.gid, force=True)


def _boot_edits(root: Ext4, wanted: Installation) -> Iterator[Edit]:
    """The data partition's mount, and nothing that would expand the root."""
    fstab = boot_files.rename_partitions((root.read("/etc/fstab") or b"").decode(), wanted.renamed)
    data = wanted.layout.partuuid(wanted.layout.find(Part.DATA).number)
    yield File("/etc/fstab", boot_files.edit_fstab(fstab, data).encode())
    yield from (Absent(path) for path in boot_files.EXPANSION_LINKS)
    if root.stat([boot_files.CLOUD_FOLDER]):
        yield File(boot_files.CLOUD_FILE, boot_files.CLOUD_TEXT.encode())
    if wanted.lost_firstboot and root.stat([SSH_KEYS_UNIT]):
        yield Link(SSH_KEYS_LINK, SSH_KEYS_UNIT)
