"""``han-agent air`` as a program: what it prints, how it stops, what it refuses, and what survives kill -9."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli import main
from boards.virtual.ncp.codec import MtFrame, MtParser

START_LIMIT_S = 30.0
PING = MtFrame(0x21, 0x01)
PONG = MtFrame(0x61, 0x01, b"\x59\x04")
FREE = "tcp://127.0.0.1:0"


@contextlib.contextmanager
def air(*options: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The program, once it is ready, and the lines it printed before."""
    command = [sys.executable, "-c", "from agent.cli import main; raise SystemExit(main())", "air", *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    )
    try:
        yield process, read_until_ready(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def read_until_ready(process: subprocess.Popen[str]) -> list[str]:
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        if "ready" in line:
            return lines
        lines.append(line.strip())
    assert process.stderr is not None
    raise AssertionError(f"never ready: {process.stderr.read()}")


class Socket:
    """A host's end of a TCP line."""

    def __init__(self, address: str) -> None:
        host, port = address.removeprefix("socket://").split(":")
        self._socket = socket.create_connection((host, int(port)), START_LIMIT_S)
        self._parser = MtParser()

    def ask(self, frame: MtFrame) -> MtFrame:
        self._socket.sendall(frame.encode())
        while True:
            octets = self._socket.recv(4096)
            assert octets, "the chip hung up"
            for answer in self._parser.feed(octets):
                if answer.type == 3:
                    return answer

    def send(self, octets: bytes) -> None:
        self._socket.sendall(octets)

    def is_refused(self) -> bool:
        try:
            return self._socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_and_stops_when_told(number: signal.Signals, tmp_path: Path) -> None:
    link = tmp_path / "radio"
    with air("--ncp", FREE, "--ncp", f"pty:{link}", "--eui", "00:12:4B:00:00:00:00:07") as (process, lines):
        assert lines[0].startswith("socket://127.0.0.1:")
        assert lines[0].endswith("EUI 00124B0000000007")
        assert lines[1].split()[0] == str(link)
        assert link.is_symlink()
        process.send_signal(number)
        out, err = process.communicate(timeout=START_LIMIT_S)
        assert (process.returncode, out, err) == (0, "", "")
    assert not link.is_symlink()


def test_a_signal_makes_it_tell_how_long_each_radio_was_awake() -> None:
    with air("--ncp", FREE, "--ncp", FREE, "--eui", "00124B0000000007", "--json") as (process, _):
        assert process.stdout is not None
        process.send_signal(signal.SIGUSR1)
        told = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert told[0].keys() == {"radio", "seconds", "awake_s", "polls"}
    assert [one["radio"] for one in told] == ["00124B0000000007", "00124B0026520002"]
    assert [(one["awake_s"], one["polls"]) for one in told] == [(0.0, 0)] * 2  # no host has started them yet


def test_garbage_a_second_host_and_a_host_that_leaves() -> None:
    with air("--ncp", FREE, "--json") as (_, lines):
        address = json.loads(lines[0])["ncp"]
        with Socket(address) as first:
            first.send(bytes(range(256)) * 20 + bytes(255))
            assert first.ask(PING) == PONG
            with Socket(address) as second:
                assert second.is_refused()
            assert first.ask(PING) == PONG
        with Socket(address) as third:
            assert third.ask(PING) == PONG


def test_nv_memory_survives_kill_9(tmp_path: Path) -> None:
    options = ("--ncp", FREE, "--nv-dir", str(tmp_path / "nv"), "--json")
    write = MtFrame(0x21, 0x09, b"\x87\x00\x00\x01\x01")
    read = MtFrame(0x21, 0x08, b"\x87\x00\x00")
    with air(*options) as (process, lines), Socket(json.loads(lines[0])["ncp"]) as host:
        assert host.ask(read).data == b"\x00\x01\x00"
        assert host.ask(write).data == b"\x00"
        process.kill()
        process.wait()
    with air(*options) as (_, lines), Socket(json.loads(lines[0])["ncp"]) as host:
        assert host.ask(read).data == b"\x00\x01\x01"
    assert [path.name for path in (tmp_path / "nv").iterdir()] == ["00124B0026520001.json"]


def test_a_pty_that_is_opened_closed_and_opened_again(tmp_path: Path) -> None:
    link = tmp_path / "radio"
    with air("--ncp", f"pty:{link}"):
        for _ in range(3):
            terminal = os.open(link, os.O_RDWR | os.O_NOCTTY)
            try:
                os.write(terminal, PING.encode())
                assert list(MtParser().feed(read_octets(terminal, len(PONG.encode())))) == [PONG]
            finally:
                os.close(terminal)


def read_octets(terminal: int, octets: int) -> bytes:
    got, end = b"", time.monotonic() + START_LIMIT_S
    while len(got) < octets and select.select([terminal], [], [], max(0.0, end - time.monotonic()))[0]:
        got += os.read(terminal, 4096)
    return got


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--ncp: name at least one chip"),
        (["--ncp", "serial"], "--ncp serial: not an address"),
        (["--ncp", "tcp://127.0.0.1:99999"], "not an address"),
        (["--ncp", "tcp://0.0.0.0:0"], "only a loopback address"),
        (["--ncp", FREE, "--loss", "1.5"], "--loss 1.5: must lie between 0 and 1"),
        (["--ncp", FREE, "--loss", "nan"], "--loss nan: must lie between 0 and 1"),
        (["--ncp", FREE, "--speed", "0"], "--speed 0: must lie between"),
        (["--ncp", FREE, "--delay", "-1"], "--delay -1: must lie between"),
        (["--ncp", FREE, "--eui", "12"], "--eui 12: not an EUI"),
        (["--ncp", FREE, "--eui", "1" * 16, "--eui", "2" * 16], "2 given for 1 chips"),
        (["--ncp", FREE, "--ncp", FREE, "--eui", "1" * 16, "--eui", "1" * 16], "two chips with one EUI"),
        (["--ncp", FREE, "--maximum-transfer", "9"], "--maximum-transfer 9: must lie between"),
        (["--ncp", "pty:/nowhere/at/all"], "the link cannot be made"),
        (["--ncp", FREE, "--capture", "/nowhere/at/all.pcapng"], "cannot write the capture"),
        (["--ncp", FREE, "--nv-dir", "/dev/null/nv"], "cannot be made"),
    ],
)
def test_what_it_refuses(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["air", *options]) != 0
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["air", "--ncp", f"tcp://127.0.0.1:{port}"]) == 3
    error = capsys.readouterr().err
    assert f"tcp://127.0.0.1:{port}: " in error
    assert "in use" in error
    assert "name another port" in error


def test_a_damaged_nv_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "00124B0026520001.json").write_text("nonsense")
    assert main(["air", "--ncp", FREE, "--nv-dir", str(tmp_path)]) == 4
    assert "00124B0026520001.json: not the NV memory" in capsys.readouterr().err
