"""device.toml: what is wrong is named with its key and the remedy, in one line and without a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.cli import main
from agent.errors import EXIT_USAGE, SettingsError
from agent.settings import Settings, load_device

GOOD = """
role = "ppmid"
eui = "00DB1234567890A4"
[radio]
path = "socket://127.0.0.1:9990"
[image]
manufacturer_code = 0x1234
image_type = 1
hardware_version = 2
[storage]
slot_a = "slot-a.bin"
slot_b = "slot-b.bin"
boot_state = "boot-state.bin"
database = "agent.db"
keys = "keys"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "device.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_good_file_has_defaults_and_absolute_paths(tmp_path: Path) -> None:
    settings = load_device(write(tmp_path, GOOD))
    assert isinstance(settings, Settings)
    assert settings.storage.slot_a == tmp_path / "slot-a.bin"
    assert settings.radio.profile == 0x0109
    assert settings.ota.query_interval_s == 86_400


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[radio]", "[radio]\nchanels = [11]", r"unknown key `chanels` \(in radio\); did you mean channels\?"),
        ("[radio]", "database = 'a.db'\n[radio]", r"unknown key `database`.*; it belongs into \[storage\]"),
        ("[image]", "[image]\nrole = 'ppmid'", r"unknown key `role` \(in image\); it belongs into the top level"),
        ("[radio]", "[[devices]]\n[radio]", r"this is the configuration of a hub \(hub.toml\); name another file"),
        ('role = "ppmid"', 'role = "ihd"', "out of the scope of SECMP0007"),
        ('role = "ppmid"', 'role = "esme"', "'esme' is not one of ppmid, hcalcs"),
        ('role = "ppmid"\n', "", "missing key `role`"),
        ("image_type = 1", 'image_type = "one"', r"Expected `int`, got `str` \(in image.image_type\)"),
        ('"00DB1234567890A4"', '"00DB"', "not 16 hex digits"),
        ("[image]", "[image", "not valid TOML"),
        ("hardware_version = 2", 'hardware_version = 2\nform = "zip"', "image.form: 'zip' is not one of gb-ppmid"),
        (
            'path = "socket://127.0.0.1:9990"',
            'path = "x"\nlogical_type = "sleepy"',
            "radio.logical_type: 'sleepy' is not router or end-device",
        ),
        ("[radio]", "[radio]\npoll_rate_s = 60", r"radio.poll_rate_s: 60 must lie above 0 and at most 7.68: a parent"),
        ("[radio]", "[radio]\npoll_rate_s = 0", r"radio.poll_rate_s: 0 must lie above 0"),
        ("[radio]", "[radio]\nfast_poll_rate_s = 8.0", r"fast_poll_rate_s: 8 must lie between 0.001 and .* \(7.5\)"),
        ("[radio]", "[radio]\nfast_poll_rate_s = 0.0", r"fast_poll_rate_s: 0 must lie between"),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        load_device(write(tmp_path, GOOD.replace(old, new)))
    assert "device.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent.toml: no such configuration file; name one with --config"):
        load_device(tmp_path / "absent.toml")


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["fly"])
    assert caught.value.code == EXIT_USAGE
    assert "invalid choice" in capsys.readouterr().err
