"""A hub and a device on an emulated air, the device's program as a process: what an engineer has before her."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.boot.handover import Handover
from agent.boot.state import Slot
from agent.cli import main
from agent.errors import EXIT_OK
from agent.events import format_eui
from agent.image.version import Version
from agent.install_codes import given_code
from agent.update.database import open_database
from agent.update.journal import Journal
from agent.zigbee.cbke.install_code import add_crc
from boards.bench.answers import INPUT_CLUSTERS, OUTPUT_CLUSTERS
from boards.bench.hub_runtime import HubRuntime
from boards.bench.settings import DeviceSettings, HubRadioSettings, HubSettings
from boards.virtual.ncp.board import BoardSettings, ChipSettings, VirtualBoard
from boards.znp_radio import ZnpRadio
from flash.identity import new_hub
from flash.image_build import build_payload
from tests.boot_factory import image_hash
from tests.device_folder import EUI, OLD, DeviceFolder, make_device

HUB_EUI = 0x02DB_0000_0000_0C4F
OTHER_CODE = add_crc(bytes(range(16)))
LIMIT_S = 90.0
SPEED = 50.0


@dataclass
class Street:
    """A hub on the air, and the device's folder; ``told`` is what the hub's program tells."""

    device: DeviceFolder
    capsys: pytest.CaptureFixture[str]
    told: list[dict[str, Any]] = field(default_factory=list)

    async def call(self, *words: str) -> int:
        self.capsys.readouterr()
        return await asyncio.to_thread(main, [*words, "--config", str(self.device.config)])

    async def json(self, *words: str, code: int) -> dict[str, Any]:
        assert await self.call(*words, "--json") == code
        told: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        return told

    @property
    def given(self) -> dict[str, Any]:
        with closing(open_database(self.device.database)) as opened:
            return given_code(Journal(opened))


def provisioned(folder: Path, capsys: pytest.CaptureFixture[str], role: str = "hcalcs") -> DeviceFolder:
    """A device that has its firmware, and a hub with certificates of the same authority."""
    made = make_device(folder, role)
    made.provision(capsys)
    new_hub(folder / "identity", HUB_EUI, datetime(2026, 1, 1, tzinfo=UTC))
    return made


@asynccontextmanager
async def hub_at(
    address: str, street: Street, *, code: bytes, listed: bool = True, restore: Path | None = None, **more: Any
) -> AsyncIterator[HubRuntime]:
    """The bench's hub as a program: its network is open while a listed device is missing. ``more``: of HubSettings."""
    folder = street.device.folder
    one = DeviceSettings(eui=format_eui(EUI), role=street.device.role, install_code=code.hex())
    nobody = DeviceSettings(eui="02DB0000000000FF", role="ppmid", install_code=OTHER_CODE.hex())
    settings = HubSettings(
        radio=HubRadioSettings(path=address, key_establishment="both"),
        keys=folder / "identity" / "head-end",
        state=folder / "hub",
        devices=[one if listed else nobody],
        **more,
    )
    stop = asyncio.Event()
    radio = ZnpRadio(address, input_clusters=tuple(INPUT_CLUSTERS), output_clusters=tuple(OUTPUT_CLUSTERS))
    runtime = HubRuntime(settings, radio, lambda _happening, event: street.told.append(event), restore=restore)
    task = asyncio.create_task(runtime.run(stop))
    try:
        while not any(event["event"] == "network-up" for event in street.told):
            await asyncio.sleep(0.02)
            assert not task.done(), task.result()
        yield runtime
    finally:
        stop.set()
        await task


def on_a_street(
    device: DeviceFolder,
    capsys: pytest.CaptureFixture[str],
    story: Callable[[Street], Awaitable[None]],
    *,
    code: bytes | None = None,
    listed: bool = True,
) -> None:
    """Run ``story`` beside a hub that knows the device by ``code`` (the label's)."""
    tcp = "tcp://127.0.0.1:0"
    chips = (ChipSettings(tcp, HUB_EUI), ChipSettings(tcp, EUI))

    async def bounded() -> None:
        async with (
            asyncio.timeout(LIMIT_S),
            VirtualBoard(BoardSettings(chips=chips, speed=SPEED, seed=1)) as board,
        ):
            device.write_config(board.addresses[1])
            street = Street(device, capsys)
            async with hub_at(board.addresses[0], street, code=code or device.identity.install_code, listed=listed):
                await story(street)

    asyncio.run(bounded())


@asynccontextmanager
async def running(device: DeviceFolder, until: str) -> AsyncIterator[None]:
    """The device's own program, once it has logged ``until``; it must end well."""
    payload = device.folder / "payload.pyz"
    payload.write_bytes(build_payload(Version(1, 0, 0)))
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        str(payload),
        "--config",
        str(device.config),
        env={**os.environ, **Handover(Slot.A, image_hash(OLD)).to_environment()},
        stderr=asyncio.subprocess.PIPE,
    )
    assert program.stderr is not None
    log = b""
    try:
        while until.encode() not in log:
            line = await program.stderr.readline()
            assert line, log.decode()
            log += line
        reader = asyncio.create_task(program.stderr.read())
        yield
        program.terminate()
        log += await reader
        assert await program.wait() == EXIT_OK, log.decode()
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
