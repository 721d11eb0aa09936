"""``han-agent slots``: look at the firmware slots, verify them, overrule them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from agent.boot import engineer
from agent.boot.engineer import Report, SlotReport
from agent.boot.places import SLOTS, Places
from agent.boot.state import EndReason, Slot, SlotState
from agent.errors import EXIT_OK, EXIT_REFUSED


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, help_line in (
        ("show", "the boot state and what the slots hold"),
        ("verify", "check both slots as the first stage does; exit code 1 when one that is to run would not"),
        ("mark-good", "confirm a slot that verifies; the device runs it from now on"),
        ("mark-bad", "never run a slot again"),
        ("activate", "run a slot that verifies as a trial at the next start"),
    ):
        action = actions.add_parser(name, help=help_line, description=help_line)
        action.add_argument("--config", type=Path, required=True, metavar="device.toml")
        action.add_argument("--json", action="store_true", help="one JSON object")
        if name not in ("show", "verify"):
            action.add_argument("slot", choices=[slot.name for slot in Slot])
        if name == "activate":
            action.add_argument("--tries", type=int, help="starts that the trial may use (default: health.tries)")


def run(args: argparse.Namespace) -> int:
    places = Places.load(args.config)
    if args.action == "mark-good":
        engineer.mark_good(places, Slot[args.slot])
    elif args.action == "mark-bad":
        engineer.mark_bad(places, Slot[args.slot])
    elif args.action == "activate":
        engineer.activate(places, Slot[args.slot], args.tries)
    verify = args.action == "verify"
    report = engineer.report(places, verify=verify)
    print(json.dumps(_fields(report, verified=verify)) if args.json else _text(report, verified=verify))
    return EXIT_REFUSED if report.refused else EXIT_OK


def _fields(report: Report, *, verified: bool) -> dict[str, object]:
    return {
        "boot_state": report.finding.name,
        "backend": report.backend,
        "active": report.active and report.active.name,
        "trial": report.trial and report.trial.name,
        "security_counter": report.security_counter,
        "slots": {one.slot.name: _slot_fields(one, verified=verified) for one in report.slots},
    }


def _slot_fields(one: SlotReport, *, verified: bool) -> dict[str, object]:
    record = one.record
    fields: dict[str, object] = {
        "state": record.state.name,
        "version": one.version and str(one.version),
        "image_hash": record.image_hash.hex(),
        "image_octets": record.image_octets,
        "security_counter": record.security_counter,
        "tries_left": record.tries_left,
        "reason": record.reason.name,
        "confirmed_mark": one.marked,
    }
    if verified:
        fields |= {"verified": one.refusal is None, "withdrawn": one.withdrawn, "refusal": one.refusal}
    return fields


def _text(report: Report, *, verified: bool) -> str:
    lines = [f"boot state        {report.finding.value}", f"security counter  {report.security_counter}"]
    if report.backend != SLOTS:
        lines.append(f"selected by       {report.backend}; a trial starts with a restart of the machine")
    if not any(one.marked or one.record.state in (SlotState.TRIAL, SlotState.CONFIRMED) for one in report.slots):
        lines.append("next start        the factory agent: no slot is to run; it fetches an image from the hub")
    for one in report.slots:
        lines += ["", f"slot {one.slot.name}{_role(report, one.slot)}", *_slot_lines(one, verified=verified)]
    return "\n".join(lines)


def _role(report: Report, slot: Slot) -> str:
    if slot is report.trial:
        return "  (runs next, as a trial)"
    return "  (active)" if slot is report.active else ""


def _slot_lines(one: SlotReport, *, verified: bool) -> list[str]:
    record = one.record
    lines = [f"  state           {record.state.name}"]
    if record.tries_left:
        lines[0] += f", {record.tries_left} of {record.tries_given} tries left"
    if record.reason is not EndReason.NONE:
        lines[0] += f", ended: {record.reason.name}"
    if record.image_octets:
        lines.append(f"  image           {one.version}, {record.image_octets} octets, {record.image_hash.hex()}")
    lines.append(f"  confirmed mark  {'yes' if one.marked else 'no'}")
    if verified:
        lines.append(f"  verified        {_verdict(one)}")
    return lines


def _verdict(one: SlotReport) -> str:
    if one.withdrawn:
        return f"whole, withdrawn: its {one.refusal}; it does not run again"
    return "yes" if one.refusal is None else f"no: {one.refusal}"
