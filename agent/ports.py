"""The ports: what the pure side asks of the world. Boards implement them; machines never see the implementation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from agent.events import RadioEvent, RadioRequest, RadioResult


class RadioPort(Protocol):
    """A ZigBee radio: a CC2652 with Z-Stack ZNP (real or emulated), or the in-process one of the virtual board."""

    async def open(self, on_event: Callable[[RadioEvent], None]) -> None:
        """Find the chip and make it answer. Raises RadioError, naming the path and the remedy."""

    async def execute(self, request: RadioRequest) -> RadioResult:
        """Carry out one request to its end. Never raises for what the air or the chip does."""

    async def close(self) -> None:
        """Let go of the port. The chip keeps its network."""


class Node(Protocol):
    """A pure participant: everything it knows of time is ``now`` (seconds, monotonic, any origin).

    A driver (asyncio in ``agent.shell``, virtual time in ``boards.virtual.world``) calls these, and after every call
    collects ``radio_requests`` and looks at ``next_deadline`` again.
    """

    def start(self, now: float) -> None:
        """The radio is open (again): restore or join, resume what was going on."""

    def receive(self, event: RadioEvent, now: float) -> None:
        """Something came up from the radio."""

    def handle_timer(self, now: float) -> None:
        """Time has reached ``next_deadline``. Harmless when called early."""

    def next_deadline(self) -> float | None:
        """When ``handle_timer`` is next needed; None when only an event can change anything."""

    def radio_requests(self, now: float) -> list[tuple[int, RadioRequest]]:
        """New requests since the last call, each with a handle that ``radio_done`` will bring back."""

    def radio_done(self, handle: int, result: RadioResult, now: float) -> None:
        """The outcome of one request."""


class Area(Protocol):
    """A raw storage area of fixed size: a partition, a loop device or a file. Octet offsets from its start."""

    @property
    def size_octets(self) -> int:
        """Fixed for the life of the area."""

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` octets. Raises StorageError."""

    def write(self, offset: int, data: bytes) -> None:
        """Written, not yet durable. Raises StorageError (disk full, I/O error, beyond the end)."""

    def sync(self) -> None:
        """All writes so far are durable when this returns. Raises StorageError."""

    def erase(self, offset: int, length: int) -> None:
        """The range reads as zeros (discarded where the medium can). Durable after ``sync``."""


class Relay(Protocol):
    """The HCALCS load switch. Nothing but a load-control command moves it; a restart never does."""

    def read(self) -> bool:
        """True when the load is connected, read back from the pin."""

    def set(self, connected: bool) -> None:
        """Drive the pin. Raises StorageError never; a board that cannot says so at start."""
