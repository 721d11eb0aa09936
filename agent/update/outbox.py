"""Messages on their way up: each is tried until the hub has acknowledged it, the same octets every time."""

from __future__ import annotations

from dataclasses import dataclass

from agent.update.journal import Journal, OutboxRow


@dataclass(slots=True)
class _Sending:
    row: OutboxRow
    again_at: float | None  # None: it is in the tunnel's hands now


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
            handle = self._handles.setdefault(row.key, len(self._handles) + 1)
            sending = self._sending.setdefault(handle, _Sending(row, now))
            if sending.again_at is not None and sending.again_at <= now:
                sending.again_at = None
                due.append((handle, row))
        return due

    def delivered(self, handle: int) -> OutboxRow | None:
        """The hub acknowledged it: never again. None for a handle of no row."""
        sending = self._sending.pop(handle, None)
        if sending is None:
            return None
        self._journal.delivered(sending.row.key)
        return sending.row

    def not_delivered(self, handle: int, now: float) -> OutboxRow | None:
        """It may or may not have arrived: again after a while."""
        sending = self._sending.get(handle)
        if sending is None:
            return None
        sending.again_at = now + self._retry_s
        return sending.row

    def next_deadline(self) -> float | None:
        """When a row is due again."""
        return min((one.again_at for one in self._sending.values() if one.again_at is not None), default=None)
