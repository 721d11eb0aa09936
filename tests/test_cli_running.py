"""The engineer's commands beside a device that runs: the real program as a process on an emulated chip."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent import presence
from agent.boot.handover import Handover
from agent.boot.state import Slot, SlotState
from agent.cli import main
from agent.errors import EXIT_OK, EXIT_REFUSED, EXIT_STORAGE
from agent.image.version import Version
from agent.update.database import open_database
from agent.update.failed_version import FailedVersion
from agent.update.journal import Journal
from boards.virtual.ncp.board import BoardSettings, ChipSettings, VirtualBoard
from flash.image_build import build_payload
from tests.boot_factory import image_hash
from tests.device_folder import EUI, NEW, OLD, DeviceFolder, make_device

LIMIT_S = 60.0


@pytest.fixture
def device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> DeviceFolder:
    made = make_device(tmp_path)
    made.provision(capsys)
    made.write_slot("B", NEW)
    made.have_run()
    (tmp_path / "payload.pyz").write_bytes(build_payload(Version(1, 0, 0)))
    return made


async def beside_the_running_device(device: DeviceFolder, act: Callable[[], Awaitable[None]]) -> str:
    """Start the program, act once it is there, stop it; what it logged. It must end well."""
    chip = ChipSettings("tcp://127.0.0.1:0", EUI)
    async with VirtualBoard(BoardSettings(chips=(chip,), speed=50.0, seed=1)) as board:
        device.write_config(board.addresses[0])
        handover = Handover(Slot.A, image_hash(OLD))
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            str(device.folder / "payload.pyz"),
            "--config",
            str(device.config),
            env={**os.environ, **handover.to_environment()},
            stderr=subprocess.PIPE,
        )
        assert program.stderr is not None
        log = b""
        try:
            while b"join failed" not in log:  # nobody is there to be joined
                line = await program.stderr.readline()
                assert line, log.decode()
                log += line
            await act()
            program.terminate()
            log += await program.stderr.read()
            assert await program.wait() == EXIT_OK, log.decode()
        finally:
            if program.returncode is None:
                program.kill()
                await program.wait()
    return log.decode()


def test_status_cancel_and_reset_beside_a_running_device(
    device: DeviceFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    async def call(*words: str) -> int:
        return await asyncio.to_thread(main, [*words, "--config", str(device.config)])

    async def act() -> None:
        status: dict[str, Any] = {"joining_failed": None}
        while not status["joining_failed"]:  # the device says it, then puts it into its journal
            capsys.readouterr()
            assert await call("status", "--json") == EXIT_OK
            status = json.loads(capsys.readouterr().out)
        assert status["runs"] is True
        assert status["last_start"]["version"] == "1.0.0"
        assert status["joining_failed"]["status"] == "no network found"
        assert await call("factory-reset", "journal", "--yes") == EXIT_STORAGE
        assert f"in use by process {status['process']}" in capsys.readouterr().err
        before = (device.folder / "slots" / "boot.bin").read_bytes()
        assert await call("run") == EXIT_STORAGE
        assert capsys.readouterr().err.endswith(f"in use by process {status['process']}: stop that first\n")
        assert (device.folder / "slots" / "boot.bin").read_bytes() == before, "no first stage ran, no try was spent"
        assert await call("update", "cancel", "--json") == EXIT_OK
        told = json.loads(capsys.readouterr().out)
        assert (told["by_running_device"], told["state_before"]) == (True, "held")
        assert told["cancelled"]["version"] == "1.0.1"
        assert await call("update", "cancel") == EXIT_REFUSED
        assert "nothing to cancel" in capsys.readouterr().out
        assert await call("update", "retry") == EXIT_OK
        assert "1.1.0 failed its trial here (unhealthy). The device may fetch it again; it asks the hub now" in (
            capsys.readouterr().out
        )
        assert await call("update", "retry", "--json") == EXIT_REFUSED
        assert json.loads(capsys.readouterr().out) == {"forgotten": None, "by_running_device": True}

    async def bounded() -> str:
        async with asyncio.timeout(LIMIT_S):
            return await beside_the_running_device(device, act)

    with closing(open_database(device.database)) as opened:
        Journal(opened).set_failed_version(FailedVersion(0x0101_0000, "unhealthy", 0, 1_800_000_000))
    log = asyncio.run(bounded())
    assert "update cancelled" in log
    assert "failed version may be fetched again" in log
    assert device.slot("B").state is SlotState.EMPTY
    assert presence.holder(device.database) is None
    assert not list(device.folder.glob("*.control"))
