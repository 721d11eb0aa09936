"""The MAC entity of one chip: transmit queue, retries, address filter, and frames held for sleepy children.

Source: IEEE 802.15.4-2006, clauses 7.5.4 (transmission) and 7.5.6 (indirect transmission). A held frame is tried once
for each poll and stays held until it was acknowledged or its time is over (7.5.6.5).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import partial

from boards.virtual.air import mac
from boards.virtual.air.mac import FrameType, MacCommand, MacFrame, Mode
from boards.virtual.air.medium import (
    ACK_S,
    ACK_WAIT_S,
    CCA_S,
    MAXIMUM_BACKOFFS,
    OCTET_S,
    PHY_HEADER_OCTETS,
    TURNAROUND_S,
    Air,
)
from boards.virtual.air.scheduler import Cancel

MAXIMUM_FRAME_RETRIES = 3  # macMaxFrameRetries
TRANSACTION_PERSISTENCE_S = 7.68  # macTransactionPersistenceTime: how long a frame waits for a sleepy child
POLL_FRAME_WAIT_S = 0.1  # our choice above macMaxFrameTotalWaitTime (20 ms): the parent may have to queue
CHANNEL_BUSY_S = (MAXIMUM_BACKOFFS + 1) * CCA_S  # awake for a frame that found no clear channel


class MacStatus(IntEnum):
    """How a transmission ended; the values are Z-Stack's."""

    SUCCESS = 0x00
    CHANNEL_ACCESS_FAILURE = 0xE1
    NO_ACK = 0xE9
    NO_DATA = 0xEB
    TRANSACTION_EXPIRED = 0xF0


MacConfirm = Callable[[MacStatus], None]
_Child = tuple[Mode, int]


@dataclass(slots=True)
class _Transmission:
    frame: MacFrame
    octets: bytes
    done: MacConfirm
    attempts_left: int = 1 + MAXIMUM_FRAME_RETRIES


@dataclass(slots=True)
class _Held:
    """A frame for a sleepy child and the timer that gives it up."""

    frame: MacFrame
    done: MacConfirm
    expiry: Cancel | None = None
    sending: bool = False
    expired: bool = False


class Radio:
    """One transceiver. The owner sets the addresses and gives ``on_frame``; ``receiver_on`` False makes it sleepy."""

    def __init__(self, air: Air, eui: int, sequence: int) -> None:
        self.eui = eui
        self.channel = 11
        self.pan_id = mac.BROADCAST
        self.short = mac.BROADCAST
        self.powered = False
        self.on_frame: Callable[[MacFrame, int], None] = _ignore
        self._air = air
        self._sequence = sequence & 0xFF
        self._queue: deque[_Transmission] = deque()
        self._sending: _Transmission | None = None
        self._held: dict[_Child, deque[_Held]] = {}
        self._receiver_on = True
        self._listening: Cancel | None = None  # a sleepy radio's receiver is on for what a poll fetches, until then
        self._meter = air.meter(eui)
        self._generation = 0  # stop() makes every outstanding callback stale

    @property
    def receiver_on(self) -> bool:
        """Is the receiver on while nothing is expected?"""
        return self._receiver_on

    @receiver_on.setter
    def receiver_on(self, on: bool) -> None:
        self._receiver_on = on
        self._measure()

    def start(self) -> None:
        """Power on."""
        self.powered = True
        self._air.attach(self)
        self._measure()

    def stop(self) -> None:
        """Power off: queues are lost, callbacks never come."""
        self.powered = False
        self._air.detach(self)
        self._generation += 1
        self._queue.clear()
        for held in (entry for entries in self._held.values() for entry in entries):
            if held.expiry:
                held.expiry.cancel()
        self._held.clear()
        self._sending = None
        self._stop_listening()

    def next_sequence(self) -> int:
        """The sequence number for the next frame (macDSN)."""
        self._sequence = (self._sequence + 1) & 0xFF
        return self._sequence

    def data_frame(self, destination: int, payload: bytes) -> MacFrame:
        """A data frame to a short address; 0xFFFF is a broadcast without acknowledgement."""
        return MacFrame(
            FrameType.DATA,
            self.next_sequence(),
            self.pan_id,
            destination,
            Mode.SHORT,
            self.pan_id,
            self.short,
            Mode.SHORT,
            payload,
            ack_request=destination != mac.BROADCAST,
        )

    def send(self, frame: MacFrame, done: MacConfirm) -> None:
        """Queue one frame; ``done`` comes once, as an event of its own."""
        self._queue.append(_Transmission(frame, mac.encode(frame), done))
        self._send_next()

    def hold(self, frame: MacFrame, done: MacConfirm) -> None:
        """Indirect transmission: keep ``frame`` until the child it is for polls, under the address it is sent to."""
        child = (frame.destination_mode, frame.destination)
        held = _Held(frame, done)
        held.expiry = self._air.scheduler.call_later(TRANSACTION_PERSISTENCE_S, lambda: self._expire(child, held))
        self._held.setdefault(child, deque()).append(held)

    def poll(self, frame: MacFrame, done: MacConfirm) -> None:
        """Send a data request; ``done(SUCCESS)`` when the parent has something (then listen), NO_DATA when not."""
        self._meter.polls += 1

        def sent(status: MacStatus) -> None:
            if status == MacStatus.SUCCESS:
                self._listen()
            done(status)

        self.send(frame, sent)

    def _listen(self) -> None:
        self._stop_listening()
        self._listening = self._air.scheduler.call_later(POLL_FRAME_WAIT_S, self._stop_listening)
        self._measure()

    def _stop_listening(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None
        self._measure()

    def _measure(self) -> None:
        self._meter.set_receiver(self.powered and (self._receiver_on or self._listening is not None))

    def wants(self, frame: MacFrame) -> bool:
        """Address filter of clause 7.5.6.2, with the receiver on."""
        if not self._receiver_on and self._listening is None:
            return False
        if frame.kind == FrameType.BEACON:
            return True
        if frame.destination_pan not in (self.pan_id, mac.BROADCAST):
            return False
        if frame.destination_mode == Mode.EXTENDED:
            return frame.destination == self.eui
        return frame.destination in (self.short, mac.BROADCAST)

    def acknowledge(self, frame: MacFrame) -> MacFrame | None:
        """Acknowledge what asks for it; frame pending says that a poll will be answered."""
        if not frame.ack_request or frame.destination == mac.BROADCAST:
            return None
        return mac.ack(frame.sequence, _is_poll(frame) and self._next_held(frame) is not None)

    def receive(self, frame: MacFrame, lqi: int) -> None:
        """A frame came in: answer polls, give everything else to the owner."""
        if _is_poll(frame):
            self._release(frame)
            return
        if self._listening is not None and frame.destination != mac.BROADCAST:
            self._stop_listening()  # what the poll asked for is in; whether there is more, the next poll tells
        self.on_frame(frame, lqi)

    def _next_held(self, poll: MacFrame) -> _Held | None:
        """What a poll fetches: the oldest frame for this child that is not on its way already."""
        entries = self._held.get((poll.source_mode, poll.source), ())
        return next((held for held in entries if not held.sending), None)

    def _release(self, poll: MacFrame) -> None:
        """Send the first frame held for the poller; its pending bit says whether there are more."""
        held = self._next_held(poll)
        if held is None:
            return
        child = (poll.source_mode, poll.source)
        held.sending = True
        frame = replace(held.frame, pending=any(not other.sending for other in self._held[child]))
        done = partial(self._fetched, child, held)
        self._queue.appendleft(_Transmission(frame, mac.encode(frame), done, attempts_left=1))
        self._send_next()

    def _fetched(self, child: _Child, held: _Held, status: MacStatus) -> None:
        """Acknowledged it is gone; else it waits for the next poll."""
        held.sending = False
        if status == MacStatus.SUCCESS or held.expired:
            self._held[child].remove(held)
            if held.expiry:
                held.expiry.cancel()
            held.done(status if status == MacStatus.SUCCESS else MacStatus.TRANSACTION_EXPIRED)

    def _expire(self, child: _Child, held: _Held) -> None:
        held.expired = True
        if not held.sending:
            self._held[child].remove(held)
            held.done(MacStatus.TRANSACTION_EXPIRED)

    def _send_next(self) -> None:
        if self._sending is None and self._queue:
            self._sending = self._queue.popleft()
            self._attempt(self._sending)

    def _attempt(self, transmission: _Transmission) -> None:
        transmission.attempts_left -= 1
        generation = self._generation

        def granted(access: bool) -> None:
            if generation == self._generation:
                self._went_out(transmission, access)

        self._air.contend(self, len(transmission.octets), transmission.frame.ack_request, granted)

    def _went_out(self, transmission: _Transmission, access: bool) -> None:
        self._meter.transmitted(_awake_s(transmission, access))
        if not access:
            self._finish(transmission, MacStatus.CHANNEL_ACCESS_FAILURE)
            return
        acknowledgement = self._air.deliver(self, transmission.octets)
        if not transmission.frame.ack_request:
            self._finish(transmission, MacStatus.SUCCESS)
            return
        status = _status_of(transmission.frame, acknowledgement)
        wait_s = ACK_WAIT_S if acknowledgement is None else TURNAROUND_S + ACK_S
        generation = self._generation

        def conclude() -> None:
            if generation == self._generation:
                self._conclude(transmission, status)

        self._air.scheduler.call_later(wait_s, conclude)

    def _conclude(self, transmission: _Transmission, status: MacStatus) -> None:
        if status == MacStatus.NO_ACK and transmission.attempts_left > 0:
            self._air.statistics.retries += 1
            self._attempt(transmission)
            return
        self._air.statistics.not_acknowledged += status == MacStatus.NO_ACK
        self._finish(transmission, status)

    def _finish(self, transmission: _Transmission, status: MacStatus) -> None:
        self._sending = None
        self._send_next()
        transmission.done(status)


def _ignore(_frame: MacFrame, _lqi: int) -> None:
    """Nobody owns this radio yet."""


def _awake_s(transmission: _Transmission, access: bool) -> float:
    """Of one attempt, for a radio whose receiver is off otherwise. The wait counts as long as it may be."""
    if not access:
        return CHANNEL_BUSY_S
    air_s = (PHY_HEADER_OCTETS + len(transmission.octets)) * OCTET_S
    return CCA_S + air_s + (ACK_WAIT_S if transmission.frame.ack_request else 0.0)


def _is_poll(frame: MacFrame) -> bool:
    return frame.kind == FrameType.COMMAND and frame.payload[:1] == bytes((MacCommand.DATA_REQUEST,))


def _status_of(frame: MacFrame, acknowledgement: MacFrame | None) -> MacStatus:
    if acknowledgement is None:
        return MacStatus.NO_ACK
    if _is_poll(frame) and not acknowledgement.pending:
        return MacStatus.NO_DATA
    return MacStatus.SUCCESS
