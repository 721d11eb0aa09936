"""``han-agent keys``: test identities for a device, its head end and its manufacturer."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

from agent.cli import keys_x509
from agent.errors import EXIT_OK
from agent.events import format_eui
from flash.identity import DEFAULT_DEVICE, Identities, new_identities


def configure(parser: argparse.ArgumentParser) -> None:
    """The commands of the group."""
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    new = commands.add_parser(
        "new",
        help="make a device's identity, and the parties round it where there are none yet",
        description="Make test identities. A second call with another --device adds it to the same parties; "
        "nothing is ever overwritten.",
    )
    new.add_argument("--directory", type=Path, required=True, metavar="DIR", help="where to put them")
    new.add_argument("--device", type=keys_x509.parse_eui, default=DEFAULT_DEVICE, metavar="EUI", help="16 hex digits")
    new.add_argument("--role", default="ppmid", help="ppmid or hcalcs (default ppmid)")
    new.add_argument("--json", action="store_true", help="print one JSON object instead")
    words = "make signing requests for a device's two certificates, for a CA of your own"
    keys_x509.configure_csr(commands.add_parser("csr", help=words, description=words))
    words = "import X.509 certificates of a CA of your own: the device's, the ACB's, the supplier's"
    keys_x509.configure_import(commands.add_parser("import", help=words, description=words))


def run(args: argparse.Namespace) -> int:
    """The subcommand."""
    return {"new": _run_new, "csr": keys_x509.run_csr, "import": keys_x509.run_import}[args.command](args)


def _run_new(args: argparse.Namespace) -> int:
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
