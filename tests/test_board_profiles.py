"""Board profiles: every shipped one loads, knows its machine, and a wrong one is told with its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.cli import main
from agent.errors import SettingsError
from agent.settings import load_device
from boards.raspberry_pi.board import Board, open_board
from boards.raspberry_pi.profile import Pin, load_profile, profiles, used_pins
from tests.test_settings import GOOD

MODELS = {
    "Raspberry Pi 3 Model B Rev 1.2": "raspberry-pi-3",
    "Raspberry Pi 3 Model B Plus Rev 1.3": "raspberry-pi-3",
    "Raspberry Pi 3 Model A Plus Rev 1.0": "raspberry-pi-3",
    "Raspberry Pi 4 Model B Rev 1.5": "raspberry-pi-4",
    "Raspberry Pi 400 Rev 1.0": "raspberry-pi-4",
    "Raspberry Pi 5 Model B Rev 1.0": "raspberry-pi-5",
    "Raspberry Pi Zero 2 W Rev 1.0": "raspberry-pi-zero-2-w",
    "Raspberry Pi Compute Module 4 Rev 1.1": "raspberry-pi-cm4",
}


@pytest.mark.parametrize("model", [*MODELS, "Raspberry Pi 500 Rev 1.0", "Raspberry Pi Model B Rev 1", "", "Radxa ROCK"])
def test_a_machine_has_its_profile_or_none(model: str) -> None:
    fitting = [profile.name for profile in profiles() if profile.fits(model)]
    assert fitting == ([MODELS[model]] if model in MODELS else [])


def test_the_shipped_ones_are_whole() -> None:
    every = list(profiles())
    assert {profile.name for profile in every} == {*MODELS.values(), "virtual"}
    for profile in every:
        assert profile.pins.relay is not None
        assert profile.pins.relay.default == "disconnected"
        assert profile.tried == "", "only a person who has seen the metal may fill this in"
        if profile.driver == "rpi-gpio":
            assert profile.uart
            names = {name for name, _ in used_pins(profile.pins)}
            assert names == {"radio_reset", "radio_boot", "status_led", "button", "relay"}


def test_levels_follow_the_active_one() -> None:
    assert [Pin(gpio=4).level(on) for on in (True, False)] == [1, 0]
    assert [Pin(gpio=4, active="low").level(on) for on in (True, False)] == [0, 1]
    for pin in (Pin(gpio=4), Pin(gpio=4, active="low")):
        assert [pin.is_on(pin.level(on)) for on in (True, False)] == [True, False]


BOARD = 'title = "Ours"\ndriver = "virtual"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOARD + "[pins]\nrelay = { gpio = 17 }\nbutton = { gpio = 17 }", "pins.relay: GPIO 17 is already pins.button"),
        (
            BOARD + "[pins.relay]\ngpio = 17\nread_back = { gpio = 17 }",
            r"pins.relay.read_back: GPIO 17 is already pins.relay",
        ),
        (BOARD + "[pins]\nrelay = { gpio = 1 }", r"Expected `int` >= 2 \(in pins.relay.gpio\)"),
        (BOARD + "[pins]\nrelay = { gpio = 28 }", r"Expected `int` <= 27 \(in pins.relay.gpio\)"),
        (BOARD + '[pins]\nrelay = { gpio = 17, active = "hi" }', r"Invalid enum value 'hi' \(in pins.relay.active\)"),
        (BOARD + "[pins]\nrelais = { gpio = 17 }", "unknown key `relais`"),
        ('title = "Ours"\ndriver = "gpiod"', "Invalid enum value 'gpiod'"),
    ],
)
def test_a_wrong_profile_is_told(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=said):
        load_profile(str(path))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"'raspberry-pi-9' is not one of raspberry-pi-3, .*virtual, nor the path"):
        load_profile("raspberry-pi-9")


# --- device.toml ------------------------------------------------------------------------------------------------------


def device(folder: Path, board: str, *, role: str = "ppmid") -> Path:
    text = GOOD.replace('role = "ppmid"', f'role = "{role}"')
    if role == "hcalcs":
        text = text.replace("[image]", '[image]\nform = "gb-hcalcs"')
    path = folder / "device.toml"
    path.write_text(text + board)
    return path


def test_no_profile_touches_no_pin(tmp_path: Path) -> None:
    assert open_board(load_device(device(tmp_path, ""))) == Board()


def test_a_ppmid_has_a_led_and_leaves_the_relay_alone(tmp_path: Path) -> None:
    board = open_board(load_device(device(tmp_path, '[board]\nprofile = "virtual"\n')))
    assert board.relay is None
    assert board.led is not None


def test_an_hcalcs_has_its_relay_and_keeps_its_state_in_the_folder(tmp_path: Path) -> None:
    path = device(tmp_path, '[board]\nprofile = "virtual"\npins = "lines"\n', role="hcalcs")
    first = open_board(load_device(path)).relay
    assert first is not None
    first.set(True)
    again = open_board(load_device(path)).relay
    assert again is not None
    assert again.read() is True
    assert sorted(item.name for item in (tmp_path / "lines").iterdir()) == ["gpio-17.json", "virtual-pins.json"]


def test_a_profile_of_one_s_own_lies_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "ours.toml").write_text(BOARD + "[pins]\nstatus_led = { gpio = 5 }")
    path = device(tmp_path, '[board]\nprofile = "ours.toml"\n', role="hcalcs")
    with pytest.raises(SettingsError, match=r"ours has no pins\.relay, and an HCALCS switches a load"):
        open_board(load_device(path))


def test_a_pi_s_profile_off_a_pi_names_the_virtual_board(tmp_path: Path) -> None:
    settings = load_device(device(tmp_path, '[board]\nprofile = "raspberry-pi-4"\n'))
    with pytest.raises(SettingsError, match='profile = "virtual"'):
        open_board(settings)


def test_a_device_without_a_board_has_no_pins_to_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["board", "test", "--config", str(device(tmp_path, ""))]) == 2
    assert "device.toml: has no [board], so no pins; add it with profile" in capsys.readouterr().err


def test_a_wrong_key_is_told_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--config", str(device(tmp_path, '[board]\nprofil = "virtual"\n'))]) == 2
    assert "unknown key `profil` (in board); did you mean profile?" in capsys.readouterr().err
