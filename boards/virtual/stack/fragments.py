"""APS fragmentation as two small machines: one sends the blocks of a payload in windows, one collects them.

Source: ZigBee specification (05-3474) 2.2.8.4.5. A payload that fits one frame is a transfer of one block without an
extended header. Pure: no clock, no radio.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.errors import FormatError
from boards.virtual.stack.aps_frames import Fragmentation

MAXIMUM_BLOCKS = 255


@dataclass(slots=True)
class OutgoingTransfer:
    """Blocks to send; ``base`` is the first block of the window that is under way."""

    blocks: list[bytes]
    window: int
    retries: int
    base: int = 0
    acknowledged: set[int] = field(default_factory=set)
    retries_left: int = 0

    def __post_init__(self) -> None:
        self.retries_left = self.retries

    @property
    def finished(self) -> bool:
        return self.base >= len(self.blocks)

    def missing(self) -> list[int]:
        """The blocks of this window that are not acknowledged yet."""
        end = min(self.base + self.window, len(self.blocks))
        return [number for number in range(self.base, end) if number not in self.acknowledged]

    def acknowledge(self, base: int | None, bits: int) -> bool:
        """An acknowledgement for the window at ``base`` (None: without extended header). Did it say anything new?"""
        if self.finished or (base is None) != (len(self.blocks) == 1) or (base is not None and base != self.base):
            return False
        window = [self.base] if base is None else range(self.base, min(self.base + self.window, len(self.blocks)))
        news = {number for number in window if base is None or bits >> (number - self.base) & 1} - self.acknowledged
        self.acknowledged |= news
        if not self.missing():
            self.base += self.window
            self.retries_left = self.retries
        return bool(news)

    def retry(self) -> bool:
        """The acknowledgement did not come: may the window be sent again?"""
        self.retries_left -= 1
        return self.retries_left >= 0


def split(payload: bytes, single_octets: int, block_octets: int) -> list[bytes]:
    """Cut a payload: one block where it fits a single frame, else blocks of ``block_octets``."""
    if len(payload) <= single_octets:
        return [payload]
    return [payload[start : start + block_octets] for start in range(0, len(payload), block_octets)]


@dataclass(slots=True)
class IncomingTransfer:
    """Blocks received so far. ``count`` is None until the first block has come, which tells it."""

    window: int
    maximum_octets: int
    blocks: dict[int, bytes] = field(default_factory=dict)
    count: int | None = None

    def add(self, fragmentation: Fragmentation, block: int, payload: bytes) -> tuple[int, int] | None:
        """Take one fragment; (window base, bits) where an acknowledgement is due, else None.

        Raises FormatError for what cannot be a part of one message: numbers beyond the count, another count, too much.
        """
        number = 0 if fragmentation == Fragmentation.FIRST else block
        self._check(fragmentation, number, block, payload)
        if fragmentation == Fragmentation.FIRST:
            self.count = block
        repeated = number in self.blocks
        self.blocks.setdefault(number, payload)
        base = number - number % self.window
        end = min(base + self.window, MAXIMUM_BLOCKS if self.count is None else self.count)
        bits = sum(1 << (other - base) for other in range(base, end) if other in self.blocks)
        complete = all(other in self.blocks for other in range(base, end))
        return (base, bits) if complete or repeated or number == end - 1 else None

    @property
    def complete(self) -> bool:
        return self.count is not None and len(self.blocks) == self.count

    def payload(self) -> bytes:
        """The whole message, once ``complete``."""
        return b"".join(self.blocks[number] for number in range(len(self.blocks)))

    def _check(self, fragmentation: Fragmentation, number: int, block: int, payload: bytes) -> None:
        if fragmentation == Fragmentation.NONE or not payload:
            raise FormatError("APS fragment", 0, "no block in it")
        if fragmentation == Fragmentation.FIRST and (block < 2 or self.count not in (None, block)):
            raise FormatError("APS fragment", 0, f"a count of {block} blocks after {self.count}")
        if fragmentation == Fragmentation.SUBSEQUENT and (number == 0 or number >= (self.count or MAXIMUM_BLOCKS)):
            raise FormatError("APS fragment", 0, f"block {number} of {self.count}")
        count = block if fragmentation == Fragmentation.FIRST else self.count
        if count is not None and self.blocks and max(self.blocks) >= count:
            raise FormatError("APS fragment", 0, f"a count of {count} blocks after block {max(self.blocks)}")
        held = sum(map(len, self.blocks.values())) + (0 if number in self.blocks else len(payload))
        if held > self.maximum_octets:
            raise FormatError("APS fragment", 0, f"more than the {self.maximum_octets} octets of a transfer")
