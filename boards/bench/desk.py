"""The desk that the parts of the hub share: requests to the radio with who waits for their outcome, and what is told.

Pure: nothing here reads a clock. A part asks with ``ask`` or ``send``; the hub hands ``take_requests`` to its driver
and brings each outcome back through ``done``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from agent.events import ApsRequest, RadioRequest, RadioResult, RadioStatus
from agent.zigbee.clusters import is_secured
from agent.zigbee.foundation import DefaultResponse
from agent.zigbee.zcl import ZclFrame, ZclStatus

Done = Callable[[RadioResult, float], None]


@dataclass(frozen=True, slots=True)
class Peer:
    """An application endpoint on the air."""

    short: int
    endpoint: int


@dataclass(slots=True)
class Desk:
    """``profile`` and ``endpoint`` are the hub's own; ``secured`` says which clusters travel with link-key security."""

    profile: int = 0x0109
    endpoint: int = 1
    aps_security: bool = False
    told: list[object] = field(default_factory=list)
    _requests: list[tuple[int, RadioRequest]] = field(default_factory=list)
    _waiting: dict[int, Done | None] = field(default_factory=dict)
    _handle: int = 0
    _sequence: int = 0

    def tell(self, happening: object) -> None:
        """Report one happening to whoever watches the hub."""
        self.told.append(happening)

    def next_sequence(self) -> int:
        """The next ZCL or ZDO transaction sequence number, 0 to 255."""
        self._sequence = (self._sequence + 1) & 0xFF
        return self._sequence

    def ask(self, request: RadioRequest, done: Done | None = None) -> None:
        """Queue one request; ``done(result, now)`` is called once."""
        self._handle += 1
        self._waiting[self._handle] = done
        self._requests.append((self._handle, request))

    def send(
        self, peer: Peer, frame: ZclFrame, done: Done | None = None, *, ack: bool = True, secured: bool = True
    ) -> None:
        """Queue one ZCL frame from the hub's application endpoint; ``secured`` False: without APS security whatever."""
        secured = secured and self.aps_security and is_secured(frame.cluster, self.profile)
        where = (peer.short, peer.endpoint, self.endpoint, self.profile, frame.cluster)
        self.ask(ApsRequest(*where, frame.encode(), ack, secured), done)

    def command(self, cluster: int, command: int, payload: bytes, *, to_client: bool) -> ZclFrame:
        """A cluster command of ours with a sequence number of its own, to be sent."""
        return ZclFrame(cluster, command, payload, self.next_sequence(), to_client=to_client)

    def reply(self, peer: Peer, request: ZclFrame, command: int, payload: bytes, *, ack: bool = True) -> None:
        """Answer a cluster command with a cluster command under the same sequence number."""
        frame = ZclFrame(request.cluster, command, payload, request.sequence, to_client=not request.to_client)
        self.send(peer, frame, ack=ack)

    def default_response(self, peer: Peer, request: ZclFrame, status: int) -> None:
        """ZCL 2.5.12; SUCCESS is left out where the sender disabled it."""
        if request.disable_default_response and not status:
            return
        self.reply_foundation(peer, request, DefaultResponse.COMMAND, DefaultResponse(request.command, status).encode())

    def not_authorized(self, peer: Peer, request: ZclFrame) -> None:
        """To a device with which there is no key, so without APS security; never to a Default Response."""
        if request.cluster_specific or request.command != DefaultResponse.COMMAND:
            response = DefaultResponse(request.command, ZclStatus.NOT_AUTHORIZED)
            frame = _foundation(request, response.COMMAND, response.encode())
            self.send(peer, frame, secured=False)

    def reply_foundation(self, peer: Peer, request: ZclFrame, command: int, payload: bytes) -> None:
        """Answer with a foundation command under the same sequence number."""
        self.send(peer, _foundation(request, command, payload))

    def send_zdo(self, destination: int, cluster: int, payload: bytes) -> None:
        """Queue one ZDO frame (its sequence octet is the payload's first)."""
        self.ask(ApsRequest(destination, 0, 0, 0, cluster, payload, aps_ack=destination < 0xFFF8))

    def take_requests(self) -> list[tuple[int, RadioRequest]]:
        """What was asked since the last call."""
        taken, self._requests = self._requests, []
        return taken

    def take_told(self) -> list[object]:
        """What was told since the last call."""
        taken, self.told = self.told, []
        return taken

    def done(self, handle: int, result: RadioResult, now: float) -> None:
        """The outcome of one request; an unknown handle (of before a restart) changes nothing."""
        waiter = self._waiting.pop(handle, None)
        if waiter is not None:
            waiter(result, now)

    def forget_requests(self, now: float) -> None:
        """The radio went away: everything that was under way ends as RADIO_LOST."""
        self._requests.clear()
        waiting, self._waiting = self._waiting, {}
        lost = RadioResult(RadioStatus.RADIO_LOST)
        for waiter in waiting.values():
            if waiter is not None:
                waiter(lost, now)


def _foundation(request: ZclFrame, command: int, payload: bytes) -> ZclFrame:
    return ZclFrame(
        request.cluster,
        command,
        payload,
        request.sequence,
        cluster_specific=False,
        to_client=not request.to_client,
        manufacturer=request.manufacturer,
    )
