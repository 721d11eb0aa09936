"""``han-agent events``: the event and security logs of a device, oldest first."""

from __future__ import annotations

import argparse
import json
from contextlib import closing
from pathlib import Path

from agent.cli.engineer.describing import describe_event
from agent.cli.engineer.looking import EVENTS_READ
from agent.cli.engineer.status_text import render_event
from agent.errors import EXIT_OK
from agent.settings import load_device
from agent.update.database import read_database
from agent.update.journal import Journal, LoggedEvent


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of ``events``."""
    parser.add_argument("--config", type=Path, required=True, metavar="device.toml")
    parser.add_argument("--log", choices=("security", "event"), help="one log alone (default: both)")
    parser.add_argument("--limit", type=_limit, default=100, metavar="N", help="the newest N (default 100)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Read and print."""
    events = _read(load_device(args.config).storage.database, args.log, args.limit)
    if events is None:
        print("" if args.json else "no events: the device has never run", end="" if args.json else "\n")
        return EXIT_OK
    for event in map(describe_event, events):
        print(json.dumps(event) if args.json else render_event(event))
    return EXIT_OK


def _read(database: Path, log: str | None, limit: int) -> list[LoggedEvent] | None:
    """None for a device without a journal."""
    if not database.exists():
        return None
    with closing(read_database(database)) as opened:
        return Journal(opened).events(log, limit)


def _limit(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= EVENTS_READ:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {EVENTS_READ}")
    return int(text)
