"""``han-agent provision``: give a new device its first firmware."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from agent.assembly import check_identity
from agent.boot.places import Places
from agent.boot.provision import provision
from agent.errors import EXIT_OK, SettingsError
from agent.image.ota_form import Form
from agent.settings import load_device
from flash.first_firmware import first_requirements


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="device.toml")
    parser.add_argument("--image", type=Path, required=True, help="Manufacturer Image, or the OTA file round it")
    parser.add_argument("--again", action="store_true", help="overwrite a device that is provisioned already")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    settings = load_device(args.config)
    check_identity(settings)
    places = Places.load(args.config)
    try:
        file = args.image.read_bytes()
    except OSError as error:
        raise SettingsError(f"{args.image}: cannot be read: {error.strerror}; name an image with --image") from None
    form = Form(settings.image.form)
    requirements = first_requirements(settings, places.trust, settings.base_abi)
    done = provision(places, file, form, requirements, again=args.again)
    fields = {
        "slot": "A",
        "version": done.version,
        "image_hash": done.image_hash.hex(),
        "image_octets": done.image_octets,
        "security_counter": done.security_counter,
    }
    if args.json:
        print(json.dumps(fields))
    else:
        print(f"slot A holds {done.version}, confirmed: {done.image_octets} octets, {done.image_hash.hex()}")
    return EXIT_OK
