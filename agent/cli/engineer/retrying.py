"""Forgetting the version that failed here: asked of the running device, or done in its journal when it is at rest."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from agent import control_socket, presence
from agent.image.version import Version
from agent.settings import load_device
from agent.update.database import open_database
from agent.update.failed_version import FailedVersion
from agent.update.journal import Journal, LoggedEvent


@dataclass(frozen=True, slots=True)
class Forgotten:
    """``failed`` None: no version had failed here."""

    failed: FailedVersion | None
    by_device: bool


def forget_failed_version(config: Path) -> Forgotten:
    """From now on it may be fetched again. Raises StorageError; SettingsError for the configuration."""
    database = load_device(config).storage.database
    if presence.holder(database) is not None:
        answer = control_socket.ask(control_socket.socket_path(database), "retry-update")
        fields = answer.get("failed")
        return Forgotten(FailedVersion(**fields) if isinstance(fields, dict) else None, by_device=True)
    if not database.exists():
        return Forgotten(None, by_device=False)
    with presence.hold(database), closing(open_database(database)) as opened:
        journal = Journal(opened)
        failed = journal.failed_version()
        if failed is not None:
            with journal.transaction():
                journal.forget_failed_version()
                version = Version.from_file_version(failed.file_version)
                words = f"failed version may be fetched again version={version}"
                journal.log(LoggedEvent("event", int(time.time()), 0, words, ""))
        return Forgotten(failed, by_device=False)
