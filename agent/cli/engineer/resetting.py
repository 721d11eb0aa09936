"""Forgetting: the network, the journal, or both with the parties' counters. Only of a device at rest.

**What never goes back.** The device keeps its own originator counter through every reset, because it keeps its keys:
the head end refuses a counter that it has seen under them, so the next message continues above the last. The boot
state's security counter and the confirmed firmware stay too; ``han-agent provision --again`` is the way to lower those.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from agent import presence
from agent.boot.control import SlotsControl
from agent.boot.places import Places, open_places
from agent.boot.state import Slot, SlotState
from agent.errors import HanError, RadioError
from agent.events import LeaveNetwork, RadioEvent, RadioStatus, RestoreNetwork
from agent.settings import RadioSettings, load_device
from agent.update.database import Database, open_database
from agent.update.facts import FactName
from agent.update.journal import Journal, LoggedEvent
from agent.update.states import State
from boards.znp_radio import ZnpRadio

Leave = Callable[[RadioSettings], bool]  # whether there was a network to leave


@dataclass(frozen=True, slots=True)
class Scope:
    """What a reset forgets, for the code and in words."""

    network: bool
    journal: bool
    counters: bool
    words: tuple[str, ...]


_NETWORK = (
    "the network and its keys on the radio's chip: the device leaves and needs its install code to join again",
    "what the journal knows of network, hub, link key and tunnel",
)
_JOURNAL = (
    "the update under way or the pending image, with its slot",
    "recorded commands, messages that were not delivered, both logs",
)
_COUNTERS = ("the counters accepted from ACB and supplier: a command recorded on the air before would count as new",)
SCOPES = {
    "network": Scope(True, False, False, _NETWORK),
    "journal": Scope(False, True, False, _JOURNAL),
    "everything": Scope(True, True, True, _NETWORK + _JOURNAL + _COUNTERS),
}
KEPT = (
    "confirmed firmware and security counter, keys and certificates, device.toml, the install code that han-agent join "
    "was given, and the device's own counter: "
    "its next message continues above the last"
)


@dataclass(frozen=True, slots=True)
class Done:
    """``left``: whether the chip was on a network; None when it was not asked. ``own_counter``: as it stays."""

    left: bool | None
    own_counter: int


def leave_network(radio: RadioSettings) -> bool:
    """Let the chip say goodbye and forget. Raises RadioError when it is not there or does not."""

    async def leave() -> bool:
        port = ZnpRadio(radio.path, radio.endpoint, radio.profile, baudrate=radio.baudrate)
        await port.open(_ignore)
        try:
            restored = await port.execute(RestoreNetwork())  # only a chip that is on its network can say goodbye
            left = await port.execute(LeaveNetwork())
        finally:
            await port.close()
        if left.status is not RadioStatus.OK:
            raise RadioError(f"{radio.path}: the chip did not forget its network: {left.status.value} {left.detail}")
        return restored.status is RadioStatus.OK

    return asyncio.run(leave())


def reset(config: Path, scope: Scope, leave: Leave = leave_network, words: str = "factory reset") -> Done:
    """Forget, and log it in ``words``.

    Raises StorageError while the device runs, HanError while an activation is going on, RadioError.
    """
    settings = load_device(config)
    database = settings.storage.database
    with presence.hold(database), ExitStack() as stack:
        opened = open_places(Places.load(config), stack)
        control = SlotsControl(opened.store, opened.areas, running=None)
        journal: Journal | None = None
        if database.exists():
            connection = stack.enter_context(closing(open_database(database)))
            journal = Journal(connection)
        if scope.journal:
            _check_no_activation(control, journal)
        left = leave(settings.radio) if scope.network else None
        if scope.journal:
            _forget_pending(control)
        if journal is None:
            return Done(left, 0)
        _forget(connection, journal, scope, words)
        return Done(left, journal.counter("own"))


def _check_no_activation(control: SlotsControl, journal: Journal | None) -> None:
    """The journal of a trial is what confirms it, so it is not taken away under it."""
    state = journal.load().state if journal else State.IDLE
    if state in (State.ACTIVATING, State.TRIAL) or control.status().trial is not None:
        raise HanError(
            "an activation is going on: start the device and let it end, or end it with han-agent slots mark-bad "
            "and one more start; nothing was forgotten"
        )


def _forget_pending(control: SlotsControl) -> None:
    for slot in Slot:
        if control.status().slots[slot].state is SlotState.WRITTEN:
            control.cancel(slot)


def _forget(database: Database, journal: Journal, scope: Scope, why: str) -> None:
    """One transaction: after a power cut all of it is forgotten, or nothing."""
    tables: list[str] = []
    if scope.journal:
        tables += ["journal", "outbox", "activation_order", "event"]
    if scope.network:
        tables += [table for table in ("tunnel", "hub_key") if database.has_table(table)]
    words = [name for name, asked in (("network", scope.network), ("journal", scope.journal)) if asked]
    with journal.transaction():
        for table in tables:
            database.execute(f"DELETE FROM {table}")  # noqa: S608  (names from above, none from outside)
        if scope.network:
            database.execute("DELETE FROM fact WHERE name != ?", str(FactName.STARTED))
        if scope.counters:
            database.execute("DELETE FROM counter WHERE name LIKE '____/%'")
            words.append("counters of the parties")
        journal.log(LoggedEvent("event", int(time.time()), 0, f"{why}: {', '.join(words)} forgotten", ""))


def _ignore(_event: RadioEvent) -> None:
    """What the air says while the device leaves is of no interest."""
