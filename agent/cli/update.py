"""``han-agent update``: what an engineer may do to an update under way."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from agent.cli.engineer.cancelling import Cancelled, cancel
from agent.cli.engineer.describing import describe_failed_version
from agent.cli.engineer.retrying import forget_failed_version
from agent.errors import EXIT_OK, EXIT_REFUSED
from agent.image.version import Version


def configure(parser: argparse.ArgumentParser) -> None:
    """The commands of the group."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, words in (
        ("cancel", "drop a transfer or a pending image; exit code 1 when there is none to drop"),
        ("retry", "let a version be fetched again whose trial failed here; exit code 1 when none had"),
    ):
        action = actions.add_parser(name, help=words, description=f"{words}. Works while the device runs, too.")
        action.add_argument("--config", type=Path, required=True, metavar="device.toml")
        action.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Do it and say what became of it."""
    return _retry(args) if args.action == "retry" else _cancel(args)


def _cancel(args: argparse.Namespace) -> int:
    done = cancel(args.config)
    if args.json:
        print(json.dumps({"cancelled": done.dropped, "by_running_device": done.by_device, "state_before": done.state}))
    else:
        print(_text(done))
    return EXIT_OK if done.dropped else EXIT_REFUSED


def _retry(args: argparse.Namespace) -> int:
    done = forget_failed_version(args.config)
    if args.json:
        fields = None if done.failed is None else describe_failed_version(done.failed)
        print(json.dumps({"forgotten": fields, "by_running_device": done.by_device}))
    elif done.failed is None:
        print("nothing to retry: no version is remembered to have failed on this device")
    else:
        when = "it asks the hub now" if done.by_device else "it asks the hub when it starts"
        print(
            f"forgotten: {Version.from_file_version(done.failed.file_version)} failed its trial here "
            f"({done.failed.reason.replace('_', ' ')}). The device may fetch it again; {when}."
        )
    return EXIT_OK if done.failed else EXIT_REFUSED


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
