"""An unmodified zigpy gateway on the emulated chip: it forms, backs up, permits, and sees our device join."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import zigpy.types as zt
import zigpy.util
from zigpy_znp.zigbee.application import ControllerApplication

from agent.events import ApsIndication, JoinNetwork, LogicalType, RadioStatus
from boards.virtual.ncp.board import BoardSettings, ChipSettings, VirtualBoard
from boards.virtual.ncp.chip import Chip
from boards.znp.link import quieten_zigpy
from boards.znp_radio import ZnpRadio

GATEWAY_EUI, DEVICE_EUI = 0x00124B00000000AA, 0x00124B00000000BB
CODE = bytes.fromhex("83FED3407A939723A5C639B26916D505C3B5")
LIMIT_S = 60.0


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(LIMIT_S):
            await work()

    quieten_zigpy()
    asyncio.run(bounded())


def board(nv_dir: Path | None = None) -> VirtualBoard:
    chips = (ChipSettings("tcp://127.0.0.1:0", GATEWAY_EUI), ChipSettings("tcp://127.0.0.1:0", DEVICE_EUI))
    return VirtualBoard(BoardSettings(chips=chips, speed=50.0, seed=2, nv_dir=nv_dir))


class Listener:
    """What zigpy reports of devices."""

    def __init__(self) -> None:
        self.joined: list[Any] = []
        self.initialized: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def device_joined(self, device: Any) -> None:
        self.joined.append(device)

    def device_initialized(self, device: Any) -> None:
        if not self.initialized.done():
            self.initialized.set_result(device)


@contextlib.asynccontextmanager
async def gateway(path: str, **network: Any) -> AsyncIterator[tuple[Any, Listener]]:
    application = ControllerApplication(
        {
            "device": {"path": path},
            "database_path": None,
            "backup_enabled": False,
            "topology_scan_enabled": False,
            "network": network,
            "znp_config": {"skip_bootloader": False},
        }
    )
    listener = Listener()
    application.add_listener(listener)
    try:
        await application.startup(auto_form=True)
        yield application, listener
    finally:
        await application.shutdown()


@contextlib.asynccontextmanager
async def device(path: str, events: list[Any]) -> AsyncIterator[ZnpRadio]:
    """A PPMID's radio with the endpoint that a generic gateway expects."""
    radio = ZnpRadio(path, 1, 0x0104, 0x0000, input_clusters=(0x0000,), output_clusters=(0x0019, 0x000A))
    await radio.open(events.append)
    try:
        yield radio
    finally:
        await radio.close()


def eui(address: int) -> Any:
    return zt.EUI64(address.to_bytes(8, "little"))


def test_zigpy_forms_and_initialises_its_own_chip() -> None:
    async def work() -> None:
        async with board() as virtual, gateway(virtual.addresses[0], channel=20, pan_id=0x1A2B) as (application, _):
            state = application.state
            assert state.node_info.ieee == eui(GATEWAY_EUI)
            assert (state.node_info.nwk, state.node_info.model) == (0x0000, "CC2652")
            assert (state.network_info.channel, state.network_info.pan_id) == (20, 0x1A2B)
            chip = virtual.chips[0].network
            assert chip is not None
            assert (chip.channel, chip.pan_id) == (20, 0x1A2B)
            assert chip.network_key == state.network_info.network_key.key.serialize()
            coordinator = application.get_device(ieee=eui(GATEWAY_EUI))
            assert coordinator.is_initialized
            assert coordinator.node_desc.logical_type == 0
            energy = await application.energy_scan(zt.Channels.ALL_CHANNELS, 1, 1)
            assert sorted(energy) == list(range(11, 27))

    run(work)


def test_a_backup_of_one_chip_becomes_the_network_of_another(tmp_path: Path) -> None:
    async def work() -> None:
        async with board() as virtual:
            async with gateway(virtual.addresses[0], channel=15) as (application, _):
                backup = await application.backups.create_backup(load_devices=True)
            async with gateway(virtual.addresses[1]) as (application, _):
                await application.backups.restore_backup(backup, counter_increment=5000)
                await application.load_network_info(load_devices=True)
                restored = application.state.network_info
                assert restored.network_key.key == backup.network_info.network_key.key
                assert restored.network_key.tx_counter >= backup.network_info.network_key.tx_counter + 5000
                assert restored.extended_pan_id == backup.network_info.extended_pan_id
                assert application.state.node_info.ieee == eui(GATEWAY_EUI)

    run(work)


def test_the_gateway_comes_back_to_its_network() -> None:
    async def work() -> None:
        async with board() as virtual:
            async with gateway(virtual.addresses[0]) as (application, _):
                formed = application.state.network_info.extended_pan_id
            async with gateway(virtual.addresses[0]) as (application, _):
                assert application.state.network_info.extended_pan_id == formed

    run(work)


async def until(condition: Callable[[], bool]) -> None:
    """Bounded by the test's own limit."""
    while not condition():
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def permitted(application: Any, code: bytes, chip: Chip) -> AsyncIterator[None]:
    """While open, zigpy lets our device join; without a code, any device with the default key."""
    if not code:
        await application.permit(60)
        yield
        return
    key = zigpy.util.convert_install_code(code)
    permit = asyncio.ensure_future(application.permit_with_link_key(eui(DEVICE_EUI), key, 60))
    await until(lambda: chip.joining_is_open)
    try:
        yield
    finally:
        permit.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await permit


@pytest.mark.parametrize("kind", [LogicalType.ROUTER, LogicalType.END_DEVICE])
@pytest.mark.parametrize("code", [CODE, b""], ids=["install code", "default key"])
def test_a_device_pairs(kind: LogicalType, code: bytes) -> None:
    async def work() -> None:
        events: list[Any] = []
        async with (
            board() as virtual,
            gateway(virtual.addresses[0], channel=25) as (application, listener),
            device(virtual.addresses[1], events) as radio,
        ):
            async with permitted(application, code, virtual.chips[0]):
                joined = await radio.execute(JoinNetwork(code, channels=tuple(range(11, 27)), logical_type=kind))
            assert joined.status is RadioStatus.OK, joined
            assert joined.network is not None
            await until(lambda: bool(listener.joined))
            seen = listener.joined[0]
            assert (seen.ieee, seen.nwk) == (eui(DEVICE_EUI), joined.network.short_address)
            await until(lambda: 1 in seen.endpoints and seen.endpoints[1].profile_id is not None)
            assert seen.node_desc.logical_type == kind.value
            assert seen.endpoints[1].profile_id == 0x0104
            assert 0x0019 in seen.endpoints[1].out_clusters
            # what zigpy asks the application next (Basic attributes) reaches our endpoint
            await until(lambda: any(isinstance(e, ApsIndication) and e.destination_endpoint == 1 for e in events))

    run(work)
