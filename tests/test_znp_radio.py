"""The radio adapter against emulated chips, both roles: form, join, and data of every kind."""

from __future__ import annotations

import asyncio

import pytest

from agent.events import (
    ApsIndication,
    ApsRequest,
    FormNetwork,
    JoinNetwork,
    LogicalType,
    PermitInstallCode,
    PermitJoin,
    PermitLinkKey,
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
from tests.znp_hosts import (
    CLUSTER,
    CODE,
    DEVICE_EUI,
    HUB_EUI,
    SHORT_CODE,
    SPEED,
    board,
    exchange,
    hosts,
    join,
    request,
    run,
)


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


def test_an_end_device_joins_and_talks() -> None:
    async def work() -> None:
        async with hosts(board()) as (hub, device):
            info = await join(hub, device, kind=LogicalType.END_DEVICE)
            assert info.logical_type is LogicalType.END_DEVICE
            for octets in (90, 1500):
                await exchange(hub, device, info.short_address, bytes(octets))

    run(work)


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
