"""``han-agent air``: emulated CC2652s on one virtual air, each on a TCP port or a pty.

On SIGUSR1 it tells how long each radio was awake and how often it polled, as the radio measured it, in the air's time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
from pathlib import Path

from agent.errors import EXIT_OK, SettingsError
from agent.events import format_eui
from boards.virtual.air.medium import AirSettings
from boards.virtual.ncp.board import FIRST_EUI, BoardSettings, ChipSettings, VirtualBoard

MAXIMUM_SPEED = 1000.0
MAXIMUM_DELAY_S = 10.0
TRANSFER_RANGE_OCTETS = (80, 1500)


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of ``air``."""
    add = parser.add_argument
    add("--ncp", action="append", metavar="ADDRESS", default=[],
        help="a chip on tcp://127.0.0.1:PORT (0 picks one), pty, or pty:LINK; once for each chip")  # fmt: skip
    add("--eui", action="append", metavar="EUI", default=[], help="16 hex digits, for the chips in order")
    add("--speed", type=float, default=1.0, help="times as fast as real air (the hosts' timers stay real)")
    add("--loss", type=float, default=0.0, help="probability that one transmission attempt fails, 0 to 1")
    add("--duplicate", type=float, default=0.0, help="probability that a receiver gets a frame twice, 0 to 1")
    add("--delay", type=float, default=0.0, metavar="S", help="an attempt waits up to this many seconds of air time")
    add("--seed", type=int, help="repeat the same losses, duplicates and draws")
    add("--capture", type=Path, metavar="FILE", help="write what crosses the air as pcapng")
    add("--nv-dir", type=Path, metavar="DIR", help="keep the chips' NV memory here over a restart")
    add("--maximum-transfer", type=int, default=1500, metavar="OCTETS",
        help="largest APS message that the chips take (a real one said 160)")  # fmt: skip
    add("--json", action="store_true", help="print one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Power the chips up and serve until SIGINT or SIGTERM."""
    return asyncio.run(_serve(settings_of(args), args.json))


def settings_of(args: argparse.Namespace) -> BoardSettings:
    """What the options mean. Raises SettingsError naming the option."""
    if not args.ncp:
        raise SettingsError("--ncp: name at least one chip, such as --ncp tcp://127.0.0.1:9990 --ncp pty")
    euis = [parse_eui(text) for text in args.eui]
    euis += [FIRST_EUI + number for number in range(len(euis), len(args.ncp))]
    if len(euis) > len(args.ncp):
        raise SettingsError(
            f"--eui: {len(euis)} given for {len(args.ncp)} chips; give one --ncp more, or one --eui less"
        )
    if len(set(euis)) < len(euis):
        raise SettingsError("--eui: two chips with one EUI; give each its own")
    low, high = TRANSFER_RANGE_OCTETS
    transfer = int(_between("--maximum-transfer", args.maximum_transfer, low, high))
    return BoardSettings(
        chips=tuple(ChipSettings(address, eui, transfer) for address, eui in zip(args.ncp, euis, strict=True)),
        speed=_between("--speed", args.speed, 0.01, MAXIMUM_SPEED),
        air=AirSettings(
            loss=_between("--loss", args.loss, 0.0, 1.0),
            duplicate=_between("--duplicate", args.duplicate, 0.0, 1.0),
            delay_s=_between("--delay", args.delay, 0.0, MAXIMUM_DELAY_S),
        ),
        seed=args.seed,
        capture=args.capture,
        nv_dir=args.nv_dir,
    )


def parse_eui(text: str) -> int:
    """16 hex digits, with or without colons or dashes between the octets."""
    digits = text.replace(":", "").replace("-", "")
    if not re.fullmatch(r"[0-9A-Fa-f]{16}", digits) or int(digits, 16) in (0, 0xFFFFFFFFFFFFFFFF):
        raise SettingsError(f"--eui {text}: not an EUI; write 16 hex digits, such as 00124B0026520001")
    return int(digits, 16)


def _between(option: str, value: float, low: float, high: float) -> float:
    if not low <= value <= high:
        raise SettingsError(f"{option} {value:g}: must lie between {low:g} and {high:g}")
    return value


async def _serve(settings: BoardSettings, as_json: bool) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with VirtualBoard(settings) as board:
        for address, chip in zip(board.addresses, board.chips, strict=True):
            eui = format_eui(chip.eui)
            print(json.dumps({"ncp": address, "eui": eui}) if as_json else f"{address}  EUI {eui}")
        loop.add_signal_handler(signal.SIGUSR1, _tell_use, board, as_json)
        print(json.dumps({"ready": True}) if as_json else "ready", flush=True)
        await stop.wait()
    return EXIT_OK


def _tell_use(board: VirtualBoard, as_json: bool) -> None:
    for number, use in board.radio_use().items():
        eui = format_eui(number)
        values = {"seconds": round(use.seconds, 3), "awake_s": round(use.awake_s, 3), "polls": use.polls}
        words = f"{eui}  awake {use.awake_s:.3f} s of {use.seconds:.3f} s of air ({use.share:.2%}), {use.polls} polls"
        print(json.dumps({"radio": eui, **values}) if as_json else words, flush=True)
