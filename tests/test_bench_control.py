"""The running hub: its control socket on a temporary folder, commands and waiting, on an in-process radio."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from agent.cli import main
from agent.errors import SettingsError, StorageError
from agent.events import (
    ApsIndication,
    ApsRequest,
    FormNetwork,
    LogicalType,
    MoveNetwork,
    NetworkInfo,
    RadioEvent,
    RadioRequest,
    RadioResult,
    RadioStatus,
    RestoreNetwork,
)
from agent.gbcs import build
from agent.gbcs.keystore import KeyStore
from agent.gbcs.message import GbcsMessage, decode
from agent.gbcs.use_cases import (
    ActivationOutcome,
    ActivationResult,
    PpmidActivationAlert,
    ReadVersionResponse,
)
from agent.image.ota_form import Form, encode_file
from agent.image.ota_header import OtaHeader
from agent.zigbee import ota_messages as ota
from agent.zigbee import tunnel_messages as tunnel
from agent.zigbee import zdo
from agent.zigbee.clusters import Cluster
from agent.zigbee.zcl import ZclFrame
from boards.bench.control import ControlServer, fits
from boards.bench.follow import Asked, Follower
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
ACB = 0x90B3D51F30AA0001
KEYSTORE = KeyStore.load(KEYS)
COORDINATOR = LogicalType.COORDINATOR
MOMENT = datetime(2026, 5, 1, tzinfo=UTC)


class LoneRadio:
    """A coordinator's radio; beyond it one device that announces itself, takes a tunnel, answers CS08 and CS06."""

    def __init__(self, eui: str = PPMID) -> None:
        self.eui = int(eui, 16)
        self.answers = True
        self.outcome = ActivationOutcome.SUCCESS
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
            annce = zdo.DeviceAnnce(SHORT, self.eui, 0x8E)
            self.zdo(annce)
            return RadioResult(RadioStatus.OK, network)
        if isinstance(request, MoveNetwork):
            return RadioResult(RadioStatus.OK, NetworkInfo(HUB, 0, request.pan_id, HUB, request.channel, COORDINATOR))
        if isinstance(request, ApsRequest):
            self.sent.append(request)
            if request.cluster == zdo.MatchDescReq.CLUSTER:
                self.zdo(zdo.MatchDescRsp(0, SHORT, (7,)))
            elif request.cluster == Cluster.TUNNELING:
                self.tunnel(ZclFrame.decode(request.cluster, request.payload))
        return RadioResult(RadioStatus.OK)

    def tunnel(self, frame: ZclFrame) -> None:
        command = tunnel.decode_to_server(frame.command, frame.payload)
        if isinstance(command, tunnel.RequestTunnel):
            answer = tunnel.RequestTunnelResponse(5, 0, 1500)
            self.zcl(ZclFrame(Cluster.TUNNELING, answer.COMMAND, answer.encode(), frame.sequence, to_client=True))
        elif isinstance(command, tunnel.TransferData) and self.answers:
            up = tunnel.TransferData(5, self.answer(decode(command.data)))
            self.zcl(ZclFrame(Cluster.TUNNELING, up.TO_CLIENT, up.encode(), 2, to_client=True))

    def answer(self, message: GbcsMessage) -> bytes:
        if message.message_code == 0x0129:
            return build.cs08_response(KEYSTORE, message, ReadVersionResponse(0x01010000))
        return build.cs06_response(KEYSTORE, message, ActivationResult(self.outcome, 0x01010000), MOMENT)

    def say_ota(self, command: ota.OtaToServer) -> None:
        self.zcl(ZclFrame(Cluster.OTA, command.COMMAND, command.encode(), 3))

    def zcl(self, frame: ZclFrame) -> None:
        self.on_event(ApsIndication(SHORT, 7, 1, frame.cluster, frame.encode()))

    def zdo(self, command: zdo.ZdoCommand) -> None:
        self.on_event(ApsIndication(SHORT, 0, 0, command.CLUSTER, zdo.pack(1, command)))


def settings_in(folder: Path, **change: object) -> HubSettings:
    usual = HubSettings(
        radio=HubRadioSettings(path="none", key_establishment="off"),
        state=folder / "state",
        keys=KEYS,
        devices=[DeviceSettings(eui=PPMID), DeviceSettings(eui=HCALCS, role="hcalcs")],
        head_end=HeadEndSettings(supplier="90B3D51F30AA0002"),
    )
    return msgspec.structs.replace(usual, **change)


@asynccontextmanager
async def running(settings: HubSettings, eui: str = PPMID) -> AsyncIterator[tuple[HubRuntime, LoneRadio]]:
    radio, stop = LoneRadio(eui), asyncio.Event()
    runtime = HubRuntime(settings, radio, lambda _happening, _event: None)
    task = asyncio.create_task(runtime.run(stop))
    try:
        found = await runtime.history.find(
            lambda event: event["event"] == "device-notified" or event["event"] == "tunnel-opened", 0, 10
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
                {"command": "update-firmware", "path": path, "devices": [HCALCS], "activate": "now"},
                {"command": "fly"},
                b"hello\n",
                b"[]\n",
                {"command": "wait"},
            )

    answers = asyncio.run(scenario())
    assert [answer["ok"] for answer in answers] == [True] * 7 + [False] * 11
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
        "holds its image until 11.3",
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
    frames = [ZclFrame.decode(one.cluster, one.payload) for one in sent if one.cluster == Cluster.TUNNELING]
    assert tunnel.TransferData.TO_SERVER in [frame.command for frame in frames]
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


# the command line before the running hub


async def head_end(settings: HubSettings, *words: str) -> int:
    """``han-agent head-end`` in a thread of its own: the hub runs in this loop."""
    return await asyncio.to_thread(main, ["head-end", "--socket", str(settings.control_socket), *words])


def objects(output: str) -> list[Event]:
    return [json.loads(line) for line in output.splitlines()]


def test_read_version_and_activate_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> list[int]:
        settings = settings_in(tmp_path)
        async with running(settings, HCALCS) as (_, radio):
            activate = ("--json", "--timeout", "20", "activate", "--device", HCALCS, "--hash", "AB" * 32)
            codes = [
                await head_end(settings, "--json", "--timeout", "20", "read-version", "--device", HCALCS),
                await head_end(settings, *activate),
            ]
            radio.outcome = ActivationOutcome.HASH_MISMATCH
            codes.append(await head_end(settings, *activate))
            radio.answers = False
            codes.append(await head_end(settings, "read-version", "--device", HCALCS, "--timeout", "0.1"))
            codes.append(await head_end(settings, "--no-wait", "read-version", "--device", HCALCS))
            codes.append(await head_end(settings, "status"))
            return codes

    codes = asyncio.run(scenario())
    assert codes == [0, 0, 1, 1, 0, 0]
    lines = capsys.readouterr().out.splitlines()
    read, done, mismatch = (json.loads(line) for line in lines[:3])
    assert (read["ok"], read["report"]["version"], read["report"]["mac"]) == (True, "1.1.0", "ok")
    assert (done["ok"], done["report"]["code"], done["report"]["signature"]) == (True, 0, "ok")
    assert (mismatch["ok"], mismatch["report"]["result"]) == (False, "hash mismatch")
    assert any("not done: nothing that ends it came in time" in line for line in lines)


def test_update_ppmid_firmware_by_command_is_followed_to_the_alert(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> int:
        settings = settings_in(tmp_path)
        async with running(settings) as (runtime, radio):
            words = ("--timeout", "20", "update-ppmid-firmware", str(ota_file(tmp_path)), "--device", PPMID)
            task = asyncio.create_task(head_end(settings, *words))
            await runtime.history.find(lambda event: event["event"] == "image-on-offer", 0, 10)
            radio.say_ota(ota.QueryNextImageRequest(0x10B5, 1, 0x01000000))
            radio.say_ota(ota.UpgradeEndRequest(0, 0x10B5, 1, 0x01010000))
            radio.say_ota(ota.QueryNextImageRequest(0x10B5, 1, 0x01010000))
            alert = PpmidActivationAlert(MOMENT, 0x01010000, True)
            octets = build.cs09_alert(KEYSTORE, build.Envelope(int(PPMID, 16), ACB, 9), alert)
            up = tunnel.TransferData(5, octets)
            radio.zcl(ZclFrame(Cluster.TUNNELING, up.TO_CLIENT, up.encode(), 9, to_client=True))
            return await task

    assert asyncio.run(scenario()) == 0
    printed = capsys.readouterr().out
    assert "holds version 0x01010000" in printed
    assert "CS09 PPMID Firmware Activation Alert;" in printed
    assert "11.4 for 00DB1234567890B1: done" in printed


def test_the_network_moves_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> tuple[list[int], list[Event]]:
        settings = settings_in(tmp_path)
        async with running(settings):
            codes = [
                await head_end(settings, "move-network", "--channel", "25", "--pan-id", "0x1234"),
                await head_end(settings, "move-network", "--channel", "11", "--json"),
                await head_end(settings, "move-network", "--channel", "27"),
                await head_end(settings, "move-network", "--channel", "11", "--pan-id", "0xFFFF"),
            ]
            return codes, await ask(settings, {"command": "status"})

    codes, (status,) = asyncio.run(scenario())
    assert codes == [0, 0, 2, 2]
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0] == "hub 00DB1234567890B2 restored its network: channel 25, PAN 0x1234"
    assert json.loads(lines[1])["channel"] == 11
    assert "channel: 27 is not a whole number from 11 to 26" in told.err
    assert "pan_id: 65535 is not a whole number from 1 to 65534" in told.err
    assert status["network"] == {"hub_eui": "00DB1234567890B2", "channel": 11, "pan_id": "0x1234"}


def test_devices_are_removed_and_permitted_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> list[int]:
        settings = settings_in(tmp_path)
        async with running(settings):
            return [
                await head_end(settings, "remove-device", "--device", PPMID, "--rejoin"),
                await head_end(settings, "remove-device", "--device", "02DB0000000000FF", "--keep-out"),
                await head_end(settings, "permit-device", "--device", "02DB0000000000FF"),
                await head_end(settings, "permit-device", "--device", "the first one"),
            ]

    codes = asyncio.run(scenario())
    told = capsys.readouterr()
    assert codes == [0, 1, 2, 2], told.err
    assert told.out == f"remove-device: {PPMID}\n"
    assert "02DB0000000000FF: the hub does not know where this device is" in told.err
    assert "02DB0000000000FF: no install code of it in hub.toml's [[devices]]" in told.err


def test_a_duis_request_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    xml = tmp_path / "request.xml"
    image = base64.b64encode(ota_file(tmp_path).read_bytes()).decode()
    body = f"<sr:FirmwareImage>{image}</sr:FirmwareImage><sr:DeviceIDList>{PPMID}</sr:DeviceIDList>"
    xml.write_text(
        '<sr:Request xmlns:sr="http://www.dccinterface.co.uk/ServiceUserGateway"><sr:Header><sr:RequestID>'
        f"90-B3-D5-1F-30-AA-00-02:90-B3-D5-1F-30-AA-00-01:1</sr:RequestID></sr:Header><sr:Body>"
        f"<sr:UpdatePPMIDFirmware>{body}</sr:UpdatePPMIDFirmware></sr:Body></sr:Request>"
    )

    async def scenario() -> tuple[int, int]:
        settings = settings_in(tmp_path)
        async with running(settings) as (runtime, radio):
            task = asyncio.create_task(head_end(settings, "--json", "--timeout", "20", "duis", str(xml)))
            await runtime.history.find(lambda event: event["event"] == "image-on-offer", 0, 10)
            radio.say_ota(ota.UpgradeEndRequest(0x96, 0x10B5, 1, 0x01010000))
            code = await task
            return code, await head_end(settings, "duis", str(tmp_path / "absent.xml"))

    assert asyncio.run(scenario()) == (1, 2)
    output = capsys.readouterr()
    (outcome,) = objects(output.out)
    assert "gives version 0x01010000 back" in str(outcome["outcome"])
    assert "cannot be read" in output.err


def test_no_hub_and_wrong_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    socket_path = str(tmp_path / "control.sock")
    assert main(["head-end", "--socket", socket_path, "status"]) == 1
    assert "start one with" in capsys.readouterr().err

    async def scenario() -> int:
        settings = settings_in(tmp_path)
        async with running(settings):
            return await head_end(settings, "activate", "--device", PPMID)

    assert asyncio.run(scenario()) == 1
    assert "a PPMID activates with 11.4" in capsys.readouterr().err


def report(**fields: object) -> Event:
    return {"event": "report", "verified": True, "duplicate": False} | fields


ASKED = {number: Asked(number, PPMID, 5, "00") for number in ("11.1", "11.2", "11.3", "11.4")}
DATED = Asked("11.3", PPMID, 5, "00", dated=True)
ANSWER = {"service_request": "11.3", "request_counter": 5}


@pytest.mark.parametrize(
    ("asked", "events", "ended"),
    [
        (ASKED["11.1"], [report(alert_code="0x8F72")], True),
        (ASKED["11.1"], [report(alert_code="0x8F1C")], False),
        (ASKED["11.1"], [report(alert_code="0x8F72", verified=False)], None),
        (ASKED["11.1"], [report(alert_code="0x8F72", duplicate=True)], None),
        (ASKED["11.1"], [{"event": "image-queried", "status": "0x98"}], False),
        (
            ASKED["11.4"],
            [{"event": "transfer-ended", "status": "0x00"}, {"event": "image-queried", "status": "0x98"}],
            None,
        ),
        (ASKED["11.4"], [{"event": "transfer-ended", "status": "0x95"}], False),
        (ASKED["11.4"], [report(message_code="0x012B", result="failure")], False),
        (ASKED["11.2"], [{"event": "message-down", "octets": "00", "delivered": False}], False),
        (ASKED["11.2"], [{"event": "message-down", "octets": "01", "delivered": False}], None),
        (ASKED["11.3"], [report(accepted=True, **ANSWER)], True),
        (ASKED["11.3"], [report(accepted=True, service_request="11.3", request_counter=4)], None),
        (DATED, [report(accepted=True, **ANSWER)], None),
        (DATED, [report(accepted=False, **ANSWER)], False),
        (DATED, [report(accepted=True, **ANSWER), report(result="success", **ANSWER)], True),
        (DATED, [report(accepted=True, **ANSWER), report(result="no image", **ANSWER)], False),
    ],
)
def test_what_ends_a_request(asked: Asked, events: list[Event], ended: bool | None) -> None:
    follower = Follower(asked)
    assert [follower.look(event) for event in events][-1] is ended
