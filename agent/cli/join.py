"""``han-agent join``: let the device join a network, and say step by step what happens.

Exit code 0 when it has joined and the hub answers, 1 with the reason when not, 3 when it is the radio.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from agent import logs
from agent.cli.engineer.membership import Joined, Told, join
from agent.install_codes import parse_code

FIRST_CHANNEL, LAST_CHANNEL = 11, 26


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of ``join``."""
    parser.epilog = (
        "Join a network, establish a key with the hub, and say what happens. Works while the device runs, too. "
        "An install code that has worked is kept for the next time, before device.toml's until that one is changed."
    )
    parser.add_argument("--config", type=Path, required=True, metavar="device.toml")
    parser.add_argument("--install-code", metavar="HEX", help="from the label, with its CRC (default: the one known)")
    parser.add_argument(
        "--channel", type=_channel, action="append", default=[], metavar="N", help="11 to 26, again for more than one"
    )
    parser.add_argument("--wait", type=float, default=300.0, metavar="SECONDS", help="patience (default 300)")
    parser.add_argument("--json", action="store_true", help="one JSON object at the end")


def run(args: argparse.Namespace) -> int:
    """Join and say how it ended."""
    logs.configure_quiet()
    code = parse_code(args.install_code, "--install-code") if args.install_code else b""
    say = (lambda _step: None) if args.json else (lambda step: print(step, flush=True))
    done = join(args.config, Told(code, tuple(args.channel), args.wait), say)
    if args.json:
        print(json.dumps(_fields(done)))
    elif done.ending.reason:
        print(f"not joined: {done.ending.reason}", file=sys.stderr)
    else:
        print("joined")
    return done.ending.exit_code


def _fields(done: Joined) -> dict[str, object]:
    story = done.story
    return {
        "joined": not done.ending.reason,
        "reason": done.ending.reason or None,
        "by_running_device": done.by_device,
        "network": story.network,
        "hub": story.hub or None,
        "suite": story.suite,
        "steps": story.steps,
    }


def _channel(text: str) -> int:
    if not text.isdigit() or not FIRST_CHANNEL <= int(text) <= LAST_CHANNEL:
        raise argparse.ArgumentTypeError(f"{text!r} is not a channel of the 2.4 GHz band (11 to 26)")
    return int(text)
