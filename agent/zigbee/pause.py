"""How long to wait after a failure."""

from __future__ import annotations

# Our choices; an hour is the longest that Smart Energy devices wait between attempts to join.
FIRST_BACK_OFF_S = 5.0
LONGEST_BACK_OFF_S = 3_600.0


class Pause:
    """A time in seconds that doubles with every failure in a row."""

    def __init__(self) -> None:
        self._seconds = FIRST_BACK_OFF_S

    def next(self) -> float:
        """How long to wait now."""
        seconds = self._seconds
        self._seconds = min(seconds * 2, LONGEST_BACK_OFF_S)
        return seconds

    def reset(self) -> None:
        """It worked."""
        self._seconds = FIRST_BACK_OFF_S
