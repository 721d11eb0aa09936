"""``han-agent support-bundle``: one redacted archive for a report, and what is inside."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from agent.cli.engineer.bundle import Wanted, collect, write_bundle
from agent.errors import EXIT_OK


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of ``support-bundle``."""
    parser.add_argument("--config", type=Path, required=True, metavar="device.toml")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="bundle.tar.gz")
    parser.add_argument(
        "--log", type=Path, action="append", default=[], metavar="FILE",
        help="a log file, as often as needed (default: every *.log beside device.toml)",
    )  # fmt: skip
    parser.add_argument(
        "--capture", type=Path, metavar="FILE",
        help="a capture of the air (default: the newest *.pcapng beside device.toml, or in ../air)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Collect, write, and list what is inside."""
    bundle = collect(args.config, Wanted(args.log, args.capture))
    write_bundle(bundle, args.output)
    if args.json:
        members = {member.name: len(member.octets) for member in bundle.members}
        print(json.dumps({"bundle": str(args.output), "members": members, "left_out": bundle.left_out}))
        return EXIT_OK
    for member in bundle.members:
        print(f"{member.name:<20}{len(member.octets):>9} octets  {member.what}")
    for reason in bundle.left_out:
        print(f"left out: {reason}")
    print(f"{args.output}: without install code and keys; look through it before you send it")
    return EXIT_OK
