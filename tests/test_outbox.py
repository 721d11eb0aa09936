"""The outbox: tried until the hub has it, and not lost by a tunnel that the hub had forgotten."""

from __future__ import annotations

import sqlite3

from agent.update.database import Database
from agent.update.journal import Journal, OutboxRow
from agent.update.outbox import SETTLE_S, Outbox

ROW = OutboxRow("1", "CS09", b"octets", "u")
RETRY_S = 30.0


def make() -> tuple[Journal, Outbox, int]:
    """An outbox that has given its one row to the tunnel at 0, and the handle."""
    journal = Journal(Database(sqlite3.connect(":memory:", isolation_level=None)))
    with journal.transaction():
        journal.post(ROW)
    outbox = Outbox(journal, RETRY_S)
    ((handle, row),) = outbox.to_send(0.0)
    assert row == ROW
    return journal, outbox, handle


def test_an_acknowledged_message_settles_after_a_while() -> None:
    journal, outbox, handle = make()
    outbox.acknowledged(handle, 1.0)
    assert outbox.next_deadline() == 1.0 + SETTLE_S
    assert outbox.take_settled(1.0 + SETTLE_S) == [ROW]
    assert journal.undelivered() == []


def test_an_acknowledged_message_goes_again_when_the_hub_opens_another_tunnel() -> None:
    """A start resumes the old tunnel; the hub, which heard the device announce itself, has just forgotten it."""
    journal, outbox, handle = make()
    outbox.acknowledged(handle, 1.0)
    outbox.tunnel_changed(1.5)
    assert outbox.take_settled(100.0) == []
    assert outbox.to_send(1.5) == [(handle, ROW)]
    outbox.acknowledged(handle, 2.0)
    assert outbox.take_settled(2.0 + SETTLE_S) == [ROW]
    assert journal.undelivered() == []


def test_a_change_of_tunnel_leaves_alone_what_is_under_way_and_hurries_what_waits() -> None:
    _, outbox, handle = make()
    outbox.tunnel_changed(1.0)
    assert outbox.to_send(1.0) == [], "the tunnel sends it anew by itself"
    outbox.not_delivered(handle, 2.0)
    assert outbox.next_deadline() == 2.0 + RETRY_S
    outbox.tunnel_changed(3.0)
    assert outbox.to_send(3.0) == [(handle, ROW)]
