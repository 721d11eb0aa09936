"""The command line: one module a command group, each with ``configure(parser)`` and ``run(args)``.

A module may only parse, call, print and return an exit code; it is imported only when its group is asked for, so that
``han-agent image inspect`` does not pay for the radio.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import sys
from collections.abc import Mapping

from agent.errors import EXIT_USAGE, HanError

# name -> (module, one line of help); the module defines configure(parser) and run(args) -> exit code, or COMMANDS of
# the same shape
GROUPS: dict[str, tuple[str, str]] = {
    "demo": ("agent.cli.demo", "Update a device over the air on the virtual board, start to end."),
    "run": ("agent.cli.run", "Run the device: first stage, then the image that it verified."),
    "air": ("agent.cli.air", "Emulated CC2652 radios on a virtual air."),
    "head-end": ("agent.cli.head_end", "Service requests to the devices of a running hub."),
    "hub": ("agent.cli.hub", "The bench's Communications Hub and head end on a coordinator radio."),
    "image": ("agent.cli.image", "Build, sign, inspect and verify firmware images."),
    "keys": ("agent.cli.keys", "Make test identities: keys, certificates, install codes."),
    "provision": ("agent.cli.provision", "Give a new device its first firmware."),
    "status": ("agent.cli.status", "Everything that is known of a device: network, firmware, update, counters, logs."),
    "events": ("agent.cli.events", "The event and security logs of a device."),
    "join": ("agent.cli.join", "Let the device join a network, and say step by step what happens."),
    "leave": ("agent.cli.leave", "Let the device leave its network."),
    "update": ("agent.cli.update", "Drop a transfer or a pending image; let a failed version be fetched again."),
    "support-bundle": ("agent.cli.support_bundle", "One redacted archive for a report."),
    "factory-reset": ("agent.cli.factory_reset", "Forget the network, the journal or everything."),
    "slots": ("agent.cli.slots", "Look at the firmware slots, verify them, overrule them."),
    "board": ("agent.cli.board", "What machine this is, which radio answers, whether the pins are wired."),
    "flash": ("agent.cli.flash", "Program the radio, make SD cards, provision devices."),
    "gbcs": ("agent.cli.gbcs", "Decode and check GBCS messages."),
}


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``han-agent``. Returns the exit code.

    HanError becomes one line on standard error, and with ``--json`` one object on standard output as well, of the shape
    that the hub's control socket answers with.
    """
    arguments = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="han-agent", description="Firmware agent for a GB smart metering HAN.")
    parser.add_argument("--version", action="version", version=f"han-agent {_version()}")
    _add_commands(parser, "COMMAND", GROUPS, [word for word in arguments if not word.startswith("-")])
    args = parser.parse_args(arguments)
    try:
        return int(args.run(args))
    except HanError as error:
        print(f"han-agent: {error}", file=sys.stderr)
        if getattr(args, "json", False):
            print(json.dumps({"ok": False, "error": str(error), "exit_code": error.exit_code}))
        return error.exit_code
    except KeyboardInterrupt:
        print("han-agent: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return EXIT_USAGE


def _add_commands(
    parser: argparse.ArgumentParser, metavar: str, commands: Mapping[str, tuple[str, str]], words: list[str]
) -> None:
    """Those of ``commands``; the one that ``words`` begins with has its module imported for its options."""
    added = parser.add_subparsers(dest=f"chosen_{metavar.lower()}", metavar=metavar, required=True)
    for name, (module, help_line) in commands.items():
        command = added.add_parser(name, help=help_line, description=help_line)
        if name != next(iter(words), ""):
            continue
        loaded = importlib.import_module(module)
        if hasattr(loaded, "COMMANDS"):
            _add_commands(command, "WHAT", loaded.COMMANDS, words[1:])
        else:
            loaded.configure(command)
            command.set_defaults(run=loaded.run)


def _version() -> str:
    try:
        return importlib.metadata.version("han-agent")
    except importlib.metadata.PackageNotFoundError:
        return "of a checkout that is not installed"
