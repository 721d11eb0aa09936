"""Several emulated chips on one air, each behind its own line: what ``han-agent air`` and the demo run."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from agent.errors import StorageError
from agent.events import format_eui
from boards.virtual.air.awake import RadioUse
from boards.virtual.air.capture import Capture
from boards.virtual.air.capture_notes import write_notes
from boards.virtual.air.medium import Air, AirSettings
from boards.virtual.air.scheduler import AsyncioScheduler
from boards.virtual.ncp.chip import Chip
from boards.virtual.ncp.line import Line, open_line
from boards.virtual.ncp.nv import NvMemory
from boards.virtual.stack.interface import StackSink, ZigbeeStack
from boards.virtual.stack.stack import Stack

FIRST_EUI = 0x00124B0026520001  # TI's prefix; chip n without --eui is n further on
FLUSH_PERIOD_S = 0.5  # how soon a capture shows what was sent


@dataclass(frozen=True, slots=True)
class ChipSettings:
    """One chip: where its line is, its hardware EUI, and the most octets it takes in one (fragmented) APS message."""

    address: str
    eui: int
    maximum_transfer_octets: int = 1500


@dataclass(frozen=True, slots=True)
class BoardSettings:
    """``speed`` scales the air only; ``seed`` None draws one; ``nv_dir`` None keeps NV in memory."""

    chips: tuple[ChipSettings, ...]
    speed: float = 1.0
    air: AirSettings = field(default_factory=AirSettings)
    seed: int | None = None
    capture: Path | None = None
    nv_dir: Path | None = None


class VirtualBoard:
    """``async with VirtualBoard(settings) as board:`` then ``board.addresses``, one for each chip in order."""

    def __init__(self, settings: BoardSettings) -> None:
        self._settings = settings
        self._capture: Capture | None = None
        self._scheduler: AsyncioScheduler | None = None
        self._known_keys: dict[bytes, str] = {}  # every key that a chip ever held -> what it is
        self._flush: asyncio.TimerHandle | None = None
        self._seed = 0
        self._lines: list[Line] = []
        self.chips: list[Chip] = []
        self.air: Air | None = None

    @property
    def addresses(self) -> list[str]:
        """What a host opens: ``socket://127.0.0.1:9990``, a pty or its link."""
        return [line.address for line in self._lines]

    async def start(self) -> None:
        """Power everything up. Raises HanError (a port in use, an NV file, the capture), leaving nothing behind."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        settings = self._settings
        loop = asyncio.get_running_loop()
        if settings.nv_dir is not None:
            _make_folder(settings.nv_dir)
        if settings.capture is not None:
            self._capture = Capture(settings.capture, time.time())
            self._flush_capture()
        self._scheduler = AsyncioScheduler(loop, settings.speed)
        seed = self._seed = random.SystemRandom().getrandbits(64) if settings.seed is None else settings.seed
        self.air = Air(self._scheduler, settings.air, random.Random(seed), self._capture)
        for chip in settings.chips:
            self.chips.append(self._make_chip(chip, seed))
            self._lines.append(await open_line(chip.address, self.chips[-1]))

    async def unplug(self, number: int) -> None:
        """Take chip ``number`` out of its port: the host's line is gone, and so is the power."""
        await self._lines[number].close()
        self.chips[number].power_off()

    async def plug_in(self, number: int) -> None:
        """Back at the same port, with what its NV memory holds. Raises HanError."""
        old, settings = self.chips[number], self._settings.chips[number]
        port = self._lines[number].address.replace("socket://", "tcp://")
        self.chips[number] = self._make_chip(settings, self._seed + 1, old.nv)
        self._lines[number] = await open_line(port, self.chips[number])

    def _make_chip(self, chip: ChipSettings, seed: int, nv: NvMemory | None = None) -> Chip:
        """``nv``: of a chip that comes back; None: the file's in ``nv_dir``, or a new one."""
        air, scheduler, folder = self.air, self._scheduler, self._settings.nv_dir
        if air is None or scheduler is None:
            raise RuntimeError("a chip without an air")
        generator = random.Random(f"{seed}/{chip.eui}")
        path = None if folder is None else folder / f"{format_eui(chip.eui)}.json"

        def make_stack(eui: int, sink: StackSink) -> ZigbeeStack:
            return Stack(air, eui, sink, generator)

        return Chip(scheduler, make_stack, nv or NvMemory(path), chip.eui, generator, chip.maximum_transfer_octets)

    def radio_use(self) -> dict[int, RadioUse]:
        """How long each chip's radio was awake so far, by EUI; as the chips' own radios measure it."""
        return {} if self.air is None else {chip.eui: self.air.meter(chip.eui).use() for chip in self.chips}

    def _flush_capture(self) -> None:
        if self._capture is not None:
            self._capture.flush()
            self._note_keys()
            self._flush = asyncio.get_running_loop().call_later(FLUSH_PERIOD_S, self._flush_capture)

    def _note_keys(self) -> None:
        """Keep the note beside the capture up to date: keys are replaced, what was sent under them stays."""
        before = len(self._known_keys)
        for state in [state for chip in self.chips if (state := chip.stack.export_state()) is not None]:
            self._know(state.network_key, f"network key of PAN 0x{state.pan_id:04X}")
            for entry in state.link_keys:
                self._know(entry.key, f"link key with {format_eui(entry.eui)}")
        if self._settings.capture is not None and len(self._known_keys) > before:
            write_notes(self._settings.capture, {label: key for key, label in self._known_keys.items()})

    def _know(self, key: bytes, what: str) -> None:
        self._known_keys.setdefault(key, f"{what} (key {len(self._known_keys) + 1})")

    async def stop(self) -> None:
        """Power everything off. Harmless when it never started."""
        if self._flush is not None:
            self._flush.cancel()
            self._note_keys()
        for line in self._lines:
            await line.close()
        for chip in self.chips:
            chip.power_off()
        if self._scheduler is not None:
            self._scheduler.close()
        if self._capture is not None:
            self._capture.close()
        self._lines, self.chips, self._capture = [], [], None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.stop()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"--nv-dir {folder}: cannot be made: {error.strerror}; name another folder") from None
