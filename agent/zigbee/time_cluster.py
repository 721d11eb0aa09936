"""The Time cluster 0x000A (ZCL 3.12) and the hub's clock as the device knows it.

*UTCTime* is seconds since 2000-01-01 00:00:00 UTC; 0xFFFFFFFF is "invalid".
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from agent.zigbee.foundation import Value

ZIGBEE_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
INVALID_TIME = 0xFFFFFFFF

ATTRIBUTE_TIME = 0x0000
ATTRIBUTE_TIME_STATUS = 0x0001
ATTRIBUTE_TIME_ZONE = 0x0002
ATTRIBUTE_LOCAL_TIME = 0x0007

STATUS_MASTER = 0x01
STATUS_SYNCHRONIZED = 0x02
STATUS_MASTER_ZONE_DST = 0x04
STATUS_SUPERSEDING = 0x08


def to_utc_time(moment: datetime) -> int:
    """An aware datetime as UTCTime, whole seconds; clamped to what 32 bits hold."""
    seconds = int((moment - ZIGBEE_EPOCH).total_seconds())
    return max(0, min(seconds, INVALID_TIME - 1))


def from_utc_time(seconds: float) -> datetime:
    """UTCTime as an aware datetime."""
    return ZIGBEE_EPOCH + timedelta(seconds=seconds)


class HubClock:
    """The hub's time, from the last read of its Time cluster and the monotonic clock since.

    Unknown until a synchronised (or master) hub has answered, and again after ``forget``: the wall clock of a
    Raspberry Pi, which has no battery, never takes its place.
    """

    def __init__(self) -> None:
        self._offset_s: float | None = None

    def set(self, utc_s: float, now: float) -> None:
        """The hub says that it is ``utc_s`` (UTCTime) at ``now``."""
        self._offset_s = utc_s - now

    def learn(self, values: dict[int, Value], now: float) -> bool:
        """Take the attributes of a Read Attributes Response. False, and unchanged, when they hold no valid time."""
        time_s, status = values.get(ATTRIBUTE_TIME), values.get(ATTRIBUTE_TIME_STATUS)
        if not isinstance(time_s, int) or not 0 < time_s < INVALID_TIME:
            return False
        if isinstance(status, int) and not status & (STATUS_MASTER | STATUS_SYNCHRONIZED):
            return False
        self.set(time_s, now)
        return True

    def forget(self) -> None:
        """The network is another one, or gone for too long to trust."""
        self._offset_s = None

    def utc(self, now: float) -> float | None:
        """UTCTime at ``now``; None while unknown."""
        return None if self._offset_s is None else now + self._offset_s

    def datetime(self, now: float) -> datetime | None:
        """The same as an aware datetime."""
        utc_s = self.utc(now)
        return None if utc_s is None else from_utc_time(utc_s)

    def monotonic(self, utc_s: float) -> float | None:
        """When, on the monotonic clock, it is ``utc_s``; None while unknown."""
        return None if self._offset_s is None else utc_s - self._offset_s
