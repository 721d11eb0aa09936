"""The medium: sixteen channels that radios share, with the air time, the loss and the jitter of 2.4 GHz.

Air time of one attempt with ``n`` octets, FCS included: backoff (mean 1.12 ms) + CCA 0.128 ms + (6 + n) x 32 us +
turnaround 0.192 ms + ack 0.352 ms + spacing. Transmissions on a channel stand in a queue; collisions are not
modelled, which is what CSMA makes nearly true for the handful of devices of a home.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from boards.virtual.air import mac
from boards.virtual.air.awake import AwakeMeter
from boards.virtual.air.capture import Capture
from boards.virtual.air.scheduler import Scheduler

CHANNELS = range(11, 27)
OCTET_S = 32e-6
PHY_HEADER_OCTETS = 6  # preamble, start of frame, length
UNIT_BACKOFF_S = 320e-6
CCA_S = 128e-6
TURNAROUND_S = 192e-6
ACK_S = (PHY_HEADER_OCTETS + 5) * OCTET_S
ACK_WAIT_S = 864e-6  # macAckWaitDuration, 54 symbols
LONG_SPACING_S, SHORT_SPACING_S, SHORT_FRAME_OCTETS = 640e-6, 192e-6, 18
MINIMUM_BACKOFF_EXPONENT, MAXIMUM_BACKOFF_EXPONENT = 3, 5
MAXIMUM_BACKOFFS = 4  # macMaxCSMABackoffs
LOST_ACK_SHARE = 0.25  # our choice: of the attempts that fail, those where the frame arrived and its ack did not
DUPLICATE_DELAY_S = 0.02  # our choice: a duplicate comes up to this much later
DEFAULT_LQI = 255


@dataclass(frozen=True, slots=True)
class AirSettings:
    """What the air does to frames. ``loss`` is the probability that one attempt fails, frame or acknowledgement."""

    loss: float = 0.0
    duplicate: float = 0.0  # probability that a receiver gets a frame twice
    delay_s: float = 0.0  # each attempt waits up to this long before it contends for the channel (uniform)
    busy: float = 0.0  # probability that a clear channel assessment finds foreign traffic


@dataclass(slots=True)
class AirStatistics:
    """Counts since the start. ``attempts`` are data, command and beacon frames; acknowledgements stand apart."""

    attempts: int = 0
    octets: int = 0  # of the attempts, with FCS
    acks: int = 0
    lost: int = 0  # receptions that failed, of frames and of acks
    retries: int = 0  # attempts after the first of a frame
    duplicates: int = 0
    not_acknowledged: int = 0  # frames given up after every retry
    channel_access_failures: int = 0
    busy_s: dict[int, float] = field(default_factory=dict)  # air time by channel


class Receiver(Protocol):
    """What the air sees of a radio."""

    eui: int
    channel: int

    def wants(self, frame: mac.MacFrame) -> bool:
        """The receiver is on and the frame passes its address filter."""

    def acknowledge(self, frame: mac.MacFrame) -> mac.MacFrame | None:
        """The acknowledgement of a wanted frame, None when it asks for none."""

    def receive(self, frame: mac.MacFrame, lqi: int) -> None:
        """The frame came in. Its acknowledgement is on its way."""


class Air:
    """One air for every radio attached to it. Deterministic for a seed and an order of calls."""

    def __init__(
        self,
        scheduler: Scheduler,
        settings: AirSettings | None = None,
        generator: random.Random | None = None,
        capture: Capture | None = None,
    ) -> None:
        self.scheduler = scheduler
        self.settings = settings or AirSettings()
        self.statistics = AirStatistics()
        self.capture = capture
        self._random = generator or random.Random(0)
        self._receivers: list[Receiver] = []
        self._free_at: dict[int, float] = dict.fromkeys(CHANNELS, 0.0)
        self._spaced_at: dict[int, float] = {}  # by EUI: when the interframe spacing after its last frame is over
        self._links: dict[frozenset[int], int] = {}
        self._meters: dict[int, AwakeMeter] = {}

    def meter(self, eui: int) -> AwakeMeter:
        """Of the radio with this EUI; it outlives a reset of the chip."""
        return self._meters.setdefault(eui, AwakeMeter(self.scheduler.now))

    def attach(self, receiver: Receiver) -> None:
        """From now on ``receiver`` hears what is sent on its channel."""
        self._receivers.append(receiver)

    def detach(self, receiver: Receiver) -> None:
        """The radio is off or gone. Harmless when it is not attached."""
        if receiver in self._receivers:
            self._receivers.remove(receiver)

    def set_link(self, eui: int, other_eui: int, lqi: int | None) -> None:
        """Link quality 1..255 between two radios; None puts them out of each other's range."""
        self._links[frozenset((eui, other_eui))] = lqi or 0

    def contend(self, sender: Receiver, octets: int, acknowledged: bool, granted: Callable[[bool], None]) -> None:
        """CSMA-CA for one attempt. ``granted(True)`` comes when the last octet has gone out, False on no access.

        Another sender may contend as soon as the acknowledgement is over; the same one leaves the spacing first.
        """
        now, channel = self.scheduler.now(), sender.channel
        wait_s = self._random.uniform(0.0, self.settings.delay_s) if self.settings.delay_s else 0.0
        access_s = self._backoff_s()
        if access_s is None:
            self.statistics.channel_access_failures += 1
            self.scheduler.call_later(wait_s + MAXIMUM_BACKOFFS * 16 * UNIT_BACKOFF_S, lambda: granted(False))
            return
        start = max(now + wait_s, self._free_at[channel], self._spaced_at.get(sender.eui, 0.0)) + access_s
        air_s = (PHY_HEADER_OCTETS + octets) * OCTET_S
        tail_s = TURNAROUND_S + ACK_S if acknowledged else 0.0
        spacing_s = LONG_SPACING_S if octets > SHORT_FRAME_OCTETS else SHORT_SPACING_S
        self._free_at[channel] = start + air_s + tail_s
        self._spaced_at[sender.eui] = self._free_at[channel] + spacing_s
        busy = self.statistics.busy_s
        busy[channel] = busy.get(channel, 0.0) + air_s + tail_s
        self.scheduler.call_later(start + air_s - now, lambda: granted(True))

    def deliver(self, sender: Receiver, octets: bytes) -> mac.MacFrame | None:
        """Let everybody in range hear a frame that has just gone out; the acknowledgement that the sender hears."""
        self.statistics.attempts += 1
        self.statistics.octets += len(octets)
        frame = mac.decode(octets)
        listeners = self._listeners(sender, frame)
        fates = [self._draw_loss(frame.ack_request) for _ in listeners]
        self._capture_frame(sender.channel, octets, bool(listeners), [lost for lost, _ in fates])
        heard: mac.MacFrame | None = None
        arrived = [(listener, lqi) for (listener, lqi), (lost, _) in zip(listeners, fates, strict=True) if not lost]
        for (listener, _), (lost, ack_lost) in zip(listeners, fates, strict=True):
            self.statistics.lost += lost or ack_lost
            acknowledgement = None if lost else listener.acknowledge(frame)
            if acknowledgement is not None:
                self._capture_ack(sender.channel, acknowledgement, ack_lost)
                heard = heard if ack_lost else acknowledgement
        self._hand_over(arrived, frame)
        return heard

    def _listeners(self, sender: Receiver, frame: mac.MacFrame) -> list[tuple[Receiver, int]]:
        """Whose receiver is on, in range and addressed, with the link quality."""
        return [
            (receiver, lqi)
            for receiver in self._receivers
            if receiver is not sender
            and receiver.channel == sender.channel
            and (lqi := self._lqi(sender, receiver))
            and receiver.wants(frame)
        ]

    def _hand_over(self, arrived: list[tuple[Receiver, int]], frame: mac.MacFrame) -> None:
        """Receivers act on the frame as separate events, so that no chip runs inside another one's call."""
        for receiver, lqi in arrived:
            delays = [0.0]
            if self.settings.duplicate and self._random.random() < self.settings.duplicate:
                self.statistics.duplicates += 1
                delays.append(self._random.uniform(0.0, DUPLICATE_DELAY_S))
            for delay_s in delays:
                self._receive_later(delay_s, receiver, frame, lqi)

    def _receive_later(self, delay_s: float, receiver: Receiver, frame: mac.MacFrame, lqi: int) -> None:
        def receive() -> None:
            if receiver in self._receivers:  # not switched off in the meantime
                receiver.receive(frame, lqi)

        self.scheduler.call_later(delay_s, receive)

    def energy(self, channel: int) -> int:
        """0..255 from the share of time in which the channel carried frames since the start."""
        now = self.scheduler.now()
        return round(255 * min(1.0, self.statistics.busy_s.get(channel, 0.0) / now)) if now > 0 else 0

    def _backoff_s(self) -> float | None:
        """Time until the channel is found clear, or None after ``MAXIMUM_BACKOFFS`` in vain."""
        exponent, total_s = MINIMUM_BACKOFF_EXPONENT, 0.0
        for _ in range(MAXIMUM_BACKOFFS + 1):
            total_s += int(self._random.random() * 2**exponent) * UNIT_BACKOFF_S + CCA_S
            if not self.settings.busy or self._random.random() >= self.settings.busy:
                return total_s
            exponent = min(exponent + 1, MAXIMUM_BACKOFF_EXPONENT)
        return None

    def _lqi(self, sender: Receiver, receiver: Receiver) -> int:
        if not self._links:
            return DEFAULT_LQI
        return self._links.get(frozenset((sender.eui, receiver.eui)), DEFAULT_LQI)

    def _draw_loss(self, acknowledged: bool) -> tuple[bool, bool]:
        """Is the frame lost, is (only) its acknowledgement lost?"""
        if not self.settings.loss or self._random.random() >= self.settings.loss:
            return False, False
        if acknowledged and self._random.random() < LOST_ACK_SHARE:
            return False, True
        return True, False

    def _capture_frame(self, channel: int, octets: bytes, heard: bool, lost: list[bool]) -> None:
        """Packet time stamps count from a frame's first octet; now is its last."""
        if self.capture:
            comment = "lost on the air" if any(lost) else "" if heard else "nobody listens"
            start_s = self.scheduler.now() - len(octets) * OCTET_S
            self.capture.add(octets, start_s, channel, DEFAULT_LQI, comment)

    def _capture_ack(self, channel: int, acknowledgement: mac.MacFrame, lost: bool) -> None:
        self.statistics.acks += 1
        if self.capture:
            start_s = self.scheduler.now() + TURNAROUND_S + PHY_HEADER_OCTETS * OCTET_S
            comment = "lost on the air" if lost else ""
            self.capture.add(mac.encode(acknowledgement), start_s, channel, DEFAULT_LQI, comment)
