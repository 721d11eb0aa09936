"""Authenticated commands from the tunnel: CS06 at once, at a time or taken back, and CS08.

The originator's counter, what was decided, and what is answered are durable together. A dated command is kept over any
restart and carried out when the *hub's* clock has reached its time: late when the device was off, never on a clock that
nobody has set.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from agent.gbcs.message import GbcsMessage
from agent.gbcs.receiver import Accepted
from agent.gbcs.use_cases import ActivateFirmwareCommand, ActivationOutcome, ReadVersionCommand, Timing
from agent.image.version import Version
from agent.update.journal import Journal, Order
from agent.update.machine import UpdateMachine
from agent.update.reports import Reports
from agent.update.states import PENDING, State

BUSY = frozenset({State.ACTIVATING, State.TRIAL})


class Orders:
    """Carries out what ``GbcsReceiver`` has accepted."""

    def __init__(self, journal: Journal, reports: Reports, update: UpdateMachine, version: Version) -> None:
        self._journal = journal
        self._reports = reports
        self._update = update
        self._version = version
        self._due: float | None = None

    def next_deadline(self) -> float | None:
        """When the dated command is due; None when there is none, or while the hub's time is not known."""
        return None if self._update.state in BUSY else self._due

    def carry_out(
        self,
        accepted: Accepted,
        utc: int,
    ) -> None:
        """One accepted command; ``hub_answered`` then says when a dated one is due.

        Raises StorageError, and then nothing of it has happened.
        """
        command, payload = accepted.message, accepted.command
        with self._journal.transaction():
            self._journal.accept(command.originator, accepted.use, command.counter)
            if isinstance(payload, ReadVersionCommand):
                self._reports.version_read(command, self._version)
            elif payload.timing is Timing.CANCEL:
                self._journal.forget_order("dated")
                self._reports.order_accepted(command, utc)
            elif payload.timing is Timing.FUTURE_DATED:
                self._journal.set_order("dated", self._order(command, payload))
                self._reports.order_accepted(command, utc)
            else:
                self._decide(self._order(command, payload), utc)
        self._update.carry_out()

    def hub_answered(self, now: float, utc: int) -> None:
        """The hub's time is known: when is the dated command due?"""
        order = self._journal.order("dated")
        if order is None or order.execution_utc is None:
            self._due = None
            return
        self._due = now + max(0, order.execution_utc - utc)
        self.handle_timer(now, utc)

    def handle_timer(self, now: float, utc: int) -> None:
        """Carry out the dated command when its time has come."""
        if self._due is None or now < self._due or self._update.state in BUSY:
            return
        self._due = None
        order = self._journal.order("dated")
        if order is None:
            return
        with self._journal.transaction():
            self._journal.forget_order("dated")
            self._decide(order, utc)
        self._update.carry_out()

    def _decide(self, order: Order, utc: int) -> None:
        """No image, another image, or activate. Inside the caller's transaction."""
        if self._update.state not in PENDING:
            self._reports.order_ended(order, ActivationOutcome.NO_IMAGE, self._version, utc)
        elif self._update.record.image_hash != order.image_hash:
            self._reports.order_ended(order, ActivationOutcome.HASH_MISMATCH, self._version, utc)
        else:
            self._journal.set_order("running", replace(order, update_id=self._update.record.update_id))
            self._update.decide("CS06")

    @staticmethod
    def _order(command: GbcsMessage, payload: ActivateFirmwareCommand) -> Order:
        when = payload.execution_time
        return Order(command.encode(), payload.image_hash, None if when is None else _seconds(when))


def _seconds(when: datetime) -> int:
    return int(when.timestamp())
