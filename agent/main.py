"""The entry point of the payload, and of the factory agent: what the first stage starts. Wires the device to its board.

The handover says which slot runs, and the version is the one that ``han-agent image build`` wrote into this very copy.
When no slot verifies, the first stage starts the copy of the base system, as the factory agent: it runs no image, and
is the same device otherwise. Exit code 75 asks the unit for a new start through the first stage.
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
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import structlog

from agent import control_socket, logs, presence
from agent.assembly import Base, build_device
from agent.boot.backends import open_boot_control, open_loader, restart_machine
from agent.boot.control import SlotsControl
from agent.boot.handover import Handover
from agent.boot.places import OpenPlaces, Places, open_places
from agent.boot.slots import smallest_capacity_octets
from agent.boot.state import EndReason
from agent.device import Device
from agent.errors import EXIT_RESTART, HanError, SettingsError, StorageError
from agent.image.signature import load_trusted_keys
from agent.image.version import Version
from agent.ports import Relay
from agent.runtime import Runtime
from agent.settings import Settings, load_device
from agent.telling import News
from agent.update.commands import FACTORY, Running
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
    handover = Handover.from_environment(os.environ)
    if handover is None:
        raise SettingsError("started without a first stage: use han-agent run --config FILE")
    running = _running(handover)
    with ExitStack() as stack:
        places = Places.load(config)
        stack.enter_context(presence.hold(settings.storage.database))
        opened = open_places(places, stack, all_slots=False)
        stack.enter_context(_noting_storage(opened, handover))
        database = stack.enter_context(closing(open_database(settings.storage.database)))
        journal = Journal(database)
        board = open_board(settings)
        loader = open_loader(places.boot, stack)
        boot = open_boot_control(opened, loader, handover.slot)
        device = _device(settings, places, opened, boot, running, journal, board.relay)
        _record(settings.role, handover, running, journal)
        control = control_socket.socket_path(settings.storage.database)
        code = asyncio.run(Runtime(device, radio_of(settings), control, board.led, NEWS).run())
        if code == EXIT_RESTART and loader is not None:
            restart_machine(loader)
        return code


@contextmanager
def _noting_storage(opened: OpenPlaces, handover: Handover) -> Iterator[None]:
    """The image is not to blame for a trial that a failing medium ends: say so, where the boot state takes it."""
    try:
        yield
    except StorageError:
        with suppress(HanError):
            SlotsControl(opened.store, opened.areas, handover.slot).note_try(EndReason.STORAGE)
        raise


def _device(
    settings: Settings,
    places: Places,
    opened: OpenPlaces,
    boot: SlotsControl,
    running: Running,
    journal: Journal,
    relay: Relay | None,
) -> Device:
    base = Base(
        settings=settings,
        running=running,
        slots=FirmwareSlots(boot, opened.areas, places.tries),
        slot_octets=smallest_capacity_octets(opened.areas),
        security_counter=boot.status().security_counter,
        trusted_keys=load_trusted_keys(places.trust),
        journal=journal,
        rng=random.SystemRandom(),
        log=NEWS,
        relay=relay,
    )
    return build_device(base)


def _log(event: str, /, **facts: object) -> None:
    structlog.get_logger().info(event, **facts)


def _running(handover: Handover) -> Running:
    if handover.slot is None:
        return FACTORY
    return Running(own_version(), handover.slot.name, handover.image_hash, handover.trial)


NEWS = News(_log)  # what the device says, and its last lines for the engineer who asks


def _record(role: str, handover: Handover, running: Running, journal: Journal) -> None:
    """What runs, and what the first stage met: into the journal, where it outlives the console."""
    facts = {"version": str(running.version), "slot": running.slot or None, "trial": running.trial}
    _log("factory agent" if running.is_factory else "running", role=role, **facts)
    journal.facts.note(FactName.STARTED, time.time(), **facts)
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
