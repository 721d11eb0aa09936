"""The operating system in the image's root: which release, which Python, which processor."""

from __future__ import annotations

import re
import shlex
import struct
from dataclasses import dataclass

from agent.errors import SettingsError
from flash.image_build import BASE_SET
from flash.sd.ext4 import Ext4

OLDEST_PYTHON = (3, 11)
MACHINES = {183: "aarch64", 62: "x86_64"}  # e_machine, elf(5); there are no wheels for 32-bit systems
GLIBC_MINOR = {"12": 36, "13": 41}  # by Debian's VERSION_ID; wheels name the glibc that they need
ELF = b"\x7fELF"
PI_GPIO = ("/usr/lib/python3/dist-packages", "RPi")


@dataclass(frozen=True, slots=True)
class Base:
    """``python``: as in 3.11. ``arch``: as uname -m says. ``glibc_minor``: the 36 of 2.36."""

    title: str
    python: str
    arch: str
    glibc_minor: int
    has_gpio: bool

    @property
    def base_abi(self) -> str:
        """What images for it name; compare flash.image_build.base_abi."""
        return f"cp{self.python.replace('.', '')}-base{BASE_SET}"


def is_root(root: Ext4) -> bool:
    """Whether an operating system lies in it."""
    return bool(root.stat(["/usr/lib/os-release", "/etc/os-release"]))


def read_base(root: Ext4, arch: str = "") -> Base:
    """``arch``: what the caller says it is; "" asks the image's Python. Raises SettingsError."""
    python = _find_python(root)
    program = root.read(f"/usr/bin/python{python}") or b""
    found = _machine(program) if not arch or program.startswith(ELF) else arch
    if arch not in ("", found):
        raise SettingsError(f"--arch {arch}: the image is for {found}")
    release = _os_release((root.read("/usr/lib/os-release") or root.read("/etc/os-release") or b"").decode())
    folder, module = PI_GPIO
    return Base(
        title=release.get("PRETTY_NAME", "an unnamed system"),
        python=python,
        arch=found,
        glibc_minor=GLIBC_MINOR.get(release.get("VERSION_ID", ""), max(GLIBC_MINOR.values())),
        has_gpio=module in root.names(folder),
    )


def _find_python(root: Ext4) -> str:
    matches = (re.fullmatch(r"python3\.(\d+)", name) for name in root.names("/usr/bin"))
    minors = [int(match[1]) for match in matches if match]
    if not minors:
        raise SettingsError("the image's root has no /usr/bin/python3.x: take a Raspberry Pi OS image, Lite or larger")
    if (3, max(minors)) < OLDEST_PYTHON:
        raise SettingsError(f"the image has Python 3.{max(minors)}; 3.11 (bookworm) or newer is needed")
    return f"3.{max(minors)}"


def _machine(program: bytes) -> str:
    if not program.startswith(ELF):
        raise SettingsError("the image's Python is no ELF program, so its processor is unknown: name it with --arch")
    number = struct.unpack_from("<H", program, 18)[0]
    if number not in MACHINES:
        raise SettingsError(f"the image is for another processor (e_machine {number}): take the 64-bit image")
    return MACHINES[number]


def _os_release(text: str) -> dict[str, str]:
    """os-release(5)"""
    lines = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key: "".join(shlex.split(value)) for key, value in lines}
