"""A small Raspberry Pi OS image: an MBR, a FAT and an ext4 file system with the files that a card's making looks at."""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from flash.sd.card import TOOLS
from flash.sd.source import put_file
from flash.sd.tools import SYSTEM_FOLDERS, tool_environment

BOOT_START, BOOT_OCTETS = 4 * 2**20, 40 * 2**20  # FAT32 as mkfs.vfat makes it wants 33 MiB
ROOT_START, ROOT_OCTETS = BOOT_START + BOOT_OCTETS, 260 * 2**20
DISK_ID = "1234abcd"
BOOKWORM_CMDLINE = (
    f"console=serial0,115200 console=tty1 root=PARTUUID={DISK_ID}-02 rootfstype=ext4 fsck.repair=yes rootwait quiet "
    "init=/usr/lib/raspberrypi-sys-mods/firstboot\n"
)
TRIXIE_CMDLINE = (
    f"console=serial0,115200 console=tty1 root=PARTUUID={DISK_ID}-02 rootfstype=ext4 fsck.repair=yes rootwait resize\n"
)
CONFIG = "dtparam=audio=on\ncamera_auto_detect=1\n\n[cm4]\notg_mode=1\n\n[all]\n"
FSTAB = (
    "proc            /proc           proc    defaults          0       0\n"
    f"PARTUUID={DISK_ID}-01  /boot/firmware  vfat    defaults          0       2\n"
    f"PARTUUID={DISK_ID}-02  /               ext4    defaults,noatime  0       1\n"
)
FILES = {
    "etc/fstab": FSTAB,
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nsshd:x:999:65534::/run/sshd:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\ndialout:x:20:\ngpio:x:986:\n",
    "etc/shadow": "root:*:19700:0:99999:7:::\nsshd:!:19700::::::\n",
    "etc/gshadow": "root:*::\ndialout:!::\ngpio:!::\n",
    "usr/lib/python3/dist-packages/RPi/__init__.py": "",
    "usr/lib/systemd/system/regenerate_ssh_host_keys.service": "[Service]\nType=oneshot\nExecStart=/bin/true\n",
    "usr/lib/systemd/system/rpi-resize.service": "[Service]\nType=oneshot\nExecStart=/bin/true\n",
}
LARGE_FOLDER = 300  # entries that do not fit one block
MACHINES = {"aarch64": 183, "x86_64": 62}


@dataclass(frozen=True)
class Release:
    """What differs from one Raspberry Pi OS to the next."""

    version: str
    name: str
    python: str
    cmdline: str
    features: str
    cloud: bool = False


BOOKWORM = Release("12", "bookworm", "3.11", BOOKWORM_CMDLINE, "^huge_file")
TRIXIE = Release("13", "trixie", "3.13", TRIXIE_CMDLINE, "^huge_file,orphan_file,metadata_csum_seed", cloud=True)


def need_tools() -> None:
    path = f"{tool_environment(None)['PATH']}:{SYSTEM_FOLDERS}"
    missing = [tool for tool in (*TOOLS, "mkfs.vfat") if shutil.which(tool, path=path) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (Debian: fdisk, e2fsprogs, mtools, dosfstools, systemd)")


def make_image(folder: Path, release: Release = BOOKWORM, arch: str = "aarch64") -> Path:
    """Without root: mke2fs -d and mtools."""
    need_tools()
    image = folder / f"raspios-{release.name}.img"
    tree = folder / f"root-{release.name}"
    _fill(tree, release, arch)
    with image.open("wb") as file:
        file.truncate(ROOT_START + ROOT_OCTETS)
    lines = ["label: dos", f"label-id: 0x{DISK_ID}"]
    for start, size, kind in ((BOOT_START, BOOT_OCTETS, "c"), (ROOT_START, ROOT_OCTETS, "83")):
        lines.append(f"start={start // 512}, size={size // 512}, type={kind}")
    _run("sfdisk", "--quiet", image, text="\n".join(lines) + "\n")
    _make_boot(folder, image, release)
    _make_root(folder, image, tree, release)
    shutil.rmtree(tree)
    return image


def _make_root(folder: Path, image: Path, tree: Path, release: Release) -> None:
    """With the features of the release's mke2fs, and large folders indexed, as the kernel makes them."""
    root = folder / "root.ext4"
    options = ["-q", "-F", "-t", "ext4", "-b", "4096", "-L", "rootfs", "-E", "root_owner=0:0", "-O", release.features]
    _run("mke2fs", *options, "-d", tree, root, f"{ROOT_OCTETS // 1024}k")
    _run("e2fsck", "-f", "-y", "-D", root, accepted=(0, 1))
    listed = subprocess.run(["debugfs", "-R", "stat /etc", root], capture_output=True, text=True, check=True).stdout
    assert "Flags: 0x81000" in listed, f"/etc is not indexed: {listed}"
    put_file(root, image, ROOT_START)
    root.unlink()


def _make_boot(folder: Path, image: Path, release: Release) -> None:
    boot = folder / "boot.fat"
    _run("mkfs.vfat", "-C", "-F", "32", "-n", "bootfs", boot, str(BOOT_OCTETS // 1024))
    for name, text in (("cmdline.txt", release.cmdline), ("config.txt", CONFIG)):
        (folder / name).write_text(text, encoding="ascii")
        _run("mcopy", "-i", boot, folder / name, f"::{name}")
    put_file(boot, image, BOOT_START)
    boot.unlink()


def _fill(tree: Path, release: Release, arch: str) -> None:
    title = f'PRETTY_NAME="Debian GNU/Linux {release.version} ({release.name})"\nVERSION_ID="{release.version}"\n'
    for name, text in {**FILES, "usr/lib/os-release": title}.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text, encoding="utf-8")
    for name in ("etc/systemd/system/sysinit.target.wants", "usr/bin", "usr/local/bin", "var/lib", "boot/firmware"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    for number in range(LARGE_FOLDER):
        (tree / "etc" / f"a-file-of-a-package-{number}.conf").touch()
    if release.cloud:
        (tree / "etc/cloud/cloud.cfg.d").mkdir(parents=True)
    wants = tree / "etc/systemd/system/sysinit.target.wants/rpi-resize.service"
    wants.symlink_to("/usr/lib/systemd/system/rpi-resize.service")
    python = tree / "usr/bin" / f"python{release.python}"
    python.write_bytes(b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HH", 2, MACHINES[arch]) + bytes(100))
    python.chmod(0o755)
    (tree / "usr/bin/python3").symlink_to(python.name)
    (tree / "etc/os-release").symlink_to("../usr/lib/os-release")
    for name in ("etc/shadow", "etc/gshadow"):
        (tree / name).chmod(0o640)


def _run(*command: str | Path, text: str = "", accepted: tuple[int, ...] = (0,)) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(
        words, input=text, capture_output=True, text=True, check=False, env=tool_environment(None), timeout=60
    )
    assert done.returncode in accepted, done.stderr
