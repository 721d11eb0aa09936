"""``han-agent flash``: one module a command."""

from __future__ import annotations

import argparse
import importlib

COMMANDS: dict[str, tuple[str, str]] = {
    "radio": ("agent.cli.flash_radio", "Program the CC2652 over its ROM serial bootloader."),
    "sd": ("agent.cli.flash_sd", "Make an SD card out of a Raspberry Pi OS image: slots, agent, identity, firmware."),
    "wheelhouse": ("agent.cli.flash_wheelhouse", "Fetch the wheels that a card's agent is installed from."),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """The commands of the group."""
    commands = parser.add_subparsers(dest="command", metavar="WHAT", required=True)
    for name, (module, help_line) in COMMANDS.items():
        command = commands.add_parser(name, help=help_line, description=help_line)
        loaded = importlib.import_module(module)
        loaded.configure(command)
        command.set_defaults(act=loaded.run)


def run(args: argparse.Namespace) -> int:
    """What the command says."""
    return int(args.act(args))
