"""Dropping a transfer or a pending image: asked of the running device, or done in its files when it is at rest."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import control_socket, presence
from agent.boot.control import SlotsControl
from agent.boot.places import Places, open_places
from agent.boot.state import Slot
from agent.settings import load_device
from agent.update.course import NOTHING_STORED
from agent.update.database import open_database
from agent.update.journal import Journal, LoggedEvent
from agent.update.states import PENDING, State

REASON = "the engineer asked for it"


@dataclass(frozen=True, slots=True)
class Cancelled:
    """``dropped``: outline of the update that is no more; None when there was none that can be dropped."""

    dropped: dict[str, Any] | None
    by_device: bool
    state: str  # of the update before, where it is known


def cancel(config: Path) -> Cancelled:
    """Drop it. Raises StorageError; SettingsError for the configuration."""
    database = load_device(config).storage.database
    if presence.holder(database) is not None:
        answer = control_socket.ask(control_socket.socket_path(database), "cancel-update")
        dropped = answer.get("cancelled")
        return Cancelled(dropped if isinstance(dropped, dict) else None, True, str(answer.get("state", "")))
    if not database.exists():
        return Cancelled(None, False, State.IDLE.value)
    with presence.hold(database):
        return _cancel_at_rest(config, database)


def _cancel_at_rest(config: Path, database: Path) -> Cancelled:
    """As ``agent.update.reception`` drops it: the journal first, so that a CS06 finds no image; then the slot."""
    with ExitStack() as stack:
        opened = open_places(Places.load(config), stack)
        journal = Journal(stack.enter_context(closing(open_database(database))))
        record = journal.load()
        if record.state is not State.DOWNLOADING and record.state not in PENDING:
            return Cancelled(None, False, record.state.value)
        with journal.transaction():
            journal.move(record, State.IDLE, **NOTHING_STORED)
            words = f"update cancelled reason={REASON}"
            journal.log(LoggedEvent("event", int(time.time()), 0, words, record.update_id))
        if record.state in PENDING:
            SlotsControl(opened.store, opened.areas, running=None).cancel(Slot[record.slot])
        return Cancelled(record.outline(), False, record.state.value)
