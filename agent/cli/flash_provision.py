"""``han-agent flash provision``: identity, device.toml and label of one device, or of every device of a list."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from agent.cli.flash_sd import no_show, parse_size
from agent.errors import EXIT_OK, EXIT_USAGE, SettingsError
from boards.raspberry_pi.profile import load_profile
from flash.key_folder import make_folder, write_file
from flash.provision.devices import Made, hub_toml, make_devices
from flash.provision.labels import label_page
from flash.provision.rows import Defaults, ListError, Row, make_row, read_list
from flash.sd.card import Card, build_card
from flash.sd.inputs import Inputs
from flash.sd.layout import Wishes

FROM_OPTIONS = "--device"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``flash provision``."""
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="keys of all parties and devices")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="eui,role and more columns; see flash/README.md")
    parser.add_argument("--device", default="", metavar="EUI", help="or one device: 16 hex digits, that of its radio")
    parser.add_argument("--role", default="", help="with --device: ppmid or hcalcs")
    parser.add_argument("--install-code", default="", metavar="HEX", help="with --device: as on its label, with CRC")
    parser.add_argument("--hardware-version", type=_number, default=1, metavar="N", help="default 1")
    parser.add_argument("--manufacturer-code", type=_number, default=0x1234, metavar="N", help="default 0x1234")
    parser.add_argument("--image-type", type=_number, metavar="N", help="default 1 for a PPMID, 2 for an HCALCS")
    parser.add_argument("--profile", default="", help="the board; for an HCALCS, an LED, a card")
    parser.add_argument("--led", action="store_true", help="a PPMID's LED is wired as the profile says")
    parser.add_argument("--radio", default="/dev/han-radio", metavar="PATH", help="default /dev/han-radio")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    cards = parser.add_argument_group("SD cards as well, DIR/cards/<eui>.img; as of flash sd")
    cards.add_argument("--image", type=Path, help="Raspberry Pi OS")
    cards.add_argument("--firmware", type=Path, help="the first firmware; a column of the list goes before it")
    cards.add_argument("--wheelhouse", type=Path, metavar="DIR")
    cards.add_argument("--root-size", type=parse_size, metavar="SIZE")
    cards.add_argument("--data-size", type=parse_size, default="256M", metavar="SIZE")


def run(args: argparse.Namespace) -> int:
    """Exit code 0: every device of the list is there."""
    try:
        rows, name = _rows(args)
        _check_cards(args, rows)
        made = make_devices(rows, args.output, name, datetime.now(UTC))
    except ListError as error:
        if not args.json:
            raise
        print(json.dumps({"problems": [{"line": one.line, "text": one.text} for one in error.problems]}))
        return EXIT_USAGE
    stem = args.csv.stem if args.csv else f"{rows[0].eui:016x}"
    labels, hub = args.output / f"labels-{stem}.html", args.output / f"hub-devices-{stem}.toml"
    write_file(labels, label_page(made, f"Devices of {stem}").encode(), 0o600)
    write_file(hub, hub_toml(made).encode(), 0o600)
    cards = [_card(args, one) for one in made] if args.image else []
    _tell(args, made, [labels, hub], cards)
    return EXIT_OK


def _rows(args: argparse.Namespace) -> tuple[list[Row], str]:
    if (args.csv is None) == (not args.device):
        raise SettingsError("name a list with --csv FILE, or one device with --device EUI --role ROLE")
    defaults = Defaults(
        hardware_version=args.hardware_version,
        manufacturer_code=args.manufacturer_code,
        image_type=args.image_type,
        profile=load_profile(args.profile).name if args.profile else "",
        led=args.led,
        radio=args.radio,
        firmware=args.firmware,
    )
    if args.csv:
        return read_list(args.csv, defaults), str(args.csv)
    fields = {"eui": args.device, "role": args.role, "install_code": args.install_code}
    row, problems = make_row(fields, 0, defaults, Path())
    if row is None:
        raise ListError(FROM_OPTIONS, problems)
    return [row], FROM_OPTIONS


def _check_cards(args: argparse.Namespace, rows: list[Row]) -> None:
    """Told before anything is made. Raises SettingsError."""
    if args.image is None:
        return
    if args.wheelhouse is None:
        raise SettingsError("--image: cards need --wheelhouse DIR, made by han-agent flash wheelhouse")
    for row in rows:
        if row.firmware is None or not row.profile:
            missing = "firmware" if row.firmware is None else "profile"
            raise SettingsError(f"--image: {row.eui:016X} has no {missing}: name it with --{missing}, or in the list")


def _card(args: argparse.Namespace, one: Made) -> Card:
    make_folder(args.output / "cards")
    row = one.row
    if row.firmware is None:
        raise SettingsError(f"--image: {one.eui} has no firmware")
    inputs = Inputs(
        image=args.image,
        profile=load_profile(row.profile),
        identity=one.folder,
        firmware=row.firmware,
        wheelhouse=args.wheelhouse,
        wishes=replace(Wishes(""), root_octets=args.root_size, data_octets=args.data_size),
    )
    return build_card(inputs, args.output / "cards" / f"{row.eui:016x}.img", no_show)


def _tell(args: argparse.Namespace, made: list[Made], files: list[Path], cards: list[Card]) -> None:
    labels, hub = files
    if args.json:
        devices = [
            {"eui": one.eui, "role": one.row.role, "folder": str(one.folder), "kept": one.kept} for one in made
        ]  # without install codes: output of programs ends up in logs
        paths = [str(card.path) for card in cards]
        print(json.dumps({"devices": devices, "labels": str(labels), "hub_devices": str(hub), "cards": paths}))
        return
    for one in made:
        print(f"{one.eui}  {one.row.role:6}  {one.folder}{'  (kept: was there)' if one.kept else ''}")
    for card in cards:
        print(f"{card.path}: {'is there already' if card.already else f'card of {card.eui}'}")
    print(f"{labels}: {len(made)} labels to print")
    print(f"{hub}: lines for the bench's hub.toml")


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number; write 1 or 0x0001") from None
