"""``han-agent keys``: test identities for a device, its head end and its manufacturer."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

from agent.cli import keys_x509, keys_zigbee
from agent.errors import EXIT_OK, FormatError, SettingsError
from agent.events import format_eui
from agent.zigbee.cbke.install_code import add_crc, link_key, parse_install_code
from flash.identity import DEFAULT_DEVICE, Identities, new_hub, new_identities


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
    new.set_defaults(act=_new)
    words = "make signing requests for a device's two certificates, for a CA of your own"
    csr = commands.add_parser("csr", help=words, description=words)
    keys_x509.configure_csr(csr)
    csr.set_defaults(act=keys_x509.run_csr)
    words = "import X.509 certificates of a CA of your own: the device's, the ACB's, the supplier's"
    x509 = commands.add_parser("import", help=words, description=words)
    keys_x509.configure_import(x509)
    x509.set_defaults(act=keys_x509.run_import)
    _configure_hub(commands.add_parser("hub", help="make a Communications Hub's keys, for the EUI of its radio"))
    keys_zigbee.configure(commands)
    _configure_link_key(commands.add_parser("link-key", help="print the link key of an install code, checking its CRC"))


def _configure_hub(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--directory", type=Path, required=True, metavar="DIR", help="of an earlier keys new")
    parser.add_argument(
        "--hub", type=keys_x509.parse_eui, required=True, metavar="EUI", help="16 hex digits: that of its radio"
    )
    parser.set_defaults(act=_hub)


def _configure_link_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--add-crc", action="store_true", help="the code is without its CRC: print both")
    parser.add_argument("code", metavar="CODE", help="hex as printed on the label")
    parser.set_defaults(act=_link_key)


def run(args: argparse.Namespace) -> int:
    """What the command says."""
    return int(args.act(args))


def _hub(args: argparse.Namespace) -> int:
    new_hub(args.directory, args.hub, datetime.now(UTC))
    print(f"Hub {format_eui(args.hub)}: for a laboratory only.")
    print(f"  {args.directory / 'head-end'}\n      stays with the bench: keys of its hub.toml")
    return EXIT_OK


def _link_key(args: argparse.Namespace) -> int:
    """The CRC tells a slip of the finger before a radio is touched."""
    try:
        code = add_crc(bytes.fromhex(args.code)) if args.add_crc else parse_install_code(args.code)
    except ValueError:
        raise SettingsError(f"{args.code}: not hex digits in pairs") from None
    except FormatError as error:
        raise SettingsError(f"{args.code}: {error.reason}; compare it with the label") from None
    print(f"install code  {code.hex().upper()}")
    print(f"link key      {link_key(code).hex().upper()}")
    return EXIT_OK


def _new(args: argparse.Namespace) -> int:
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
