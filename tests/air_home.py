"""``Home`` on emulated CC2652s: the whole device and hub through zigpy-znp, MT, NWK and MAC, hours in seconds.

The event loop's clock is virtual: it jumps to the next timer. So that nothing is under way in the kernel meanwhile, the
serial line is a wire in this process: everything above it is what runs on a Pi.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from dataclasses import dataclass

import zigpy_znp.uart

from agent.ports import Node
from agent.shell import Driver
from agent.zigbee.clusters import describe_endpoint
from boards.bench.answers import simple_descriptor
from boards.virtual.air.medium import AirSettings
from boards.virtual.ncp.board import BoardSettings, ChipSettings, VirtualBoard
from boards.virtual.ncp.chip import Chip
from boards.virtual.stack.interface import DataRequest
from boards.virtual.world import World
from boards.znp_radio import ZnpRadio
from tests.home import DEVICE_EUI, HUB_EUI, Home

TICK_S = 1e-7  # it never stands quite still, or a timer that is late by a rounding would never be due
LOOK_S = 1.0  # of virtual time: how often a test's condition is looked at


class _Selector(selectors.SelectSelector):
    """Waits for sockets, never for time."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(None if timeout is None else 0)
        self.now += TICK_S if ready or not timeout else timeout + TICK_S
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose seconds cost nothing."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


class _Wire(asyncio.Transport):
    """A serial line between one chip and the program that has opened it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, chip: Chip, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._loop, self._chip, self._protocol = loop, chip, protocol
        self._closed = False
        chip.attach(lambda octets: self._soon(protocol.data_received, octets))
        loop.call_soon(protocol.connection_made, self)

    def _soon(self, receive: Callable[[bytes], None], octets: bytes) -> None:
        self._loop.call_soon(lambda: None if self._closed else receive(octets))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._soon(self._chip.receive, bytes(data))

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._chip.detach()
            self._loop.call_soon(self._protocol.connection_lost, None)


@dataclass
class _Seated:
    """A node that is being driven."""

    driver: Driver
    stop: asyncio.Event
    task: asyncio.Task[None]


class AirWorld(World):
    """``World``'s way of moving nodes, on chips. ``blocked`` and ``deaf`` have no effect here."""

    def __init__(self, seed: int, loss: float, role: str) -> None:
        self._loop = VirtualLoop()
        super().__init__(seed, loss=loss)
        self._role = role
        self._seated: dict[int, _Seated] = {}
        chips = tuple(ChipSettings("tcp://127.0.0.1:0", eui) for eui in (HUB_EUI, DEVICE_EUI))
        self.board = VirtualBoard(BoardSettings(chips=chips, seed=seed, air=AirSettings(loss=loss)))
        self._loop.run_until_complete(self.board.start())
        self._open_line = zigpy_znp.uart.create_serial_connection
        zigpy_znp.uart.create_serial_connection = self._connect

    async def _connect(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        protocol_factory: Callable[[], asyncio.Protocol],
        url: str,
        **_: object,
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        protocol = protocol_factory()
        return _Wire(loop, self.board.chips[self.board.addresses.index(url)], protocol), protocol

    @property  # type: ignore[override]
    def now(self) -> float:
        return self._loop.time()

    @now.setter
    def now(self, _value: float) -> None:
        """``World`` starts at 0, as the loop does."""

    def attach(self, eui: int, node: Node) -> None:  # type: ignore[override]
        self._loop.run_until_complete(self._attach(eui, node))

    async def _attach(self, eui: int, node: Node) -> None:
        driver = Driver(node, self._radio(eui), self._loop.time)
        stop = asyncio.Event()
        self._seated[eui] = _Seated(driver, stop, asyncio.create_task(driver.run(stop)))

    def _radio(self, eui: int) -> ZnpRadio:
        if eui == HUB_EUI:
            own = simple_descriptor(1, 0x0109)
            return ZnpRadio(self.board.addresses[0], 1, 0x0109, own.device, own.input_clusters, own.output_clusters)
        own = describe_endpoint(self._role, 1, 0x0109)
        return ZnpRadio(
            self.board.addresses[1], own.endpoint, own.profile, own.device, own.input_clusters, own.output_clusters
        )

    def detach(self, eui: int) -> None:
        self._loop.run_until_complete(self._detach(self._seated.pop(eui)))

    async def _detach(self, seated: _Seated) -> None:
        seated.stop.set()
        seated.driver.wake()
        await seated.task

    def run(self, until: Callable[[], bool], limit_s: float) -> bool:
        return self._loop.run_until_complete(self._run(until, limit_s))

    async def _run(self, until: Callable[[], bool], limit_s: float) -> bool:
        end = self.now + limit_s
        while not until():
            if self.now >= end:
                return False
            for seated in self._seated.values():
                if seated.task.done():
                    seated.task.result()
                seated.driver.wake()  # ``until`` may have brought a node something
            await asyncio.sleep(LOOK_S)
        return True

    def connect(self, *, heard: bool) -> None:
        """Whether hub and device are in each other's range."""
        assert self.board.air is not None
        self.board.air.set_link(HUB_EUI, DEVICE_EUI, 255 if heard else None)

    def claim_address(self, rival: int) -> int:
        """Somebody with this EUI announces the device's short address; that address."""
        hub, device = self.board.chips
        claim = b"\x77" + device.short.to_bytes(2, "little") + rival.to_bytes(8, "little") + b"\x8e"
        before = device.short
        self._loop.call_soon(lambda: hub.stack.data_request(-1, DataRequest(0xFFFD, 0, 0, 0x0013, 0, claim)))
        return before

    def close(self) -> None:
        tasks = [seated.task for seated in self._seated.values()]
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        zigpy_znp.uart.create_serial_connection = self._open_line
        self._loop.run_until_complete(self.board.stop())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


class AirHome(Home):
    """See the module. ``close`` it."""

    world: AirWorld

    def make_world(self) -> World:
        return AirWorld(self.seed, self.loss, self.role)

    def hub_off(self) -> None:
        self.world.detach(HUB_EUI)
        self.world.connect(heard=False)

    def hub_on(self) -> None:
        self.world.connect(heard=True)
        self._start_hub()

    def close(self) -> None:
        """Chips, sockets, loop."""
        self.world.close()
