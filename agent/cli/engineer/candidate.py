"""A node that joins and nothing else: the device's own way onto the network and to a key, without firmware or update.

For a device at rest. It runs the same machines as the device (``agent.zigbee.joining``), so what it meets is what the
device would meet; it is over when the hub has answered, or when what happened means that more waiting is idle.
"""

from __future__ import annotations

from collections.abc import Callable

from agent.errors import FormatError
from agent.events import (
    ApsIndication,
    ApsRequest,
    JoinNetwork,
    NetworkLost,
    RadioEvent,
    RadioLost,
    RadioRequest,
    RadioResult,
)
from agent.zigbee import zdo
from agent.zigbee.clusters import Cluster, EndpointDescription
from agent.zigbee.foundation import DefaultResponse, ReadAttributesResponse
from agent.zigbee.joining import JoinEvent, Joining
from agent.zigbee.peer import OutgoingZcl
from agent.zigbee.zcl import ZclFrame


class Candidate:
    """``agent.ports.Node``. ``request``: what to join with, where the chip remembers no network.

    ``hear`` gets whatever comes up from the radio, first.
    """

    def __init__(
        self,
        joining: Joining,
        own: EndpointDescription,
        request: JoinNetwork,
        hear: Callable[[RadioEvent], None] = lambda _event: None,
    ) -> None:
        self.joining = joining
        self._own = own
        self._request = request
        self._hear = hear
        self._sequence = 0

    # --- agent.ports.Node

    def start(self, now: float) -> None:
        """The radio is open: is there a network already? If not, join."""
        self.joining.start(now)
        self.joining.join(self._request, now)

    def receive(self, event: RadioEvent, now: float) -> None:
        """What the air brings; what is not for joining is left alone."""
        self._hear(event)
        if isinstance(event, NetworkLost):
            self.joining.network_lost(event.reason, now)
        elif isinstance(event, RadioLost):
            self.joining.radio_lost(event.reason, now)
        elif isinstance(event, ApsIndication):
            try:
                self._indication(event, now)
            except FormatError:
                return

    def handle_timer(self, now: float) -> None:
        """Time has reached ``next_deadline``."""
        self.joining.handle_timer(now)

    def next_deadline(self) -> float | None:
        """When ``handle_timer`` is next needed."""
        return self.joining.next_deadline()

    def radio_requests(self, now: float) -> list[tuple[int, RadioRequest]]:
        """New requests since the last call."""
        del now
        return [
            (handle, self._wrap(request) if isinstance(request, OutgoingZcl) else request)
            for handle, request in self.joining.requests_to_send()
        ]

    def radio_done(self, handle: int, result: RadioResult, now: float) -> None:
        """The outcome of one request."""
        self.joining.request_done(handle, result, now)

    def next_event(self) -> JoinEvent | None:
        """The oldest event not yet taken."""
        return self.joining.next_event()

    # --- frames

    def _indication(self, indication: ApsIndication, now: float) -> None:
        if indication.destination_endpoint == 0:
            sequence, command = zdo.unpack(indication.cluster, indication.payload)
            if command is not None:
                self.joining.receive_zdo(sequence, command, indication.source, now)
            return
        frame = ZclFrame.decode(indication.cluster, indication.payload)
        self.joining.heard(indication.source, now)
        if frame.cluster == Cluster.KEY_ESTABLISHMENT and frame.cluster_specific:
            self.joining.receive_key(frame, indication.source, now)
        elif frame.cluster in (Cluster.KEY_ESTABLISHMENT, Cluster.TIME) and not frame.cluster_specific:
            self._attributes(frame, indication.source, now)

    def _attributes(self, frame: ZclFrame, source: int, now: float) -> None:
        """What the hub says of its clock or its suites; nothing, where it has none to tell."""
        if frame.command == ReadAttributesResponse.COMMAND:
            values = ReadAttributesResponse.decode(frame.payload).values()
        elif frame.command == DefaultResponse.COMMAND:
            values = {}
        else:
            return
        time = frame.cluster == Cluster.TIME
        answered = self.joining.time_answered if time else self.joining.suites_answered
        answered(values, source, now)

    def _wrap(self, out: OutgoingZcl) -> ApsRequest:
        """Clusters that need no APS security, every one that joining speaks."""
        self._sequence = (self._sequence + 1) & 0xFF
        frame = ZclFrame(
            out.cluster, out.command, out.payload, self._sequence, out.cluster_specific, out.to_client,
            out.disable_default_response,
        )  # fmt: skip
        return ApsRequest(
            out.peer.short_address,
            out.peer.endpoint,
            self._own.endpoint,
            self._own.profile,
            out.cluster,
            frame.encode(),
            aps_ack=out.aps_ack,
        )
