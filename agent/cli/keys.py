"""``han-agent keys``: test identities for a device, its head end and its manufacturer."""

from __future__ import annotations

import argparse
import json
import re
from datetime import UTC, datetime
from pathlib import Path

from agent.errors import EXIT_OK
from agent.events import format_eui
from flash.identity import DEFAULT_DEVICE, Identities, new_identities


def configure(parser: argparse.ArgumentParser) -> None:
    """The one command of the group."""
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    new = commands.add_parser(
        "new",
        help="make a device's identity, and the parties round it where there are none yet",
        description="Make test identities. A second call with another --device adds it to the same parties; "
        "nothing is ever overwritten.",
    )
    new.add_argument("--directory", type=Path, required=True, metavar="DIR", help="where to put them")
    new.add_argument("--device", type=_eui, default=DEFAULT_DEVICE, metavar="EUI", help="16 hex digits")
    new.add_argument("--role", default="ppmid", help="ppmid or hcalcs (default ppmid)")
    new.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(args: argparse.Namespace) -> int:
    """Make them and say what goes where."""
    made = new_identities(args.directory, args.device, args.role, datetime.now(UTC))
    if args.json:
        print(json.dumps(_facts(made)))
        return EXIT_OK
    print(f"Device {format_eui(made.device_eui)}, ACB {format_eui(made.acb_eui)}, ", end="")
    print(f"supplier {format_eui(made.supplier_eui)}: for a laboratory only.")
    for path, what in (
        (made.device_keys, "goes to the device: storage.keys of its device.toml"),
        (made.install_code_file, "install code: radio.install_code of the device, and the hub that lets it join"),
        (made.head_end_keys, "stays with the bench: ACB's and supplier's keys, every device's certificates"),
        (made.manufacturer_key, "stays with the manufacturer: signs images (image sign --key)"),
        (made.certificate_authority, "stays with whoever adds devices: the test CA"),
    ):
        print(f"  {path}\n      {what}")
    return EXIT_OK


def _eui(text: str) -> int:
    digits = text.replace(":", "").replace("-", "")
    if not re.fullmatch(r"[0-9A-Fa-f]{16}", digits):
        raise argparse.ArgumentTypeError(f"{text!r} is not an EUI of 16 hex digits")
    return int(digits, 16)


def _facts(made: Identities) -> dict[str, str]:
    return {
        "device": format_eui(made.device_eui),
        "acb": format_eui(made.acb_eui),
        "supplier": format_eui(made.supplier_eui),
        "install_code": made.install_code.hex().upper(),
        "device_keys": str(made.device_keys),
        "install_code_file": str(made.install_code_file),
        "head_end_keys": str(made.head_end_keys),
        "manufacturer_key": str(made.manufacturer_key),
        "certificate_authority": str(made.certificate_authority),
    }
