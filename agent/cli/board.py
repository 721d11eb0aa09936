"""``han-agent board``: what machine this is, which radio answers on which port, and whether the pins are wired."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from agent.errors import EXIT_OK, EXIT_RADIO, EXIT_REFUSED, SettingsError
from agent.settings import load_device
from boards.pin_test import Guide, Outcome, walk_pins
from boards.radios import known_radios
from boards.raspberry_pi.board import open_pins
from boards.raspberry_pi.gpio import Gpio, prepare
from boards.raspberry_pi.profile import Profile, load_profile, profiles, used_pins
from boards.virtual.gpio import VirtualGpio, VirtualPins
from flash.probe import Finding, Port, find_ports, probe, read_model


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``board``."""
    commands = parser.add_subparsers(dest="command", metavar="WHAT", required=True)
    listing = commands.add_parser("list", help="the boards and radios that are known")
    probing = commands.add_parser("probe", help="this machine, and what answers on its serial ports")
    probing.add_argument("--port", action="append", default=[], help="only this port (again for more)")
    testing = commands.add_parser("test", help="guided test of the pins")
    which = testing.add_mutually_exclusive_group(required=True)
    which.add_argument("--config", type=Path, metavar="device.toml", help="the device whose board this is")
    which.add_argument("--profile", help="a board's name, or the path of a profile; moves no relay")
    for command in (listing, probing, testing):
        command.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """0; 1 when a pin failed; 3 when no radio answers."""
    commands = {"list": _list, "probe": _probe, "test": _test}
    return commands[args.command](args)


def _list(args: argparse.Namespace) -> int:
    boards = [_board(profile) for profile in profiles()]
    radios = [{"name": radio.name, "usb": _usb(radio.usb), "enter": radio.enter} for radio in known_radios()]
    if args.json:
        print(json.dumps({"boards": boards, "radios": radios}, indent=2))
        return EXIT_OK
    _show(("profile", "board", "radio HAT on", "pins", "tried on metal"), [
        (str(one["name"]), str(one["title"]), str(one["uart"]) or "-", _pins(one["pins"]), str(one["tried"]) or "no")
        for one in boards
    ])  # fmt: skip
    _show(("radio", "USB", "--entry"), [(one["name"], one["usb"], one["enter"]) for one in radios])
    return EXIT_OK


def _board(profile: Profile) -> dict[str, object]:
    pins = {name: pin.gpio for name, pin in used_pins(profile.pins)}
    return {"name": profile.name, "title": profile.title, "uart": profile.uart, "pins": pins, "tried": profile.tried}


def _probe(args: argparse.Namespace) -> int:
    model = read_model()
    profile = next((one for one in profiles() if one.fits(model)), None)
    uart = [profile.uart] if profile and profile.uart else []
    ports = [port for port in find_ports([*uart, *args.port]) if not args.port or port.path in args.port]
    missing = sorted(set(args.port) - {port.path for port in ports})
    findings = [probe(port) for port in (*ports, *(Port(path) for path in missing))]
    if args.json:
        found = [_finding(one) for one in findings]
        print(json.dumps({"model": model, "profile": profile.name if profile else None, "ports": found}, indent=2))
    else:
        print(f"machine: {model or 'no Raspberry Pi (no device tree)'}")
        print(f"profile: {profile.name if profile else 'none fits; virtual runs anywhere'}")
        _show(("port", "USB", "known as", "state", "answer"), [
            (one.port.path, _usb(one.port.usb), one.port.radio.name if one.port.radio else "-", one.state, one.detail)
            for one in findings
        ])  # fmt: skip
    return EXIT_OK if any(one.state in ("z-stack", "bootloader") for one in findings) else EXIT_RADIO


def _finding(one: Finding) -> dict[str, object]:
    radio = one.port.radio.name if one.port.radio else None
    usb = _usb(one.port.usb) if one.port.usb else None
    return {"port": one.port.path, "usb": usb, "calls_itself": one.port.words, "radio": radio, "state": one.state,
            "detail": one.detail}  # fmt: skip


def _test(args: argparse.Namespace) -> int:
    profile, folder = _wanted(args)
    gpio = _open(profile, folder)
    outcomes: list[Outcome] = []
    for outcome in walk_pins(gpio, profile.pins, folder, Guide(_ask, _tell)):
        outcomes.append(outcome)
        _tell(f"{outcome.function} (GPIO {outcome.gpio}): {outcome.result}: {outcome.detail}")
    if args.json:
        rows = [{"function": one.function, "gpio": one.gpio, "result": one.result, "detail": one.detail}
                for one in outcomes]  # fmt: skip
        print(json.dumps({"profile": profile.name, "pins": rows}, indent=2))
    return EXIT_REFUSED if any(one.result == "failed" for one in outcomes) else EXIT_OK


def _wanted(args: argparse.Namespace) -> tuple[Profile, Path | None]:
    if args.config is None:
        return load_profile(args.profile), None
    board = load_device(args.config).board
    if not board.profile:
        raise SettingsError(f'{args.config}: has no [board], so no pins; add it with profile = "...", see board list')
    return load_profile(board.profile), board.pins


def _open(profile: Profile, folder: Path | None) -> Gpio:
    if profile.driver == "virtual" and folder is None:
        return prepare(VirtualGpio(VirtualPins(pulled={22: 1})), reads_outputs=True)
    return open_pins(profile, folder or Path())


def _ask(question: str) -> bool:
    """On standard error, so that --json stays clean. No answer is no."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _usb(usb: tuple[int, int] | None) -> str:
    return f"{usb[0]:04x}:{usb[1]:04x}" if usb else "-"


def _pins(pins: object) -> str:
    return ", ".join(f"{name} {gpio}" for name, gpio in pins.items()) if isinstance(pins, Mapping) else ""


def _show(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Columns as wide as they need: names are there to be copied."""
    table = [head, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()
