"""Life with hub and radio, whole device on the emulated air: what happens in mid-transfer, and that it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.events import format_eui
from agent.image.version import Version
from boards.bench.control_client import HubClient
from boards.bench.hub_runtime import HubRuntime
from boards.bench.ota_session import Session
from boards.bench.settings import ImageOffer, ServerSettings
from boards.virtual.ncp.board import BoardSettings, ChipSettings, VirtualBoard
from flash.identity import new_hub
from tests.device_folder import EUI, DeviceFolder
from tests.image_factory import HEADER, ota
from tests.street import HUB_EUI, LIMIT_S, SPEED, Street, hub_at, provisioned, running
from tests.update_rig import image

IMAGE_OCTETS = 16_000
CHECKPOINT_OCTETS = 4096
DEVICE, HUB = 1, 0  # chips
NEW_HUB_EUI = 0x02DB_0000_0000_0C50
OFFER = Version(1, 1, 0)


@dataclass
class Scene:
    """A device in mid-transfer."""

    board: VirtualBoard
    hub: HubRuntime
    street: Street

    def said(self, name: str) -> list[dict[str, Any]]:
        """What the hub told."""
        return [event for event in self.street.told if event["event"] == name]

    @property
    def session(self) -> Session | None:
        return self.hub.backhaul.hub.ota.sessions.get(EUI)

    @property
    def reached(self) -> int:
        return self.session.reached if self.session else 0

    async def until(self, condition: Callable[[], object], what: str) -> None:
        for _ in range(int(LIMIT_S / 0.02)):
            if condition():
                return
            await asyncio.sleep(0.02)
        pytest.fail(f"{what}: never; the hub told {[event['text'] for event in self.street.told[-12:]]}")

    def replays(self) -> int:
        """Frames that a chip dropped because their counter had been used."""
        return sum(chip.stack.statistics.replays for chip in self.board.chips)


@pytest.fixture
def device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> DeviceFolder:
    return provisioned(tmp_path, capsys, "ppmid")


def in_mid_transfer(
    device: DeviceFolder, capsys: pytest.CaptureFixture[str], act: Callable[[Scene], Awaitable[None]]
) -> Scene:
    """Let ``act`` happen when a third is here, then see the image whole and held, with few octets sent twice."""
    file = device.folder / "new.ota"
    payload = bytes(range(250)) * (IMAGE_OCTETS // 250)
    file.write_bytes(ota(image(OFFER, payload), header=HEADER))
    offer = ImageOffer(path=file, activate="wait")
    chips = tuple(ChipSettings("tcp://127.0.0.1:0", eui) for eui in (HUB_EUI, EUI))

    async def story() -> Scene:
        async with asyncio.timeout(2 * LIMIT_S), VirtualBoard(BoardSettings(chips=chips, speed=SPEED, seed=1)) as board:
            device.write_config(board.addresses[DEVICE])
            street = Street(device, capsys)
            slow = ServerSettings(minimum_block_period_ms=5)  # of real time, as the hub's clock is
            hub = hub_at(board.addresses[HUB], street, code=device.identity.install_code, images=[offer], ota=slow)
            async with hub as runtime, running(device, "running"):
                scene = Scene(board, runtime, street)
                await scene.until(lambda: scene.reached > IMAGE_OCTETS // 3, "a third of the image")
                await act(scene)
                await scene.until(lambda: scene.said("transfer-ended"), "the whole image")
                return scene

    scene = asyncio.run(story())
    (ended,) = scene.said("transfer-ended")
    assert "holds version" in str(ended["text"])
    session = scene.session
    assert session is not None
    assert session.octets < len(file.read_bytes()) + 2 * CHECKPOINT_OCTETS, "it did not begin again"
    return scene


def keys_made(scene: Scene) -> int:
    return len(scene.said("key-established"))


def test_kicked_out_it_joins_anew_and_goes_on(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    async def act(scene: Scene) -> None:
        await asyncio.to_thread(ask, scene, "remove-device")
        await scene.until(lambda: scene.said("device-gone"), "the device leaves")
        status = await scene.street.json("status", code=0)
        assert status["joining_failed"]["status"] == "left the network"
        assert "told the device to leave" in status["joining_failed"]["detail"]

    scene = in_mid_transfer(device, capsys, act)
    assert keys_made(scene) == 2, "with the network it lost its key"
    assert scene.replays() == 0


def test_told_to_come_back_it_keeps_its_key(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    async def act(scene: Scene) -> None:
        seen = len(scene.said("device-seen"))
        await asyncio.to_thread(ask, scene, "remove-device", rejoin=True)
        await scene.until(lambda: len(scene.said("device-seen")) > seen, "the device is back")

    scene = in_mid_transfer(device, capsys, act)
    assert (keys_made(scene), scene.said("device-gone")) == (1, [])
    assert scene.replays() == 0


def test_the_radio_is_unplugged_and_plugged_in_again(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    async def act(scene: Scene) -> None:
        await scene.board.unplug(DEVICE)
        reached = scene.reached
        await asyncio.sleep(1.0)
        assert scene.reached <= reached + 50
        await scene.board.plug_in(DEVICE)

    scene = in_mid_transfer(device, capsys, act)
    assert keys_made(scene) == 1, "no new join, no new key"
    assert scene.said("device-gone") == []
    assert scene.replays() == 0, "no counter twice"


def test_the_chip_resets_itself_in_mid_frame(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """Three times, each in the middle of an MT frame to the host."""

    async def act(scene: Scene) -> None:
        for number in range(1, 4):
            chip = scene.board.chips[DEVICE]
            seen = len(scene.said("device-seen"))
            line = chip._line
            assert line is not None
            line(b"\xfe\x14\x44\x81\x00")  # the head of AF_INCOMING_MSG and no more
            chip.reset()
            await scene.until(lambda n=seen: len(scene.said("device-seen")) > n, f"back after reset {number}")

    scene = in_mid_transfer(device, capsys, act)
    assert keys_made(scene) == 1
    assert scene.replays() == 0


def test_the_hubs_radio_is_unplugged_too(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    async def act(scene: Scene) -> None:
        await scene.board.unplug(HUB)
        await asyncio.sleep(1.0)
        await scene.board.plug_in(HUB)

    scene = in_mid_transfer(device, capsys, act)
    assert keys_made(scene) == 1
    assert scene.replays() == 0


def test_the_hub_is_replaced_by_another_with_its_backup(
    device: DeviceFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """``hub --restore``: another chip, PAN id and network key. Nobody touches the device."""
    new_hub(device.folder / "identity", NEW_HUB_EUI, datetime(2026, 1, 1, tzinfo=UTC))
    chips = tuple(ChipSettings("tcp://127.0.0.1:0", eui) for eui in (HUB_EUI, EUI, NEW_HUB_EUI))
    backup = device.folder / "backup.json"
    code = device.identity.install_code

    async def until(street: Street, name: str) -> None:
        while not any(event["event"] == name for event in street.told):
            await asyncio.sleep(0.05)

    async def story() -> None:
        async with asyncio.timeout(2 * LIMIT_S), VirtualBoard(BoardSettings(chips=chips, speed=SPEED, seed=1)) as board:
            device.write_config(board.addresses[DEVICE])
            first, second = Street(device, capsys), Street(device, capsys)
            async with hub_at(board.addresses[HUB], first, code=code), running(device, "tunnel open"):
                await until(first, "tunnel-opened")
            backup.write_bytes((device.folder / "hub" / "network.json").read_bytes())
            await board.unplug(HUB)
            async with hub_at(board.addresses[2], second, code=code, restore=backup), running(device, "tunnel open"):
                await until(second, "tunnel-opened")
                status = await second.json("status", code=0)
            assert status["hub"]["eui"] == status["link_key"]["hub"] == format_eui(NEW_HUB_EUI)
            assert status["network"]["extended_pan_id"] == format_eui(HUB_EUI)
            assert [event["event"] for event in second.told if "permitted" in event["event"]] == ["swap-permitted"]
            (made,) = (event for event in second.told if event["event"] == "key-established")
            assert made["suite"] == 2

    asyncio.run(story())


def ask(scene: Scene, command: str, **values: object) -> None:
    """On the hub's control socket, as ``han-agent head-end`` does."""
    with HubClient(scene.street.device.folder / "hub" / "control.sock") as client:
        client.ask(command, devices=[format_eui(EUI)], **values)
