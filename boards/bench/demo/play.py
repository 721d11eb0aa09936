"""The story: form, join, offer, transfer, restart, report. Each step waits for what the programs say, none for time."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.errors import HanError
from agent.events import format_eui
from boards.bench.demo.outcome import DeviceOutcome, Event
from boards.bench.demo.prepare import CAPTURE, HUB_EUI, NEW, Prepared, PreparedDevice, prepare, write_configs
from boards.bench.demo.programs import Program
from boards.virtual.air.awake import RadioUse

SLEEPY = "end-device"
REST_S = 75.0  # of the air: ten polls


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is asked for. ``limit_s`` is the patience with the whole story."""

    workdir: Path
    roles: tuple[str, ...]
    speed: float
    loss: float
    seed: int | None
    limit_s: float
    logical_type: str = "router"


@dataclass(frozen=True, slots=True)
class Said:
    """Somebody said something: ``who`` is air, hub, a role or demo."""

    seconds: float
    who: str
    event: Event


class DemoError(HanError):
    """The story did not come to its end; the message says where it stopped."""


class Play:
    """One demo. ``show`` gets everything that is said, as it is said."""

    def __init__(self, plan: Plan, show: Callable[[Said], None]) -> None:
        self.plan = plan
        self._show = show
        self._started = time.monotonic()
        self._news = asyncio.Event()
        self._programs: list[Program] = []
        self._addresses: list[str] = []
        self._ready = False
        self._hub_heard: list[Event] = []
        self._uses: dict[int, RadioUse] = {}  # as the air told last
        self.outcomes: dict[int, DeviceOutcome] = {}
        self.prepared: Prepared | None = None

    async def run(self) -> dict[int, DeviceOutcome]:
        """The whole story. Raises HanError naming what stopped it."""
        try:
            async with asyncio.timeout(self.plan.limit_s):
                await self._play()
        except TimeoutError:
            raise DemoError(self._stuck()) from None
        finally:
            for program in reversed(self._programs):
                await program.stop()
        return self.outcomes

    async def _play(self) -> None:
        prepared = self.prepared = await asyncio.to_thread(prepare, self.plan.workdir, self.plan.roles)
        self._say("demo", {"event": "prepared", "workdir": str(self.plan.workdir)})
        await self._start_air(prepared)
        addresses = {one.role: address for one, address in zip(prepared.devices, self._addresses[1:], strict=True)}
        hub_toml = write_configs(prepared, self._addresses[0], addresses, self.plan.logical_type)
        await self._start("hub", ["hub", "--config", str(hub_toml), "--json"], prepared.hub_folder, self._hub_said)
        await self._until(lambda: self._hub_told("network-up"))
        for device in prepared.devices:
            await self._start_device(device)
        await asyncio.gather(*(self._update(device) for device in prepared.devices))
        if self.plan.logical_type == SLEEPY:
            await asyncio.gather(*(self._watch_rest(outcome) for outcome in self.outcomes.values()))

    async def _start_air(self, prepared: Prepared) -> None:
        arguments = ["air", "--json", "--speed", str(self.plan.speed), "--loss", str(self.plan.loss)]
        for eui in (HUB_EUI, *(device.eui for device in prepared.devices)):
            arguments += ["--ncp", "tcp://127.0.0.1:0", "--eui", format_eui(eui)]
        if self.plan.seed is not None:
            arguments += ["--seed", str(self.plan.seed)]
        arguments += ["--capture", str(prepared.air_folder / CAPTURE), "--nv-dir", str(prepared.air_folder)]
        await self._start("air", arguments, prepared.air_folder, self._air_said)
        await self._until(lambda: self._ready)

    async def _start_device(self, device: PreparedDevice) -> None:
        size = device.images.new.stat().st_size
        outcome = DeviceOutcome(device.role, device.eui, size, logical_type=self.plan.logical_type)
        self.outcomes[device.eui] = outcome

        def heard(event: Event) -> None:
            self._device_said(outcome, event)

        await self._start(device.role, ["run", "--config", str(device.config)], device.config.parent, heard)
        await self._until(lambda: self._hub_told("tunnel-opened", device.eui))

    async def _update(self, device: PreparedDevice) -> None:
        outcome = self.outcomes[device.eui]
        before = await self._radio_use(device.eui)
        started = time.monotonic()
        request: Event = {"path": str(device.images.new.resolve()), "devices": [format_eui(device.eui)]}
        if device.role == "ppmid":
            await self._ask({"command": "update-ppmid-firmware", **request})
        else:
            await self._ask({"command": "update-firmware", **request})
            await self._until(lambda: outcome.receipt is not None and self._holds(device.eui))
            await self._ask({"command": "activate", "devices": [format_eui(device.eui)]})
        await self._until(lambda: outcome.final is not None)
        outcome.seconds = time.monotonic() - started
        outcome.update_use = (await self._radio_use(device.eui)).since(before)

    async def _watch_rest(self, outcome: DeviceOutcome) -> None:
        """A while in which nothing happens, once the device has said that it is at rest."""
        await self._until(lambda: outcome.polling == "at rest")
        before = await self._radio_use(outcome.eui)
        await asyncio.sleep(REST_S / self.plan.speed)
        outcome.rest_use = (await self._radio_use(outcome.eui)).since(before)

    async def _radio_use(self, eui: int) -> RadioUse:
        """How long this chip's radio was awake until now: the air measures it and tells it when it gets a signal."""
        self._uses.pop(eui, None)
        next(program for program in self._programs if program.name == "air").send(signal.SIGUSR1)
        await self._until(lambda: eui in self._uses)
        return self._uses[eui]

    async def _start(self, name: str, arguments: list[str], folder: Path, heard: Callable[[Event], None]) -> None:
        program = Program(name, arguments, folder / f"{name}.log", heard)
        self._programs.append(program)
        await program.start()

    # --- what is said -------------------------------------------------------------------------------------------------

    def _say(self, who: str, event: Event) -> None:
        self._show(Said(time.monotonic() - self._started, who, event))
        self._news.set()

    def _air_said(self, event: Event) -> None:
        if "ncp" in event:
            self._addresses.append(str(event["ncp"]))
        self._ready = self._ready or event.get("ready") is True
        if "radio" in event:
            use = RadioUse(float(str(event["seconds"])), float(str(event["awake_s"])), int(str(event["polls"])))
            self._uses[int(str(event["radio"]), 16)] = use
        self._say("air", event)

    def _hub_said(self, event: Event) -> None:
        if event.get("event") != "transfer-progress":
            self._hub_heard.append(event)
        if event.get("event") == "report" and event.get("verified") is True and not event.get("duplicate"):
            outcome = self.outcomes.get(int(str(event["device_eui"]), 16))
            if outcome is not None:
                outcome.reports.append(event)
        self._say("hub", event)

    def _device_said(self, outcome: DeviceOutcome, event: Event) -> None:
        match event.get("event"):
            case "running":
                outcome.starts.append((str(event["version"]), str(event["slot"])))
            case "transfer complete":
                outcome.blocks = int(str(event["blocks"]))
                outcome.retries = int(str(event["retries"]))
            case "poll rate changed":
                outcome.polling = str(event["polling"])
            case "image verified":
                outcome.image_hash = str(event["manufacturer_image_hash"])
        self._say(outcome.role, event)

    def _hub_told(self, name: str, eui: int | None = None) -> bool:
        return any(
            one.get("event") == name and (eui is None or one.get("device_eui") == format_eui(eui))
            for one in self._hub_heard
        )

    def _holds(self, eui: int) -> bool:
        return self._hub_told("transfer-ended", eui)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._news.clear()
            for program in self._programs:
                program.check()
            try:
                await asyncio.wait_for(self._news.wait(), 0.5)  # a program that died says nothing: look
            except TimeoutError:
                continue

    async def _ask(self, request: Event) -> None:
        """One request on the hub's control socket. Raises DemoError with the hub's own words."""
        if self.prepared is None:
            raise DemoError("nothing is prepared")
        path = self.prepared.hub_folder / "state" / "control.sock"
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(json.dumps(request).encode() + b"\n")
        answer = json.loads(await reader.readline())
        writer.close()
        await writer.wait_closed()
        if not answer.get("ok"):
            raise DemoError(f"the hub refuses {request['command']}: {answer.get('error')}")

    def _stuck(self) -> str:
        logs = ", ".join(str(program.log) for program in self._programs)
        waiting = [one.role for one in self.outcomes.values() if not one.ok(str(NEW))] or ["the start"]
        return f"not done after {self.plan.limit_s:g} s, waiting for {' and '.join(waiting)}; the logs: {logs}"
