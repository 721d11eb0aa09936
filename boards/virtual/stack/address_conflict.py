"""Two devices with one short address: who announces it last keeps it, the other one takes a new one.

A router draws its own and announces it; for an end device its parent draws one and sends it in an unsolicited rejoin
response. Source: ZigBee specification (05-3474) 3.6.1.9.3. Network Status commands, which tell devices further away of
a conflict, are not modelled: everybody hears Device_annce.
"""

from __future__ import annotations

from boards.virtual.stack import nwk_frames
from boards.virtual.stack.core import Core
from boards.virtual.stack.interface import LogicalType, Status
from boards.virtual.stack.network import CHILD, Network
from boards.virtual.stack.nwk import Nwk
from boards.virtual.stack.nwk_frames import NwkType


class AddressConflicts:
    """Hears every Device_annce before its address is learnt."""

    def __init__(self, core: Core, nwk: Nwk) -> None:
        self._core = core
        self._nwk = nwk

    def announced(self, eui: int, short: int) -> None:
        """``eui`` says that it has ``short``."""
        network = self._core.network
        if network is None or eui == self._core.eui:
            return
        if short == network.short and network.logical_type is LogicalType.ROUTER:
            network.short = self._core.radio.short = self._draw(network)
            self._core.changed()
            self._core.sink.address_changed(network.short)
            return
        child = network.neighbour_at(short)
        if child is None or child.eui == eui or child.relation != CHILD:
            return
        if child.logical_type is LogicalType.END_DEVICE:
            self._give(network, child.eui, short)

    def _draw(self, network: Network) -> int:
        """An address that nobody has whom we know."""
        while True:
            short = self._core.random.randrange(1, nwk_frames.FIRST_BROADCAST)
            if short != network.short and network.eui_of(short) is None:
                return short

    def _give(self, network: Network, eui: int, old: int) -> None:
        """A child's new address, to its old one."""
        new = self._draw(network)

        def sent(status: int) -> None:
            if status == Status.SUCCESS and self._core.network is network:
                network.learn_address(eui, new)
                self._core.changed()

        self._nwk.send(NwkType.COMMAND, old, nwk_frames.encode_rejoin_response(new, 0), sent, radius=1)
