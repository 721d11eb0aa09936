"""An end device and its parent: coming back by NWK rejoin, and fetching frames by polling when its receiver sleeps.

When it polls, as Z-Stack does: a period after the last poll, a shorter one after something was sent (an answer may be
there soon) and after something was fetched (there may be more). Each of the three is the host's to set.

Not modelled: End Device Timeout Request and Response (R21 3.4.11, 3.4.12), so a parent never lets a child age out of
its table, and the keep-alive method of its parent information is always the MAC data poll; orphan scans. The emulated
chip has no end device whose receiver is on. Source: ZigBee specification (05-3474) 3.6.1.4.2 (rejoin).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from boards.virtual.air.mac import FrameType, MacCommand, MacFrame, Mode
from boards.virtual.air.octets import Reader
from boards.virtual.air.radio import MacStatus
from boards.virtual.air.scheduler import Cancel
from boards.virtual.stack import nwk_frames
from boards.virtual.stack.core import Core
from boards.virtual.stack.interface import LogicalType, PollRates
from boards.virtual.stack.nwk import Nwk
from boards.virtual.stack.nwk_frames import Capability, NwkCommand, NwkType
from boards.virtual.stack.received import Received

REJOIN_ATTEMPTS = 3
REJOIN_WAIT_S = 1.0
REJOIN_POLL_S = 0.1
PARENT_LOST_POLLS = 3  # unacknowledged polls in a row, each four attempts of the MAC


class EndDevice:
    """Only at work while the network's logical type is END_DEVICE."""

    def __init__(self, core: Core, nwk: Nwk) -> None:
        self._core = core
        self._nwk = nwk
        self.sleepy = False
        self._rates = PollRates()
        self._polling = False
        self._failures = 0
        self._timer: Cancel | None = None
        self._due = math.inf  # when the timer strikes
        self._rejoined: Callable[[bool], None] | None = None
        nwk.commands[NwkCommand.REJOIN_RESPONSE] = self._receive_rejoin_response

    def reset(self) -> None:
        self._timer = None
        self._due = math.inf
        self._rejoined = None
        self._polling = False
        self._failures = 0

    def start_polling(self) -> None:
        """The network is there: a sleepy device turns its receiver off and polls from now on."""
        network = self._core.network
        if network is not None and network.logical_type == LogicalType.END_DEVICE and self.sleepy:
            self._core.radio.receiver_on = False
            self._polling = True
            self._schedule(self._rates.default_s)

    def set_rates(self, rates: PollRates) -> None:
        """From now on; the next poll comes by the new period."""
        self._rates = rates
        if self._polling:
            self._schedule(rates.default_s)

    def expect_answer(self) -> None:
        """Something has gone out: the next poll comes soon, unless one comes sooner."""
        if self._polling and self._core.scheduler.now() + self._rates.response_s < self._due:
            self._schedule(self._rates.response_s)

    def rejoin(self, done: Callable[[bool], None]) -> None:
        """Ask the parent to take us back; ``done(False)`` when it does not answer."""
        self._rejoined = done
        self._ask_parent(REJOIN_ATTEMPTS)

    def _ask_parent(self, attempts: int) -> None:
        network = self._core.network
        if network is None or self._rejoined is None:
            return
        if attempts == 0:
            done, self._rejoined = self._rejoined, None
            done(False)
            return
        capability = Capability(router=False, receiver_on_when_idle=not self.sleepy)
        request = nwk_frames.encode_rejoin_request(capability.encode())
        self._nwk.send(NwkType.COMMAND, network.parent_short, request, _ignore_status, radius=1)
        self._core.later(REJOIN_WAIT_S, lambda: self._ask_parent(attempts - 1))
        if self.sleepy:
            self._core.later(REJOIN_POLL_S, self._poll_for_response)

    def _poll_for_response(self) -> None:
        if self._rejoined is not None:
            self._poll(_ignore_status)
            self._core.later(REJOIN_POLL_S, self._poll_for_response)

    def _receive_rejoin_response(self, received: Received, reader: Reader) -> None:
        """Our short address, perhaps a new one; unasked, after another device had announced it (3.6.1.9.3)."""
        short, status = reader.u16(), reader.u8()
        network = self._core.network
        if network is None or network.is_router() or received.frame.source != network.parent_short or status != 0:
            return
        done, self._rejoined = self._rejoined, None
        if short != network.short:
            network.short = self._core.radio.short = short
            self._core.changed()
            self._core.sink.address_changed(short)
        if done is not None:
            done(True)

    def _schedule(self, delay_s: float) -> None:
        """Infinite: no poll."""
        if self._timer is not None:
            self._timer.cancel()
        self._due = self._core.scheduler.now() + delay_s
        self._timer = None if math.isinf(delay_s) else self._core.later(delay_s, lambda: self._poll(self._polled))

    def _polled(self, status: MacStatus) -> None:
        """Something came: soon again. Nothing heard from the parent: rejoin, for as long as it takes."""
        self._failures = self._failures + 1 if status == MacStatus.NO_ACK else 0
        if self._failures >= PARENT_LOST_POLLS:
            self._failures = 0
            self.rejoin(lambda _back: self._schedule(self._rates.default_s))
        elif status == MacStatus.SUCCESS:
            self._schedule(self._rates.queued_s)
        else:
            self._schedule(self._rates.default_s)

    def _poll(self, done: Callable[[MacStatus], None]) -> None:
        network, radio = self._core.network, self._core.radio
        if network is None:
            return
        frame = MacFrame(
            FrameType.COMMAND,
            radio.next_sequence(),
            radio.pan_id,
            network.parent_short,
            Mode.SHORT,
            radio.pan_id,
            radio.short,
            Mode.SHORT,
            bytes((MacCommand.DATA_REQUEST,)),
            ack_request=True,
        )
        radio.poll(frame, done)


def _ignore_status(_status: int) -> None:
    """Silence is noticed by the wait."""
