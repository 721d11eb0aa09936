"""The hub's status for a person, of the real hub and the real device in virtual time."""

from __future__ import annotations

from agent.events import format_eui
from boards.bench.console import Console
from boards.bench.status_text import render
from tests.home import DEVICE_EUI, HUB_EUI, Home
from tests.test_home_ppmid import alerted
from tests.test_home_sleepy import downloading, sleepy

DEVICE = format_eui(DEVICE_EUI)


def text(home: Home) -> str:
    status = Console(home.backhaul, lambda: home.world.now).dispatch({"command": "status"})
    return render(status)


def test_a_hub_that_waits_for_its_radio_and_a_device_that_is_off() -> None:
    home = Home(starts_on=False)
    assert text(home).startswith("hub     has no network")
    home.world.run(lambda: home.hub.network is not None, 60.0)
    lines = text(home).splitlines()
    assert lines[0].startswith(f"hub     {format_eui(HUB_EUI)}: channel 20, PAN 0x")
    assert lines[2:] == [f"device  {DEVICE}  PPMID, not on the network", "        tunnel closed"]


def test_a_transfer_under_way_and_ended() -> None:
    home = sleepy()
    home.run(60.0)
    served = home.offer(devices=frozenset([DEVICE_EUI]))
    octets = len(served.octets)
    assert home.run_until(lambda: downloading(home, 4096), 600.0)
    under_way = text(home)
    assert f"device  {DEVICE}  PPMID, at 0x" in under_way
    assert ", sleepy\n        tunnel open\n" in under_way
    reached = home.hub.ota.sessions[DEVICE_EUI].reached
    assert 4096 <= reached < octets
    assert f"transfer of version 0x01010000 under way: {reached} of {octets} octets, " in under_way
    assert (
        f"image   {served.name}\n        version 0x01010000, {octets} octets, activation now, for {DEVICE}" in under_way
    )
    assert home.run_until(lambda: alerted(home), 600.0)
    assert f"transfer of version 0x01010000 ended: {octets} of {octets} octets, " in text(home)


def test_a_device_that_is_kept_out_and_one_that_nobody_listed() -> None:
    home = Home()
    home.run(60.0)
    assert home.hub.remove(DEVICE_EUI, rejoin=False, keep_out=True)
    home.hub.members.learn(0x00DB1234567890FF, 0x4321)
    home.run(30.0)
    told = text(home)
    assert "kept out until permit-device" in told
    assert "device  00DB1234567890FF  not in hub.toml, at 0x4321\n        tunnel closed" in told


def test_a_resumed_transfer_and_one_that_waits() -> None:
    status = {
        "network": {"hub_eui": "00DB1234567890B2", "channel": 11, "pan_id": "0x1A62"},
        "devices": [
            {
                "eui": DEVICE,
                "role": "hcalcs",
                "listed": True,
                "short_address": "0x4242",
                "sleeps": False,
                "kept_out": False,
                "tunnel": "waiting",
                "transfer": {
                    "file_version": "0x01020000",
                    "reached": 50,
                    "blocks": 1,
                    "repeats": 0,
                    "waits": 3,
                    "resumed": True,
                    "ended": False,
                },
            }
        ],
        "images": [],
    }
    wanted = "transfer of version 0x01020000 under way: 50 octets, 1 blocks, 0 repeated, 3 times told to wait, resumed"
    assert wanted in render(status)
