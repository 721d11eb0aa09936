"""Messages on their way up: each is tried until the hub has it, the same octets every time.

An acknowledged message is given a few seconds before it counts as delivered: the APS acknowledgement says that it has
arrived, and only then may the hub say that it does not know the tunnel it came by (Transfer Data Error). Power that
falls in between sends it again; the receiver tells the repetition by its counter.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.update.journal import Journal, OutboxRow

SETTLE_S = 5.0  # our choice: longer than a hub takes to answer


@dataclass(slots=True)
class _Sending:
    row: OutboxRow
    again_at: float | None = None  # when it is tried again
    settles_at: float | None = None  # acknowledged; delivered when nobody objects until then


class Outbox:
    """Hands the journal's undelivered rows to the tunnel. Pure but for the journal; raises StorageError."""

    def __init__(self, journal: Journal, retry_s: float) -> None:
        self._journal = journal
        self._retry_s = retry_s
        self._sending: dict[int, _Sending] = {}
        self._handles: dict[str, int] = {}

    def to_send(self, now: float) -> list[tuple[int, OutboxRow]]:
        """Rows to give to the tunnel now: new ones, and those whose time to be tried again has come."""
        due: list[tuple[int, OutboxRow]] = []
        for row in self._journal.undelivered():
            if row.key not in self._handles:
                self._handles[row.key] = len(self._handles) + 1
                self._sending[self._handles[row.key]] = _Sending(row, again_at=now)
            handle = self._handles[row.key]
            sending = self._sending[handle]
            if sending.again_at is not None and sending.again_at <= now:
                sending.again_at = None
                due.append((handle, row))
        return due

    def acknowledged(self, handle: int, now: float) -> OutboxRow | None:
        """The hub acknowledged it. None for a handle of no row."""
        sending = self._sending.get(handle)
        if sending is None:
            return None
        sending.settles_at = now + SETTLE_S
        return sending.row

    def not_delivered(self, handle: int, now: float) -> OutboxRow | None:
        """It may or may not have arrived, or the hub could not take it: again after a while."""
        sending = self._sending.get(handle)
        if sending is None:
            return None
        sending.settles_at = None
        sending.again_at = now + self._retry_s
        return sending.row

    def tunnel_changed(self, now: float) -> None:
        """The hub opened or closed a tunnel: what waits to be tried again, and what was acknowledged just now, goes.

        An APS acknowledgement comes from the hub's chip, not from its tunnel: the message may have come by one that
        the hub did not know any more.
        """
        for sending in self._sending.values():
            if sending.settles_at is not None or sending.again_at is not None:
                sending.settles_at = None
                sending.again_at = now

    def take_settled(self, now: float) -> list[OutboxRow]:
        """Rows that are delivered from now on, durably."""
        settled = [
            handle for handle, one in self._sending.items() if one.settles_at is not None and one.settles_at <= now
        ]
        rows = [self._sending.pop(handle).row for handle in settled]
        for row in rows:
            self._journal.delivered(row.key)
        return rows

    def next_deadline(self) -> float | None:
        """When a row is due again, or settles."""
        times = [at for one in self._sending.values() for at in (one.again_at, one.settles_at) if at is not None]
        return min(times, default=None)
