"""The ZigBee stack of one emulated chip: the layers put together behind ``interface.ZigbeeStack``."""

from __future__ import annotations

import random
from collections.abc import Callable

from boards.virtual.air import mac
from boards.virtual.air.mac import FrameType, MacCommand, MacFrame
from boards.virtual.air.medium import Air
from boards.virtual.air.octets import Reader
from boards.virtual.stack import nwk_frames
from boards.virtual.stack.aps import Aps
from boards.virtual.stack.core import Core, StackSettings, StackStatistics
from boards.virtual.stack.end_device import EndDevice
from boards.virtual.stack.interface import (
    BROADCAST_AWAKE,
    DataRequest,
    FoundNetwork,
    JoinFailure,
    LogicalType,
    Neighbour,
    NetworkState,
    PollRates,
    StackSink,
)
from boards.virtual.stack.joiner import Joiner, JoinOrder
from boards.virtual.stack.network import CHILD, Network, describe
from boards.virtual.stack.nwk import Nwk, NwkEvents
from boards.virtual.stack.nwk_frames import Leave, NwkCommand, NwkType
from boards.virtual.stack.parent import Parent, ParentEvents
from boards.virtual.stack.received import Received
from boards.virtual.stack.scan import Scanner
from boards.virtual.stack.trust_center import TrustCenter


class Stack:
    """See ``interface.ZigbeeStack`` for what each call means."""

    def __init__(
        self,
        air: Air,
        eui: int,
        sink: StackSink,
        generator: random.Random,
        settings: StackSettings | None = None,
    ) -> None:
        self.eui = eui
        self._core = Core(air, eui, sink, generator, settings)
        self._scanner = Scanner(self._core)
        self._nwk = Nwk(self._core)
        self._aps = Aps(self._core, self._nwk)
        self._parent = Parent(self._core, self._nwk)
        self._trust_center = TrustCenter(self._core, self._nwk, self._aps)
        self._end_device = EndDevice(self._core, self._nwk)
        self._joiner: Joiner | None = None
        self._wire()

    @property
    def statistics(self) -> StackStatistics:
        """Frames that were refused, by reason."""
        return self._core.statistics

    def form(
        self,
        channels: tuple[int, ...],
        pan_id: int | None = None,
        extended_pan_id: int | None = None,
        network_key: bytes | None = None,
    ) -> None:
        self._power_on()

        def scanned(found: list[FoundNetwork]) -> None:
            self._start(self._new_network(found, channels, pan_id, extended_pan_id, network_key))

        self._scanner.start(channels, scanned)

    def join(
        self,
        channels: tuple[int, ...],
        link_key: bytes,
        logical_type: LogicalType,
        extended_pan_id: int | None = None,
        receiver_on_when_idle: bool = True,
        first_counter: int = 0,
    ) -> None:
        self._power_on()
        order = JoinOrder(
            channels,
            link_key,
            logical_type,
            extended_pan_id,
            receiver_on_when_idle or logical_type == LogicalType.ROUTER,
            first_counter,
        )
        self._end_device.sleepy = not order.receiver_on_when_idle
        self._joiner = Joiner(self._core, self._scanner, order, self._start, self._join_failed)
        self._joiner.start()

    def restore(self, state: NetworkState, receiver_on_when_idle: bool = True) -> None:
        self._power_on()
        self._end_device.sleepy = state.logical_type == LogicalType.END_DEVICE and not receiver_on_when_idle
        self._core.keys.load(state.link_keys)
        self._core.keys.install_code_required = state.require_install_code
        self._core.keys.default_key = state.default_link_key
        if state.logical_type != LogicalType.END_DEVICE:
            self._core.later(0.0, lambda: self._start(state))
            return
        self._enter(state)
        self._end_device.rejoin(self._rejoin_done)

    def export_state(self) -> NetworkState | None:
        network = self._core.network
        return None if network is None else network.export(self._core.keys)

    def stop(self) -> None:
        self._power_off()
        self._core.keys.clear()

    def leave(self, rejoin: bool = False) -> None:
        self._require_network()

        def sent(_status: int) -> None:
            self.stop()
            self._core.sink.left_network(rejoin)

        self._nwk.send(NwkType.COMMAND, BROADCAST_AWAKE, Leave(rejoin=rejoin).encode(), sent, radius=1)

    def data_request(self, handle: int, request: DataRequest) -> None:
        self._aps.data_request(handle, request)

    def permit_join(self, duration_s: int) -> None:
        self._parent.permit_join(duration_s)

    def require_install_code(self, required: bool) -> None:
        self._core.keys.install_code_required = required
        self._core.changed()

    def allow_link_key(self, eui: int, key: bytes) -> None:
        self._core.keys.set(eui, key)

    def set_default_link_key(self, key: bytes) -> None:
        self._core.keys.default_key = key
        self._core.changed()

    def set_link_key(self, eui: int, short: int, key: bytes) -> None:
        self._core.keys.set(eui, key, established=True)
        if self._core.network is not None and short < nwk_frames.FIRST_BROADCAST:
            self._core.network.learn_address(eui, short)

    def set_poll_rates(self, rates: PollRates) -> None:
        self._end_device.set_rates(rates)

    def active_scan(self, channels: tuple[int, ...], done: Callable[[list[FoundNetwork]], None]) -> None:
        if not self._core.radio.powered:
            self._power_on()
        self._scanner.start(channels, done)

    def energy_scan(self, channels: tuple[int, ...]) -> dict[int, int]:
        return {channel: self._core.air.energy(channel) for channel in channels}

    def neighbours(self) -> list[Neighbour]:
        network = self._core.network
        return [] if network is None else [describe(record) for record in network.neighbours.values()]

    def address_of(self, eui: int) -> int | None:
        network = self._core.network
        if network is None:
            return None
        return network.short if eui == self.eui else network.short_of(eui)

    def eui_of(self, short: int) -> int | None:
        network = self._core.network
        if network is None:
            return None
        return self.eui if short == network.short else network.eui_of(short)

    def _wire(self) -> None:
        """Who hears what from whom."""
        self._core.radio.on_frame = self._receive_mac
        self._nwk.events = NwkEvents(self._receive_aps, self._receive_unsecured, self._trust_center.authenticated)
        self._nwk.commands[NwkCommand.LEAVE] = self._receive_leave
        self._aps.on_command = self._trust_center.receive_command
        self._aps.on_traffic = self._end_device.expect_answer
        self._parent.events = ParentEvents(self._trust_center.child_associated, self._trust_center.child_rejoined)

    def _power_on(self) -> None:
        if self._core.network is not None:
            raise RuntimeError("this stack is on a network; leave or stop first")
        self._power_off()
        radio = self._core.radio
        radio.pan_id = radio.short = mac.BROADCAST
        radio.receiver_on = True
        radio.start()

    def _power_off(self) -> None:
        self._core.power_off()
        self._joiner = None
        for layer in (self._scanner, self._nwk, self._aps, self._parent, self._trust_center, self._end_device):
            layer.reset()

    def _new_network(
        self,
        found: list[FoundNetwork],
        channels: tuple[int, ...],
        pan_id: int | None,
        extended_pan_id: int | None,
        network_key: bytes | None,
    ) -> NetworkState:
        """The quietest channel, and a PAN id that nobody uses."""
        generator = self._core.random
        taken = {one.pan_id for one in found}
        networks = [one.channel for one in found]
        channel = min(channels, key=lambda one: (networks.count(one), self._core.air.energy(one), one))
        while pan_id is None or (pan_id in taken and len(taken) < 0x1000):
            pan_id = generator.randrange(1, 0x3FFF)
        return NetworkState(
            LogicalType.COORDINATOR,
            0,
            channel,
            pan_id,
            self.eui if extended_pan_id is None else extended_pan_id,
            generator.randbytes(16) if network_key is None else network_key,
            self.eui,
            default_link_key=self._core.keys.default_key,
            require_install_code=self._core.keys.install_code_required,
        )

    def _enter(self, state: NetworkState) -> Network:
        """Be on the network."""
        network = Network(state, self._core.changed, self._core.settings.counter_reserve)
        radio = self._core.radio
        radio.channel, radio.pan_id, radio.short = network.channel, network.pan_id, network.short
        self._core.network = network
        self._core.changed()
        return network

    def _start(self, state: NetworkState) -> None:
        """Formed, joined or restored."""
        self._joiner = None
        network = self._enter(state)
        self._end_device.start_polling()
        self._core.sink.network_started(network.export(self._core.keys))

    def _join_failed(self, reason: JoinFailure) -> None:
        self._joiner = None
        self._core.radio.stop()
        self._core.sink.join_failed(reason)

    def _rejoin_done(self, back: bool) -> None:
        network = self._core.network
        if network is None:
            return
        if back:
            self._end_device.start_polling()
            self._core.sink.network_started(network.export(self._core.keys))
        else:
            self.stop()
            self._core.sink.join_failed(JoinFailure.NO_PARENT)

    def _receive_mac(self, frame: MacFrame, lqi: int) -> None:
        if frame.kind == FrameType.DATA:
            self._nwk.receive(frame, lqi)
        elif frame.kind == FrameType.BEACON:
            self._scanner.receive(frame, lqi)
        elif frame.kind == FrameType.COMMAND and frame.payload:
            self._receive_mac_command(frame.payload[0], frame)

    def _receive_mac_command(self, command: int, frame: MacFrame) -> None:
        if command == MacCommand.BEACON_REQUEST:
            self._parent.receive_beacon_request()
        elif command == MacCommand.ASSOCIATION_REQUEST:
            self._parent.receive_association_request(frame)
        elif command == MacCommand.ASSOCIATION_RESPONSE and self._joiner is not None:
            self._joiner.receive_association_response(frame)

    def _receive_aps(self, received: Received) -> None:
        self._trust_center.note_sender(received.frame.source)
        self._aps.receive(received)

    def _receive_unsecured(self, received: Received) -> None:
        if self._joiner is not None:
            self._joiner.receive_unsecured(received)
        else:
            self._core.statistics.unsecured += 1

    def _receive_leave(self, received: Received, reader: Reader) -> None:
        """A neighbour leaves, or our parent tells us to."""
        leave = nwk_frames.decode_leave(reader)
        network = self._require_network()
        if leave.request:
            if received.frame.destination == network.short and received.frame.source in (0, network.parent_short):
                self.leave(leave.rejoin)
            return
        eui = received.sender_eui
        record = None if eui is None else network.remove_neighbour(eui)
        if record is not None and not leave.rejoin:
            self._core.changed()
            if record.relation == CHILD or network.is_coordinator():
                self._trust_center.child_left(record.eui, record.short)

    def _require_network(self) -> Network:
        if self._core.network is None:
            raise RuntimeError("this stack is on no network")
        return self._core.network
