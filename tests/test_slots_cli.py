"""``han-agent provision`` and ``han-agent slots``, as a person calls them."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from boot_factory import image_hash, small_image
from image_factory import HEADER, make_key, ota

from agent.boot.control import SlotsControl
from agent.boot.places import BOOT_STATE_OCTETS, SLOT_OCTETS, Places, open_places
from agent.boot.state import Slot
from agent.cli import main
from agent.errors import EXIT_OK, EXIT_REFUSED, EXIT_STORAGE, EXIT_USAGE
from agent.image.version import Version

CONFIG = """
role = "ppmid"
eui = "00DB1234567890A0"
[radio]
path = "/dev/null"
key_establishment = "off"
[image]
manufacturer_code = 0x1234
image_type = 0x0042
hardware_version = 2
[storage]
slot_a = "slots/a.bin"
slot_b = "slots/b.bin"
boot_state = "slots/boot.bin"
database = "state.db"
keys = "keys"
"""
OLD, NEW = small_image(0, counter=3), small_image(1, counter=3)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "keys" / "trust").mkdir(parents=True)
    key = make_key().public_key().export_key(format="PEM")
    (tmp_path / "keys" / "trust" / "manufacturer.pem").write_text(key, encoding="ascii")
    (tmp_path / "device.toml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "old.bin").write_bytes(OLD)
    return tmp_path / "device.toml"


@pytest.fixture
def provisioned(config: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert provision(config, "old.bin") == EXIT_OK
    capsys.readouterr()
    return config


def provision(config: Path, image: str, *options: str) -> int:
    return main(["provision", "--config", str(config), "--image", str(config.parent / image), *options])


def slots(config: Path, action: str, *options: str) -> int:
    return main(["slots", action, "--config", str(config), *options])


def show(config: Path, capsys: pytest.CaptureFixture[str], action: str = "show") -> dict[str, Any]:
    capsys.readouterr()
    slots(config, action, "--json")
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def put_image(config: Path, name: str, image: bytes, counter: int = 3) -> None:
    """A slot's octets, as an update would leave them, under a boot state that says so."""
    with ExitStack() as stack:
        opened = open_places(Places.load(config), stack)
        control = SlotsControl(opened.store, opened.areas, Slot[name].other)
        writer = control.begin(Slot[name])
        writer.write(image)
        control.mark_written(Slot[name], writer.finish(), counter)


def test_provision_confirms_slot_a(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert provision(config, "old.bin", "--json") == EXIT_OK
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "slot": "A",
        "version": "1.0.0",
        "image_hash": image_hash(OLD).hex(),
        "image_octets": len(OLD),
        "security_counter": 3,
    }
    folder = config.parent / "slots"
    assert [(folder / name).stat().st_size for name in ("a.bin", "b.bin", "boot.bin")] == [
        SLOT_OCTETS,
        SLOT_OCTETS,
        BOOT_STATE_OCTETS,
    ]
    assert sum(path.stat().st_blocks for path in folder.iterdir()) * 512 < 1024 * 1024, "not sparse"
    state = show(config, capsys, "verify")
    assert (state["boot_state"], state["active"], state["trial"], state["security_counter"]) == ("WHOLE", "A", None, 3)
    assert state["slots"]["A"]["state"] == "CONFIRMED"
    assert state["slots"]["A"]["verified"] is True
    assert state["slots"]["A"]["confirmed_mark"] is True
    assert state["slots"]["B"]["state"] == "EMPTY"


def test_provision_takes_the_ota_file_too(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = replace(HEADER, file_version=Version(1, 0, 0).file_version)
    (config.parent / "old.ota").write_bytes(ota(OLD, header=header))
    assert provision(config, "old.ota") == EXIT_OK
    assert f"slot A holds 1.0.0, confirmed: {len(OLD)} octets, {image_hash(OLD).hex()}" in capsys.readouterr().out


def test_provision_refuses_to_overwrite_unless_told_again(
    provisioned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (provisioned.parent / "new.bin").write_bytes(NEW)
    assert provision(provisioned, "new.bin") == EXIT_REFUSED
    assert "--again" in capsys.readouterr().err
    assert show(provisioned, capsys)["slots"]["A"]["version"] == "1.0.0"
    assert provision(provisioned, "new.bin", "--again") == EXIT_OK
    assert show(provisioned, capsys)["slots"]["A"]["version"] == "1.0.1"


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (b"no image", "nobody vouches"),
        (OLD[:-3], "nobody vouches"),
        (OLD[:100] + b"x" + OLD[101:], "SHA-256"),
        (ota(OLD), "version"),
    ],
)
def test_provision_refuses_a_bad_image_and_touches_nothing(
    config: Path, image: bytes, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (config.parent / "bad.bin").write_bytes(image)
    assert provision(config, "bad.bin") == EXIT_REFUSED
    assert says in capsys.readouterr().err
    assert not (config.parent / "slots").exists()


def test_provision_needs_an_image_and_a_key(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert provision(config, "none.bin") == EXIT_USAGE
    assert "none.bin" in capsys.readouterr().err
    (config.parent / "keys" / "trust" / "manufacturer.pem").unlink()
    assert provision(config, "old.bin") == EXIT_STORAGE
    assert "trust" in capsys.readouterr().err


def test_slots_that_are_too_small_are_named(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "slots").mkdir()
    (config.parent / "slots" / "b.bin").write_bytes(bytes(8192))
    assert provision(config, "old.bin") == EXIT_STORAGE
    assert "b.bin: 8192 octets are too few" in capsys.readouterr().err


def test_activate_arms_a_trial(provisioned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert slots(provisioned, "activate", "B") == EXIT_REFUSED
    assert "slot B does not verify" in capsys.readouterr().err
    put_image(provisioned, "B", NEW)
    assert slots(provisioned, "activate", "B", "--tries", "2") == EXIT_OK
    out = capsys.readouterr().out
    assert "slot B  (runs next, as a trial)" in out
    assert "TRIAL, 2 of 2 tries left" in out
    assert show(provisioned, capsys)["trial"] == "B"


def test_mark_good_and_mark_bad(provisioned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert slots(provisioned, "mark-bad", "A") == EXIT_REFUSED
    assert "only one that can run" in capsys.readouterr().err
    put_image(provisioned, "B", NEW)
    assert slots(provisioned, "mark-good", "B") == EXIT_OK
    assert show(provisioned, capsys)["active"] == "B"
    assert slots(provisioned, "mark-bad", "B") == EXIT_OK
    state = show(provisioned, capsys)["slots"]["B"]
    assert (state["state"], state["reason"], state["confirmed_mark"]) == ("BAD", "CANCELLED", False)


def test_verify_finds_a_flipped_bit(provisioned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert slots(provisioned, "verify") == EXIT_OK
    path = provisioned.parent / "slots" / "a.bin"
    octets = path.read_bytes()
    path.write_bytes(octets[:500] + bytes([octets[500] ^ 1]) + octets[501:])
    capsys.readouterr()
    assert slots(provisioned, "verify") == EXIT_REFUSED
    assert "verified        no: " in capsys.readouterr().out
    assert slots(provisioned, "mark-good", "A") == EXIT_REFUSED


def test_verify_finds_another_image_than_the_recorded_one(
    provisioned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = provisioned.parent / "slots" / "a.bin"
    octets = path.read_bytes()
    path.write_bytes(NEW + octets[len(NEW) :])
    assert slots(provisioned, "verify") == EXIT_REFUSED
    assert "the boot state names" in capsys.readouterr().out


def test_verify_tells_a_withdrawn_slot_from_a_damaged_one(
    provisioned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After an update with a higher security counter the older slot is whole and never runs again: nothing is wrong."""
    put_image(provisioned, "B", small_image(1, counter=4), 4)
    assert slots(provisioned, "mark-good", "B") == EXIT_OK
    told = show(provisioned, capsys, "verify")
    assert (told["active"], told["security_counter"]) == ("B", 4)
    assert told["slots"]["B"] | {"verified": True, "withdrawn": False} == told["slots"]["B"]
    assert told["slots"]["A"] | {"verified": False, "withdrawn": True} == told["slots"]["A"]
    assert told["slots"]["A"]["refusal"] == "security counter 3 is below the stored 4"
    assert slots(provisioned, "verify") == EXIT_OK
    assert "whole, withdrawn: its security counter 3 is below the stored 4" in capsys.readouterr().out
    for action in ("mark-good", "activate"):
        assert slots(provisioned, action, "A") == EXIT_REFUSED
        assert "slot A does not verify: security counter 3" in capsys.readouterr().err
    path = provisioned.parent / "slots" / "a.bin"
    octets = path.read_bytes()
    path.write_bytes(octets[:500] + bytes([octets[500] ^ 1]) + octets[501:])
    assert slots(provisioned, "verify") == EXIT_REFUSED, "damaged is damaged"


def test_verify_refuses_a_held_image_that_is_withdrawn(provisioned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It waits for an activation that the first stage would refuse."""
    put_image(provisioned, "B", small_image(1, counter=4), 4)
    assert slots(provisioned, "mark-good", "B") == EXIT_OK
    put_image(provisioned, "A", OLD)
    assert slots(provisioned, "verify") == EXIT_REFUSED
    assert "withdrawn" in capsys.readouterr().out


def test_a_lost_boot_state_is_shown_as_lost(provisioned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (provisioned.parent / "slots" / "boot.bin").write_bytes(bytes(BOOT_STATE_OCTETS))
    state = show(provisioned, capsys)
    assert (state["boot_state"], state["slots"]["A"]["state"]) == ("LOST", "UNKNOWN")
    assert slots(provisioned, "activate", "A") == EXIT_STORAGE
    assert "restart the unit" in capsys.readouterr().err


def test_a_device_that_was_never_provisioned_says_so(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert slots(config, "show") == EXIT_STORAGE
    assert "han-agent provision" in capsys.readouterr().err


def test_it_says_when_the_next_start_is_the_factory_agent_s(
    provisioned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slots(provisioned, "show")
    assert "factory agent" not in capsys.readouterr().out
    for name in ("a.bin", "boot.bin"):
        path = provisioned.parent / "slots" / name
        path.write_bytes(bytes(path.stat().st_size))
    slots(provisioned, "show")
    assert "next start        the factory agent" in capsys.readouterr().out


def test_it_says_that_a_boot_loader_selects_the_slot(provisioned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(provisioned, capsys)["backend"] == "slots"
    provisioned.write_text(f'{CONFIG}[boot]\nbackend = "uboot"\n', encoding="utf-8")
    assert show(provisioned, capsys)["backend"] == "uboot"
    slots(provisioned, "show")
    assert "selected by       uboot; a trial starts with a restart of the machine" in capsys.readouterr().out


def test_run_names_a_backend_that_does_not_exist(provisioned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    provisioned.write_text(f'{CONFIG}[boot]\nbackend = "grub"\n', encoding="utf-8")
    assert main(["run", "--config", str(provisioned)]) == EXIT_USAGE
    assert "boot.backend: 'grub' is not one of slots, tryboot, uboot" in capsys.readouterr().err
