"""The course of joining, as both its halves share it: getting onto the network, and contact with the hub there."""

from __future__ import annotations

from collections import deque

from agent.events import NetworkInfo
from agent.zigbee.join_events import JoinEvent, JoinState
from agent.zigbee.pause import Pause
from agent.zigbee.questions import Questions
from agent.zigbee.whereabouts import Whereabouts


class JoinCourse:
    """``wake``: when a pause is over or an answer is missing, None: nothing is waited for."""

    def __init__(self, profile: int) -> None:
        self.state = JoinState.DOWN
        self.wake: float | None = None
        self.network: NetworkInfo | None = None
        self.join_pause = Pause()
        self.where = Whereabouts()
        self.ask = Questions(profile)
        self._events: deque[JoinEvent] = deque()

    def go(self, state: JoinState, wake: float | None = None) -> None:
        """To ``state``, until ``wake`` at the latest."""
        self.state, self.wake = state, wake

    def tell(self, event: JoinEvent) -> None:
        """For the owner."""
        self._events.append(event)

    def next_event(self) -> JoinEvent | None:
        """The oldest event not yet taken."""
        return self._events.popleft() if self._events else None
