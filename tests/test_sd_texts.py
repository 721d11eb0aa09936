"""What a card's making changes in text files: exactly that, and doing it twice is doing it once."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import SettingsError
from boards.raspberry_pi.profile import profiles
from flash.sd import boot_files
from flash.sd.base import GLIBC_MINOR
from flash.sd.device_config import card_config
from flash.sd.environment import platform_options
from flash.sd.units import PLACES, unit_edits, units_folder
from tests.pi_image import BOOKWORM_CMDLINE, CONFIG, FSTAB, TRIXIE_CMDLINE

BULLSEYE_CMDLINE = (
    "console=serial0,115200 console=tty1 root=PARTUUID=9730496b-02 rootfstype=ext4 fsck.repair=yes rootwait quiet "
    "init=/usr/lib/raspi-config/init_resize.sh\n"
)
WORDS = [
    "console=tty1",
    "console=serial0,115200",
    "resize",
    "rootwait",
    "init=/sbin/init",
    "resize=no",
    "root=PARTUUID=1-2",
]
GOOD = """\
role = "ppmid"  # a display
eui = "02DB000000000001"
base_abi = "cp311-base1"
[storage]  # on a laptop
slot_a = "a"
slot_b = "b"
boot_state = "c"
database = "d"
keys = "."
[radio]
path = "/dev/ttyAMA0"
[image]
manufacturer_code = 0x1234
image_type = 1
hardware_version = 1
"""
NAMES = ("aaaaaaaa-05", "aaaaaaaa-06", "aaaaaaaa-07")


@pytest.mark.parametrize("text", [BULLSEYE_CMDLINE, BOOKWORM_CMDLINE, TRIXIE_CMDLINE])
def test_no_release_expands_its_root(text: str) -> None:
    words = boot_files.edit_cmdline(text, free_console=False).split()
    assert words == [word for word in text.split() if not word.startswith("init=") and word != "resize"]
    assert boot_files.edit_cmdline(text, free_console=True).split() == words[1:]


@given(st.lists(st.sampled_from(WORDS)), st.booleans())
def test_cmdline_is_one_line_and_keeps_what_is_not_ours(words: list[str], free_console: bool) -> None:
    once = boot_files.edit_cmdline(" ".join(words), free_console=free_console)
    assert boot_files.edit_cmdline(once, free_console=free_console) == once
    assert once.count("\n") == 1
    gone = {"resize"} | ({"console=serial0,115200"} if free_console else set())
    assert once.split() == [word for word in words if word not in gone]


@pytest.mark.parametrize("text", ["", "arm_64bit=1", CONFIG])
def test_config_gets_the_profile_s_lines_for_every_model(text: str) -> None:
    for profile in profiles():
        once = boot_files.edit_config(text, profile.boot_config)
        assert boot_files.edit_config(once, profile.boot_config) == once
        assert once.startswith(text.rstrip("\n"))
        if profile.boot_config:
            assert once.rsplit("[all]\n", 1)[1].splitlines() == profile.boot_config


def test_fstab_gets_the_data_once() -> None:
    once = boot_files.edit_fstab(FSTAB, "aaaaaaaa-08")
    assert boot_files.edit_fstab(once, "aaaaaaaa-08") == once
    assert once.startswith(FSTAB)
    assert boot_files.edit_fstab(once, "bbbbbbbb-08").count("/var/lib/han-agent") == 1
    device, target, kind, options, dump, check = once.split()[-6:]
    assert (device, target, kind, dump, check) == ("PARTUUID=aaaaaaaa-08", "/var/lib/han-agent", "ext4", "0", "2")
    assert {"nodev", "nosuid", "noatime"} <= set(options.split(","))


def test_only_partitions_are_renamed() -> None:
    text = "root=PARTUUID=1234abcd-02 x=1234abcd PARTUUID=1234ABCD-01 PARTUUID=ffffffff-02"
    names = {"1234abcd-01": "new-1", "1234abcd-02": "new-2"}
    assert boot_files.rename_partitions(text, names) == (
        "root=PARTUUID=new-2 x=1234abcd PARTUUID=new-1 PARTUUID=ffffffff-02"
    )


def test_device_toml_keeps_its_comments() -> None:
    made = card_config(GOOD, Path("device.toml"), "cp311-base1", NAMES)
    assert 'role = "ppmid"  # a display' in made
    assert tomllib.loads(made)["storage"]["boot_state"] == "PARTUUID=aaaaaaaa-07"
    assert card_config(made, Path("device.toml"), "cp311-base1", NAMES) == made


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("[storage]  # on a laptop", "[image.none]\n[storage.more]"),
        re.sub(r"\[storage\].*?\[radio\]", 'storage = { slot_a = "a" }\n[radio]', GOOD, flags=re.DOTALL),
        GOOD.replace('base_abi = "cp311-base1"', '"base_abi" = "cp311-base1"'),
    ],
)
def test_a_device_toml_that_cannot_be_edited_safely_is_told(text: str) -> None:
    with pytest.raises(SettingsError, match=r"write \[storage\] as a table of its own"):
        card_config(text, Path("device.toml"), "cp311-base1", NAMES)


def test_every_file_of_systemd_has_its_place() -> None:
    """A new unit must not be forgotten on cards."""
    there = {path.name for path in units_folder().glob("han-agent*")}
    where_needed = {"han-agent-watchdog.conf", "han-agent-network-radio.conf"}
    by_hand = {"han-agent-boot-loader.conf"}  # a card is made for the first stage's slots
    assert there == {*PLACES, *where_needed, *by_hand}
    readme = (units_folder() / "README.md").read_text(encoding="utf-8")
    for name, place in PLACES.items():
        assert name in readme
        assert place.rsplit("/", 1)[0] in readme


def test_a_radio_behind_a_name_cannot_be_let_through() -> None:
    with pytest.raises(SettingsError, match="name the radio's IP address, not its name"):
        list(unit_edits(units_folder(), "socket://gateway.lan:6638", watchdog=False))


def test_wheels_for_an_older_glibc_fit_a_newer_system_and_not_the_other_way() -> None:
    for minor in GLIBC_MINOR.values():
        tags = [word for word in platform_options("aarch64", "3.11", minor) if word.startswith("manylinux")]
        assert f"manylinux_2_{minor}_aarch64" in tags
        assert f"manylinux_2_{minor + 1}_aarch64" not in tags
        assert {"manylinux_2_17_aarch64", "manylinux2014_aarch64"} <= set(tags)
