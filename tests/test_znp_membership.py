"""Members of a network through the radio adapter: restored, moved, called otherwise, told to leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.events import (
    ApsIndication,
    ApsRequest,
    DeviceLeft,
    DiscoverNetworks,
    FormNetwork,
    JoinNetwork,
    LeaveNetwork,
    LogicalType,
    MoveNetwork,
    NetworkChanged,
    NetworkLost,
    PermitInstallCode,
    PermitJoin,
    RadioLost,
    RadioStatus,
    RestoreNetwork,
    SetLinkKey,
    SetPollRate,
)
from boards.virtual.ncp.board import BoardSettings, ChipSettings, VirtualBoard
from tests.znp_hosts import (
    CODE,
    DEVICE_EUI,
    HUB_EUI,
    KEY,
    RIVAL_EUI,
    SPEED,
    Host,
    board,
    exchange,
    hosts,
    join,
    request,
    run,
)

ALL_CHANNELS = DiscoverNetworks(tuple(range(11, 27)), duration=3)
KINDS = pytest.mark.parametrize("kind", [LogicalType.ROUTER, LogicalType.END_DEVICE])


def test_a_new_host_process_restores_without_joining_again() -> None:
    async def work() -> None:
        async with hosts(board()) as (hub, device):
            before = await join(hub, device)
            for host in (hub, device):
                await host.radio.close()
                await host.open()
                host.events.clear()
            formed = (await hub.ok(RestoreNetwork())).network
            assert formed is not None
            assert formed.logical_type is LogicalType.COORDINATOR
            assert (await device.ok(RestoreNetwork())).network == before
            await exchange(hub, device, before.short_address, b"still here")

    run(work)


def test_chips_that_lost_power_come_back_from_their_nv_files(tmp_path: Path) -> None:
    async def work() -> None:
        async with hosts(board(nv_dir=tmp_path)) as (hub, device):
            before = await join(hub, device)
            await exchange(hub, device, before.short_address, b"before")
        async with hosts(board(nv_dir=tmp_path)) as (hub, device):
            await hub.ok(RestoreNetwork())
            assert (await device.ok(RestoreNetwork())).network == before
            await exchange(hub, device, before.short_address, b"after")

    run(work)


def test_a_permit_outlives_a_restart_of_the_hub() -> None:
    async def work() -> None:
        async with hosts(board()) as (hub, device):
            await hub.ok(FormNetwork(channel=15))
            await hub.ok(PermitInstallCode(DEVICE_EUI, CODE))
            await hub.radio.close()
            await hub.open()
            await hub.ok(RestoreNetwork())
            await hub.ok(PermitJoin(120))
            await device.ok(JoinNetwork(CODE, channels=(15,)))

    run(work)


def test_nothing_to_restore() -> None:
    async def work() -> None:
        async with hosts(board()) as (_, device):
            assert (await device.do(RestoreNetwork())).status is RadioStatus.NO_NETWORK

    run(work)


@KINDS
def test_a_discovery_tells_the_beacons_and_the_network_comes_back(kind: LogicalType) -> None:
    async def work() -> None:
        async with hosts(board()) as (hub, device):
            assert (await device.ok(ALL_CHANNELS)).beacons == ()
            before = await join(hub, device, kind=kind)
            (found,) = (await device.ok(ALL_CHANNELS)).beacons
            assert (found.channel, found.pan_id, found.extended_pan_id) == (15, before.pan_id, HUB_EUI)
            assert (found.sender, found.permits_joining, found.stack_profile) == (0, True, 2)
            assert found.link_quality > 0
            assert (await device.ok(DiscoverNetworks((11, 20)))).beacons == ()
            assert (await device.ok(RestoreNetwork())).network == before
            assert not any(isinstance(event, RadioLost) for event in device.events)
            await exchange(hub, device, before.short_address, b"back")

    run(work)


@KINDS
@pytest.mark.parametrize(("channel", "pan_id"), [(25, None), (15, 0x1111), (11, 0x2222)])
def test_a_network_that_moved_is_followed_with_its_keys(kind: LogicalType, channel: int, pan_id: int | None) -> None:
    async def work() -> None:
        async with hosts(board()) as (hub, device):
            before = await join(hub, device, kind=kind)
            await hub.ok(SetLinkKey(DEVICE_EUI, before.short_address, KEY))
            await device.ok(SetLinkKey(HUB_EUI, 0, KEY))
            moved = (await hub.ok(MoveNetwork(channel, pan_id or before.pan_id))).network
            assert moved is not None
            assert (moved.channel, moved.extended_pan_id) == (channel, HUB_EUI)
            assert (await device.ok(RestoreNetwork())).network == before  # nothing tells it
            await device.ok(DiscoverNetworks((15,)))
            restored = await device.do(RestoreNetwork())  # a router sits where it was, an end device finds nobody
            assert (restored.status is RadioStatus.OK) == (kind is LogicalType.ROUTER)
            assert restored.network == before
            (found,) = (await device.ok(ALL_CHANNELS)).beacons
            there = (await device.ok(MoveNetwork(found.channel, found.pan_id))).network
            assert there is not None
            assert (there.channel, there.pan_id, there.short_address) == (channel, moved.pan_id, before.short_address)
            await device.ok(request(0, b"secured", source=3, target=1, aps_security=True))
            assert (await hub.message(1)).payload == b"secured"

    run(work)


def test_nothing_to_move() -> None:
    async def work() -> None:
        async with hosts(board()) as (_, device):
            assert (await device.do(MoveNetwork(20, 0x1234))).status is RadioStatus.NO_NETWORK

    run(work)


@KINDS
def test_a_short_address_conflict_ends_in_a_new_address_that_host_and_hub_hear_of(kind: LogicalType) -> None:
    async def work() -> None:
        chips = tuple(ChipSettings("tcp://127.0.0.1:0", eui) for eui in (HUB_EUI, DEVICE_EUI, RIVAL_EUI))
        virtual = VirtualBoard(BoardSettings(chips=chips, speed=SPEED, seed=1))
        async with hosts(virtual) as (hub, device):
            before = await join(hub, device, kind=kind)
            rival = Host(virtual.addresses[2])
            await rival.open()
            if kind is LogicalType.END_DEVICE:
                await device.ok(SetPollRate(0.5, 0.1))  # which says nothing of where the chip is
            await hub.ok(PermitInstallCode(RIVAL_EUI, CODE))
            await rival.ok(JoinNetwork(CODE, channels=(15,)))
            hub.events.clear()
            claim = before.short_address.to_bytes(2, "little") + RIVAL_EUI.to_bytes(8, "little") + b"\x8e"
            await rival.ok(ApsRequest(0xFFFD, 0, 0, 0, 0x0013, b"\x01" + claim, aps_ack=False))
            await rival.radio.close()
            changed = await device.wait_for(lambda e: isinstance(e, NetworkChanged))
            assert isinstance(changed, NetworkChanged)
            new = changed.network.short_address
            assert new != before.short_address
            said = new.to_bytes(2, "little") + DEVICE_EUI.to_bytes(8, "little")
            await hub.wait_for(lambda e: isinstance(e, ApsIndication) and e.payload[1:11] == said)
            await exchange(hub, device, new, b"under the new address")

    run(work)


def test_leaving_forgets_the_network() -> None:
    async def work() -> None:
        async with hosts(board()) as (hub, device):
            await join(hub, device)
            await device.ok(LeaveNetwork())
            assert not any(isinstance(event, RadioLost) for event in device.events)
            assert (await device.do(RestoreNetwork())).status is RadioStatus.NO_NETWORK

    run(work)


def mgmt_leave(destination: int, eui: int, options: int = 0) -> ApsRequest:
    return ApsRequest(destination, 0, 0, 0, 0x0034, b"\x31" + eui.to_bytes(8, "little") + bytes((options,)))


@pytest.mark.parametrize("by_parent", [False, True])
def test_told_to_leave_by_the_hub_or_by_its_parent(by_parent: bool) -> None:
    """Mgmt_Leave_req to the device itself, and to its parent, which then sends the NWK leave request."""

    async def work() -> None:
        async with hosts(board()) as (hub, device):
            info = await join(hub, device)
            await hub.ok(mgmt_leave(0 if by_parent else info.short_address, DEVICE_EUI))
            assert await device.wait_for(lambda e: isinstance(e, NetworkLost))
            assert await device.wait_for(lambda e: isinstance(e, RadioLost)) == RadioLost("reset")
            assert await hub.wait_for(lambda e: isinstance(e, DeviceLeft)) == DeviceLeft(DEVICE_EUI)
            await device.open()
            assert (await device.do(RestoreNetwork())).status is RadioStatus.NO_NETWORK

    run(work)


def test_told_to_leave_and_rejoin_it_keeps_its_network() -> None:
    async def work() -> None:
        async with hosts(board()) as (hub, device):
            info = await join(hub, device)
            await hub.ok(mgmt_leave(info.short_address, DEVICE_EUI, 0x80))
            assert await device.wait_for(lambda e: isinstance(e, RadioLost)) == RadioLost("reset")
            assert not any(isinstance(event, NetworkLost) for event in device.events)
            await device.open()
            assert (await device.ok(RestoreNetwork())).network == info
            await exchange(hub, device, info.short_address, b"still a member")
            assert not any(isinstance(event, DeviceLeft) for event in hub.events)

    run(work)
