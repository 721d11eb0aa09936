"""What the parts of the OTA client share: identity, state, the one timer of the image, the outbox and the events."""

from __future__ import annotations

from collections import deque

from agent.settings import OtaSettings
from agent.zigbee.clusters import Cluster
from agent.zigbee.ota_events import Ignored, OtaEvent, OtaIdentity
from agent.zigbee.ota_messages import OtaToServer
from agent.zigbee.ota_states import Input, State, next_state
from agent.zigbee.peer import OutgoingZcl, Peer
from agent.zigbee.time_cluster import HubClock


class OtaContext:
    """Shared by ``OtaClient``, ``Download`` and ``UpgradeEnd``; nothing else uses it."""

    def __init__(self, identity: OtaIdentity, settings: OtaSettings, clock: HubClock) -> None:
        self.identity = identity
        self.settings = settings
        self.clock = clock
        self.state = State.NORMAL
        self.server: Peer | None = None
        self.wake: float | None = None  # when the image's present state next does something
        self.awaited: int | None = None  # handle of the request that the wake is the time-out of
        self.awaited_delivered = False
        self.events: deque[OtaEvent] = deque()
        self.outbox: list[tuple[int, OutgoingZcl]] = []
        self._next_handle = 1

    def move(self, happened: Input) -> bool:
        """Go where the table says; False, and nothing changed, when it says nothing."""
        target = next_state(self.state, happened)
        if target is None:
            return False
        self.state = target
        self.wake = self.awaited = None
        return True

    def say(self, event: OtaEvent) -> None:
        """Tell the owner."""
        self.events.append(event)

    def ignore(self, reason: str) -> None:
        """Tell the owner that a frame changed nothing."""
        self.events.append(Ignored(reason))

    def send(self, message: OtaToServer, aps_ack: bool = True) -> int:
        """Put a command to the server into the outbox; the handle comes back in ``frame_sent``. Needs a server."""
        assert self.server is not None, "callers look at the server first"  # noqa: S101
        handle = self._next_handle
        self._next_handle += 1
        frame = OutgoingZcl(
            self.server,
            Cluster.OTA,
            message.COMMAND,
            message.encode(),
            disable_default_response=False,
            aps_ack=aps_ack,
        )
        self.outbox.append((handle, frame))
        return handle

    def await_answer(self, handle: int, until: float) -> None:
        """The wake is now the time-out of this request."""
        self.awaited = handle
        self.awaited_delivered = False
        self.wake = until
