"""What the device keeps and says of an endpoint's event, beside what the machines make of it."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, fields
from enum import Enum

from agent.events import JoinNetwork, NetworkInfo, format_eui
from agent.install_codes import InstallCodes
from agent.update.journal import Journal
from agent.zigbee import joining
from agent.zigbee.cbke import hub_key
from agent.zigbee.endpoint import EndpointEvent
from agent.zigbee.peer import Peer

LINES_KEPT = 64


class News:
    """A log that keeps its last lines, numbered from 0, for an engineer who asks what has happened since."""

    def __init__(self, log: Callable[..., object]) -> None:
        self._log = log
        self._lines: deque[tuple[str, dict[str, object]]] = deque(maxlen=LINES_KEPT)
        self.count = 0

    def __call__(self, event: str, /, **facts: object) -> object:
        """One structured line (``agent.device.Log``)."""
        self._lines.append((event, facts))
        self.count += 1
        return self._log(event, **facts)

    def since(self, number: int) -> list[tuple[str, dict[str, object]]]:
        """The lines from this number on, as far as they are kept."""
        new = max(0, self.count - number)
        return list(self._lines)[-new:] if new else []


def remember(event: EndpointEvent, journal: Journal, codes: InstallCodes) -> None:
    """What must outlive the program. Raises StorageError."""
    match event:
        case hub_key.LinkKeyMade(held):
            journal.set_hub_key(json.dumps(asdict(held)))
        case hub_key.LinkKeyForgotten():
            journal.set_hub_key("")
        case joining.JoinedAsTold(request):
            codes.keep(request)
        case _:
            pass


def told(event: EndpointEvent) -> tuple[str, dict[str, object]]:
    """The event's name in words, and its fields as a log line has them."""
    name = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in type(event).__name__).strip()
    return name, {item.name: _plain(item.name, getattr(event, item.name)) for item in fields(event)}


def _plain(name: str, value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, NetworkInfo | JoinNetwork | Peer | hub_key.HeldKey):
        shown = [item for item in fields(value) if item.repr]  # the others are nobody's business
        return {item.name: _plain(item.name, getattr(value, item.name)) for item in shown}
    if name in ("eui", "hub_eui", "extended_pan_id") and isinstance(value, int):
        return format_eui(value)
    if name in ("source", "cluster", "short_address", "pan_id") and isinstance(value, int):
        return f"0x{value:04X}"
    return value
