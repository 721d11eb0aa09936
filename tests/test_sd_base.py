"""What is read off an image's root: its Python, its processor, its release."""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass, field
from typing import cast

import pytest

from agent.errors import SettingsError
from flash.image_build import base_abi
from flash.sd.base import Base, read_base
from flash.sd.ext4 import Ext4

AARCH64, X86_64, ARM = 183, 62, 40
BOOKWORM = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\n# a comment\nBUG_REPORT_URL=https://x/?a=b\n'


@dataclass
class Root:
    """As much of a file system as is asked for."""

    pythons: tuple[str, ...] = ("3.11",)
    machine: int = AARCH64
    release: str = BOOKWORM
    modules: list[str] = field(default_factory=lambda: ["RPi", "apt"])

    def names(self, path: str) -> list[str]:
        programs = ["python3", *(f"python{version}" for version in self.pythons), "python3.11-config"]
        return {"/usr/bin": programs, "/usr/lib/python3/dist-packages": self.modules}[path]

    def read(self, path: str) -> bytes | None:
        if path.startswith("/usr/bin/python"):
            return b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HH", 2, self.machine) if self.machine else b"#!/bin/sh"
        return self.release.encode() if path == "/usr/lib/os-release" else None


def base_of(root: Root, arch: str = "") -> Base:
    return read_base(cast(Ext4, root), arch)


def test_bookworm_on_a_pi() -> None:
    base = base_of(Root())
    assert (base.python, base.arch, base.glibc_minor, base.has_gpio) == ("3.11", "aarch64", 36, True)
    assert base.title == "Debian GNU/Linux 12 (bookworm)"


def test_a_card_s_base_bears_the_name_that_images_are_built_for() -> None:
    mine = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert base_of(Root(pythons=(mine,))).base_abi == base_abi()


def test_the_newest_of_several_pythons_counts_as_a_number() -> None:
    assert base_of(Root(pythons=("3.9", "3.11", "3.13"))).python == "3.13"


def test_an_unknown_release_is_taken_for_a_new_one() -> None:
    base = base_of(Root(release="", modules=[]))
    assert (base.title, base.glibc_minor, base.has_gpio) == ("an unnamed system", 41, False)


def test_a_machine_that_hides_its_processor_is_told_it() -> None:
    assert base_of(Root(machine=0), "x86_64").arch == "x86_64"
    assert base_of(Root(machine=X86_64), "x86_64").arch == "x86_64"


@pytest.mark.parametrize(
    ("root", "arch", "message"),
    [
        (Root(pythons=()), "", "no /usr/bin/python3.x: take a Raspberry Pi OS image"),
        (Root(pythons=("3.9",)), "", "has Python 3.9; 3.11 .bookworm. or newer is needed"),
        (Root(machine=ARM), "", "for another processor .e_machine 40.: take the 64-bit image"),
        (Root(machine=0), "", "name it with --arch"),
        (Root(), "x86_64", "--arch x86_64: the image is for aarch64"),
    ],
)
def test_what_cannot_carry_the_agent_is_refused(root: Root, arch: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        base_of(root, arch)
