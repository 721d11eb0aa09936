"""``han-agent leave``: let the device leave its network, and forget it and the key."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from agent import logs
from agent.cli.engineer.membership import Left, leave
from agent.errors import EXIT_OK, EXIT_REFUSED


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of ``leave``."""
    parser.epilog = (
        "Say goodbye to the hub, forget network and link key. Works while the device runs, too. It joins again when "
        "han-agent join says so, or when it is started anew and knows its install code."
    )
    parser.add_argument("--config", type=Path, required=True, metavar="device.toml")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Leave and say so."""
    logs.configure_quiet()
    done = leave(args.config)
    if args.json:
        fields = {"left": not done.obstacle, "reason": done.obstacle or None}
        print(json.dumps({**fields, "by_running_device": done.by_device, "said_goodbye": done.goodbye}))
    elif done.obstacle:
        print(f"not left: {done.obstacle}", file=sys.stderr)
    else:
        print(_text(done))
    return EXIT_REFUSED if done.obstacle else EXIT_OK


def _text(done: Left) -> str:
    if done.by_device:
        return "left: the running device joins again when han-agent join says so, or when it is started anew"
    if not done.goodbye:
        return "the chip was on no network that it could say goodbye to; it has forgotten whatever it remembered"
    return "left: the chip has said goodbye and forgotten network and key; han-agent join, or run, joins again"
