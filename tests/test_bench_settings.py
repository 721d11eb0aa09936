"""hub.toml: what is accepted, and the words in which the rest is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import SettingsError
from boards.bench import settings
from boards.bench.settings import Activation, ActivationKind

GOOD = """
[radio]
path = "socket://127.0.0.1:9990"
channel = 15
pan_id = 0x1A62

[[devices]]
eui = "90B3D51F30010000"
install_code = "83FED3407A939723A5C639B26916D505C3B5"

[[images]]
path = "new.ota"
activate = "+30"
devices = ["90B3D51F30010000"]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "hub.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        settings.load_hub(written(folder, text))
    return str(caught.value)


def test_paths_become_absolute_beside_the_file(tmp_path: Path) -> None:
    loaded = settings.load_hub(written(tmp_path, GOOD))
    assert loaded.images[0].path == tmp_path / "new.ota"
    assert loaded.control_socket == tmp_path / "hub-state" / "control.sock"
    assert loaded.keys == tmp_path / "keys"
    assert (loaded.radio.channel, loaded.radio.pan_id) == (15, 0x1A62)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("channel = 15", "channel = 27", "not a 2.4 GHz channel"),
        ("channel = 15", "chanel = 15", "did you mean channel?"),
        ("channel = 15", 'channel = "15"', "radio.channel"),
        ("pan_id = 0x1A62", "pan_id = 0x10000", "let the chip choose"),
        ('eui = "90B3D51F30010000"', 'eui = "90B3D51F3001000"', "not an EUI of 16 hex digits"),
        ("D505C3B5", "D505C3B6", "its CRC is C3B6, computed C3B5"),
        ("83FED3407A939723A5C639B26916D505C3B5", "83FED3", "compare it with the label"),
        ("83FED3407A939723A5C639B26916D505C3B5", "hello", "not hex digits"),
        ('activate = "+30"', 'activate = "soon"', "is not now, wait"),
        ('activate = "+30"', 'activate = "2026-01-31T02:00:00"', "no time zone"),
        ('activate = "+30"', 'activate = "1999-01-31T02:00:00Z"', "2000 to 2136"),
        ('activate = "+30"', 'form = "gb"', "not one of gb-ppmid"),
        ('path = "socket://127.0.0.1:9990"', "", "missing key `path`"),
        ("[[images]]", '[[devices]]\neui = "90b3d51f30010000"\n[[images]]', "there twice"),
        ('D505C3B5"', 'D505C3B5"\nrole = "ihd"', "taken out of the scope"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in GOOD
    message = refusal(tmp_path, GOOD.replace(old, new))
    assert words in message
    assert str(tmp_path / "hub.toml") in message


def test_install_code_of_the_zigbee_document() -> None:
    code = settings.install_code("83FED3407A932B70", "label")
    assert code.hex() == "83fed3407a932b70"


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("", "gb-ppmid", Activation(ActivationKind.NOW)),
        ("", "gb-hcalcs", Activation(ActivationKind.WAIT)),
        ("wait", "gb-ppmid", Activation(ActivationKind.WAIT)),
        ("+90", "gb-ppmid", Activation(ActivationKind.AFTER, 90)),
        ("2000-01-02T00:00:00Z", "gb-ppmid", Activation(ActivationKind.AT, 86_400)),
        ("2000-01-02T01:00:00+01:00", "gb-ppmid", Activation(ActivationKind.AT, 86_400)),
    ],
)
def test_activation_words(text: str, form: str, expected: Activation) -> None:
    assert settings.parse_activation(text, form, "here") == expected


@given(st.text(max_size=40))
def test_activation_of_any_text_is_a_value_or_a_settings_error(text: str) -> None:
    try:
        activation = settings.parse_activation(text, "generic", "here")
    except SettingsError:
        return
    assert settings.parse_activation(str(activation), "generic", "here") == activation
