"""Joining and leaving a network: asked of the running device, or done on its chip when it is at rest."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import control_socket, presence
from agent.assembly import build_joining, check_identity
from agent.cli.engineer.candidate import Candidate
from agent.cli.engineer.join_story import Ending, JoinStory
from agent.cli.engineer.resetting import SCOPES, reset
from agent.diary import Diary
from agent.errors import EXIT_OK, EXIT_REFUSED, SettingsError
from agent.events import JoinNetwork
from agent.install_codes import InstallCodes
from agent.main import radio_of
from agent.settings import Settings, load_device
from agent.shell import Driver
from agent.telling import remember, told
from agent.update.database import open_database
from agent.update.journal import Journal, LoggedEvent
from agent.zigbee.clusters import describe_endpoint
from agent.zigbee.joining import JoinState
from agent.zigbee.time_cluster import HubClock

POLL_S = 0.3  # how often a running device is asked for news
LEAVE_WAIT_S = 30.0
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Told:
    """What the engineer asks: ``code`` empty and ``channels`` empty mean what is known. ``wait_s``: patience."""

    code: bytes
    channels: tuple[int, ...]
    wait_s: float


@dataclass(frozen=True, slots=True)
class Joined:
    """How it ended, and whether the running device did it."""

    story: JoinStory
    ending: Ending
    by_device: bool


@dataclass(frozen=True, slots=True)
class Left:
    """``goodbye``: whether there was a network to say goodbye to, None when the running device did it."""

    by_device: bool
    goodbye: bool | None
    obstacle: str = ""


def join(config: Path, what: Told, say: Say) -> Joined:
    """Join, ``say`` each step. Raises SettingsError before the radio is touched, RadioError, StorageError."""
    settings = load_device(config)
    check_identity(settings)
    database = settings.storage.database
    if presence.holder(database) is not None:
        return _ask_device(settings, what, say)
    with presence.hold(database):
        _make_journal(database)
        with closing(open_database(database)) as opened:
            return _join_at_rest(settings, Journal(opened), what, say)


def leave(config: Path) -> Left:
    """Say goodbye, forget network and key. Raises RadioError, StorageError."""
    database = load_device(config).storage.database
    if presence.holder(database) is None:
        return Left(False, reset(config, SCOPES["network"], words="the engineer's leave").left)
    path = control_socket.socket_path(database)
    answer = control_socket.ask(path, "leave")
    if obstacle := str(answer.get("obstacle", "")):
        return Left(True, None, obstacle)
    end = time.monotonic() + LEAVE_WAIT_S
    for event, _facts in _news(path, answer.get("since"), end):
        if event == "left network":
            return Left(True, None)
    return Left(True, None, f"the chip has not left within {LEAVE_WAIT_S:g} s; the device goes on with it")


# --- the running device -----------------------------------------------------------------------------------------------


def _ask_device(settings: Settings, what: Told, say: Say) -> Joined:
    path = control_socket.socket_path(settings.storage.database)
    answer = control_socket.ask(path, "join", install_code=what.code.hex(), channels=what.channels)
    story = _story(settings, what.channels or tuple(settings.radio.channels), what.wait_s)
    if obstacle := str(answer.get("obstacle", "")):
        return Joined(story, Ending(EXIT_REFUSED, obstacle), True)
    _say_all(say, story.begin())
    for event, facts in _news(path, answer.get("since"), story.deadline):
        _say_all(say, story.hear(event, facts, time.monotonic()))
        if story.ending:
            break
    return _end(story, by_device=True)


def _news(path: Path, since: object, end: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """The lines of the device's log from now on, until ``end``."""
    while time.monotonic() < end:
        answer = control_socket.ask(path, "news", since=since)
        lines, since = answer.get("lines"), answer.get("next")
        yield from lines if isinstance(lines, list) else []
        time.sleep(POLL_S)


# --- the device at rest -----------------------------------------------------------------------------------------------


def _make_journal(database: Path) -> None:
    """A device that has never run gets its journal here, and it is the device's even when root makes it."""
    if not database.exists():
        descriptor = os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        presence.give_to_owner(descriptor, database.parent)
        os.close(descriptor)


def _join_at_rest(settings: Settings, journal: Journal, what: Told, say: Say) -> Joined:
    codes = InstallCodes(settings.radio, journal)
    request = codes.request_for(what.code, what.channels)
    if request is None:
        raise SettingsError("no install code is known: give one with --install-code, as printed on the label")
    story = _story(settings, request.channels, what.wait_s)
    _say_all(say, story.begin())
    asyncio.run(_Session(settings, journal, codes, story, say).run(request))
    joined = _end(story, by_device=False)
    words = f"han-agent join: {joined.ending.reason or 'joined'}"
    journal.log(LoggedEvent("event", int(time.time()), 0, words, ""))
    return joined


class _Session:
    """The candidate on the device's chip, until its story has an end."""

    def __init__(self, settings: Settings, journal: Journal, codes: InstallCodes, story: JoinStory, say: Say) -> None:
        self._settings = settings
        self._journal = journal
        self._codes = codes
        self._story = story
        self._say = say
        self._diary = Diary(journal.facts)
        self._stop = asyncio.Event()

    async def run(self, request: JoinNetwork) -> None:
        """Raises RadioError where the radio is not there."""
        settings = self._settings
        joining = build_joining(settings, self._journal, HubClock(), random.SystemRandom())
        own = describe_endpoint(settings.role, settings.radio.endpoint, settings.radio.profile)
        self._candidate = Candidate(joining, own, request, self._diary.heard)
        driver = Driver(self._candidate, radio_of(settings), time.monotonic, self._look)
        patience = asyncio.get_running_loop().call_at(
            asyncio.get_running_loop().time() + self._story.deadline - time.monotonic(), self._stop.set
        )
        try:
            await driver.run(self._stop)
        finally:
            patience.cancel()

    def _look(self) -> None:
        while (event := self._candidate.next_event()) is not None:
            remember(event, self._journal, self._codes)
            self._diary.note(event, int(time.time()))
            _say_all(self._say, self._story.hear(*told(event), time.monotonic()))
        if self._candidate.joining.state is JoinState.DOWN:
            self._story.radio_is_gone(f"{self._settings.radio.path} went away")
        if self._story.ending:
            self._stop.set()


# --- both -------------------------------------------------------------------------------------------------------------


def _story(settings: Settings, channels: tuple[int, ...], wait_s: float) -> JoinStory:
    return JoinStory(channels, settings.eui, time.monotonic() + wait_s)


def _say_all(say: Say, steps: list[str]) -> None:
    for step in steps:
        say(step)


def _end(story: JoinStory, *, by_device: bool) -> Joined:
    if story.ending is None:
        story.time_is_over()
    return Joined(story, story.ending or Ending(EXIT_OK), by_device)
