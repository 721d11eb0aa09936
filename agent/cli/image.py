"""``han-agent image``: build the payload, sign and wrap it, inspect any OTA file, verify one as a device would."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from agent.cli.image_text import render_facts, render_verdict, verdict_facts
from agent.errors import EXIT_OK, EXIT_REFUSED, FormatError, SettingsError, StorageError
from agent.image.ota_form import Form
from agent.image.ota_header import OtaHeader, parse_header
from agent.image.signature import load_public_key, load_trusted_keys
from agent.image.verdict import Acceptance, Requirements, judge_file
from agent.image.version import Version
from flash.image_build import build_payload, read_payload_facts
from flash.image_inspect import inspect
from flash.image_sign import SLOT_OCTETS, ImageFacts, sign_image, wrap_image

FORMS = [form.value for form in Form]
MAXIMUM_OCTETS = 10_240_000  # the DUIS schema's bound
T = TypeVar("T")


def configure(parser: argparse.ArgumentParser) -> None:
    """The four commands."""
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _configure_build(commands.add_parser("build", help="make the payload out of the agent's own code"))
    _configure_sign(commands.add_parser("sign", help="sign a payload with imgtool and wrap it into an OTA file"))
    _configure_inspect(commands.add_parser("inspect", help="show any file as an OTA file, damaged or foreign ones too"))
    _configure_verify(commands.add_parser("verify", help="judge an OTA file as a device would"))


def run(args: argparse.Namespace) -> int:
    """The command that was asked for."""
    return int(args.action(args))


def _configure_build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", type=_of(Version.parse), required=True, help="such as 1.1.0")
    parser.add_argument("--source", type=Path, metavar="DIR", help="holds agent/ and boards/ (default: this program's)")
    parser.add_argument("--base-abi", default="", metavar="NAME", help="base system that the payload needs")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    parser.set_defaults(action=_build)


def _configure_sign(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("payload", type=Path)
    parser.add_argument("--key", type=Path, required=True, metavar="PEM", help="manufacturer's private key")
    parser.add_argument("--version", type=_of(Version.parse), help="for a payload that does not say its own")
    parser.add_argument("--security-counter", type=_number(32), metavar="N", help="an older image is refused for good")
    parser.add_argument("--upgrade-from", type=_versions, metavar="LOW..HIGH", help="versions that may take this image")
    parser.add_argument("--image-only", action="store_true", help="write the Manufacturer Image without an OTA header")
    parser.add_argument("--form", choices=FORMS, default=Form.GB_PPMID.value)
    parser.add_argument("--manufacturer-code", type=_number(16), metavar="N")
    parser.add_argument("--image-type", type=_number(16), metavar="N")
    parser.add_argument("--hardware", type=_hardware, metavar="MIN..MAX", help="hardware versions that it fits")
    parser.add_argument("--supplier-key", type=Path, metavar="PEM", help="supplier's private key (gb-hcalcs)")
    parser.add_argument("--header-string", default="", metavar="TEXT", help="at most 32 octets")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    parser.set_defaults(action=_sign)


def _configure_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.set_defaults(action=_inspect)


def _configure_verify(parser: argparse.ArgumentParser) -> None:
    parser.description = "What a device is asked that is not named here is taken from the file's own header."
    parser.add_argument("file", type=Path)
    parser.add_argument("--trust", type=Path, required=True, metavar="DIR", help="manufacturers' public keys, *.pem")
    parser.add_argument("--form", choices=FORMS, default=Form.GB_PPMID.value)
    parser.add_argument("--manufacturer-code", type=_number(16), metavar="N")
    parser.add_argument("--image-type", type=_number(16), metavar="N")
    parser.add_argument("--hardware", type=_number(16), metavar="N", help="the device's hardware version")
    parser.add_argument("--running-version", type=_of(Version.parse), metavar="V")
    parser.add_argument("--minimum-security-counter", type=_number(32), default=0, metavar="N")
    parser.add_argument("--base-abi", metavar="NAME", help="what the device's base system provides")
    parser.add_argument("--slot-octets", type=_number(32), default=SLOT_OCTETS, metavar="N")
    parser.add_argument("--supplier-cert", type=Path, metavar="PEM", help="supplier's signing certificate (gb-hcalcs)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.set_defaults(action=_verify)


def _build(args: argparse.Namespace) -> int:
    payload = build_payload(args.version, source=args.source, base_abi=args.base_abi)
    _write(args.output, payload)
    print(f"{args.output}: payload {args.version}, {len(payload)} octets")
    return EXIT_OK


def _sign(args: argparse.Namespace) -> int:
    if not args.image_only:
        _require(args, "manufacturer_code", "image_type", "hardware")
    payload = _read(args.payload)
    version, base_abi = _payload_facts(payload, args)
    facts = ImageFacts(
        version=version,
        base_abi=base_abi,
        security_counter=args.security_counter,
        upgrade_from=args.upgrade_from,
    )
    octets = sign_image(payload, args.key, facts)
    if not args.image_only:
        octets = wrap_image(
            octets,
            Form(args.form),
            manufacturer_code=args.manufacturer_code,
            image_type=args.image_type,
            hardware_versions=args.hardware,
            supplier_key=args.supplier_key,
            header_string=args.header_string,
        )
    _write(args.output, octets)
    what = "Manufacturer Image" if args.image_only else args.form
    print(f"{args.output}: {what} {version}, {len(octets)} octets, signed with {args.key}")
    return EXIT_OK


def _payload_facts(payload: bytes, args: argparse.Namespace) -> tuple[Version, str]:
    """Version and base system, from the payload itself where it says them."""
    own = read_payload_facts(payload)
    if own is None:
        if args.version is None:
            raise SettingsError(f"{args.payload}: does not say its version; name it with --version")
        return args.version, ""
    if args.version not in (None, own[0]):
        raise SettingsError(
            f"{args.payload}: is version {own[0]}, not {args.version}; build it again or drop --version"
        )
    return own


def _inspect(args: argparse.Namespace) -> int:
    facts = inspect(_read(args.file))
    print(json.dumps(facts) if args.json else "\n".join(render_facts(str(args.file), facts)))
    return EXIT_REFUSED if facts["damaged"] else EXIT_OK


def _verify(args: argparse.Namespace) -> int:
    octets = _read(args.file)
    supplier = None if args.supplier_cert is None else load_public_key(args.supplier_cert)
    verdict = judge_file(octets, Form(args.form), _requirements(args, octets), supplier)
    unjudged = args.form == Form.GB_HCALCS.value and supplier is None
    facts = verdict_facts(verdict) | {"file": str(args.file), "form": args.form, "supplier_judged": not unjudged}
    print(json.dumps(facts) if args.json else "\n".join(render_verdict(facts)))
    return EXIT_OK if isinstance(verdict, Acceptance) else EXIT_REFUSED


def _requirements(args: argparse.Namespace, octets: bytes) -> Requirements:
    header = _own_header(octets)
    return Requirements(
        manufacturer_code=_first(args.manufacturer_code, header.manufacturer_code),
        image_type=_first(args.image_type, header.image_type),
        hardware_version=_first(args.hardware, (header.hardware_versions or (0, 0))[0]),
        trusted_keys=load_trusted_keys(args.trust),
        maximum_octets=MAXIMUM_OCTETS,
        slot_octets=args.slot_octets,
        minimum_security_counter=args.minimum_security_counter,
        running_version=args.running_version,
        base_abi=args.base_abi,
    )


def _own_header(octets: bytes) -> OtaHeader:
    """The file's own header; of a file without one, nothing that a verdict would come to."""
    try:
        return parse_header(octets)
    except FormatError:
        return OtaHeader(manufacturer_code=0, image_type=0, file_version=0, total_octets=0)


def _first(asked: int | None, own: int) -> int:
    return own if asked is None else asked


def _require(args: argparse.Namespace, *names: str) -> None:
    missing = ["--" + name.replace("_", "-") for name in names if getattr(args, name) is None]
    if missing:
        raise SettingsError(f"an OTA file needs {', '.join(missing)}; or write the image alone with --image-only")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None


def _write(path: Path, octets: bytes) -> None:
    try:
        path.write_bytes(octets)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}; name another file with -o") from None


def _of(parse: Callable[[str], T]) -> Callable[[str], T]:
    """A parser of ours as an argparse type."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except FormatError as error:
            raise argparse.ArgumentTypeError(error.reason) from None

    return convert


def _number(bits: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not re.fullmatch(r"0[xX][0-9A-Fa-f]+|[0-9]+", text, re.ASCII):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number, such as 4660 or 0x1234")
        number = int(text, 16) if text[:2] in ("0x", "0X") else int(text)
        if number >= 1 << bits:
            raise argparse.ArgumentTypeError(f"{text} does not fit {bits} bits")
        return number

    return convert


def _range(text: str, convert: Callable[[str], T]) -> tuple[T, T]:
    low, dots, high = text.partition("..")
    if not dots:
        raise argparse.ArgumentTypeError(f"{text!r} is not LOW..HIGH")
    return convert(low), convert(high)


def _hardware(text: str) -> tuple[int, int]:
    low, high = _range(text, _number(16))
    if low > high:
        raise argparse.ArgumentTypeError(f"{text}: the range is empty")
    return low, high


def _versions(text: str) -> tuple[Version, Version]:
    low, high = _range(text, _of(Version.parse))
    if low > high:
        raise argparse.ArgumentTypeError(f"{text}: the range is empty")
    return low, high
