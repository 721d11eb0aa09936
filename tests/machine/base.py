"""The machine's operating system as an image to flash: a small Debian of this host's release, made once and kept.

It stands for the Raspberry Pi OS image of a lab: one MBR, its root, no word of the agent. Packages come from where
this host's apt takes them. Needs root, for the files belong to the users of that system.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests import debian_root
from tests.debian_root import RootError, bootstrap, run, this_suite

TOOLS = {  # program -> the Debian package that has it
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "sfdisk": "fdisk",
    "mcopy": "mtools",
    "qemu-system-x86_64": "qemu-system-x86",
}
PACKAGES = ("systemd-sysv", "udev", "dbus", "python3", "linux-image-amd64", "kmod", "procps", "zstd")
INITRD_MODULES = ("sdhci_pci", "mmc_block", "ext4", "virtio_pci", "virtio_console")
UNNEEDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
MIB = 1024 * 1024
ROOT_START_MIB, ROOT_MIB = 4, 1200
DISK_ID = 0x5EC3_0007
FILES = {
    "etc/hostname": "ppmid\n",
    "etc/fstab": f"PARTUUID={DISK_ID:08x}-01 / ext4 defaults,noatime 0 1\n",
    # The journal goes out on a line of its own, so that the kernel's words and the journal's never mix.
    "etc/systemd/journald.conf.d/machine.conf": "[Journal]\nForwardToConsole=yes\nTTYPath=/dev/hvc0\n",
    # Processors in software on a host with other work: how soon an image is ready is not what is tried here.
    "etc/systemd/system/han-agent.service.d/machine.conf": "[Service]\nTimeoutStartSec=900s\n",
}


class MachineError(RootError):
    """The machine cannot be made here, or did not do as it should; the message says what and where to look."""


@dataclass(frozen=True, slots=True)
class System:
    """``image`` to flash; ``kernel`` and ``initrd`` are those in it, for QEMU to start."""

    image: Path
    kernel: Path
    initrd: Path


def check_tools() -> None:
    """Raises MachineError naming what this host lacks and how it gets it."""
    if os.geteuid() != 0:
        raise MachineError("the files of the machine's system belong to its users: run it as root")
    missing = [package for program, package in TOOLS.items() if shutil.which(program) is None]
    if missing:
        raise MachineError(f"missing; apt install --no-install-recommends {' '.join(missing)}")


def debian(cache: Path) -> System:
    """The system out of ``cache``, or made anew: half a minute on an idle machine. Raises RootError."""
    suite = this_suite()
    recipe = hashlib.sha256(b"".join(Path(name).read_bytes() for name in (__file__, debian_root.__file__))).hexdigest()
    folder = cache / f"debian-{suite}-{recipe[:12]}"
    if not folder.is_dir():
        for old in cache.glob("debian-*"):
            shutil.rmtree(old)
        partial = folder.with_suffix(".partial")
        partial.mkdir(parents=True)
        _make(suite, partial)
        partial.rename(folder)
    return System(*(folder / name for name in ("debian.img", "vmlinuz", "initrd")))


def _make(suite: str, folder: Path) -> None:
    root = folder / "root"
    bootstrap(suite, root, _options())
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    (root / "etc/systemd/system/serial-getty@hvc0.service").symlink_to("/dev/null")
    for name in ("vmlinuz", "initrd"):
        (found,) = (root / "boot").glob(f"{name}*-*")
        shutil.copy(found, folder / name)
    image = folder / "debian.img"
    with image.open("wb") as file:
        file.truncate((ROOT_START_MIB + ROOT_MIB) * MIB)
    table = f"label: dos\nlabel-id: 0x{DISK_ID:08x}\n1 : start={ROOT_START_MIB}MiB, size={ROOT_MIB}MiB, type=83\n"
    run(["sfdisk", "--quiet", str(image)], words=table)
    place = f"offset={ROOT_START_MIB * MIB}"
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-E", place, "-d", str(root), str(image), f"{ROOT_MIB}M"])
    shutil.rmtree(root)


def _options() -> list[str]:
    """Of mmdebstrap."""
    modules = "".join(f"{name}\\n" for name in INITRD_MODULES)
    hook = (
        'mkdir -p "$1/etc/initramfs-tools/conf.d"; echo MODULES=list > "$1/etc/initramfs-tools/conf.d/machine"; '
        f'printf "{modules}" > "$1/etc/initramfs-tools/modules"'
    )
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in UNNEEDED]
    options += ["--variant=minbase", f"--include={','.join(PACKAGES)}", '--aptopt=Apt::Install-Recommends "false"']
    return [*options, f"--essential-hook={hook}"]
