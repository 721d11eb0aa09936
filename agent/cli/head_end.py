"""``han-agent head-end``: service requests to the devices of a running hub, each followed to its end."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from agent.errors import EXIT_OK, EXIT_REFUSED, SettingsError
from boards.bench.control_client import HubClient
from boards.bench.follow import Asked, Outcome, asked_of, follow
from boards.bench.history import Event
from boards.bench.requests_in import read_duis, store_image
from boards.bench.settings import load_hub
from boards.bench.status_text import render

NETWORK_REQUESTS = ("remove-device", "permit-device")  # the hub's own business: nothing to follow


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of ``head-end``."""
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--config", type=Path, metavar="FILE", help="the running hub's hub.toml")
    where.add_argument("--socket", type=Path, metavar="PATH", help="its control socket")
    waits = "how long to wait for the outcome (default 600)"
    parser.add_argument("--timeout", type=float, default=600.0, metavar="S", help=waits)
    parser.add_argument("--no-wait", action="store_true", help="ask, and do not wait")
    parser.add_argument("--json", action="store_true", help="print one JSON object a device")
    commands = parser.add_subparsers(dest="request", metavar="REQUEST", required=True)
    firmware = commands.add_parser("update-firmware", help="11.1: distribute an image to HCALCSs, which hold it")
    ppmid = commands.add_parser("update-ppmid-firmware", help="11.4: distribute an image to PPMIDs and activate it")
    ppmid.add_argument("--at", default="now", metavar="TIME", help="now, +SECONDS or 2026-01-31T02:00:00Z")
    for command in (firmware, ppmid):
        command.add_argument("image", type=Path, metavar="FILE", help="the OTA file")
    activate = commands.add_parser("activate", help="11.3: activate the image that an HCALCS holds")
    for command in (firmware, ppmid, activate, commands.add_parser("read-version", help="11.2: read the version")):
        command.add_argument("--device", action="append", required=True, metavar="EUI", help="once for each device")
    _configure_activate(activate)
    duis = commands.add_parser("duis", help="the service request of a DUIS request file")
    duis.add_argument("file", type=Path, metavar="XML")
    remove = commands.add_parser("remove-device", help="tell a device to leave the network (Mgmt_Leave_req)")
    remove.add_argument("--rejoin", action="store_true", help="and to come back at once")
    remove.add_argument("--keep-out", action="store_true", help="and do not let it in again until permit-device")
    permit = commands.add_parser("permit-device", help="let a device join anew by its install code")
    for command in (remove, permit):
        command.add_argument("--device", action="append", required=True, metavar="EUI", help="once for each device")
    move = commands.add_parser("move-network", help="the hub goes on elsewhere, same extended PAN id: who follows it?")
    move.add_argument("--channel", type=int, required=True, metavar="N", help="11 to 26")
    move.add_argument("--pan-id", type=_number, metavar="HEX", help="such as 0x1234; default: as it is")
    commands.add_parser("status", help="network, devices, transfers and images of the hub")
    for command in commands.choices.values():  # also behind the request, where one looks for it
        for name in ("--json", "--no-wait"):
            command.add_argument(name, action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        command.add_argument("--timeout", type=float, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Ask, wait, print. Exit code 0 when every device did what was asked."""
    path = args.socket if args.socket else load_hub(args.config).control_socket
    with HubClient(path) as client:
        if args.request == "status":
            status = client.ask("status")
            print(json.dumps(status) if args.json else render(status))
            return EXIT_OK
        if args.request in NETWORK_REQUESTS:
            flags = {name: getattr(args, name, False) for name in ("rejoin", "keep_out")}
            done = client.ask(args.request, devices=args.device, **flags)
            print(json.dumps(done) if args.json else f"{args.request}: {', '.join(args.device)}")
            return EXIT_OK
        if args.request == "move-network":
            return _move_network(client, args)
        command, values = _from_duis(client, args) if args.request == "duis" else _from_options(args)
        answer = client.ask(command, **values)
        if args.no_wait:
            print(json.dumps(answer) if args.json else f"asked: {command}")
            return EXIT_OK
        outcomes = _follow_all(client, answer, str(values.get("at", "now")), args)
    for outcome in outcomes:
        print(json.dumps(outcome.as_object()) if args.json else outcome.line())
    return EXIT_OK if all(outcome.ok for outcome in outcomes) else EXIT_REFUSED


def _configure_activate(parser: argparse.ArgumentParser) -> None:
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--now", action="store_const", const="now", dest="at", help="at once (default)")
    when.add_argument("--at", metavar="TIME", help="such as 2026-01-31T02:00:00Z")
    when.add_argument("--cancel", action="store_const", const="cancel", dest="at", help="take a dated one back")
    parser.add_argument("--hash", metavar="HEX", help="Manufacturer Image Hash; default: of what was distributed last")
    parser.add_argument("--accepted", action="store_true", help="with --at: end when accepted, not when it is done")


def _move_network(client: HubClient, args: argparse.Namespace) -> int:
    """Until the hub's network is up again; the devices follow in their own time."""
    mark = client.ask("move-network", channel=args.channel, pan_id=args.pan_id)["mark"]
    up = None if args.no_wait else client.wait({"event": "network-up"}, int(str(mark)), args.timeout)
    event: Event = up[1] if up else {"text": f"asked: move-network to channel {args.channel}"}
    print(json.dumps(event) if args.json else event["text"])
    return EXIT_OK if up or args.no_wait else EXIT_REFUSED


def _number(text: str) -> int:
    return int(text, 0)


def _from_options(args: argparse.Namespace) -> tuple[str, Event]:
    """The hub's command and its values."""
    values: Event = {"devices": args.device}
    if args.request in ("update-firmware", "update-ppmid-firmware"):
        values["path"] = str(args.image.resolve())
    if args.request == "update-ppmid-firmware":
        values["activate"] = args.at
    if args.request == "activate":
        values |= {"at": args.at or "now"} | ({"hash": args.hash} if args.hash else {})
    return args.request, values


def _from_duis(client: HubClient, args: argparse.Namespace) -> tuple[str, Event]:
    """The same, of a DUIS request; its image goes into the hub's state folder."""
    request = read_duis(args.file)
    values: Event = {"devices": [f"{eui:016X}" for eui in request.devices]}
    if request.image:
        values["path"] = str(store_image(client.path.resolve().parent, request.image))
    if request.service_request == "11.3":
        values |= {"at": request.at, "hash": request.image_hash}
    return request.command, values


def _follow_all(client: HubClient, answer: Event, at: str, args: argparse.Namespace) -> list[Outcome]:
    """Device after device; what one does meanwhile is read from the hub's history."""
    end = time.monotonic() + args.timeout
    mark, dated = answer["mark"], at not in ("now", "cancel") and not getattr(args, "accepted", False)
    asked: list[Asked] = asked_of(answer, dated=dated)
    if not isinstance(mark, int):
        raise SettingsError("the hub's answer has no mark; is it of another version?")
    show = _ignore if args.json else _print_event
    return [follow(client, one, mark, lambda: end - time.monotonic(), show) for one in asked]


def _print_event(event: Event) -> None:
    if event.get("event") != "transfer-progress" or str(event.get("text")).endswith("0 %)"):
        print(f"{str(event.get('time'))[11:19]}  {event.get('text')}", flush=True)


def _ignore(_event: Event) -> None:
    """With --json only the outcomes are printed."""
