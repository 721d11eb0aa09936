"""``han-agent join`` and ``leave`` on the emulated chip with the bench's hub, at rest and beside the running device."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from pathlib import Path

import pytest

from agent.errors import EXIT_OK, EXIT_RADIO, EXIT_REFUSED, EXIT_STORAGE, EXIT_USAGE
from agent.events import format_eui
from agent.update.database import open_database
from agent.update.facts import FactName
from agent.update.journal import Journal
from agent.zigbee.cbke.install_code import add_crc
from boards.virtual.ncp.board import BoardSettings, ChipSettings, VirtualBoard
from flash.identity import new_certificate_sets
from tests.device_folder import EUI, DeviceFolder, make_device
from tests.street import HUB_EUI, LIMIT_S, OTHER_CODE, SPEED, Street, hub_at, on_a_street, provisioned, running


@pytest.fixture
def device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> DeviceFolder:
    return provisioned(tmp_path, capsys)


# --- at rest ----------------------------------------------------------------------------------------------------------


def test_join_step_by_step_then_leave(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    async def story(street: Street) -> None:
        assert await street.call("join", "--channel", "20") == EXIT_OK
        steps = capsys.readouterr().out.splitlines()
        assert steps[0] == "scanning channels 20"
        assert steps[1].startswith("network found: channel 20, PAN 0x")
        assert steps[2].startswith("joined as 0x")
        assert steps[3:] == [
            "link key with hub 02DB000000000C4F (suite 2)",
            "hub 02DB000000000C4F found at endpoint 1",
            "hub answers",
            "joined",
        ]
        status = await street.json("status", code=EXIT_OK)
        assert (status["network"]["channel"], status["network"]["by"]) == (20, "join")
        assert status["link_key"] == {"hub": "02DB000000000C4F", "suite": 2}
        assert status["last_contact"]["hub_has_time"] is True
        assert status["last_contact"]["link_quality"] > 0
        assert status["install_code"] == "given to han-agent join", "with its channel, which device.toml does not have"
        # who is on a network is not taken off it by a second join
        again = await street.json("join", code=EXIT_REFUSED)
        assert "on a network already: channel 20" in again["reason"]
        assert again["reason"].endswith("han-agent leave first")
        left = await street.json("leave", code=EXIT_OK)
        assert left == {"left": True, "reason": None, "by_running_device": False, "said_goodbye": True}
        status = await street.json("status", code=EXIT_OK)
        assert (status["network"], status["link_key"]) == (None, None)
        assert status["install_code"] == "given to han-agent join", "the label's code is not the network's"

    on_a_street(device, capsys, story)


def test_a_wrong_code_is_told_and_not_kept_the_right_one_is(
    device: DeviceFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hub knows another code than device.toml has: only the one that is given works, and stays."""

    async def story(street: Street) -> None:
        told = await street.json("join", "--install-code", device.identity.install_code.hex(), code=EXIT_REFUSED)
        assert "a network was found, but the key exchange failed" in told["reason"]
        assert "the hub does not know this install code for 02DB000000000001, or the code is wrong" in told["reason"]
        assert (told["joined"], told["network"], street.given) == (False, None, {})
        told = await street.json("join", "--install-code", OTHER_CODE.hex(" "), code=EXIT_OK)
        assert (told["hub"], told["suite"]) == ("02DB000000000C4F", 2)
        assert street.given["install_code"] == OTHER_CODE.hex()
        assert await street.call("factory-reset", "everything", "--yes") == EXIT_OK
        assert "the install code that han-agent join was given" in capsys.readouterr().out
        # the label's code outlives the reset, and needs not be given again
        told = await street.json("join", code=EXIT_OK)
        assert told["joined"] is True
        assert await street.call("leave") == EXIT_OK
        # until device.toml's own is changed: then that one is meant
        text = device.config.read_text(encoding="utf-8")
        changed = add_crc(bytes(16)).hex()
        device.config.write_text(text.replace(device.identity.install_code.hex(), changed), encoding="utf-8")
        assert (await street.json("status", code=EXIT_OK))["install_code"] == "device.toml"

    on_a_street(device, capsys, story, code=OTHER_CODE)


def test_a_crc_error_is_told_before_the_radio_is_touched(
    device: DeviceFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    device.write_config(str(device.folder / "no radio is there"))
    wrong = bytearray(device.identity.install_code)
    wrong[0] ^= 1
    assert device.call("join", "--install-code", wrong.hex()) == EXIT_USAGE
    told = capsys.readouterr().err
    assert "--install-code: its CRC is" in told
    assert "compare it with the label" in told
    assert wrong.hex() not in told.lower()
    for text in ("", "12", "zz" * 18):
        assert device.call("join", f"--install-code={text}") in (EXIT_USAGE, EXIT_RADIO)
    assert device.call("join") == EXIT_RADIO, "with a good code it is the radio that is missing"
    assert "no radio is there" in capsys.readouterr().err
    assert device.call("leave") == EXIT_RADIO


def test_a_crc_error_in_device_toml_is_told_at_provisioning_and_at_every_join(
    device: DeviceFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    code = device.identity.install_code.hex()
    text = device.config.read_text(encoding="utf-8")
    device.config.write_text(text.replace(code, code[:-4] + "0000"), encoding="utf-8")
    before = device.slot("A")
    for words in (("provision", "--image", str(device.folder / "old.bin"), "--again"), ("join",)):
        assert device.call(*words) == EXIT_USAGE
        told = capsys.readouterr().err
        assert "radio.install_code: its CRC is 0000" in told
        assert code[:-4] not in told.lower()
    assert device.slot("A") == before


def test_certificates_of_another_device_are_refused_before_the_radio_is_touched(
    device: DeviceFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    device.write_config(str(device.folder / "no radio is there"))
    other = EUI + 1
    new_certificate_sets(device.folder / "identity" / "ca", device.folder, other)
    for suite in (1, 2):
        foreign = device.folder / f"{other:016x}-cbke-{suite}.txt"
        (device.keys / f"{EUI:016x}-cbke-{suite}.txt").write_bytes(foreign.read_bytes())
    for words in (("provision", "--image", str(device.folder / "old.bin"), "--again"), ("join",)):
        assert device.call(*words) == EXIT_STORAGE
        assert f"made for {other:016X}, not for {EUI:016X}" in capsys.readouterr().err


def test_no_code_at_all(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    text = device.config.read_text(encoding="utf-8")
    device.config.write_text(text.replace(device.identity.install_code.hex(), ""), encoding="utf-8")
    assert device.call("join") == EXIT_USAGE
    assert "give one with --install-code" in capsys.readouterr().err


def test_no_network(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    async def story(street: Street) -> None:
        told = await street.json("join", "--channel", "11", "--channel", "12", "--channel", "14", code=EXIT_REFUSED)
        assert "no network open for joining on channels 11-12, 14" in told["reason"]
        assert told["steps"] == ["scanning channels 11-12, 14"]

    on_a_street(device, capsys, story)


def test_a_hub_that_does_not_list_the_device(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    async def story(street: Street) -> None:
        told = await street.json("join", code=EXIT_REFUSED)
        assert "the hub does not know this install code" in told["reason"]

    on_a_street(device, capsys, story, listed=False)


def test_an_issuer_that_the_hub_does_not_know(
    device: DeviceFolder, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The device's certificates are of another authority: it joins, is told so, and leaves again."""
    make_device(tmp_path / "other" if (tmp_path / "other").mkdir() is None else tmp_path)
    ca = tmp_path / "other" / "identity" / "ca"
    for path in ca.glob("cbke-*.txt"):
        text = path.read_text()
        path.write_text(text.replace("CA01", "CA09").replace("CA02", "CA09").replace("ca01", "ca09"))
    for path in device.keys.glob("*-cbke-*.txt"):
        path.unlink()
    new_certificate_sets(ca, device.keys, EUI)

    async def story(street: Street) -> None:
        told = await street.json("join", code=EXIT_REFUSED)
        assert told["steps"][2].startswith("joined as"), told
        assert told["reason"].startswith("joined, and left again: "), told
        assert "issuer" in told["reason"]
        status = await street.json("status", code=EXIT_OK)
        assert "issuer" in status["joining_failed"]["detail"]

    on_a_street(device, capsys, story)


# --- beside the running device ----------------------------------------------------------------------------------------


def test_the_running_device_leaves_stays_apart_and_joins_by_a_given_code(
    device: DeviceFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """device.toml has a code that the hub does not know; the engineer gives the right one on the spot."""

    async def story(street: Street) -> None:
        async with running(device, "join failed"):
            assert await street.call("status") == EXIT_OK
            shown = capsys.readouterr().out
            assert "failing         key exchange failed" in shown
            assert "the hub does not know this install code, or it is wrong" in shown
            told = await street.json("join", "--install-code", OTHER_CODE.hex(), code=EXIT_OK)
            assert told["by_running_device"] is True
            assert told["steps"][-1] == "hub answers"
            assert (await street.json("join", code=EXIT_REFUSED))["reason"].endswith("han-agent leave first")
            assert street.given["install_code"] == OTHER_CODE.hex()
            assert (await street.json("leave", code=EXIT_OK))["by_running_device"] is True
            status = await street.json("status", code=EXIT_OK)
            assert status["joining_failed"]["status"] == "left the network"
            assert status["joining_failed"]["retry_s"] is None, "not by itself"
            assert status["link_key"] is None
            # a wrong code is answered, and changes nothing
            wrong = await street.json("join", "--install-code", device.identity.install_code.hex(), code=EXIT_REFUSED)
            assert "the key exchange failed" in wrong["reason"]
            assert (await street.json("join", code=EXIT_OK))["joined"] is True
        async with running(device, "hub answers"):
            pass  # a restart restores the network: nothing is joined anew
        with closing(open_database(device.database)) as opened:
            network = Journal(opened).facts.read(FactName.NETWORK)
            assert network is not None
            assert network.values["by"] == "restore"

    on_a_street(device, capsys, story, code=OTHER_CODE)


def test_the_hubs_program_restarts_and_no_key_is_made_anew(
    device: DeviceFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real programs on both sides: what the hub knows of its members lies in its folder, for its owner alone."""
    tcp = "tcp://127.0.0.1:0"
    chips = (ChipSettings(tcp, HUB_EUI), ChipSettings(tcp, EUI))
    lives = Street(device, capsys), Street(device, capsys)

    async def tunnel(street: Street) -> None:
        while not any(event["event"] == "tunnel-opened" for event in street.told):
            await asyncio.sleep(0.02)

    async def story() -> None:
        async with asyncio.timeout(LIMIT_S), VirtualBoard(BoardSettings(chips=chips, speed=SPEED, seed=1)) as board:
            device.write_config(board.addresses[1])
            async with running(device, "running"):
                for street in lives:
                    async with hub_at(board.addresses[0], street, code=device.identity.install_code):
                        await tunnel(street)

    asyncio.run(story())
    made = [[event["suite"] for event in street.told if event["event"] == "key-established"] for street in lives]
    assert made == [[2], []]
    assert not [event for street in lives for event in street.told if event["event"] == "security-refused"]
    memory = device.folder / "hub" / "network.json"
    assert memory.stat().st_mode & 0o777 == 0o600
    (one,) = json.loads(memory.read_text())["devices"]
    assert (one["eui"], one["suite"], len(one["key_hash"])) == (format_eui(EUI), 2, 32)


def test_a_running_device_without_its_radio(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    device.write_config(str(device.folder / "unplugged"))

    async def story() -> None:
        street = Street(device, capsys)
        async with asyncio.timeout(LIMIT_S), running(device, "no radio"):
            for command in ("join", "leave"):
                assert await street.call(command) == EXIT_RADIO
                assert "the radio is not there" in capsys.readouterr().err

    asyncio.run(story())
