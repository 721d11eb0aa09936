"""``han-agent flash wheelhouse``: the wheels of the agent and of what it needs, for a card's machine."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from agent.errors import EXIT_OK
from flash.sd.wheelhouse import fill_wheelhouse


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``flash wheelhouse``."""
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where to put the wheels")
    parser.add_argument("--arch", default="aarch64", help="aarch64 (default) or x86_64, as uname -m says")
    parser.add_argument("--python", default="3.11", metavar="3.N", help="bookworm 3.11 (default), trixie 3.13")
    parser.add_argument("--source", type=Path, metavar="DIR", help="the checkout to build the agent from")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Exit code 0: the folder holds everything that a card needs."""
    wheels = fill_wheelhouse(args.output, args.arch, args.python, args.source)
    octets = sum(wheel.stat().st_size for wheel in wheels)
    if args.json:
        print(
            json.dumps({"wheelhouse": str(args.output), "wheels": [wheel.name for wheel in wheels], "octets": octets})
        )
    else:
        print(
            f"{args.output}: {len(wheels)} wheels, {octets / 2**20:.0f} MiB, for {args.arch} with Python {args.python}"
        )
    return EXIT_OK
