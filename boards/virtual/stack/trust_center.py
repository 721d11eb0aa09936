"""The Trust Center of a centralised network: who gets the network key, and under which link key.

A router hands on: Update-Device up to the Trust Center, the tunnelled Transport-Key down to its child.
Source: ZigBee specification (05-3474) 4.6.3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.errors import FormatError
from agent.events import COORDINATOR
from boards.virtual.air.octets import Reader
from boards.virtual.stack import aps_frames
from boards.virtual.stack.aps import Aps
from boards.virtual.stack.aps_frames import (
    ApsCommand,
    ApsFrame,
    ApsType,
    TransportKey,
    Tunnel,
    UpdateDevice,
    UpdateStatus,
)
from boards.virtual.stack.aps_security import seal_transport
from boards.virtual.stack.core import Core
from boards.virtual.stack.interface import Status
from boards.virtual.stack.network import NeighbourRecord
from boards.virtual.stack.nwk import Nwk
from boards.virtual.stack.nwk_frames import NwkType
from boards.virtual.stack.received import Received

TRANSPORT_ATTEMPTS = 3  # our choice: each is four attempts of the MAC


@dataclass(slots=True)
class _Candidate:
    """A device that was sent the network key and has not used it yet."""

    eui: int
    short: int
    parent: int


class TrustCenter:
    """On a coordinator it decides; on a router it passes on."""

    def __init__(self, core: Core, nwk: Nwk, aps: Aps) -> None:
        self._core = core
        self._nwk = nwk
        self._aps = aps
        self._candidates: dict[int, _Candidate] = {}  # by short address

    def reset(self) -> None:
        self._candidates.clear()

    def child_associated(self, eui: int, short: int) -> None:
        """A child of ours has no network key yet."""
        self._report(eui, short, UpdateStatus.UNSECURED_JOIN)

    def child_rejoined(self, eui: int, short: int) -> None:
        """A child of ours came back with the network key."""
        self._report(eui, short, UpdateStatus.SECURED_REJOIN)

    def child_left(self, eui: int, short: int) -> None:
        """A child of ours said that it leaves."""
        self._report(eui, short, UpdateStatus.LEFT)

    def authenticated(self, neighbour: NeighbourRecord) -> None:
        """A child of ours used the network key for the first time."""
        self._core.changed()
        self.note_sender(neighbour.short)

    def note_sender(self, short: int) -> None:
        """A frame under the network key came from this address: if it was a candidate, it has joined."""
        candidate = self._candidates.pop(short, None)
        if candidate is not None:
            self._core.sink.device_joined(candidate.eui, candidate.short, candidate.parent)

    def receive_command(self, received: Received, frame: ApsFrame) -> None:
        """An APS command under the network key. Raises FormatError."""
        if frame.secured:
            return  # under a link key: none that we use comes that way once a device is on the network
        reader = Reader(frame.payload, "APS command")
        command = reader.u8()
        network = self._core.network
        if network is None:
            return
        if command == ApsCommand.UPDATE_DEVICE and network.is_coordinator():
            update = aps_frames.decode_update_device(reader)
            self._update(update.eui, update.short, received.frame.source, update.status)
        elif command == ApsCommand.TUNNEL and received.frame.source == COORDINATOR:
            self._hand_down(aps_frames.decode_tunnel(reader))

    def _report(self, eui: int, short: int, status: UpdateStatus) -> None:
        network = self._core.network
        if network is None:
            return
        if network.is_coordinator():
            self._update(eui, short, network.short, status)
        else:
            self._aps.send_command(COORDINATOR, UpdateDevice(eui, short, status).encode(), _ignore_status)

    def _update(self, eui: int, short: int, parent: int, status: UpdateStatus) -> None:
        network = self._core.network
        if network is None:
            return
        if status == UpdateStatus.LEFT:
            self._core.sink.device_left(eui, short)
            return
        network.learn_address(eui, short)
        if status == UpdateStatus.SECURED_REJOIN:
            self._core.sink.device_joined(eui, short, parent)
            return
        transport = self._transport_key(eui)
        if transport is None:
            return  # refused: no install code for it; its wait for the key ends by itself
        self._candidates[short] = _Candidate(eui, short, parent)
        if parent == network.short:
            self._send_unsecured(short, transport, TRANSPORT_ATTEMPTS)
        else:
            self._aps.send_command(parent, Tunnel(eui, transport).encode(), _ignore_status)

    def _transport_key(self, eui: int) -> bytes | None:
        """The APS frame with the network key for ``eui``, sealed; None when the policy refuses it."""
        network = self._core.network
        entry = self._core.keys.joining_key(eui)
        if network is None or entry is None:
            return None
        command = TransportKey(network.network_key, network.network_key_sequence, eui, self._core.eui)
        frame = ApsFrame(ApsType.COMMAND, self._core.next_aps_counter(), command.encode(), secured=True)
        return seal_transport(self._core, frame, entry)

    def _hand_down(self, tunnel: Tunnel) -> None:
        """To our child, which has no network key: without NWK security."""
        network = self._core.network
        child = network.neighbours.get(tunnel.destination) if network is not None else None
        if child is None:
            raise FormatError("APS tunnel", 1, f"{tunnel.destination:016X} is no child of ours")
        self._send_unsecured(child.short, tunnel.frame, TRANSPORT_ATTEMPTS)

    def _send_unsecured(self, short: int, octets: bytes, attempts: int) -> None:
        def sent(status: int) -> None:
            if status != Status.SUCCESS and attempts > 1:
                self._send_unsecured(short, octets, attempts - 1)

        done: Callable[[int], None] = sent
        self._nwk.send(NwkType.DATA, short, octets, done, radius=1, secured=False)


def _ignore_status(_status: int) -> None:
    """The joiner's own time-out decides."""
