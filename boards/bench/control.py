"""The hub's control socket: a unix domain socket in its state folder, JSON objects one a line, an answer a request.

A request is ``{"command": NAME, ...}``; the answer ``{"ok": true, ...}`` or ``{"ok": false, "error": TEXT,
"exit_code": N}``. ``wait`` and ``events`` are answered here, everything else by the ``dispatch`` that is given::

    {"command": "wait", "since": MARK, "timeout_s": 60, "match": {"event": "report", ...}}
    {"command": "events", "since": MARK}      then one event a line until the client hangs up
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from pathlib import Path

from agent.errors import EXIT_USAGE, HanError, SettingsError
from boards.bench.history import Event, History

LINE_LIMIT = 1 << 20
MAXIMUM_PATH_OCTETS = 107  # sun_path of Linux, without its final zero
SETTLING_TURNS = 5  # of the loop: Python 3.11 leaks a connection whose acceptance meets the close of its server
MAXIMUM_WAIT_S = 86_400.0 * 31

Dispatch = Callable[[Event], Event]


class ControlServer:
    """Serves until ``close``. ``dispatch`` may raise HanError, whose text and exit code go into the answer."""

    def __init__(self, path: Path, dispatch: Dispatch, history: History) -> None:
        self._path = path
        self._dispatch = dispatch
        self._history = history
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen. Raises SettingsError when another hub listens there already."""
        check_path(self._path)
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _remove_stale(self._path)
        self._server = await asyncio.start_unix_server(self._client, str(self._path), limit=LINE_LIMIT)
        self._path.chmod(0o600)

    async def close(self) -> None:
        """Hang up on everybody and remove the socket."""
        if self._server is None:
            return
        for _ in range(SETTLING_TURNS):
            await asyncio.sleep(0)
        self._server.close()
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await self._server.wait_closed()
        self._path.unlink(missing_ok=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._clients.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            return  # it hung up, or the hub stops
        finally:
            if task is not None:
                self._clients.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                line = await reader.readline()
            except ValueError:
                await _answer(writer, _refusal(f"a line is longer than {LINE_LIMIT} octets", EXIT_USAGE))
                return
            if not line:
                return
            request = _parse(line)
            if request.get("command") == "events":
                await self._stream(_integer(request, "since", self._history.mark), writer)
                return
            await _answer(writer, await self._execute(request))

    async def _execute(self, request: Event) -> Event:
        try:
            if "problem" in request:
                return _refusal(str(request["problem"]), EXIT_USAGE)
            if request.get("command") == "wait":
                return await self._wait(request)
            mark = self._history.mark
            return {"ok": True, "mark": mark, **self._dispatch(request)}
        except HanError as error:
            return _refusal(str(error), error.exit_code)

    async def _wait(self, request: Event) -> Event:
        match = request.get("match")
        if not isinstance(match, dict):
            raise SettingsError("wait: match is not an object of event fields")
        timeout_s = min(max(_number(request, "timeout_s", 60.0), 0.0), MAXIMUM_WAIT_S)
        since = _integer(request, "since", self._history.mark)
        found = await self._history.find(lambda event: fits(event, match), since, timeout_s)
        if found is None:
            return _refusal(f"nothing came within {timeout_s:g} s", 1) | {"timeout": True}
        return {"ok": True, "next": found[0], "event": found[1]}

    async def _stream(self, mark: int, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            for number, event in self._history.since(mark):
                mark = number + 1
                await _answer(writer, event)
            await self._history.next_from(mark)


def fits(event: Event, match: dict[str, object]) -> bool:
    """Every field of ``match`` is in the event with that value; a list names several values that will do."""
    return all(event.get(key) in (value if isinstance(value, list) else [value]) for key, value in match.items())


def check_path(path: Path) -> None:
    """Raises SettingsError for a path that the kernel cannot take."""
    if len(str(path).encode()) > MAXIMUM_PATH_OCTETS:
        raise SettingsError(f"{path}: longer than {MAXIMUM_PATH_OCTETS} octets; set a shorter `state` in hub.toml")


async def _answer(writer: asyncio.StreamWriter, answer: Event) -> None:
    writer.write(json.dumps(answer).encode() + b"\n")
    await writer.drain()


def _refusal(words: str, exit_code: int) -> Event:
    return {"ok": False, "error": words, "exit_code": exit_code}


def _parse(line: bytes) -> Event:
    """The request; ``problem`` says what is wrong with a line that is none."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        return {"problem": f"not a JSON object: {error}"}
    return request if isinstance(request, dict) else {"problem": "not a JSON object"}


def _number(request: Event, key: str, default: float) -> float:
    value = request.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SettingsError(f"{key}: {value!r} is not a number")
    return float(value)


def _integer(request: Event, key: str, default: int) -> int:
    value = request.get(key, default)
    return value if isinstance(value, int) else default


def _remove_stale(path: Path) -> None:
    """A socket that nobody listens on is of a hub that was killed."""
    if not path.exists():
        return
    if not path.is_socket():
        raise SettingsError(f"{path}: is there and no socket; move it away, or set another `state` in hub.toml")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise SettingsError(f"{path}: cannot be connected to ({error.strerror}); remove it") from None
    raise SettingsError(f"{path}: a hub runs with this state folder already; stop it, or set another `state`")
