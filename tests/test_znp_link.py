"""The line to the radio: opened, refused, reset, cancelled, and gone in the middle of anything."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

import boards.znp.link
from agent.errors import RadioError
from agent.events import DiscoverNetworks, FormNetwork, PermitJoin, RadioLost, RadioStatus, RestoreNetwork
from boards.znp_radio import ZnpRadio
from tests.znp_hosts import board, exchange, hosts, join, request, run


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


def test_a_radio_that_goes_away_in_the_middle_of_a_discovery() -> None:
    async def work() -> None:
        virtual = board()
        async with hosts(virtual) as (_, device):
            scan = asyncio.ensure_future(device.do(DiscoverNetworks(tuple(range(11, 27)), 9)))
            await asyncio.sleep(0.1)
            await virtual.stop()
            assert (await scan).status is RadioStatus.RADIO_LOST

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
