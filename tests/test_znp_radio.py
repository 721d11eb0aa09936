"""The radio adapter against emulated chips: real zigpy-znp over TCP and over a pty, both roles."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

import boards.znp.link
from agent.errors import RadioError
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
    NetworkInfo,
    NetworkLost,
    PermitInstallCode,
    PermitJoin,
    PermitLinkKey,
    RadioEvent,
    RadioLost,
    RadioRequest,
    RadioResult,
    RadioStatus,
    RestoreNetwork,
    SetLinkKey,
    SetPollRate,
)
from boards.virtual.air.medium import AirSettings
from boards.virtual.ncp import app_commands, items
from boards.virtual.ncp.board import BoardSettings, ChipSettings, VirtualBoard
from boards.virtual.ncp.codec import Subsystem
from boards.virtual.ncp.nv import old_item
from boards.znp_radio import ZnpRadio

SPEED = 50.0
HUB_EUI, DEVICE_EUI, RIVAL_EUI = 0x00124B0000000001, 0x00124B0000000002, 0x00124B0000000003
CODE = bytes.fromhex("83FED3407A939723A5C639B26916D505C3B5")
SHORT_CODE = bytes.fromhex("83FED3407A932B70")
OTHER_CODE = bytes(16) + bytes.fromhex("110C")
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


@pytest.mark.parametrize("code", [CODE, SHORT_CODE])
def test_form_and_join_with_an_install_code(code: bytes) -> None:
    async def work() -> None:
        async with hosts(board()) as (hub, device):
            info = await join(hub, device, code)
            assert (info.eui, info.channel, info.logical_type) == (DEVICE_EUI, 15, LogicalType.ROUTER)
            assert info.extended_pan_id == HUB_EUI
            announced = await hub.wait_for(lambda e: isinstance(e, ApsIndication) and e.cluster == 0x0013)
            assert isinstance(announced, ApsIndication)
            assert announced.payload[1:3] == info.short_address.to_bytes(2, "little")
            assert announced.payload[3:11] == DEVICE_EUI.to_bytes(8, "little")

    run(work)


@pytest.mark.parametrize("octets", [1, 60, 220, 230, 231, 300, 1500])
def test_data_both_ways_in_one_frame_or_in_fragments(octets: int) -> None:
    async def work() -> None:
        async with hosts(board()) as (hub, device):
            info = await join(hub, device)
            await exchange(hub, device, info.short_address, bytes(i * 7 & 0xFF for i in range(octets)))

    run(work)


def test_a_wrong_install_code_is_refused_and_the_right_one_then_joins() -> None:
    async def work() -> None:
        async with hosts(board()) as (hub, device):
            await hub.ok(FormNetwork(channel=15))
            await hub.ok(PermitInstallCode(DEVICE_EUI, CODE))
            await hub.ok(PermitJoin(120))
            refused = await device.do(JoinNetwork(SHORT_CODE, channels=(15,)))
            assert refused.status in (RadioStatus.KEY_EXCHANGE_FAILED, RadioStatus.NO_NETWORK)
            assert refused.network is None
            await device.ok(JoinNetwork(CODE, channels=(15,)))

    run(work)


def test_a_closed_or_absent_network() -> None:
    async def work() -> None:
        async with hosts(board()) as (hub, device):
            assert (await device.do(JoinNetwork(CODE, channels=(15,)))).status is RadioStatus.NO_NETWORK
            await hub.ok(FormNetwork(channel=15, pan_id=0x1234, extended_pan_id=0x1122334455667788))
            await hub.ok(PermitInstallCode(DEVICE_EUI, CODE))
            assert (await device.do(JoinNetwork(CODE, channels=(15,)))).status is RadioStatus.NO_NETWORK
            await hub.ok(PermitJoin(120))
            elsewhere = JoinNetwork(CODE, channels=(15,), extended_pan_id=0x99)
            assert (await device.do(elsewhere)).status is RadioStatus.NO_NETWORK
            info = (await device.ok(JoinNetwork(CODE, channels=(15,), extended_pan_id=0x1122334455667788))).network
            assert info is not None
            assert (info.pan_id, info.extended_pan_id) == (0x1234, 0x1122334455667788)

    run(work)


def test_an_end_device_joins_and_talks() -> None:
    async def work() -> None:
        async with hosts(board()) as (hub, device):
            info = await join(hub, device, kind=LogicalType.END_DEVICE)
            assert info.logical_type is LogicalType.END_DEVICE
            for octets in (90, 1500):
                await exchange(hub, device, info.short_address, bytes(octets))

    run(work)


ALL_CHANNELS = DiscoverNetworks(tuple(range(11, 27)), duration=3)
KINDS = pytest.mark.parametrize("kind", [LogicalType.ROUTER, LogicalType.END_DEVICE])


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


def test_a_radio_that_goes_away_in_the_middle_of_a_discovery() -> None:
    async def work() -> None:
        virtual = board()
        async with hosts(virtual) as (_, device):
            scan = asyncio.ensure_future(device.do(DiscoverNetworks(tuple(range(11, 27)), 9)))
            await asyncio.sleep(0.1)
            await virtual.stop()
            assert (await scan).status is RadioStatus.RADIO_LOST

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


def test_a_sleepy_end_device_polls_as_it_is_told_and_remembers_it_over_a_restart() -> None:
    virtual = board()

    def rates_ms() -> tuple[int, ...]:
        """Default, queued, response of NV item 0x0035."""
        table = items.read_poll_rates(virtual.chips[1].nv.get(old_item(items.POLL_RATE)))
        return table[0], table[2], table[3]

    def polls() -> int:
        assert virtual.air is not None
        return virtual.air.meter(DEVICE_EUI).use().polls

    async def work() -> None:
        async with hosts(virtual) as (hub, device):
            await join(hub, device, kind=LogicalType.END_DEVICE)
            assert rates_ms() == (1000, 100, 100)
            await device.ok(SetPollRate(period_s=0.2, answer_s=0.05))
            assert rates_ms() == (200, 50, 50)
            before = polls()
            while polls() < before + 100:  # so fast; the test's limit of time is the judge
                await asyncio.sleep(0.01)
            await device.ok(SetPollRate(period_s=7.5, answer_s=0.05))
            await device.radio.close()
            await device.open()
            restored = (await device.ok(RestoreNetwork())).network
            assert restored is not None
            assert rates_ms() == (7500, 50, 50)
            await exchange(hub, device, restored.short_address, b"x" * 200)

    run(work)


def test_a_chip_without_that_setting_says_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Z-Stack built without the end device role knows no such command."""
    monkeypatch.delitem(app_commands.COMMANDS, 0x0C)

    async def work() -> None:
        async with hosts(board()) as (hub, device):
            info = await join(hub, device, kind=LogicalType.END_DEVICE)
            result = await device.do(SetPollRate(period_s=7.5, answer_s=0.1))
            assert result.status is RadioStatus.REFUSED
            await exchange(hub, device, info.short_address, b"still here")

    run(work)


def test_garbage_from_the_radio_costs_nothing() -> None:
    async def work() -> None:
        virtual = board()
        async with hosts(virtual) as (hub, device):
            info = await join(hub, device)
            for chip in virtual.chips:
                chip.indicate(Subsystem.AF, 0x81, b"\x01")  # cut short
                chip.indicate(Subsystem.AF, 0x82, b"\xff" * 27)  # a long message that is not there
                chip.indicate(Subsystem.AF, 0x80, b"\x00\x01\x63")  # a confirm of nothing
                chip.indicate(Subsystem.ZDO, 0xFF, b"\x00")
                chip.indicate(Subsystem.APP_CNF, 0x80, b"\xff\xff\xff")
                chip.indicate(Subsystem.SAPI, 0x99, bytes(30))
            await exchange(hub, device, info.short_address, b"unmoved")

    run(work)


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


def test_a_device_without_a_permit_of_its_own_is_refused() -> None:
    async def work() -> None:
        async with hosts(board()) as (hub, device):
            await hub.ok(FormNetwork(channel=15))
            await hub.ok(PermitInstallCode(DEVICE_EUI + 1, CODE))
            await hub.ok(PermitJoin(120))
            for code in (CODE, b""):  # also not by the default key, which everybody knows
                refused = await device.do(JoinNetwork(code, channels=(15,)))
                assert refused.status in (RadioStatus.KEY_EXCHANGE_FAILED, RadioStatus.NO_NETWORK)

    run(work)


def test_the_largest_message_is_the_chips_to_say() -> None:
    async def work() -> None:
        chips = (ChipSettings("tcp://127.0.0.1:0", HUB_EUI, 160), ChipSettings("tcp://127.0.0.1:0", DEVICE_EUI, 160))
        async with hosts(VirtualBoard(BoardSettings(chips=chips, speed=SPEED, seed=1))) as (hub, device):
            info = await join(hub, device)
            await exchange(hub, device, info.short_address, bytes(160))
            for octets in (161, 300):
                assert (await hub.do(request(info.short_address, bytes(octets)))).status is RadioStatus.REFUSED
            await exchange(hub, device, info.short_address, bytes(160))

    run(work)


def test_nothing_to_restore() -> None:
    async def work() -> None:
        async with hosts(board()) as (_, device):
            assert (await device.do(RestoreNetwork())).status is RadioStatus.NO_NETWORK

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


def test_in_another_trust_centers_place_by_a_key_under_the_same_extended_pan_id() -> None:
    """What a Trust Center swap-out asks of a chip: a pre-shared key for a member, and one to join by."""
    swapped, extended = bytes(range(100, 116)), 0x02DB0000000000AA

    async def work() -> None:
        async with hosts(board()) as (hub, device):
            await hub.ok(FormNetwork(channel=15, extended_pan_id=extended))
            await hub.ok(PermitLinkKey(DEVICE_EUI, swapped))
            await hub.ok(PermitJoin(120))
            wrong = JoinNetwork(b"", (15,), extended_pan_id=extended, link_key=bytes(16))
            assert (await device.do(wrong)).status is RadioStatus.KEY_EXCHANGE_FAILED
            right = JoinNetwork(b"", (15,), extended_pan_id=extended, link_key=swapped)
            joined = (await device.ok(right)).network
            assert joined is not None
            assert joined.extended_pan_id == extended
            await exchange(hub, device, joined.short_address, b"under the new network key")

    run(work)


def test_aps_security_with_a_link_key_from_key_establishment() -> None:
    async def work() -> None:
        async with hosts(board()) as (hub, device):
            info = await join(hub, device)
            key = bytes(range(16))
            await hub.ok(SetLinkKey(DEVICE_EUI, info.short_address, key))
            await device.ok(SetLinkKey(HUB_EUI, 0, key))
            await hub.ok(request(info.short_address, b"secured", aps_security=True))
            heard = await device.message(3)
            assert (heard.payload, heard.aps_security) == (b"secured", True)

    run(work)


def test_zdo_through_the_radio() -> None:
    async def work() -> None:
        async with hosts(board()) as (hub, device):
            info = await join(hub, device)
            short = info.short_address.to_bytes(2, "little")
            await hub.ok(ApsRequest(info.short_address, 0, 0, 0, 0x0005, b"\x21" + short))
            answer = await hub.wait_for(lambda e: isinstance(e, ApsIndication) and e.cluster == 0x8005)
            assert isinstance(answer, ApsIndication)
            assert answer.payload == b"\x21\x00" + short + b"\x01\x03"
            assert not any(isinstance(event, ApsIndication) and event.cluster == 5 for event in device.events)

    run(work)


def test_what_nobody_acknowledges_and_what_cannot_be_sent() -> None:
    async def work() -> None:
        async with hosts(board()) as (hub, device):
            info = await join(hub, device)
            await device.radio.close()
            nobody = await hub.do(request(info.short_address ^ 0x0101, b"hello?"))
            assert nobody.status in (RadioStatus.NOT_ACKNOWLEDGED, RadioStatus.NO_ROUTE)
            foreign = ApsRequest(info.short_address, 3, 1, 0x0104, CLUSTER, b"x")
            assert (await hub.do(foreign)).status is RadioStatus.REFUSED
            assert (await hub.do(request(info.short_address, bytes(1501)))).status is RadioStatus.REFUSED
            assert (await hub.do(PermitInstallCode(1, b"12345678"))).status is RadioStatus.REFUSED

    run(work)


def test_many_requests_at_once_over_a_lossy_air() -> None:
    async def work() -> None:
        async with hosts(board(air=AirSettings(loss=0.1))) as (hub, device):
            info = await join(hub, device)
            sent = [bytes((number,)) * 20 for number in range(40)]
            results = await asyncio.gather(*(hub.do(request(info.short_address, payload)) for payload in sent))
            heard = [event.payload for event in device.events if isinstance(event, ApsIndication)]
            for payload, result in zip(sent, results, strict=True):
                assert result.status in (RadioStatus.OK, RadioStatus.NOT_ACKNOWLEDGED)
                if result.status is RadioStatus.OK:
                    assert heard.count(payload) == 1

    run(work)


def test_the_radio_vanishes_in_the_middle_of_a_request() -> None:
    async def work() -> None:
        virtual = board()
        async with hosts(virtual) as (hub, device):
            info = await join(hub, device)
            device_gone = [asyncio.ensure_future(hub.do(request(info.short_address, bytes(1000)))) for _ in range(3)]
            await asyncio.sleep(0)
            await virtual.stop()
            for result in await asyncio.gather(*device_gone):
                assert result.status is RadioStatus.RADIO_LOST
            for host in (hub, device):
                await host.wait_for(lambda e: isinstance(e, RadioLost))
                assert (await host.do(PermitJoin(0))).status is RadioStatus.RADIO_LOST

    run(work)


def test_a_pty_radio_vanishes() -> None:
    async def work() -> None:
        virtual = board(("pty", "pty"))
        async with hosts(virtual) as (hub, _):
            await virtual.stop()
            await hub.wait_for(lambda e: isinstance(e, RadioLost))
            assert (await hub.do(PermitJoin(0))).status is RadioStatus.RADIO_LOST
            await hub.radio.close()
            with pytest.raises(RadioError, match="no such device"):
                await hub.open()

    run(work)


def test_cancelling_a_request_is_not_a_lost_radio() -> None:
    async def work() -> None:
        async with hosts(board()) as (hub, device):
            info = await join(hub, device)
            task = asyncio.ensure_future(hub.do(request(info.short_address, bytes(1000))))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            status = RadioStatus.REFUSED
            while status is RadioStatus.REFUSED:  # the chip waits 15 s of air time for the rest of a long message
                status = (await hub.do(request(info.short_address, b"n" * 300))).status
            assert status is RadioStatus.OK
            assert (await device.message(3)).payload == b"n" * 300

    run(work)


def test_a_reset_that_nobody_asked_for() -> None:
    async def work() -> None:
        virtual = board()
        async with hosts(virtual) as (hub, device):
            before = await join(hub, device)
            virtual.chips[1].reset()
            assert await device.wait_for(lambda e: isinstance(e, RadioLost)) == RadioLost("reset")
            await device.open()
            assert (await device.ok(RestoreNetwork())).network == before

    run(work)


def test_over_a_pty(tmp_path: Path) -> None:
    link = tmp_path / "radio"

    async def work() -> None:
        async with hosts(board(("pty", f"pty:{link}"))) as (hub, device):
            assert device.radio.path == str(link)
            info = await join(hub, device)
            await exchange(hub, device, info.short_address, bytes(range(250)))
            await device.radio.close()
            await device.open()
            assert (await device.ok(RestoreNetwork())).network == info

    run(work)
    assert not link.is_symlink()


def test_a_second_host_is_refused_and_the_first_stays() -> None:
    async def work() -> None:
        async with hosts(board()) as (hub, _):
            with pytest.raises(RadioError, match="another program may have the radio open"):
                await ZnpRadio(hub.radio.path).open(lambda _: None)
            await hub.ok(FormNetwork(channel=20))

    run(work)


def test_open_says_what_is_wrong(tmp_path: Path) -> None:
    async def work() -> None:
        with pytest.raises(RadioError, match=r"nothing: no such device; .*by-id"):
            await ZnpRadio(str(tmp_path / "nothing")).open(lambda _: None)
        server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        with pytest.raises(RadioError, match="nobody listens there"):
            await ZnpRadio(f"socket://127.0.0.1:{port}").open(lambda _: None)

    run(work)


def test_something_that_is_no_z_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards.znp.link, "ANSWER_TIMEOUT_S", 0.3)

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(100):
                writer.write(b"login: \xfe\xff\x00")
        writer.close()

    async def work() -> None:
        async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(RadioError, match=r"no answer to SYS\.Ping"):
                await ZnpRadio(f"socket://127.0.0.1:{port}").open(lambda _: None)

    run(work)


def test_execute_before_open() -> None:
    async def work() -> None:
        result = await ZnpRadio("/dev/null").execute(RestoreNetwork())
        assert result.status is RadioStatus.RADIO_LOST

    run(work)
