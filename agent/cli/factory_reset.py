"""``han-agent factory-reset``: forget the network, the journal, or everything."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from agent import logs
from agent.cli.engineer.resetting import KEPT, SCOPES, reset
from agent.errors import EXIT_OK, EXIT_REFUSED
from agent.settings import load_device


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of ``factory-reset``."""
    parser.add_argument("scope", choices=tuple(SCOPES), metavar="network|journal|everything")
    parser.add_argument("--config", type=Path, required=True, metavar="device.toml")
    parser.add_argument("--yes", action="store_true", help="do it; without, only say what would be forgotten")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Say what goes, and with --yes let it go."""
    logs.configure_quiet()
    scope = SCOPES[args.scope]
    load_device(args.config)  # a wrong file is told before anybody says --yes to it
    done = reset(args.config, scope) if args.yes else None
    if args.json:
        fields = {"scope": args.scope, "done": done is not None, "forgets": scope.words, "keeps": KEPT}
        if done is not None:
            fields |= {"left_network": done.left, "own_counter": done.own_counter or None}
        print(json.dumps(fields))
        return EXIT_OK if done else EXIT_REFUSED
    print("forgotten:" if done else "would be forgotten:")
    for words in scope.words:
        print(f"  {words}")
    print(f"kept:\n  {KEPT}")
    if done is None:
        print("nothing was done: say --yes to do it")
        return EXIT_REFUSED
    if done.left is False:
        print("The chip was on no network that it could say goodbye to; it has forgotten whatever it remembered.")
    if done.own_counter:
        print(f"The own counter stays at {done.own_counter}.")
    return EXIT_OK
