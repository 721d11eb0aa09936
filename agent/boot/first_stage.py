"""The first stage: decides which slot runs, verifies a copy of it in memory, and becomes that copy.

When no slot verifies it becomes the factory agent: ``agent.main`` as the base system has it, which runs no image and
fetches one (`agent.update.commands.FACTORY`).

::

    python -I -m agent.boot.first_stage --config device.toml [-- arguments for the image]

Belongs to the base system; an update over the air never replaces it. Uses the standard library, pycryptodome and
`agent.image`. Exit codes, when it becomes neither: 2 configuration, 4 storage, 6 the kernel would not start it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from Crypto.PublicKey.ECC import EccKey

from agent.boot.area import FileArea
from agent.boot.decide import Action, Decision, Look, Situation, decide
from agent.boot.handover import FIRMWARE_VERIFICATION_FAILED, BootEvent, Handover, Reverted
from agent.boot.inspection import Inspection, inspect_slot
from agent.boot.mark import ConfirmedMark, read_mark
from agent.boot.places import SLOTS, Places
from agent.boot.state import BootState, EndReason, Slot, SlotState
from agent.boot.store import BootStateStore, Finding
from agent.errors import EXIT_RESTART, HanError, StorageError
from agent.image.signature import load_trusted_keys
from agent.ports import Area

EXIT_NOTHING_RUNS = 6
FACTORY_AGENT = ("-m", "agent.main")  # by name: the first stage imports nothing of it
REPROVISION = "or provision the device again: han-agent provision --again --config FILE --image FILE"
SERVICE_RESULT_FILE = "service-result"  # in $RUNTIME_DIRECTORY, left by the unit when the last run ended
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Started:
    """What to run and what to tell it: a slot's sealed copy, or the factory agent, which has no ``descriptor``."""

    descriptor: int | None
    handover: Handover


class FirstStage:
    """Carries out decisions on areas. ``areas`` lacks a slot that cannot be opened; that slot does not verify."""

    def __init__(
        self, store: BootStateStore, areas: Mapping[Slot, Area], trusted_keys: Mapping[bytes, EccKey], boot_id: bytes
    ) -> None:
        self._store = store
        self._areas = areas
        self._trusted_keys = trusted_keys
        self._boot_id = boot_id
        self._events: list[BootEvent] = []
        self._notes: list[str] = []
        self._copies: dict[Slot, Inspection] = {}

    def choose(self, service_result: str = "") -> Started:
        """What to run, with every decision on the way durable. Raises StorageError."""
        now = Situation(self.repair(), self._read_marks(), boot_id=self._boot_id, service_result=service_result)
        while True:
            decision = decide(now)
            now = self._make_durable(decision, now)
            if decision.action is Action.VERIFY and decision.slot is not None:
                now = replace(now, looks={**now.looks, decision.slot: self._inspect(decision.slot, now.known)})
            elif decision.action is Action.RUN and decision.slot is not None:
                return self._start(decision.slot, now.known)
            elif decision.action is Action.FACTORY:
                return self.start_factory_agent()

    def repair(self) -> BootState | None:
        """The boot state with both copies whole; None when both are lost."""
        found = self._store.repair()
        if found.finding is not Finding.WHOLE:
            self._note(f"boot state: {found.finding.value}")
        return found.state

    def start_factory_agent(self) -> Started:
        """An image that could not run is reported by what the boot state says of its slot."""
        self._note("no slot verifies: the factory agent runs")
        return Started(None, Handover(slot=None, image_hash=b"", events=tuple(self._events), notes=tuple(self._notes)))

    def note_failure(self, slot: Slot, reason: str) -> None:
        """0x8F1B, for the log and for the program that is started."""
        event = BootEvent(FIRMWARE_VERIFICATION_FAILED, slot, reason)
        self._events.append(event)
        log("firmware_verification_failed", code=f"0x{event.code:04X}", slot=slot.name, reason=reason)

    def close(self) -> None:
        """Give back the copies that do not run."""
        for copy in self._copies.values():
            copy.close()
        self._copies.clear()

    def _make_durable(self, decision: Decision, before: Situation) -> Situation:
        log("boot_decision", rule=decision.rule, slot=decision.slot and decision.slot.name)
        if decision.slot is not None and decision.failure is not None:
            self.note_failure(decision.slot, decision.failure)
        now = decision.situation
        if now.state is not None and now.state != before.state:
            now = replace(now, state=self._store.replace(now.state))
        return now

    def _read_marks(self) -> dict[Slot, ConfirmedMark | None]:
        marks: dict[Slot, ConfirmedMark | None] = {}
        for slot, area in self._areas.items():
            try:
                marks[slot] = read_mark(area)
            except StorageError as error:
                marks[slot] = None
                self._note(f"slot {slot.name}: {error}")
        return marks

    def _inspect(self, slot: Slot, state: BootState) -> Look:
        if slot not in self._areas:
            return Look("the slot cannot be opened")
        if slot in self._copies:
            self._copies.pop(slot).close()
        self._copies[slot] = inspect_slot(self._areas[slot], self._trusted_keys, state.security_counter)
        return self._copies[slot].look

    def _start(self, slot: Slot, state: BootState) -> Started:
        descriptor = self._copies.pop(slot).descriptor
        if descriptor is None:
            raise AssertionError("a slot without a copy cannot have verified")
        record = state[slot]
        handover = Handover(
            slot=slot,
            image_hash=record.image_hash,
            trial=record.state is SlotState.TRIAL,
            tries_left=record.tries_left,
            reverted=_reverted(state, slot.other),
            events=tuple(self._events),
            notes=tuple(self._notes),
        )
        return Started(descriptor, handover)

    def _note(self, text: str) -> None:
        self._notes.append(text)
        log("boot_note", text=text)


def _reverted(state: BootState, slot: Slot) -> Reverted | None:
    record = state[slot]
    if record.state is not SlotState.BAD or record.reason is EndReason.NONE:
        return None
    return Reverted(slot, record.reason, record.image_hash)


def log(event: str, **fields: object) -> None:
    """One JSON line on standard error, as the image's own log lines are."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    print(json.dumps({"timestamp": stamp, "event": event, **fields}), file=sys.stderr, flush=True)  # noqa: T201


def main(argv: list[str] | None = None) -> int:
    """Only returns when nothing was started."""
    parser = argparse.ArgumentParser(prog="first_stage", description="Verify a firmware slot and start it.")
    parser.add_argument("--config", type=Path, required=True, metavar="device.toml")
    parser.add_argument("arguments", nargs="*", help="handed to the image")
    args = parser.parse_args(argv)
    try:
        started = choose(Places.load(args.config))
    except HanError as error:
        log("boot_failed", reason=str(error))
        return error.exit_code
    if started is None:
        return EXIT_RESTART  # the machine is going down
    if started.descriptor is None:
        log("factory_agent", reason=f"neither slot verifies: it fetches an image; {REPROVISION}")
    try:
        become(started, args.config, args.arguments)
    except OSError as error:
        log("boot_failed", reason=f"{sys.executable}: cannot be started: {error.strerror}")
    return EXIT_NOTHING_RUNS


def choose(places: Places) -> Started | None:
    """Open everything, decide, close everything but the copy to run. None: the machine restarts (a boot loader's)."""
    trusted_keys = load_trusted_keys(places.trust)
    with ExitStack() as stack:
        state_area = stack.enter_context(FileArea.open(places.boot_state))
        areas: dict[Slot, Area] = {}
        for slot, path in places.slots.items():
            try:
                areas[slot] = stack.enter_context(FileArea.open(path, read_only=True))
            except StorageError as error:
                log("boot_note", text=str(error))
        store, boot_id = BootStateStore(state_area, state_area.exclusive), read_boot_id()
        service_result = take_service_result(os.environ)
        if places.boot.backend != SLOTS:
            from agent.boot import loader_stage  # noqa: PLC0415  (what only a device with a boot loader pays for)

            return loader_stage.choose(places.boot, store, areas, trusted_keys, boot_id, service_result)
        stage = FirstStage(store, areas, trusted_keys, boot_id)
        stack.callback(stage.close)
        return stage.choose(service_result)


def become(started: Started, config: Path, arguments: list[str]) -> None:
    """Replace this process by the sealed copy, or by the factory agent. Only returns by raising."""
    code: tuple[str, ...] = FACTORY_AGENT
    if started.descriptor is not None:
        os.set_inheritable(started.descriptor, True)
        code = (f"/proc/self/fd/{started.descriptor}",)
    program = [sys.executable, "-I", *code, "--config", str(config), *arguments]
    os.execve(sys.executable, program, {**os.environ, **started.handover.to_environment()})  # noqa: S606


def read_boot_id() -> bytes:
    """16 octets that change whenever the machine comes up; zeros where the kernel does not tell."""
    try:
        return bytes.fromhex(BOOT_ID.read_text(encoding="ascii").strip().replace("-", ""))
    except (OSError, ValueError):
        return bytes(16)


def take_service_result(environment: Mapping[str, str]) -> str:
    """How the unit's last run ended (systemd's $SERVICE_RESULT), told once; "" when nobody left word."""
    folder = environment.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if not folder:
        return ""
    path = Path(folder) / SERVICE_RESULT_FILE
    result = ""
    with suppress(OSError, UnicodeDecodeError):
        result = path.read_text(encoding="ascii").strip()
        path.unlink()
    return result


if __name__ == "__main__":
    sys.exit(main())
