"""What the device last knew of its surroundings: named facts, each with its values and when they were learnt.

For people, and for what the device may take up again after a restart. A fact is replaced by the next of its name;
nothing is decided from one that could not be stored, so ``note`` swallows a full medium.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from agent.errors import StorageError
from agent.update.database import Database

Plain = str | int | float | bool | None


class FactName(StrEnum):
    """The facts that this program records. Another program's (an older or newer one's) may stand beside them."""

    STARTED = "started"  # slot (None: the factory agent), version, trial: the program that ran last
    NETWORK = "network"  # channel, pan_id, extended_pan_id, short_address, logical_type, by (join or restore)
    JOINING = "joining"  # status, detail, retry_s: the last attempt that failed; gone once on a network
    HUB = "hub"  # eui, short_address, endpoint
    HUB_LOST = "hub_lost"  # reason; gone once a hub was found
    CONTACT = "contact"  # link_quality (0 to 255), hub_has_time: the hub's last answer
    FAILED_VERSION = "failed_version"  # see agent.update.failed_version; gone once another version is fetched
    LINK_KEY_FAILED = "link_key_failed"  # reason, detail, retry_s; gone once there is a key. Never a key
    POLLING = "polling"  # polling, period_s, fast_s, or refused: how a sleepy end device was told to poll


@dataclass(frozen=True, slots=True)
class Fact:
    """``utc``: seconds of Unix time when it was learnt, on the device's clock."""

    utc: int
    values: Mapping[str, Plain] = field(default_factory=dict)


class Facts:
    """Typed access to the table ``fact``. Raises StorageError but where it says otherwise."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, name: str, utc: float, **values: Plain) -> None:
        """From now on this is so; it joins a transaction that is open."""
        self._database.execute(
            "INSERT OR REPLACE INTO fact (name, utc, state) VALUES (?, ?, ?)",
            str(name),
            int(utc),
            json.dumps(values, sort_keys=True),
        )

    def note(self, name: str, utc: float, **values: Plain) -> None:
        """``record``, for what only people look at: where the medium takes nothing, it is left out."""
        with suppress(StorageError):
            self.record(name, utc, **values)

    def forget(self, name: str) -> None:
        """It is no longer so."""
        self._database.execute("DELETE FROM fact WHERE name = ?", str(name))

    def read(self, name: str) -> Fact | None:
        """The fact, None when there is none."""
        return self.all().get(str(name))

    def all(self) -> dict[str, Fact]:
        """Every fact by its name; none in a journal that an older program made and no newer one has opened yet."""
        if not self._database.has_table("fact"):
            return {}
        rows = self._database.rows("SELECT name, utc, state FROM fact ORDER BY name")
        return {name: Fact(utc, json.loads(state)) for name, utc, state in rows}
