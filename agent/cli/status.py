"""``han-agent status``: everything that is known of a device, from its files, whether it runs or not.

Exit code 0 when all of it could be read, else the code of the first problem (4: a slot, the boot state, the journal or
the keys), with everything else printed all the same.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from agent.cli.engineer.describing import describe
from agent.cli.engineer.looking import look
from agent.cli.engineer.status_text import render
from agent.errors import EXIT_OK


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of ``status``."""
    parser.add_argument("--config", type=Path, required=True, metavar="device.toml")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Look and print."""
    seen = look(args.config)
    status = describe(seen)
    print(json.dumps(status) if args.json else render(status))
    return seen.problems[0].exit_code if seen.problems else EXIT_OK
