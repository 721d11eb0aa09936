"""What left the device under which GBCS counter, seen from the air, and what its journal must still know of it.

A start after a cut must find every counter that was ever seen outside: an alert's own counter as used, a command's
counter as accepted once its response has gone. And no two different messages may have left under one counter.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.events import ApsRequest
from agent.gbcs.message import Cra, GbcsMessage, decode
from agent.update.journal import Journal

TUNNELING = 0x0704
TO_CLIENT_CLUSTER_SPECIFIC = 0x09  # ZCL frame control, without the bit that waives a default response
TRANSFER_DATA = 0x01
DATA_OFFSET = 5  # frame control, sequence, command, tunnel


def message_in(request: ApsRequest) -> tuple[GbcsMessage, bytes] | None:
    """The GBCS message that a frame of the device bears; each travels in one Transfer Data here."""
    octets = request.payload
    if request.cluster != TUNNELING or len(octets) <= DATA_OFFSET:
        return None
    if (octets[0] & 0x0F, octets[2]) != (TO_CLIENT_CLUSTER_SPECIFIC, TRANSFER_DATA):
        return None
    return decode(octets[DATA_OFFSET:]), octets[DATA_OFFSET:]


class Ledger:
    """Of one device, over all its starts. What is not as it must be is an AssertionError."""

    def __init__(self) -> None:
        self._read = 0  # frames of the device's traffic looked at so far
        self._messages: dict[tuple[Cra, int, int], bytes] = {}  # by kind, target and counter
        self._own = 0  # the highest counter of an alert that left
        self._answered: dict[tuple[int, int], int] = {}  # by originator and message code: the highest that was answered
        self._remembered: dict[tuple[int, int], int] = {}  # the journal's own, when it was last looked at

    def read(self, traffic: Sequence[ApsRequest]) -> None:
        """Take in what left since the last time."""
        for request in traffic[self._read :]:
            found = message_in(request)
            if found is not None:
                self._take(*found)
        self._read = len(traffic)

    def _take(self, message: GbcsMessage, octets: bytes) -> None:
        key = (message.cra, message.target, message.counter)
        before = self._messages.setdefault(key, octets)
        assert octets == before, f"two different messages left with counter {message.counter} to {message.target:016X}"
        if message.cra is Cra.ALERT:
            self._own = max(self._own, message.counter)
        else:
            use = (message.target, message.message_code)
            self._answered[use] = max(self._answered.get(use, -1), message.counter)

    def compare(self, journal: Journal) -> None:
        """With what a start finds."""
        own, accepted = journal.counter("own"), journal.accepted_counters()
        assert own >= self._own, f"counter {self._own} has left, and the journal knows only {own}"
        for known, what in ((self._answered, "answered"), (self._remembered, "accepted before")):
            for use, counter in known.items():
                kept = accepted.get(use, -1)
                assert kept >= counter, f"counter {counter} of {use[0]:016X} was {what}, and the journal knows {kept}"
        self._own, self._remembered = own, accepted
