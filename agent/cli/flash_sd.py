"""``han-agent flash sd``: a card's image, or the card itself."""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from agent.assembly import check_identity
from agent.errors import EXIT_OK, SettingsError
from boards.raspberry_pi.profile import load_profile
from flash.sd.card import Card, build_card
from flash.sd.device import read_device
from flash.sd.disk import Disk, find_disk, judge_disk, write_disk
from flash.sd.inputs import Inputs
from flash.sd.layout import Table, Wishes
from flash.sd.source import Show

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
STEPS = {
    "copy": "copying the image",
    "partitions": "adding partitions",
    "agent": "unpacking the agent",
    "root": "writing into the root file system",
    "data": "making the data file system",
    "write": "writing the card",
    "compare": "reading it back",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``flash sd``."""
    parser.add_argument("--image", type=Path, required=True, help="Raspberry Pi OS, .img or .img.xz, as published")
    parser.add_argument("--profile", default="", help="the board (han-agent board list); default: that of device.toml")
    parser.add_argument(
        "--identity", type=Path, required=True, metavar="DIR", help="a device's folder, made by flash provision"
    )
    parser.add_argument("--firmware", type=Path, required=True, help="the first firmware, for slot A")
    parser.add_argument("--wheelhouse", type=Path, required=True, metavar="DIR", help="made by flash wheelhouse")
    parser.add_argument("--output", type=Path, metavar="card.img", help="the card's image to make")
    parser.add_argument("--device", type=Path, metavar="/dev/sdX", help="or the card itself, in a reader")
    parser.add_argument("--yes", action="store_true", help="with --device: do not ask")
    parser.add_argument("--i-know", action="store_true", help="with --device: it is a card though it looks like none")
    parser.add_argument("--table", choices=[table.value for table in Table], help="default: the image's own")
    parser.add_argument(
        "--root-size", type=parse_size, metavar="SIZE", help="grow the root, as in 6G; default: as it is"
    )
    parser.add_argument("--data-size", type=parse_size, default="256M", metavar="SIZE", help="default 256M")
    parser.add_argument("--seed", default="", help="names partitions and file systems; default: the device's EUI")
    parser.add_argument("--arch", default="", help="aarch64 or x86_64; default: asks the image")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Exit code 0: the card's image is there."""
    if (args.output is None) == (args.device is None):
        raise SettingsError("name the card's image with --output card.img, or the card itself with --device /dev/sdX")
    inputs = read_inputs(args)
    with _bar(args.json) as bar:
        show = _show(bar)
        card = _to_device(args, inputs, show) if args.device else build_card(inputs, args.output, show)
        _finish(bar)
    print(json.dumps(card_facts(card)) if args.json else card_text(card))
    return EXIT_OK


def _to_device(args: argparse.Namespace, inputs: Inputs, show: Show) -> Card:
    """Looked at twice: a desktop may mount a card while its image is made."""
    judge_disk(find_disk(args.device), 0, i_know=args.i_know)
    if not args.yes:
        _ask(find_disk(args.device), f"{inputs.image.name} with {inputs.firmware.name} for {inputs.identity}")
    with tempfile.TemporaryDirectory(prefix="han-card-") as folder:
        card = build_card(inputs, Path(folder) / "card.img", show)
        disk = find_disk(args.device)
        judge_disk(disk, card.layout.size_octets, i_know=args.i_know)
        write_disk(card.path, disk, show)
    return replace(card, path=args.device)


def _ask(disk: Disk, what: str) -> None:
    """Raises SettingsError unless the person at the terminal types what disk it is."""
    lost = f"with {', '.join(disk.partitions)}" if disk.partitions else "with no partitions"
    print(f"{disk.path}: {disk.phrase}, {disk.transport or disk.kind}, {lost}. All that is on it will be lost.")
    print(f"What it gets: {what}")
    if not sys.stdin.isatty():
        raise SettingsError("there is no terminal to ask at: --yes if this is the disk")
    if input(f"Type {disk.phrase!r} to write it: ").strip() != disk.phrase:
        raise SettingsError("that is not what was asked for; nothing was written")


def read_inputs(args: argparse.Namespace) -> Inputs:
    """What the options name; the device's own folder is checked first. Raises SettingsError, StorageError."""
    device = read_device(args.identity)
    check_identity(device.settings)
    name = args.profile or device.settings.board.profile
    if not name:
        raise SettingsError("name the board with --profile, as in raspberry-pi-4 (han-agent board list)")
    table = Table(args.table) if args.table else None
    return Inputs(
        image=args.image,
        profile=load_profile(name),
        identity=args.identity,
        firmware=args.firmware,
        wheelhouse=args.wheelhouse,
        wishes=Wishes(args.seed, table, args.root_size, args.data_size),
        arch=args.arch,
    )


def parse_size(text: str) -> int:
    """Octets, or with K, M, G as powers of 1024."""
    match = re.fullmatch(r"(\d+)([KMG]?)(?:iB)?", text.strip())
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 256M or 6G")
    return int(match[1]) * UNITS[match[2]]


def _bar(quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        console=Console(stderr=True),
        disable=quiet or not sys.stderr.isatty(),
    )


def _show(bar: Progress) -> Show:
    """One bar a step, on a terminal."""
    tasks: dict[str, TaskID] = {}

    def show(step: str, done: int, total: int) -> None:
        if step not in tasks:
            _finish(bar)
            tasks[step] = bar.add_task(STEPS[step], total=None)
        if done:
            bar.update(tasks[step], completed=done, total=total)

    return show


def _finish(bar: Progress) -> None:
    """What is behind us is done; most steps cannot tell how far they are."""
    for task in bar.tasks:
        bar.update(task.id, completed=1, total=1)


def no_show(_step: str, _done: int, _total: int) -> None:
    """Nobody looks."""


def card_facts(card: Card) -> dict[str, object]:
    """For scripts."""
    layout = card.layout
    return {
        "output": str(card.path),
        "already": card.already,
        "eui": card.eui,
        "firmware": card.firmware,
        "system": card.system,
        "python": card.python,
        "arch": card.arch,
        "root_free_octets": card.root_free_octets,
        "inputs": card.inputs,
        "octets": layout.size_octets,
        "table": layout.table.value,
        "partitions": [
            {
                "number": one.number,
                "part": one.part.value if one.part else "",
                "start_octets": one.start_octets,
                "size_octets": one.size_octets,
                "partuuid": layout.partuuid(one.number),
            }
            for one in layout.partitions
        ],
    }


def card_text(card: Card) -> str:
    """For a person."""
    if card.already:
        return f"{card.path}: is there already, made of these inputs; nothing written"
    lines = [
        f"{card.path}: {card.layout.size_octets >> 20} MiB, device {card.eui}",
        f"  slot A holds {card.firmware}, confirmed",
        f"  {card.system}, Python {card.python}, {card.arch}; {card.root_free_octets >> 20} MiB of the root are free",
    ]
    for one in card.layout.partitions:
        what = one.part.value if one.part else ("extended" if one.kind == "f" else "of the image")
        size = f"{one.size_octets / 2**20:8.0f} MiB"
        lines.append(f"  {one.number}  {what:15} {size}  PARTUUID={card.layout.partuuid(one.number)}")
    return "\n".join(lines)
