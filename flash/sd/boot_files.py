"""What changes in cmdline.txt, config.txt, /etc/fstab: text in, text out; doing it twice is doing it once.

First-boot expansion of the root would run over our partitions, or fail there. Where it is started from, by release:

- up to bullseye: ``init=/usr/lib/raspi-config/init_resize.sh`` in cmdline.txt;
- bookworm: ``init=/usr/lib/raspberrypi-sys-mods/firstboot`` (and the initramfs looks for "firstboot"), which also
  makes the SSH host keys and gives the disk a new identifier;
- trixie: the word ``resize``, for which the initramfs grows partition 2 and then **changes the disk's identifier**,
  and with it every PARTUUID, in cmdline.txt and /etc/fstab only; ``rpi-resize.service`` grows the file system.

Sources: RPi-Distro/raspi-config ``init_resize.sh``; RPi-Distro/raspberrypi-sys-mods ``firstboot``,
``initramfs-tools/scripts/local-premount/{firstboot,resize_early}``, ``local-bottom/set_partuuid``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

EXPANSION = re.compile(r"init=/usr/lib/(raspi-config/init_resize\.sh|raspberrypi-sys-mods/firstboot)|resize")
SERIAL_CONSOLE = re.compile(r"console=(serial0|ttyAMA0|ttyS0)(,\S*)?")
FIRSTBOOT = "init=/usr/lib/raspberrypi-sys-mods/firstboot"
EXPANSION_LINKS = (  # what a service manager would start for it
    "/etc/systemd/system/sysinit.target.wants/rpi-resize.service",
    "/etc/rc3.d/S01resize2fs_once",
)
CLOUD_FOLDER = "/etc/cloud/cloud.cfg.d"
CLOUD_FILE = f"{CLOUD_FOLDER}/99-han-agent.cfg"
CLOUD_TEXT = '# The partitions behind the root are the agent\'s.\ngrowpart: {mode: "off"}\nresize_rootfs: false\n'

_MARK = "# han-agent: the radio's UART"
_DATA_MARK = "# han-agent: its data"


def edit_cmdline(text: str, *, free_console: bool) -> str:
    """Without expansion and, for a radio on that UART, without the kernel's console on it."""
    words = [word for word in text.split() if not EXPANSION.fullmatch(word)]
    if free_console:
        words = [word for word in words if not SERIAL_CONSOLE.fullmatch(word)]
    return " ".join(words) + "\n"


def edit_config(text: str, lines: list[str]) -> str:
    """config.txt with ``lines`` for every model, at its end."""
    if not lines:
        return text
    wanted = "\n".join([_MARK, "[all]", *lines]) + "\n"
    kept = text.removesuffix(wanted).rstrip("\n")
    return f"{kept}\n\n{wanted}" if kept else wanted


def edit_fstab(text: str, partuuid: str) -> str:
    """/etc/fstab with the data partition at /var/lib/han-agent."""
    kept = [line for line in text.splitlines() if _DATA_MARK not in line and "/var/lib/han-agent" not in line.split()]
    ours = f"PARTUUID={partuuid}  /var/lib/han-agent  ext4  defaults,noatime,nodev,nosuid  0  2"
    return "\n".join([*kept, _DATA_MARK, ours]) + "\n"


def rename_partitions(text: str, names: Mapping[str, str]) -> str:
    """Every ``PARTUUID=old`` as ``PARTUUID=new``."""

    def new(match: re.Match[str]) -> str:
        return match[1] + names.get(match[2].lower(), match[2])

    return re.sub(r"(PARTUUID=)([0-9A-Fa-f-]+)", new, text)


def udev_rules(partuuids: list[str]) -> str:
    """Slots and boot state for the agent's group."""
    head = "# /etc/udev/rules.d/61-han-agent-slots.rules: slot A, slot B and boot state of this card.\n"
    rule = 'SUBSYSTEM=="block", ENV{{ID_PART_ENTRY_UUID}}=="{}", GROUP="han-agent", MODE="0660"\n'
    return head + "".join(rule.format(name) for name in partuuids)


def unit_drop_in(partuuids: list[str]) -> str:
    """The service waits for its partitions, so that udev has given them to it, and may open just them.

    Wants, not Requires: a slot that is gone does not keep the other one from running.
    """
    devices = " ".join(device_unit(name) for name in partuuids)
    head = "# /etc/systemd/system/han-agent.service.d/partitions.conf: slot A, slot B and boot state of this card.\n"
    allowed = "".join(f"DeviceAllow=/dev/disk/by-partuuid/{name} rw\n" for name in partuuids)
    return f"{head}[Unit]\nWants={devices}\nAfter={devices}\n\n[Service]\n{allowed}"


def device_unit(partuuid: str) -> str:
    """systemd's name for the partition (systemd-escape --path, systemd.unit(5))."""
    return "dev-disk-by\\x2dpartuuid-" + partuuid.replace("-", "\\x2d") + ".device"
