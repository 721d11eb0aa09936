"""Learning addresses from Device_annce, the one ZDO message that the stack listens to.

Source: ZigBee specification (05-3474) 2.4.3.1.11: sequence u8, short address u16, EUI u64, capability u8.
"""

from __future__ import annotations

from collections.abc import Callable

from agent.errors import FormatError
from agent.events import LogicalType
from boards.virtual.air.octets import Reader
from boards.virtual.stack.core import Core
from boards.virtual.stack.nwk_frames import decode_capability

DEVICE_ANNOUNCE = 0x0013


class DeviceAnnounceListener:
    """Notes who has which short address, and who routes."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.announced: Callable[[int, int], None] | None = None  # EUI and short address, before they are learnt

    def hear(self, profile: int, cluster: int, payload: bytes) -> None:
        """Look at a payload on its way up; anything but a well-formed Device_annce is left alone."""
        network = self._core.network
        if network is None or profile != 0 or cluster != DEVICE_ANNOUNCE:
            return
        reader = Reader(payload, "Device_annce")
        try:
            reader.u8()
            short, eui, capability = reader.u16(), reader.u64(), decode_capability(reader.u8())
        except FormatError:
            self._core.statistics.malformed += 1
            return
        if eui == self._core.eui or short == 0:
            return
        if self.announced is not None:
            self.announced(eui, short)
        if short == network.short:
            return  # an end device's: its parent gives it another one
        network.learn_address(eui, short)
        neighbour = network.neighbours.get(eui)
        if neighbour is not None:
            neighbour.logical_type = LogicalType.ROUTER if capability.router else LogicalType.END_DEVICE
        self._core.changed()
