"""The lock that says whether the device runs, and the socket on which it takes the engineer's commands."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agent import presence
from agent.control_socket import Fields, ask, serve, socket_path
from agent.errors import StorageError
from boards.bench.demo.prepare import MARKER, empty_workdir
from flash.key_folder import write_file

HOLD = """
import sys, time
from pathlib import Path
from agent import presence
with presence.hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
ROOT = Path(__file__).parents[1]


def test_a_demo_does_not_empty_the_folder_of_a_device_that_runs(tmp_path: Path) -> None:
    database = tmp_path / "ppmid" / "agent.db"
    database.parent.mkdir()
    (tmp_path / MARKER).touch()
    with presence.hold(database), pytest.raises(StorageError, match=f"in use by process {os.getpid()}: stop that"):
        empty_workdir(tmp_path)
    assert database.parent.is_dir()
    empty_workdir(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [MARKER]


def test_another_process_holds_the_device_until_it_is_gone_however_it_goes(tmp_path: Path) -> None:
    database = tmp_path / "agent.db"
    assert presence.holder(database) is None
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(database)], stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            assert presence.holder(database) == other.pid
            with pytest.raises(StorageError, match=f"in use by process {other.pid}"), presence.hold(database):
                pass
        finally:
            other.send_signal(signal.SIGKILL)
            other.wait()
    assert presence.holder(database) is None
    with presence.hold(database):
        assert presence.holder(database) == os.getpid()
    assert presence.holder(database) is None


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    database = tmp_path / "none" / "agent.db"
    assert presence.holder(database) is None
    with pytest.raises(StorageError, match=r"agent\.db\.lock"), presence.hold(database):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files for others")
def test_what_root_makes_is_the_devices(tmp_path: Path) -> None:
    os.chown(tmp_path, 4321, 4322)
    with presence.hold(tmp_path / "agent.db"):
        pass
    write_file(tmp_path / "x.key", b"key", 0o600)
    owners = [(path.stat().st_uid, path.stat().st_gid) for path in sorted(tmp_path.iterdir())]
    assert owners == [(4321, 4322)] * 2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Longer than a socket's name may be."""
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    return socket_path(folder / "agent.db")


def answered(path: Path, *lines: bytes | str) -> list[object]:
    """What the device answers to lines of octets, or to commands."""
    asked: list[str] = []

    def answer(command: str, _values: Fields) -> Fields:
        asked.append(command)
        return {"number": len(asked), "command": command}

    def speak(line: bytes | str) -> object:
        if isinstance(line, str):
            return ask(path, line)
        with socket.socket(socket.AF_UNIX) as raw:
            folder = os.open(path.parent, os.O_RDONLY)
            raw.connect(f"/proc/self/fd/{folder}/{path.name}")
            os.close(folder)
            raw.sendall(line)
            raw.shutdown(socket.SHUT_WR)
            return raw.makefile("rb").readline()

    async def talk() -> list[object]:
        async with serve(path, answer):
            return [await asyncio.to_thread(speak, line) for line in lines]

    return asyncio.run(talk())


def test_a_command_is_answered_and_garbage_does_not_stop_the_next(path: Path) -> None:
    told = answered(path, "one", b"\xff\xfe\n", b"[1]\n", b'{"command": 5}\n', b"", b"[" * 9000 + b"\n", "two")
    assert told[0] == {"number": 1, "command": "one"}
    assert [b"error" in line for line in told[1:5] if isinstance(line, bytes)] == [True] * 4
    assert told[5] == b"", "more than a line is allowed is not answered"
    assert told[6] == {"number": 2, "command": "two"}
    assert not path.exists()


def test_a_socket_left_by_a_killed_program_is_replaced(path: Path) -> None:
    path.touch()
    assert answered(path, "one") == [{"number": 1, "command": "one"}]


def test_nobody_listens(path: Path) -> None:
    with pytest.raises(StorageError, match=r"agent\.db\.control: cannot speak with the running device"):
        ask(path, "one")


def test_an_error_of_the_device_is_the_callers(path: Path) -> None:
    def answer(command: str, _values: Fields) -> Fields:
        if command == "full":
            raise StorageError("disk full")
        return {"error": f"no command {command!r}"}

    async def talk() -> None:
        async with serve(path, answer):
            for command, says in (("x", "no command 'x'"), ("full", "disk full")):
                with pytest.raises(StorageError, match=says):
                    await asyncio.to_thread(ask, path, command)

    asyncio.run(talk())
