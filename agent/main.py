"""The entry point of the payload: what the first stage starts. Wires the device to its board and runs it.

Started by ``agent.boot.first_stage`` only: the handover says which slot runs, and the version is the one that
``han-agent image build`` wrote into this very copy. Exit code 75 asks the unit for a new start through the first stage.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.resources
import json
import os
import random
import sys
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import structlog

from agent import control_socket, logs, presence
from agent.assembly import Base, build_device
from agent.boot.control import SlotsControl
from agent.boot.handover import Handover
from agent.boot.places import OpenPlaces, Places, open_places
from agent.boot.slots import capacity_octets
from agent.boot.state import Slot
from agent.device import Device, Log
from agent.errors import HanError, SettingsError
from agent.image.signature import load_trusted_keys
from agent.image.version import Version
from agent.ports import Relay
from agent.runtime import Runtime
from agent.settings import Settings, load_device
from agent.telling import News
from agent.update.commands import Running
from agent.update.database import open_database
from agent.update.facts import FactName
from agent.update.firmware_slots import FirmwareSlots
from agent.update.journal import Journal, LoggedEvent
from agent.zigbee.clusters import describe_endpoint
from boards.raspberry_pi.board import open_board
from boards.znp_radio import ZnpRadio


def main(argv: list[str] | None = None) -> int:
    """Run the device until it is stopped (0) or asks for a restart (75). HanError becomes one log line."""
    parser = argparse.ArgumentParser(prog="han-agent payload", description="The firmware of a PPMID or HCALCS.")
    parser.add_argument("--config", type=Path, required=True, metavar="device.toml")
    args = parser.parse_args(argv)
    logs.configure()
    try:
        return _run(args.config)
    except HanError as error:
        structlog.get_logger().error("stopped", reason=str(error))
        return error.exit_code


def own_version() -> Version:
    """The version inside this copy. Raises SettingsError when this is a source tree and not a built image."""
    facts = importlib.resources.files("agent") / "payload.json"
    try:
        return Version.parse(json.loads(facts.read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError):
        raise SettingsError(
            "this copy of the agent bears no version: build an image with han-agent image build, provision it, and "
            "start it with han-agent run"
        ) from None


def _run(config: Path) -> int:
    settings = load_device(config)
    version = own_version()
    handover = Handover.from_environment(os.environ)
    if handover is None:
        raise SettingsError("started without a first stage: use han-agent run --config FILE")
    with ExitStack() as stack:
        places = Places.load(config)
        stack.enter_context(presence.hold(settings.storage.database))
        opened = open_places(places, stack)
        database = stack.enter_context(closing(open_database(settings.storage.database)))
        journal = Journal(database)
        board = open_board(settings)
        news = News(_log)
        running = Running(version, handover.slot.name, handover.image_hash, handover.trial)
        device = _device(settings, places, opened, running, journal, board.relay, news)
        log = structlog.get_logger()
        log.info("running", role=settings.role, version=str(version), slot=handover.slot.name, trial=handover.trial)
        _record(handover, version, journal)
        control = control_socket.socket_path(settings.storage.database)
        return asyncio.run(Runtime(device, radio_of(settings), control, board.led, news).run())


def _device(
    settings: Settings,
    places: Places,
    opened: OpenPlaces,
    running: Running,
    journal: Journal,
    relay: Relay | None,
    log: Log,
) -> Device:
    control = SlotsControl(opened.store, opened.areas, Slot[running.slot])
    base = Base(
        settings=settings,
        running=running,
        slots=FirmwareSlots(control, opened.areas, places.tries),
        slot_octets=min(capacity_octets(area) for area in opened.areas.values()),
        security_counter=control.status().security_counter,
        trusted_keys=load_trusted_keys(places.trust),
        journal=journal,
        rng=random.SystemRandom(),
        log=log,
        relay=relay,
    )
    return build_device(base)


def _log(event: str, /, **facts: object) -> None:
    structlog.get_logger().info(event, **facts)


def _record(handover: Handover, version: Version, journal: Journal) -> None:
    """What runs, and what the first stage met: into the journal, where it outlives the console."""
    journal.facts.note(
        FactName.STARTED, time.time(), slot=handover.slot.name, version=str(version), trial=handover.trial
    )
    for event in handover.events:
        journal.log(LoggedEvent("security", None, event.code, f"slot {event.slot.name}: {event.message}", ""))
        _log("firmware verification failed", code=f"0x{event.code:04X}", slot=event.slot.name, reason=event.message)
    for note in handover.notes:
        journal.log(LoggedEvent("event", None, 0, note, ""))


def radio_of(settings: Settings) -> ZnpRadio:
    """The device's radio, not yet open."""
    radio = settings.radio
    endpoint = describe_endpoint(settings.role, radio.endpoint, radio.profile)
    return ZnpRadio(
        radio.path,
        endpoint.endpoint,
        endpoint.profile,
        endpoint.device,
        endpoint.input_clusters,
        endpoint.output_clusters,
        baudrate=radio.baudrate,
    )


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
