"""The course of the one update, as all who carry it on share it: the record, the commands to the owner, the log.

A decision is durable (``move``) before anything is done about it (``command``).
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress

from agent.errors import StorageError
from agent.update.commands import Command, Note, Restart
from agent.update.journal import Journal, LoggedEvent
from agent.update.states import State

NOTHING_STORED = {"offset_octets": 0, "image_octets": 0, "stream": b"", "activate_at_utc": None}


class Course:
    """See the module. What is not in the record is gone with the program."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.record = journal.load()
        self.activate_at: float | None = None  # the pending image, in the owner's time
        self.restarting = False
        self._utc_minus_now: float | None = None
        self._commands: deque[Command] = deque()

    @property
    def state(self) -> State:
        """Where the update stands."""
        return self.record.state

    def utc(self, now: float) -> int:
        """Seconds of Unix time by what the hub told last; before that by our own clock."""
        return self.journal.own_utc() if self._utc_minus_now is None else int(now + self._utc_minus_now)

    def learn_utc(self, now: float, utc: int) -> None:
        """The hub's time."""
        self._utc_minus_now = utc - now

    def move(self, state: State, **changes: object) -> None:
        """To ``state``, durably. Raises StorageError."""
        with self.journal.transaction():
            after = self.journal.move(self.record, state, **changes)
        self.record = after

    def command(self, command: Command) -> None:
        """For the owner to carry out."""
        self._commands.append(command)

    def next_command(self) -> Command | None:
        """The oldest command not yet taken."""
        return self._commands.popleft() if self._commands else None

    def restart(self, reason: str) -> None:
        """Nothing is decided any more before the next start."""
        self.restarting = True
        self.command(Restart(reason))

    def note(self, event: str, code: int = 0, **facts: object) -> None:
        """For the log, with an event code of GBCS (0: none)."""
        words = " ".join([event, *(f"{name}={value}" for name, value in facts.items())])
        with suppress(StorageError):  # a log line must not end an update; the console has it all the same
            self.journal.log(LoggedEvent("event", None, code, words, self.record.update_id))
        self.command(Note(event, code, facts))
