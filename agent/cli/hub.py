"""``han-agent hub``: the bench's Communications Hub and head end, on a second CC2652 or an emulated one."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from pathlib import Path

from agent import logs
from agent.errors import EXIT_OK
from agent.zigbee.clusters import DeviceId
from boards.bench import happenings
from boards.bench.answers import INPUT_CLUSTERS, OUTPUT_CLUSTERS
from boards.bench.happenings import TransferProgress
from boards.bench.history import Event
from boards.bench.hub_runtime import HubRuntime
from boards.bench.report import Report
from boards.bench.settings import HubSettings, load_hub
from boards.znp_radio import ZnpRadio

PERCENT_SHOWN = 10  # a person sees every tenth percent of a transfer; --json has each


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of ``hub``."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="hub.toml")
    parser.add_argument(
        "--restore",
        type=Path,
        metavar="FILE",
        help="take another hub's place by a copy of its network.json: its devices come back with hashed keys",
    )
    parser.add_argument("--json", action="store_true", help="print what happens as one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    logs.configure()
    return asyncio.run(_serve(load_hub(args.config), args.json, args.restore))


async def _serve(settings: HubSettings, as_json: bool, restore: Path | None) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    radio = settings.radio
    inputs, outputs = tuple(map(int, INPUT_CLUSTERS)), tuple(map(int, OUTPUT_CLUSTERS))
    device = int(DeviceId.ENERGY_SERVICE_INTERFACE)
    port = ZnpRadio(radio.path, radio.endpoint, radio.profile, device, inputs, outputs, baudrate=radio.baudrate)
    show = _print_json if as_json else _print_line
    await HubRuntime(settings, port, show, restore=restore).run(stop)
    return EXIT_OK


def _print_json(_happening: object, event: Event) -> None:
    print(json.dumps(event), flush=True)


def _print_line(happening: object, event: Event) -> None:
    if isinstance(happening, Report) and happening.duplicate:
        return  # a person sees a message once; --json and the log say that it came again
    if isinstance(happening, TransferProgress) and happening.size:
        percent = 100 * happening.offset // happening.size
        if percent % PERCENT_SHOWN and happening.blocks != 1:
            return
    clock = str(event["time"])[11:19]
    print(f"{clock}  {happenings.line(happening)}", flush=True)
