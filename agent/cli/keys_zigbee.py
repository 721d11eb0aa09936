"""``han-agent keys csr-zigbee``, ``sign-zigbee`` and ``import-zigbee``: implicit certificates for key establishment."""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

from agent.cli.keys_x509 import parse_eui
from agent.errors import EXIT_OK, HanError, StorageError
from agent.events import format_eui
from agent.zigbee.cbke.certificates import SUITE_1, SUITE_2
from agent.zigbee.cbke.ecqv import Credentials
from agent.zigbee.cbke.key_files import read_set, read_sets
from flash.identity import load_authority, write_certificate_set
from flash.implicit_request import (
    answer_request,
    read_contribution,
    read_request,
    request_files,
    settle,
    take_answer,
)
from flash.key_folder import write_file


def configure(commands: Any) -> None:
    """The three commands."""
    words = "make requests for a device's implicit certificates (ECQV), for a CA of your own"
    csr = commands.add_parser("csr-zigbee", help=words, description=f"{words}. The private keys stay here.")
    csr.add_argument("--keys", type=Path, required=True, metavar="DIR", help="storage.keys of the device.toml")
    csr.add_argument("--device", type=parse_eui, required=True, metavar="EUI", help="16 hex digits: that of its radio")
    csr.add_argument("--suite", type=int, choices=(SUITE_1, SUITE_2), help="one alone (default: both)")
    csr.add_argument("--replace", action="store_true", help="drop requests that wait for their certificates")
    csr.add_argument("--json", action="store_true", help="one JSON object")
    csr.set_defaults(act=_request)
    words = "answer such requests as the test CA of an earlier keys new"
    sign = commands.add_parser("sign-zigbee", help=words, description=f"{words}: certificate and key contribution.")
    sign.add_argument("--directory", type=Path, required=True, metavar="DIR", help="of an earlier keys new")
    sign.add_argument("--json", action="store_true", help="one JSON object")
    sign.add_argument("file", type=Path, nargs="+", metavar="REQUEST", help="from keys csr-zigbee")
    sign.set_defaults(act=_sign)
    words = "take in a certificate set for key establishment as a CA delivers it, or its answer to a request"
    take = commands.add_parser("import-zigbee", help=words, description=words)
    take.add_argument("--keys", type=Path, required=True, metavar="DIR", help="storage.keys of the device.toml")
    take.add_argument("--device", type=parse_eui, required=True, metavar="EUI", help="16 hex digits: that of its radio")
    take.add_argument("--replace", action="store_true", help="put them over those that are there")
    take.add_argument("file", type=Path, nargs="+", metavar="FILE", help="lines such as Device Private Key: HEX")
    take.set_defaults(act=_import)


def _request(args: argparse.Namespace) -> int:
    suites = (args.suite,) if args.suite else (SUITE_1, SUITE_2)
    made = request_files(args.keys, args.device, suites, replace=args.replace)
    if args.json:
        print(json.dumps({f"suite-{suite}": str(path) for suite, path in zip(suites, made, strict=True)}))
        return EXIT_OK
    for suite, path in zip(suites, made, strict=True):
        print(f"{path}\n    for the CA: suite {suite}; its private key stays here")
    where = f"--keys {args.keys} --device {format_eui(args.device)}"
    print(f"then: han-agent keys import-zigbee {where} ANSWER...")
    return EXIT_OK


def _sign(args: argparse.Namespace) -> int:
    """Every request is judged before anything is written."""
    answers: dict[Path, str] = {}
    for path in args.file:
        request = read_request(path)
        authority = load_authority(args.directory / "ca" / f"cbke-{request.suite}.txt")
        rng = random.SystemRandom()
        try:
            answer = answer_request(authority, request, rng, serial=rng.getrandbits(63))
        except HanError as error:
            raise StorageError(f"{path}: {error}") from None
        answers[path.with_suffix(".answer")] = answer.text()
    for target, text in answers.items():
        write_file(target, text.encode(), 0o644)
    print(json.dumps([str(target) for target in answers]) if args.json else "\n".join(map(str, answers)))
    return EXIT_OK


def _import(args: argparse.Namespace) -> int:
    """Everything is checked before anything is written."""
    found: dict[int, Credentials] = {}
    for path in args.file:
        for suite, entry in read_sets(path).items():
            if read_contribution(path) and not entry.private_key:
                found[suite] = take_answer(args.keys, path, entry, args.device)
            else:
                found[suite] = read_set(path, args.device, suite)
        if not found:
            raise StorageError(f"{path}: holds no certificate set; it has lines such as Device Private Key: HEX")
    for suite, made in sorted(found.items()):
        path = write_certificate_set(args.keys, args.device, made, replace=args.replace)
        settle(args.keys, args.device, suite)
        print(f"{path}: suite {suite}, issued by {format_eui(made.certificate.issuer)}")
    return EXIT_OK
