"""A socket beside the journal on which the engineer's commands reach the running device: one JSON line each way.

The file system's permissions decide who may speak to it. What arrives is never trusted to be JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from agent.boot.area import explain
from agent.errors import EXIT_STORAGE, HanError, StorageError

Fields = dict[str, object]
Answer = Callable[[str, Fields], Fields]  # of a command's name and everything else in its line

REQUEST_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 10.0  # a device that writes its slot at that moment answers late
MAXIMUM_OCTETS = 4096
MAXIMUM_ANSWER_OCTETS = 1 << 18


def socket_path(database: Path) -> Path:
    """The control socket of the device with this journal."""
    return database.with_name(database.name + ".control")


@asynccontextmanager
async def serve(path: Path, answer: Answer) -> AsyncIterator[None]:
    """Answer commands at ``path`` until the context ends. Raises StorageError. Call as the device's only process."""

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, ValueError):  # who goes away, or says more than a line, is not answered
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                fields = _answer(await reader.readline(), answer)
                writer.write(json.dumps(fields, default=str).encode() + b"\n")
                await writer.drain()
        writer.close()

    listener = _listen(path)
    server = await asyncio.start_unix_server(attend, sock=listener, limit=MAXIMUM_OCTETS)
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)


def ask(path: Path, command: str, **values: object) -> Fields:
    """One command to the running device. Raises StorageError when it does not answer, or what the device raised."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_TIMEOUT_S)
        try:
            _at_short_name(path, connection.connect)
            connection.sendall(json.dumps({"command": command, **values}).encode() + b"\n")
            with connection.makefile("rb") as lines:
                fields = json.loads(lines.readline(MAXIMUM_ANSWER_OCTETS))
        except OSError as error:
            raise explain(error, path, "speak with the running device") from None
        except ValueError:
            raise StorageError(f"{path}: the running device gave no answer; is it of another version?") from None
    if not isinstance(fields, dict):
        raise StorageError(f"{path}: the running device's answer is none; is it of another version?")
    if "error" in fields:
        raised = StorageError(f"{path}: the running device says: {fields['error']}")
        code = fields.get("exit_code")
        raised.exit_code = code if isinstance(code, int) else EXIT_STORAGE
        raise raised
    return fields


def _answer(line: bytes, answer: Answer) -> Fields:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return {"error": "not one line of JSON"}
    command = fields.get("command") if isinstance(fields, dict) else None
    if not isinstance(command, str):
        return {"error": "names no command"}
    try:
        return answer(command, fields)
    except HanError as error:
        return {"error": str(error), "exit_code": error.exit_code}


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        path.unlink(missing_ok=True)  # left by a program that was killed; the lock says that it is gone
        _at_short_name(path, listener.bind)
        path.chmod(0o600)
        listener.setblocking(False)
        listener.listen()
    except OSError as error:
        listener.close()
        raise explain(error, path, "listen") from None
    return listener


def _at_short_name(path: Path, act: Callable[[str], None]) -> None:
    """A socket's name has 107 octets at most, a path may have more: so name it from its folder."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        act(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
