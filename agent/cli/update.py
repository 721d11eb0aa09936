"""``han-agent update``: what an engineer may do to an update under way."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from agent.cli.engineer.cancelling import Cancelled, cancel
from agent.errors import EXIT_OK, EXIT_REFUSED


def configure(parser: argparse.ArgumentParser) -> None:
    """The one command of the group."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    words = "drop a transfer or a pending image; exit code 1 when there is none to drop"
    action = actions.add_parser("cancel", help=words, description=f"{words}. Works while the device runs, too.")
    action.add_argument("--config", type=Path, required=True, metavar="device.toml")
    action.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Cancel and say what became of it."""
    done = cancel(args.config)
    if args.json:
        print(json.dumps({"cancelled": done.dropped, "by_running_device": done.by_device, "state_before": done.state}))
    else:
        print(_text(done))
    return EXIT_OK if done.dropped else EXIT_REFUSED


def _text(done: Cancelled) -> str:
    if done.dropped is None:
        if done.state in ("activating", "trial"):
            return "nothing cancelled: an activation is going on; a trial is ended with han-agent slots mark-bad"
        return "nothing to cancel: no transfer and no pending image"
    what = done.dropped
    where = f"{what['offset_octets']} of {what['total_octets']} octets were here" if what["total_octets"] else ""
    return (
        f"cancelled {what['version']} for slot {what['slot']} ({what['state']}, {where}). The hub may offer it again: "
        "withdraw it there. A dated command stays recorded and will report that there is no image."
    )
