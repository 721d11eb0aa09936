"""Base Device Behaviour of the emulated chip: what BDBStartCommissioning does, and what it tells the host.

=================  ==========================  =====================================================
in NV              commissioning mode           notifications (status, mode, remaining), then ZDO state
=================  ==========================  =====================================================
a network          0 none                       (0D, 0, 0)                              9, 7 or 6
a network          4 formation                  (0D, 0, 4) (08, 2, 0)                    9
a network          2 steering                   (0D, 0, 2) (00, 1, 0), joining open      9, 7 or 6
nothing            4, logical type coordinator  (01, 2, 4) (00, 2, 0)                    8, 9
nothing            2, router or end device      (01, 1, 2), then (00, 1, 0) or a failure 2, 3, 7 or 6
nothing            anything else                (0E, 0, 0), (02, 1, 0) or (08, 2, 0)     as before
=================  ==========================  =====================================================

Failures: 02 no network that lets us in, 07 no key that the install code opens. Source: TI's Z-Stack 3 user's guide
(BDB) and what hosts of real chips see; the order of state and notification is *our choice* where they differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from boards.virtual.ncp import items
from boards.virtual.ncp.codec import Subsystem
from boards.virtual.ncp.network_image import highest_counter, read_logical_type, read_network
from boards.virtual.ncp.nv import old_item
from boards.virtual.ncp.zdo_server import channels_of
from boards.virtual.stack.interface import DEFAULT_CENTRALIZED_KEY, JoinFailure, LogicalType, NetworkState, PollRates

if TYPE_CHECKING:
    from boards.virtual.ncp.chip import Chip

MODE_STEERING = 2
MODE_FORMATION = 4
STEERING_OPEN_S = 180  # bdbcMinCommissioningTime
DEFAULT_CHANNELS = 1 << 11
NO_PAN_ID = 0xFFFF


class BdbStatus(IntEnum):
    """Status of APP_CNF_BDB_COMMISSIONING_NOTIFICATION."""

    SUCCESS = 0x00
    IN_PROGRESS = 0x01
    NO_NETWORK = 0x02
    KEY_EXCHANGE_FAILURE = 0x07
    FORMATION_FAILURE = 0x08
    NETWORK_RESTORED = 0x0D
    FAILURE = 0x0E


class BdbMode(IntEnum):
    """What the notification is about: an enumeration, not the bit map of the request."""

    INITIALIZATION = 0
    STEERING = 1
    FORMATION = 2
    PARENT_LOST = 5


class DeviceState(IntEnum):
    """ZDO_STATE_CHANGE_IND."""

    HOLD = 0
    DISCOVERING = 2
    JOINING = 3
    END_DEVICE = 6
    ROUTER = 7
    STARTING_COORDINATOR = 8
    COORDINATOR = 9


STARTED = {
    LogicalType.COORDINATOR: DeviceState.COORDINATOR,
    LogicalType.ROUTER: DeviceState.ROUTER,
    LogicalType.END_DEVICE: DeviceState.END_DEVICE,
}


@dataclass
class Commissioning:
    """One chip's BDB: settings that live until the next reset, and the mode that is being worked on."""

    chip: Chip
    channels: int = DEFAULT_CHANNELS
    secondary_channels: int = 0
    link_keys: list[bytes] = field(default_factory=lambda: [DEFAULT_CENTRALIZED_KEY], repr=False)
    device_state: DeviceState = DeviceState.HOLD
    _mode: int = 0
    _busy: BdbMode | None = None
    _keys_left: list[bytes] = field(default_factory=list, repr=False)

    def start(self, mode: int) -> bool:
        """APP_CNF_BDB_START_COMMISSIONING. False while an earlier one is not finished."""
        if self._busy is not None:
            return False
        self._busy, self._mode = BdbMode.INITIALIZATION, mode
        self.chip.defer(self._begin)
        return True

    def _begin(self) -> None:
        chip, mode = self.chip, self._mode
        coordinator = read_logical_type(chip.nv) is LogicalType.COORDINATOR
        if chip.network is not None:
            self._finish_on_network()
            return
        stored = read_network(chip.nv, chip.eui)
        if stored is not None:
            if coordinator:
                self._change_state(DeviceState.STARTING_COORDINATOR)
            chip.stack.restore(stored, receiver_on_when_idle=False)  # an end device of ours sleeps
        elif mode & MODE_FORMATION and coordinator:
            self._form()
        elif mode & MODE_STEERING and not coordinator:
            self._keys_left = list(self.link_keys)
            self._change_state(DeviceState.DISCOVERING)
            self._notify(BdbStatus.IN_PROGRESS, BdbMode.STEERING, mode)
            self._join()
        elif mode & MODE_FORMATION:
            self._end(BdbStatus.FORMATION_FAILURE, BdbMode.FORMATION)
        elif mode & MODE_STEERING:
            self._end(BdbStatus.NO_NETWORK, BdbMode.STEERING)
        else:
            self._end(BdbStatus.FAILURE, BdbMode.INITIALIZATION)

    def _form(self) -> None:
        self._busy = BdbMode.FORMATION
        self._notify(BdbStatus.IN_PROGRESS, BdbMode.FORMATION, self._mode)
        self._change_state(DeviceState.STARTING_COORDINATOR)
        nv = self.chip.nv
        pan_id = int.from_bytes(nv.get(old_item(items.PANID)) or b"\xff\xff", "little")
        key = nv.get(old_item(items.PRECFGKEY)) or b""
        drawn = len(key) != 16 or key in (b"\xff" * 16, bytes(16))
        self.chip.stack.form(
            channels_of(self.channels) or channels_of(self.secondary_channels),
            None if pan_id == NO_PAN_ID else pan_id,
            self._extended_pan_id() or self.chip.eui,
            None if drawn else key,
        )

    def _join(self) -> None:
        self._busy = BdbMode.STEERING
        self._change_state(DeviceState.JOINING)
        channels = channels_of(self.channels) + channels_of(self.secondary_channels & ~self.channels)
        logical_type = read_logical_type(self.chip.nv)
        sleepy = logical_type is LogicalType.END_DEVICE
        self.chip.stack.join(
            channels,
            self._keys_left.pop(0),
            logical_type,
            self._extended_pan_id(),
            not sleepy,
            highest_counter(self.chip.nv),
        )
        if sleepy:
            self.set_poll_rates()

    def set_poll_rates(self) -> None:
        """As NV 0x0035 says. The rejoin rate and the application's two are kept there, and not acted on."""
        default_ms, _, queued_ms, response_ms = items.read_poll_rates(self.chip.nv.get(old_item(items.POLL_RATE)))[:4]
        seconds = [math.inf if ms == items.POLL_RATE_OFF else ms / 1000 for ms in (default_ms, response_ms, queued_ms)]
        self.chip.stack.set_poll_rates(PollRates(*seconds))

    def _extended_pan_id(self) -> int | None:
        for item in (items.APS_USE_EXT_PANID, items.EXTENDED_PAN_ID):
            value = int.from_bytes(self.chip.nv.get(old_item(item)) or b"", "little")
            if value not in (0, items.UNUSED_EUI):
                return value
        return None

    def started(self, state: NetworkState) -> None:
        """The stack is on a network."""
        if state.logical_type is LogicalType.END_DEVICE:
            self.set_poll_rates()
        busy = self._busy
        if busy in (BdbMode.FORMATION, BdbMode.STEERING):
            self._change_state(STARTED[state.logical_type])
            follow_up = busy is BdbMode.FORMATION and self._mode & MODE_STEERING
            self._notify(BdbStatus.SUCCESS, busy, MODE_STEERING if follow_up else 0)
            self._busy = None
            if follow_up:
                self._open_and_report()
        else:
            self._notify(BdbStatus.NETWORK_RESTORED, BdbMode.INITIALIZATION, self._mode)
            self._finish_on_network()
            self._change_state(STARTED[state.logical_type])

    def _finish_on_network(self) -> None:
        """The rest of the asked modes, now that the device is on a network: each reports once."""
        mode, self._busy = self._mode, None
        if mode & MODE_FORMATION:
            self._notify(BdbStatus.FORMATION_FAILURE, BdbMode.FORMATION, mode & MODE_STEERING)
        if mode & MODE_STEERING:
            self._open_and_report()

    def _open_and_report(self) -> None:
        if self.chip.logical_type is not LogicalType.END_DEVICE:
            self.chip.permit_join(STEERING_OPEN_S)
        self._notify(BdbStatus.SUCCESS, BdbMode.STEERING, 0)

    def failed(self, reason: JoinFailure) -> None:
        """The stack could not join, or an end device found no parent again."""
        if self._busy is BdbMode.STEERING and reason is JoinFailure.KEY_EXCHANGE and self._keys_left:
            self._join()
            return
        restoring = self._busy is not BdbMode.STEERING
        self._change_state(DeviceState.HOLD)
        key = reason is JoinFailure.KEY_EXCHANGE
        status = BdbStatus.KEY_EXCHANGE_FAILURE if key else BdbStatus.NO_NETWORK
        self._end(status, BdbMode.PARENT_LOST if restoring else BdbMode.STEERING)

    def _end(self, status: BdbStatus, mode: BdbMode) -> None:
        self._busy = None
        self._notify(status, mode, 0)

    def _notify(self, status: BdbStatus, mode: BdbMode, remaining: int) -> None:
        self.chip.indicate(Subsystem.APP_CNF, 0x80, bytes((status, mode, remaining)))

    def _change_state(self, state: DeviceState) -> None:
        self.device_state = state
        self.chip.indicate(Subsystem.ZDO, 0xC0, bytes((state,)))
