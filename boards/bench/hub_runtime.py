"""The hub as a program: settings in, a running hub with its head end, log and control socket. The only bench I/O."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from agent.errors import SettingsError, StorageError
from agent.gbcs.keystore import KeyStore
from agent.ports import RadioPort
from agent.shell import Driver
from agent.zigbee.cbke.key_files import SUITES, holders, load_credentials
from agent.zigbee.clusters import SMART_ENERGY_PROFILE
from boards.bench import happenings
from boards.bench.backhaul import Backhaul
from boards.bench.console import Console
from boards.bench.control import ControlServer, check_path
from boards.bench.faults import Faults
from boards.bench.head_end import HeadEnd, find_parties
from boards.bench.history import Event, History, ProgressFilter
from boards.bench.hub import Hub, HubPlan
from boards.bench.members import member_from_settings
from boards.bench.memory import HubMemory, parse_memory
from boards.bench.offers import load_offer
from boards.bench.request_log import RequestLog
from boards.bench.settings import ZIGBEE_EPOCH, HubSettings, parse_eui
from boards.bench.trust_center import CredentialsOf
from flash.key_folder import make_folder, write_file

Show = Callable[[object, Event], None]


class HubRuntime:
    """Everything that a hub needs, made from its settings. Raises HanError naming what is wrong before it starts.

    ``show(happening, event)`` gets each happening with its JSON-ready form. ``restore``: the backup of the hub whose
    place this one takes.
    """

    def __init__(
        self,
        settings: HubSettings,
        radio: RadioPort,
        show: Show,
        *,
        answer_zdo: bool = False,
        restore: Path | None = None,
    ) -> None:
        check_path(settings.control_socket)
        self._radio = radio
        self._show = show
        self._progress = ProgressFilter()
        self._clock = time.monotonic
        self.history = History()
        memory = _memory(settings.memory)
        backup = _backup(restore) if restore else None
        hub = Hub(_plan(settings, answer_zdo, memory, backup), random.Random(secrets.randbits(64)), _faults(settings))
        keys = KeyStore.load(settings.keys)
        log = RequestLog(settings.state / "head-end.jsonl")
        head_end = HeadEnd(keys, find_parties(keys, settings.head_end), log)
        own = parse_eui(settings.head_end.hub, "head_end.hub") if settings.head_end.hub else 0
        self.backhaul = Backhaul(hub, head_end, self._wall, own)
        for offer in settings.images:
            self.backhaul.offer(load_offer(offer), self._clock())
        console = Console(self.backhaul, self._clock)
        self._control = ControlServer(settings.control_socket, self._woken(console), self.history)
        self._driver = Driver(hub, radio, self._clock, self._tell)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop``. Raises RadioError when the radio is not there, SettingsError for a second hub."""
        await self._control.open()
        try:
            await self._driver.run(stop)
        finally:
            self._tell()
            await self._control.close()

    def _woken(self, console: Console) -> Callable[[Event], Event]:
        """What a command made the hub want to send leaves at once."""

        def dispatch(request: Event) -> Event:
            try:
                return console.dispatch(request)
            finally:
                self._driver.wake()

        return dispatch

    def _tell(self) -> None:
        for happening in self.backhaul.carry(self._clock()):
            if self._progress.passes(happening):
                moment = datetime.now(UTC).isoformat(timespec="milliseconds")
                words = happenings.line(happening)
                event: Event = {"time": moment, **happenings.as_object(happening), "text": words}
                self.history.append(event)
                self._show(happening, event)

    def _wall(self, now: float) -> datetime:
        """The date and time at ``now`` of the driver's clock, from the clock of this machine."""
        return datetime.now(UTC) + timedelta(seconds=now - self._clock())


def _memory(path: Path) -> HubMemory:
    """What is there, and from now on kept there. A medium that takes nothing costs the memory, never the hub."""
    try:
        memory = parse_memory(path.read_text(encoding="ascii"), str(path)) if path.exists() else HubMemory()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None

    def keep(text: str) -> None:
        try:
            make_folder(path.parent)
            write_file(path, text.encode(), 0o600)
        except StorageError as error:
            structlog.get_logger().warning("the hub will not remember this", reason=str(error))

    memory.keep = keep
    return memory


def _backup(path: Path) -> HubMemory:
    try:
        return parse_memory(path.read_text(encoding="ascii"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}; name a copy of the old hub's network.json") from None


def _plan(settings: HubSettings, answer_zdo: bool, memory: HubMemory, backup: HubMemory | None) -> HubPlan:
    radio = settings.radio
    return HubPlan(
        channel=radio.channel,
        members=[member_from_settings(device) for device in settings.devices],
        utc=lambda _now: int(time.time()) - ZIGBEE_EPOCH,
        pan_id=radio.pan_id,
        profile=radio.profile,
        endpoint=radio.endpoint,
        credentials=_credentials(settings),
        answer_zdo=answer_zdo,
        memory=memory,
        backup=backup,
        ota=settings.ota,
        tunnel=settings.tunnel,
    )


def _credentials(settings: HubSettings) -> CredentialsOf | None:
    """Every certificate set in the keys folder: which is the radio's own is told by the radio."""
    suites = SUITES[settings.radio.key_establishment]
    if not suites or settings.radio.profile != SMART_ENERGY_PROFILE:
        return None
    return {eui: load_credentials(settings.keys, eui, suites) for eui in holders(settings.keys)}


def _faults(settings: HubSettings) -> Faults:
    plan = settings.faults
    if plan.foreign_file is None:
        return Faults(plan)
    try:
        return Faults(plan, plan.foreign_file.read_bytes())
    except OSError as error:
        raise SettingsError(f"{plan.foreign_file}: faults.foreign_file cannot be read: {error.strerror}") from None
