"""``han-agent keys csr`` and ``keys import``: a laboratory's own PKI instead of the test identities."""

from __future__ import annotations

import argparse
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.errors import EXIT_OK
from agent.events import format_eui
from agent.settings import ROLES
from flash.certificate_import import Placed, import_certificates, missing_keys
from flash.certificate_request import request_certificates


def configure_csr(parser: argparse.ArgumentParser) -> None:
    """The options of ``keys csr``."""
    parser.add_argument("--directory", type=Path, required=True, metavar="KEYS", help="the device's folder of keys")
    parser.add_argument("--device", type=parse_eui, required=True, metavar="EUI", help="16 hex digits")
    parser.add_argument("--replace", action="store_true", help="drop requests that wait for their certificates")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def configure_import(parser: argparse.ArgumentParser) -> None:
    """The options of ``keys import``."""
    parser.add_argument("--directory", type=Path, required=True, metavar="KEYS", help="the device's folder of keys")
    parser.add_argument("--device", type=parse_eui, metavar="EUI", help="default: whose private keys are there")
    parser.add_argument("--role", choices=ROLES, help="also say what a device of this role still lacks")
    parser.add_argument("--replace", action="store_true", help="put them over what is there")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="certificates, PEM or DER; private keys")


def run_csr(args: argparse.Namespace) -> int:
    """Make the requests and say what to do with them."""
    made = request_certificates(args.directory, args.device, replace=args.replace)
    if args.json:
        print(json.dumps({one.usage.name.lower(): str(one.request) for one in made}))
        return EXIT_OK
    for one in made:
        print(f"{one.request}\n    for the CA: {one.usage.name.lower().replace('_', ' ')}; its key stays here")
    print(f"then: han-agent keys import --directory {args.directory} CERTIFICATE...")
    return EXIT_OK


def run_import(args: argparse.Namespace) -> int:
    """Import and say what is there now."""
    done = import_certificates(args.directory, args.files, args.device, replace=args.replace)
    missing = missing_keys(args.directory, args.role, done.device) if args.role else None
    if args.json:
        print(json.dumps({"imported": [_fields(one) for one in done.placed], "missing": missing}))
        return EXIT_OK
    for one in done.placed:
        fields = _fields(one)
        print(f"{fields['holder']} {fields['eui']} {fields['use']}: {fields['path']}{_remark(one)}")
    for words in missing or ():
        print(f"missing: {words}")
    print("the device takes them up when it is started next")
    return EXIT_OK


def parse_eui(text: str) -> int:
    """An EUI of the command line."""
    digits = text.replace(":", "").replace("-", "")
    if not re.fullmatch(r"[0-9A-Fa-f]{16}", digits):
        raise argparse.ArgumentTypeError(f"{text!r} is not an EUI of 16 hex digits")
    return int(digits, 16)


def _fields(one: Placed) -> dict[str, Any]:
    certificate = one.certificate
    return {
        "holder": one.holder,
        "eui": format_eui(certificate.eui),
        "use": certificate.usage.value,
        "path": str(one.path),
        "not_after": f"{certificate.not_after:%Y-%m-%dT%H:%M:%SZ}",
        "written": one.replaced,
    }


def _remark(one: Placed) -> str:
    """The device itself does not look at dates: it has no clock that it may trust before it has keys."""
    now = datetime.now(UTC)
    certificate = one.certificate
    late = certificate.not_after < now
    early = certificate.not_before > now
    words = [
        "" if one.replaced else "was there already",
        f"NOTE: expired on {certificate.not_after:%Y-%m-%d}" if late else "",
        f"NOTE: not valid before {certificate.not_before:%Y-%m-%d}" if early else "",
    ]
    said = ", ".join(word for word in words if word)
    return f" ({said})" if said else ""
