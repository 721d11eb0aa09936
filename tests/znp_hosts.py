"""Radio adapters on emulated chips: real zigpy-znp over TCP and over a pty, the hub's and the device's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from agent.events import (
    ApsIndication,
    ApsRequest,
    FormNetwork,
    JoinNetwork,
    LogicalType,
    NetworkInfo,
    PermitInstallCode,
    PermitJoin,
    RadioEvent,
    RadioRequest,
    RadioResult,
    RadioStatus,
)
from boards.virtual.ncp.board import BoardSettings, ChipSettings, VirtualBoard
from boards.znp_radio import ZnpRadio

SPEED = 50.0
HUB_EUI, DEVICE_EUI, RIVAL_EUI = 0x00124B0000000001, 0x00124B0000000002, 0x00124B0000000003
CODE = bytes.fromhex("83FED3407A939723A5C639B26916D505C3B5")
SHORT_CODE = bytes.fromhex("83FED3407A932B70")
LIMIT_S = 30.0
KEY = bytes(range(16))
CLUSTER = 0x0019


def run(work: Callable[[], Awaitable[None]]) -> None:
    """One test's coroutine, bounded."""

    async def bounded() -> None:
        async with asyncio.timeout(LIMIT_S):
            await work()

    asyncio.run(bounded())


class Host:
    """A radio and what came up from it."""

    def __init__(self, address: str, endpoint: int = 1, profile: int = 0x0109) -> None:
        self.radio = ZnpRadio(address, endpoint, profile, input_clusters=(0x0000,), output_clusters=(CLUSTER,))
        self.events: list[RadioEvent] = []
        self._news = asyncio.Event()

    def note(self, event: RadioEvent) -> None:
        self.events.append(event)
        self._news.set()

    async def open(self) -> None:
        await self.radio.open(self.note)

    async def do(self, request: RadioRequest) -> RadioResult:
        return await self.radio.execute(request)

    async def ok(self, request: RadioRequest) -> RadioResult:
        result = await self.do(request)
        assert result.status is RadioStatus.OK, result
        return result

    async def wait_for(self, wanted: Callable[[RadioEvent], bool]) -> RadioEvent:
        """The first event, past or to come, that is wanted; it is taken out."""
        while True:
            for event in self.events:
                if wanted(event):
                    self.events.remove(event)
                    return event
            self._news.clear()
            await self._news.wait()

    async def message(self, endpoint: int) -> ApsIndication:
        event = await self.wait_for(lambda e: isinstance(e, ApsIndication) and e.destination_endpoint == endpoint)
        assert isinstance(event, ApsIndication)
        return event


def board(addresses: tuple[str, str] = ("tcp://127.0.0.1:0", "tcp://127.0.0.1:0"), **more: object) -> VirtualBoard:
    chips = (ChipSettings(addresses[0], HUB_EUI), ChipSettings(addresses[1], DEVICE_EUI))
    return VirtualBoard(BoardSettings(chips=chips, speed=SPEED, seed=1, **more))  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def hosts(virtual: VirtualBoard) -> AsyncIterator[tuple[Host, Host]]:
    async with virtual:
        pair = Host(virtual.addresses[0]), Host(virtual.addresses[1], endpoint=3)
        try:
            for host in pair:
                await host.open()
            yield pair
        finally:
            for host in pair:
                await host.radio.close()


async def join(hub: Host, device: Host, code: bytes = CODE, kind: LogicalType = LogicalType.ROUTER) -> NetworkInfo:
    await hub.ok(FormNetwork(channel=15))
    await hub.ok(PermitInstallCode(DEVICE_EUI, code))
    await hub.ok(PermitJoin(120))
    joined = (await device.ok(JoinNetwork(code, channels=(11, 15, 20), logical_type=kind))).network
    assert joined is not None
    return joined


def request(destination: int, payload: bytes, source: int = 1, target: int = 3, **more: bool) -> ApsRequest:
    return ApsRequest(destination, target, source, 0x0109, CLUSTER, payload, **more)


async def exchange(hub: Host, device: Host, address: int, payload: bytes) -> None:
    """The payload both ways."""
    await hub.ok(request(address, payload))
    heard = await device.message(3)
    assert (heard.source, heard.source_endpoint, heard.cluster, heard.payload) == (0, 1, CLUSTER, payload)
    await device.ok(request(0, payload[::-1], source=3, target=1))
    assert (await hub.message(1)).payload == payload[::-1]
