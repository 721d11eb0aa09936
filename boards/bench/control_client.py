"""Talking to a running hub over its control socket: one request, one answer. For command lines and tests."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from agent.errors import EXIT_REFUSED, HanError
from boards.bench.control import check_path
from boards.bench.history import Event

ANSWER_S = 15.0  # our choice: how long a hub may take over anything but a wait


class HubError(HanError):
    """The hub is not there, went away, or says no."""

    def __init__(self, words: str, exit_code: int = EXIT_REFUSED) -> None:
        super().__init__(words)
        self.exit_code = exit_code


class HubClient:
    """A context manager; every method raises HubError."""

    def __init__(self, path: Path) -> None:
        check_path(path)
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX)

    def __enter__(self) -> Self:
        try:
            self._socket.connect(str(self.path))
        except OSError as error:
            self._socket.close()
            remedy = "start one with: han-agent hub --config hub.toml"
            raise HubError(f"{self.path}: no hub listens here ({error.strerror}); {remedy}") from None
        self._lines = self._socket.makefile("rb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        self._socket.close()

    def ask(self, command: str, **values: object) -> Event:
        """The answer to one command. Raises HubError, with the hub's own words when it says no."""
        answer = self._exchange({"command": command, **values}, ANSWER_S)
        if answer.get("ok") is not True:
            code = answer.get("exit_code")
            raise HubError(str(answer.get("error")), code if isinstance(code, int) else EXIT_REFUSED)
        return answer

    def wait(self, match: Event, since: int, timeout_s: float) -> tuple[int, Event] | None:
        """The first event from ``since`` on that fits ``match``, and where to go on; None when the time is over."""
        request: Event = {"command": "wait", "since": since, "match": match, "timeout_s": timeout_s}
        answer = self._exchange(request, timeout_s + ANSWER_S)
        if answer.get("timeout") is True:
            return None
        event, mark = answer.get("event"), answer.get("next")
        if not isinstance(event, dict) or not isinstance(mark, int):
            raise HubError(str(answer.get("error", "the hub gave no event")))
        return mark, event

    def _exchange(self, request: Event, timeout_s: float) -> Event:
        try:
            self._socket.settimeout(timeout_s)
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            line = self._lines.readline()
        except TimeoutError:
            raise HubError(f"{self.path}: the hub does not answer") from None
        except OSError as error:
            raise HubError(f"{self.path}: the hub went away ({error.strerror})") from None
        if not line:
            raise HubError(f"{self.path}: the hub went away")
        try:
            answer = json.loads(line)
        except ValueError:
            raise HubError(f"{self.path}: the answer is no JSON; is this another program's socket?") from None
        if not isinstance(answer, dict):
            raise HubError(f"{self.path}: the answer is no object; is this another program's socket?")
        return answer
