"""``han-agent demo``: a device is updated over the air on the virtual board, start to end."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from agent.cli.demo_text import Screen, print_proof
from agent.errors import EXIT_OK, EXIT_REFUSED, SettingsError
from agent.settings import ROLES, check_logical_type, check_role
from boards.bench.demo.play import Plan, Play, Said
from boards.bench.demo.prepare import NEW, empty_workdir

DEFAULT_SPEED = 20.0  # times real air: about the most that two cores follow
DEFAULT_LIMIT_S = 600.0


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of ``demo``."""
    add = parser.add_argument
    add("--role", default="ppmid", help="ppmid (default), hcalcs, or both on one hub")
    add("--logical-type", default="router", metavar="TYPE",
        help="router (default), or end-device: the device's receiver sleeps, and it polls its parent")  # fmt: skip
    add("--workdir", type=Path, default=Path("demo"), help="where everything is written (default: demo)")
    add("--speed", type=float, default=DEFAULT_SPEED, help=f"times as fast as real air (default {DEFAULT_SPEED:g})")
    add("--loss", type=float, default=0.0, help="probability that one transmission attempt fails, 0 to 1")
    add("--seed", type=int, help="repeat the same losses and draws")
    add("--limit", type=float, default=DEFAULT_LIMIT_S, metavar="S", help="give up after this many seconds")
    add("--json", action="store_true", help="print one JSON object as the last line instead")


def run(args: argparse.Namespace) -> int:
    """Play the story and show it. 0 only when the head end verified every report."""
    plan = Plan(
        workdir=args.workdir,
        roles=_roles(args.role),
        speed=_between("--speed", args.speed, 0.01, 1000.0),
        loss=_between("--loss", args.loss, 0.0, 1.0),
        seed=args.seed,
        limit_s=_between("--limit", args.limit, 1.0, 86_400.0),
        logical_type=check_logical_type(args.logical_type, "--logical-type"),
    )
    empty_workdir(plan.workdir)
    if args.json:
        return _report_json(_play(plan, lambda _said: None))
    console = Console(highlight=False, soft_wrap=True)
    with Screen(console) as screen:
        play = _play(plan, screen.show)
    ok = _all_ok(play)
    print_proof(console, play, ok=ok)
    return EXIT_OK if ok else EXIT_REFUSED


def _play(plan: Plan, show: Callable[[Said], None]) -> Play:
    play = Play(plan, show)
    asyncio.run(play.run())
    return play


def _all_ok(play: Play) -> bool:
    return bool(play.outcomes) and all(one.ok(str(NEW)) for one in play.outcomes.values())


def _report_json(play: Play) -> int:
    devices = [one.as_object(str(NEW)) for one in play.outcomes.values()]
    ok = _all_ok(play)
    single = devices[0] if len(devices) == 1 else {}
    print(json.dumps({**single, "devices": devices, "ok": ok}))
    return EXIT_OK if ok else EXIT_REFUSED


def _roles(text: str) -> tuple[str, ...]:
    if text == "both":
        return ROLES
    check_role(text, "--role", (*ROLES, "both"))
    return (text,)


def _between(option: str, value: float, low: float, high: float) -> float:
    if not low <= value <= high:
        raise SettingsError(f"{option} {value:g}: must lie between {low:g} and {high:g}")
    return value
