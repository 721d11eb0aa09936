"""The running hub: its control socket on a temporary folder, commands and waiting, on an in-process radio."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from agent.errors import SettingsError, StorageError
from agent.events import (
    ApsIndication,
    ApsRequest,
    FormNetwork,
    LogicalType,
    NetworkInfo,
    RadioEvent,
    RadioRequest,
    RadioResult,
    RadioStatus,
    RestoreNetwork,
)
from agent.image.ota_form import Form, encode_file
from agent.image.ota_header import OtaHeader
from agent.zigbee import zdo
from agent.zigbee.zcl import ZclFrame
from boards.bench.control import ControlServer, fits
from boards.bench.happenings import TransferProgress
from boards.bench.history import Event, History, ProgressFilter
from boards.bench.hub_runtime import HubRuntime
from boards.bench.settings import (
    DeviceSettings,
    HeadEndSettings,
    HubRadioSettings,
    HubSettings,
    ImageOffer,
)

KEYS = Path(__file__).parent / "vectors" / "gbcs" / "keystore"
PPMID, HCALCS, HUB = "00DB1234567890B1", "00DB1234567890B0", 0x00DB1234567890B2
SHORT = 0x4242


class LoneRadio:
    """A coordinator's radio with one device that announces itself and finds nothing else to say."""

    def __init__(self) -> None:
        self.sent: list[ApsRequest] = []
        self.on_event: Callable[[RadioEvent], None] = lambda _event: None

    async def open(self, on_event: Callable[[RadioEvent], None]) -> None:
        self.on_event = on_event

    async def close(self) -> None:
        return

    async def execute(self, request: RadioRequest) -> RadioResult:
        if isinstance(request, RestoreNetwork):
            return RadioResult(RadioStatus.NO_NETWORK)
        if isinstance(request, FormNetwork):
            network = NetworkInfo(HUB, 0, 0x1A62, HUB, request.channel, LogicalType.COORDINATOR)
            annce = zdo.DeviceAnnce(SHORT, int(PPMID, 16), 0x8E)
            self.zdo(annce)
            return RadioResult(RadioStatus.OK, network)
        if isinstance(request, ApsRequest):
            self.sent.append(request)
            if request.cluster == zdo.MatchDescReq.CLUSTER:
                self.zdo(zdo.MatchDescRsp(0, SHORT, (7,)))
        return RadioResult(RadioStatus.OK)

    def zdo(self, command: zdo.ZdoCommand) -> None:
        self.on_event(ApsIndication(SHORT, 0, 0, command.CLUSTER, zdo.pack(1, command)))


def settings_in(folder: Path, **change: object) -> HubSettings:
    usual = HubSettings(
        radio=HubRadioSettings(path="none"),
        state=folder / "state",
        keys=KEYS,
        devices=[DeviceSettings(eui=PPMID), DeviceSettings(eui=HCALCS, role="hcalcs")],
        head_end=HeadEndSettings(supplier="90B3D51F30AA0002"),
    )
    return msgspec.structs.replace(usual, **change)


@asynccontextmanager
async def running(settings: HubSettings) -> AsyncIterator[tuple[HubRuntime, LoneRadio]]:
    radio, stop = LoneRadio(), asyncio.Event()
    runtime = HubRuntime(settings, radio, lambda _happening, _event: None)
    task = asyncio.create_task(runtime.run(stop))
    try:
        found = await runtime.history.find(
            lambda event: event["event"] == "device-notified" or event["event"] == "device-seen", 0, 10
        )
        assert found is not None
        yield runtime, radio
    finally:
        stop.set()
        await task


async def ask(settings: HubSettings, *requests: Event | bytes) -> list[Event]:
    """Send the requests on one connection, one after the other."""
    reader, writer = await asyncio.open_unix_connection(str(settings.control_socket))
    answers = []
    try:
        for request in requests:
            writer.write(request if isinstance(request, bytes) else json.dumps(request).encode() + b"\n")
            answers.append(json.loads(await reader.readline()))
    finally:
        writer.close()
        await writer.wait_closed()
    return answers


def ota_file(folder: Path) -> Path:
    header = OtaHeader(manufacturer_code=0x10B5, image_type=1, file_version=0x01010000, total_octets=0)
    path = folder / "new.ota"
    path.write_bytes(encode_file(Form.GB_PPMID, header, b"image" * 20))
    return path


def test_status_offers_and_errors(tmp_path: Path) -> None:
    async def scenario() -> list[Event]:
        settings = settings_in(tmp_path)
        async with running(settings):
            path = str(ota_file(tmp_path))
            return await ask(
                settings,
                {"command": "status"},
                {"command": "offer", "path": path, "activate": "+60", "devices": [PPMID]},
                {"command": "set-activation", "image": path, "activate": "wait"},
                {"command": "status"},
                {"command": "withdraw", "image": path},
                {"command": "pause", "seconds": 5},
                {"command": "notify"},
                {"command": "withdraw", "image": path},
                {"command": "offer", "path": "new.ota"},
                {"command": "activate", "devices": [PPMID]},
                {"command": "activate", "devices": [HCALCS], "hash": "12"},
                {"command": "activate", "devices": [HCALCS], "hash": "12" * 32, "at": "later"},
                {"command": "pause", "seconds": "5"},
                {"command": "fly"},
                b"hello\n",
                b"[]\n",
                {"command": "wait"},
            )

    answers = asyncio.run(scenario())
    assert [answer["ok"] for answer in answers] == [True] * 7 + [False] * 10
    network = answers[0]["network"]
    assert network == {"hub_eui": "00DB1234567890B2", "channel": 20, "pan_id": "0x1A62"}
    (image,) = answers[3]["images"]  # type: ignore[misc]
    assert (image["activation"], image["octets"], image["devices"]) == ("wait", 156, [PPMID])
    words = [str(answer["error"]) for answer in answers[7:]]
    wanted = [
        "is on offer",
        "relative",
        "a PPMID activates with 11.4",
        "64 hex digits",
        "not now, wait",
        "not a number",
        "no command 'fly'",
        "not a JSON object",
        "not a JSON object",
        "match is not an object",
    ]
    for found, part in zip(words, wanted, strict=True):
        assert part in found


def test_a_service_request_goes_out_and_is_waited_for(tmp_path: Path) -> None:
    async def scenario() -> tuple[list[Event], list[ApsRequest]]:
        settings = settings_in(tmp_path)
        async with running(settings) as (_, radio):
            (asked,) = await ask(settings, {"command": "read-version", "devices": [PPMID]})
            match = {"event": "request-sent", "service_request": ["11.2"], "counter": asked["requests"][0]["counter"]}  # type: ignore[index]
            wait = {"command": "wait", "since": asked["mark"], "match": match, "timeout_s": 10}
            none = {"command": "wait", "match": {"event": "report"}, "timeout_s": 0.05}
            return [asked, *await ask(settings, wait, none)], radio.sent

    (asked, found, none), sent = asyncio.run(scenario())
    assert found["event"]["device_eui"] == PPMID  # type: ignore[index]
    assert (none["ok"], none["timeout"]) == (False, True)
    assert any(ZclFrame.decode(one.cluster, one.payload).cluster == 0x0704 for one in sent if one.cluster == 0x0704)
    log = [json.loads(line) for line in (tmp_path / "state" / "head-end.jsonl").read_text().splitlines()]
    assert log[0]["counter"] == asked["requests"][0]["counter"]  # type: ignore[index]


def test_events_stream(tmp_path: Path) -> None:
    async def scenario() -> list[str]:
        settings = settings_in(tmp_path)
        async with running(settings):
            reader, writer = await asyncio.open_unix_connection(str(settings.control_socket))
            writer.write(b'{"command":"events","since":0}\n')
            names = [json.loads(await reader.readline())["event"] for _ in range(2)]
            writer.close()
            await writer.wait_closed()
            return names

    assert asyncio.run(scenario()) == ["network-up", "device-seen"]


def test_a_second_hub_is_refused_and_a_stale_socket_is_not_in_the_way(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    settings.state.mkdir()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(settings.control_socket))

    async def scenario() -> None:
        async with running(settings):
            with pytest.raises(SettingsError, match="runs with this state folder already"):
                await HubRuntime(settings, LoneRadio(), lambda *_: None).run(asyncio.Event())

    asyncio.run(scenario())
    assert not settings.control_socket.exists()


def test_a_file_in_the_sockets_place_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("mine")
    with pytest.raises(SettingsError, match="no socket; move it away"):
        asyncio.run(ControlServer(path, lambda request: request, History()).open())
    assert path.read_text() == "mine"


def test_what_is_wrong_is_said_before_the_start(tmp_path: Path) -> None:
    def made(**change: object) -> HubRuntime:
        return HubRuntime(settings_in(tmp_path, **change), LoneRadio(), lambda *_: None)

    with pytest.raises(SettingsError, match="name one"):
        made(head_end=HeadEndSettings())
    with pytest.raises(StorageError, match="no folder of keys"):
        made(keys=tmp_path / "absent")
    with pytest.raises(SettingsError, match="cannot be read"):
        made(images=[ImageOffer(path=tmp_path / "absent.ota")])
    with pytest.raises(SettingsError, match="shorter `state`"):
        made(state=tmp_path / ("x" * 100))


def test_progress_passes_once_a_percent() -> None:
    progress = ProgressFilter()
    passed = [offset for offset in range(0, 10_001, 50) if progress.passes(TransferProgress(1, offset, 10_000, 1, 0))]
    assert len(passed) == 101
    assert progress.passes("anything else")


def test_fits() -> None:
    event: Event = {"event": "report", "code": 0}
    assert fits(event, {"event": "report", "code": [0, 1]})
    assert not fits(event, {"event": "report", "code": 1})
    assert not fits(event, {"absent": 1})
