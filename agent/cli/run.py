"""``han-agent run``: the device, kept running as the systemd unit keeps it on a Pi."""

from __future__ import annotations

import argparse
from pathlib import Path

from agent.boot.places import Places
from agent.presence import check_at_rest
from agent.settings import load_device
from boards.virtual.unit import run_device


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="device.toml")


def run(args: argparse.Namespace) -> int:
    settings = load_device(args.config)  # a wrong file is told here, once, and not at every start
    Places.load(args.config)
    check_at_rest(settings.storage.database)  # before the first stage: it would spend the tries of a trial that runs
    return run_device(args.config)
