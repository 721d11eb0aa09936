"""The emulated CC2652 as a whole: NV memory, stack, BDB, AF and ZDO behind one MT line.

The chip lives on while nobody is on the line: what it would have said then is lost, as on a UART. It is driven by one
thread, the one that runs its scheduler; ``receive`` may be called from that thread at any time.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import structlog

from agent.errors import FormatError, StorageError
from boards.virtual.ncp import af, commands, items, network_image
from boards.virtual.ncp.codec import MAXIMUM_DATA_OCTETS, Fields, FrameType, MtFrame, MtParser, Subsystem, areq, srsp
from boards.virtual.ncp.commissioning import Commissioning, DeviceState
from boards.virtual.ncp.nv import NvMemory, old_item
from boards.virtual.ncp.timers import Timers
from boards.virtual.ncp.zdo import ZdoPort
from boards.virtual.ncp.zdo_server import Endpoint
from boards.virtual.stack.interface import (
    DataIndication,
    JoinFailure,
    LogicalType,
    Neighbour,
    NetworkState,
    Scheduler,
    StackSink,
    ZigbeeStack,
)

log = structlog.get_logger(__name__)

StackFactory = Callable[[int, StackSink], ZigbeeStack]

VERSION = bytes((2, 1, 2, 7, 1))  # transport 2, product 1 (CC26x2), Z-Stack release 2.7.1
RESET_POWER_UP = 0
RPC_UNKNOWN_SUBSYSTEM, RPC_UNKNOWN_COMMAND, RPC_BAD_LENGTH = 1, 2, 4
NOT_ON_A_NETWORK = 0xFFFE


class Chip:
    """One emulated chip. ``hardware_eui`` is what NV item EXTADDR falls back to."""

    def __init__(
        self,
        scheduler: Scheduler,
        make_stack: StackFactory,
        nv: NvMemory,
        hardware_eui: int,
        randomness: random.Random,
        maximum_transfer_octets: int = 1500,
    ) -> None:
        self.scheduler = scheduler
        self.nv = nv
        self.random = randomness
        self.maximum_transfer_octets = maximum_transfer_octets
        self.started_s = scheduler.now()
        self.clock_offset_s = 0.0  # SYS_SET_TIME
        self.timers = Timers(scheduler)
        self._make_stack = make_stack
        self._hardware_eui = hardware_eui
        self._line: Callable[[bytes], None] | None = None
        self._parser = MtParser()
        self._generation = 0  # what an earlier life of the chip deferred is not done in this one
        self._boot()

    def _boot(self) -> None:
        self._generation += 1
        self._prepare_nv()
        self.eui = int.from_bytes(self.nv.get(old_item(items.EXTADDR)) or b"", "little")
        self.endpoints: dict[int, Endpoint] = {}
        self.groups: dict[int, dict[int, bytes]] = {}  # group id -> endpoint -> name
        self.network: NetworkState | None = None
        self.joining_is_open = False  # what was last asked for; the time may be over
        self.stack = self._make_stack(self.eui, self)
        self.bdb = Commissioning(self)
        self.af = af.AfPort(self)
        self.zdo = ZdoPort(self)
        self.nv.commit()
        if (self.nv.get(old_item(items.STARTUP_OPTION)) or b"\0")[0] & items.STARTUP_AUTO_START:
            self.bdb.start(0)

    def _prepare_nv(self) -> None:
        """Act on the start-up option, and give every item that is missing its default."""
        nv = self.nv
        option = (nv.get(old_item(items.STARTUP_OPTION)) or b"\x03")[0]
        for item, value in items.CONFIG_DEFAULTS.items():
            if option & items.STARTUP_CLEAR_CONFIG or nv.get(old_item(item)) is None:
                nv.put(old_item(item), value)
        if option & items.STARTUP_CLEAR_STATE or nv.get(old_item(items.NIB_ITEM)) is None:
            network_image.clear_network(nv, bool(option & items.STARTUP_CLEAR_FRAME_COUNTERS))
            nv.put(old_item(items.TCLK_SEED), self.random.randbytes(16))
        if nv.get(old_item(items.EXTADDR)) is None:
            nv.put(old_item(items.EXTADDR), self._hardware_eui.to_bytes(8, "little"))
        if nv.get(old_item(items.BDB_NODE_IS_ON_A_NETWORK)) is None:
            nv.put(old_item(items.BDB_NODE_IS_ON_A_NETWORK), b"\x00")
        nv.put(old_item(items.STARTUP_OPTION), bytes((option & ~0x83 & 0xFF,)))

    # ---- the line

    def attach(self, line: Callable[[bytes], None]) -> None:
        """A host is on the line; ``line`` takes octets to it."""
        self._parser.reset()
        self._line = line

    def detach(self) -> None:
        """The host went away. The chip keeps running."""
        self._line = None

    def power_off(self) -> None:
        """The end: nothing is sent any more."""
        self._generation += 1
        self.detach()
        self.timers.stop_all()
        self.stack.stop()
        self._commit()

    def receive(self, octets: bytes) -> None:
        """Octets from the host. Never raises for what they say."""
        for frame in self._parser.feed(octets):
            if frame.type == FrameType.SREQ:
                self._answer(frame)
            elif frame.type == FrameType.AREQ:
                self._obey(frame)

    def _answer(self, frame: MtFrame) -> None:
        table = commands.SYNCHRONOUS.get(frame.subsystem)
        handler = None if table is None else table.get(frame.cmd1)
        if table is None or handler is None:
            self._refuse(frame, RPC_UNKNOWN_SUBSYSTEM if table is None else RPC_UNKNOWN_COMMAND)
            return
        try:
            data = handler(self, Fields("MT request", frame.data))
        except FormatError:
            self._refuse(frame, RPC_BAD_LENGTH)
            return
        self._commit()
        self._send(srsp(frame, data))

    def _obey(self, frame: MtFrame) -> None:
        """An asynchronous request: SYS_RESET_REQ, or a data request whose sender wants no answer."""
        if (frame.subsystem, frame.cmd1) in ((Subsystem.SYS, 0x00), (Subsystem.SAPI, 0x09)):
            self.reset()
        elif frame.subsystem == Subsystem.AF and frame.cmd1 in af.DATA_REQUESTS:
            try:
                af.DATA_REQUESTS[frame.cmd1](self, Fields("MT request", frame.data))
            except FormatError:
                return

    def _refuse(self, frame: MtFrame, error: int) -> None:
        self._send(MtFrame(FrameType.SRSP << 5, 0, bytes((error, frame.cmd0, frame.cmd1))))

    def indicate(self, subsystem: Subsystem, cmd1: int, data: bytes) -> None:
        """An asynchronous indication; what NV knows by then is durable first. What MT cannot carry is dropped."""
        self._commit()
        if len(data) <= MAXIMUM_DATA_OCTETS:
            self._send(areq(subsystem, cmd1, data))

    def _commit(self) -> None:
        """A file that cannot be written is reported; the chip goes on from memory, as one with worn flash would."""
        try:
            self.nv.commit()
        except StorageError as error:
            log.error("NV memory is not kept", error=str(error))

    def _send(self, frame: MtFrame) -> None:
        if self._line is not None:
            self._line(frame.encode())

    def defer(self, work: Callable[[], None]) -> None:
        """Do ``work`` after the answer to the command in hand, unless the chip is reset first."""
        generation = self._generation

        def run() -> None:
            if generation == self._generation:
                work()

        self.scheduler.call_later(0.0, run)

    def reset(self) -> None:
        """SYS_RESET_REQ: start anew from NV and say so."""
        self.timers.stop_all()
        self.stack.stop()
        self._boot()
        self.indicate(Subsystem.SYS, 0x80, bytes((RESET_POWER_UP,)) + VERSION)

    # ---- what ZDO and BDB ask (ZdoHost)

    @property
    def logical_type(self) -> LogicalType:
        """The role on the network, else the one that NV asks for."""
        return network_image.read_logical_type(self.nv) if self.network is None else self.network.logical_type

    @property
    def short(self) -> int:
        """The short address, 0xFFFE while there is none."""
        return NOT_ON_A_NETWORK if self.network is None else self.network.short

    @property
    def extended_pan_id(self) -> int:
        """0 while on no network."""
        return 0 if self.network is None else self.network.extended_pan_id

    def neighbours(self) -> list[Neighbour]:
        """Devices heard directly."""
        return self.stack.neighbours()

    def permit_join(self, duration_s: int) -> None:
        """Open or close this device for joining."""
        self.joining_is_open = duration_s > 0
        self.stack.permit_join(duration_s)

    def energy_scan(self, channels: tuple[int, ...]) -> dict[int, int]:
        """Energy 0..255 per channel."""
        return self.stack.energy_scan(channels)

    def leave_soon(self, rejoin: bool) -> None:
        """Leave once the answer to Mgmt_Leave is out."""
        generation = self._generation

        def leave() -> None:
            if generation == self._generation and self.network is not None:
                self.stack.leave(rejoin)

        self.scheduler.call_later(0.5, leave)

    def remove_child(self, eui: int, rejoin: bool) -> bool:
        """Tell a child of ours to leave; False: it is none."""
        return self.stack.remove_child(eui, rejoin)

    # ---- what the stack says (StackSink)

    def data_confirm(self, handle: int, status: int) -> None:
        self.af.confirmed(handle, status)

    def data_indication(self, indication: DataIndication) -> None:
        if indication.destination_endpoint == 0:
            self.zdo.received(indication)
        else:
            self.af.received(indication)

    def network_started(self, state: NetworkState) -> None:
        self._remember(state)
        self.bdb.started(state)
        if state.logical_type is not LogicalType.COORDINATOR:
            self.zdo.announce()

    def join_failed(self, reason: JoinFailure) -> None:
        self.bdb.failed(reason)

    def device_joined(self, eui: int, short: int, parent: int) -> None:
        data = short.to_bytes(2, "little") + eui.to_bytes(8, "little") + parent.to_bytes(2, "little")
        self.indicate(Subsystem.ZDO, 0xCA, data)

    def device_left(self, eui: int, short: int) -> None:
        self.indicate(Subsystem.ZDO, 0xC9, short.to_bytes(2, "little") + eui.to_bytes(8, "little") + bytes(3))

    def left_network(self, rejoin: bool) -> None:
        """Z-Stack tells the host, forgets the network unless it is to rejoin, and resets itself (ZDApp_LeaveReset)."""
        data = self.short.to_bytes(2, "little") + self.eui.to_bytes(8, "little") + bytes((1, 0, rejoin))
        self.bdb.device_state = DeviceState.HOLD
        self.network = None
        if not rejoin:
            network_image.clear_network(self.nv)
        self.indicate(Subsystem.ZDO, 0xC9, data)
        self.defer(self.reset)

    def address_changed(self, short: int) -> None:
        """As ZDO_AddrChangeIndicationCB: the host hears no more of it than the state that it knows."""
        self.state_changed()
        self.zdo.announce()
        self.bdb.tell_state()

    def state_changed(self) -> None:
        state = self.stack.export_state()
        if state is not None:
            self._remember(state)
            self._commit()

    def _remember(self, state: NetworkState) -> None:
        self.network = state
        network_image.write_network(self.nv, state, self.eui)

    def uptime_s(self) -> int:
        """UTIL_TIME_ALIVE."""
        return int(self.scheduler.now() - self.started_s)
