"""Active scan: a beacon request on each channel, and the beacons that answer.

Source: IEEE 802.15.4-2006 clause 7.5.2.1.2.
"""

from __future__ import annotations

from collections.abc import Callable

from agent.errors import FormatError
from boards.virtual.air import mac
from boards.virtual.air.mac import FrameType, MacCommand, MacFrame, Mode
from boards.virtual.stack import nwk_frames
from boards.virtual.stack.core import Core
from boards.virtual.stack.interface import FoundNetwork

Done = Callable[[list[FoundNetwork]], None]


class Scanner:
    """One scan at a time; a second one waits for the first."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._found: dict[tuple[int, int, int], FoundNetwork] = {}
        self._waiting: list[tuple[tuple[int, ...], float, Done]] = []
        self._busy = False

    def reset(self) -> None:
        self._waiting.clear()
        self._busy = False

    def start(self, channels: tuple[int, ...], done: Done, listening_s: float | None = None) -> None:
        """Scan ``channels`` in order; ``done`` gets the networks heard. The radio returns to its channel."""
        listening_s = self._core.settings.scan_duration_s if listening_s is None else listening_s
        self._waiting.append((channels, listening_s, done))
        if not self._busy:
            self._next()

    def receive(self, frame: MacFrame, lqi: int) -> None:
        """A beacon was heard."""
        if not self._busy:
            return
        try:
            beacon = nwk_frames.decode_beacon(frame.payload)
        except FormatError:
            self._core.statistics.malformed += 1
            return
        channel = self._core.radio.channel
        self._found[channel, frame.source_pan, frame.source] = FoundNetwork(
            channel,
            frame.source_pan,
            beacon.extended_pan_id,
            frame.source,
            beacon.permits_joining,
            beacon.router_capacity,
            beacon.end_device_capacity,
            beacon.depth,
            lqi,
            beacon.update_id,
        )

    def _next(self) -> None:
        self._busy = bool(self._waiting)
        if self._busy:
            channels, listening_s, done = self._waiting.pop(0)
            self._found = {}
            home, listened = self._core.radio.channel, self._core.radio.receiver_on
            self._core.radio.receiver_on = True

            def finish() -> None:
                self._core.radio.channel, self._core.radio.receiver_on = home, listened
                self._next()
                done(list(found.values()))

            found = self._found
            self._visit(channels, listening_s, finish)

    def _visit(self, channels: tuple[int, ...], listening_s: float, finish: Callable[[], None]) -> None:
        if not channels:
            finish()
            return
        self._core.radio.channel = channels[0]
        self._core.radio.send(_beacon_request(self._core.radio.next_sequence()), _ignore_status)
        self._core.later(listening_s, lambda: self._visit(channels[1:], listening_s, finish))


def _beacon_request(sequence: int) -> MacFrame:
    command = bytes((MacCommand.BEACON_REQUEST,))
    return MacFrame(FrameType.COMMAND, sequence, mac.BROADCAST, mac.BROADCAST, Mode.SHORT, payload=command)


def _ignore_status(_status: int) -> None:
    """A beacon request that did not get out finds no network, and the scan says so."""
