"""``han-agent gbcs decode``: what a GBCS message says, and whether its signature and MAC are good."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from agent.errors import EXIT_OK, EXIT_REFUSED, FormatError, SettingsError
from agent.gbcs.describe import Plain, describe, describe_error, read_octets
from agent.gbcs.keystore import KeyStore


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of the group."""
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    decode = commands.add_parser(
        "decode",
        help="decode GBCS messages and check them",
        description="Decode GBCS messages, pre-commands too, one a file, in HEX or binary. "
        "Exit code 1 when one is broken; the others are still decoded.",
    )
    decode.add_argument("files", metavar="FILE", nargs="+", help="a message; - for standard input")
    decode.add_argument(
        "--keys", metavar="DIR", type=Path, help="folder of <eui>-ds.pem, <eui>-ka.pem and .key files to check with"
    )
    decode.add_argument("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Decode every file; a broken message is reported and the rest goes on."""
    keys = KeyStore.load(args.keys) if args.keys else KeyStore()
    show = _show_json if args.json else _show_text
    contents = [(name, _read(name)) for name in args.files]
    code = EXIT_OK
    for name, content in contents:
        plain = _decode(content, keys)
        show({"source": name} | plain)
        if "error" in plain:
            code = EXIT_REFUSED
            print(f"han-agent: {name}: {plain['error']}", file=sys.stderr)
    return code


def _decode(content: bytes, keys: KeyStore) -> Plain:
    try:
        return describe(read_octets(content), keys)
    except FormatError as error:
        return describe_error(error)


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise SettingsError(f"{name}: cannot be read: {error.strerror}; name a file, or - for standard input") from None


def _show_json(plain: Plain) -> None:
    print(json.dumps(plain))


def _show_text(plain: Plain) -> None:
    """A field a line, what is absent left out, the decoded payload indented below the rest."""
    for key, value in plain.items():
        if isinstance(value, dict):
            for inner, detail in value.items():
                if detail is not None:
                    print(f"    {inner:<32} {detail}")
        elif key == "source":
            print(value)
        elif value is not None:
            print(f"  {key:<34} {value}")
