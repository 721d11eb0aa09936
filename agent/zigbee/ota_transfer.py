"""One image's octets on their way: the next offset, what a block is worth, the pace, and the counters."""

from __future__ import annotations

from enum import Enum

from agent.zigbee.ota_events import Progress
from agent.zigbee.ota_messages import ImageBlock, ImageBlockRequest, ImageFound
from agent.zigbee.ota_rules import is_of_image

WRONG_BLOCKS_TO_ABORT = 5  # our choice: of another image, one after the other
FIRST_GAP_S = 0.025  # our choice, see Pace
LONGEST_GAP_S = 0.4
GAP_DECAY = 0.98  # a block


class Worth(Enum):
    """What a received block is worth."""

    NEXT = "the next octets"
    LAST = "the last octets"
    DUPLICATE = "already here"
    OUT_OF_ORDER = "beyond the next offset"
    WRONG = "of another image or outside this one"


class Pace:
    """The time between two block requests: the server's minimum block period, and a gap that we learn.

    A widespread server loses every block request that reaches it before it has confirmed its last response. Each loss
    costs a whole response time-out, so after one a small gap is left before the next request; it shrinks again while
    nothing is lost. Our choice; with other servers the gap stays at nothing.
    """

    def __init__(self) -> None:
        self.period = 0  # as attribute 0x0009
        self.gap_s = 0.0

    def lost(self) -> None:
        """A delivered request stayed without answer."""
        self.gap_s = min(max(self.gap_s * 2, FIRST_GAP_S), LONGEST_GAP_S)

    def answered(self) -> None:
        """A block came."""
        self.gap_s = self.gap_s * GAP_DECAY if self.gap_s > FIRST_GAP_S / 5 else 0.0

    def next_request(self, last_request: float, now: float, unit_ms: int) -> float:
        """When the next request may go out."""
        return max(last_request + self.period * unit_ms / 1000, now + self.gap_s)


class Transfer:
    """The octets of one image. ``doubtful``: the server may have forgotten the session (a restart, a pause)."""

    def __init__(self, image: ImageFound, offset: int, doubtful: bool) -> None:
        self.image = image
        self.offset = offset
        self.doubtful = doubtful
        self.interrupted = doubtful  # a pause was told to the owner and no block came since
        self.last_request = float("-inf")
        self.tries = 0  # of this offset, since the last sign of life
        self.probes = 0  # since the pause began
        self._wrong_in_a_row = 0
        self._counts = {"blocks": 0, "retries": 0, "duplicates": 0, "out_of_order": 0, "wrong": 0}

    def progress(self) -> Progress:
        """The counters now."""
        return Progress(self.offset, self.image.image_size, **self._counts)

    def judge(self, block: ImageBlock) -> Worth:
        """What the block is worth; the next offset moves only for NEXT and LAST."""
        end = block.offset + len(block.data)
        if not is_of_image(block, self.image) or end > self.image.image_size:
            self._counts["wrong"] += 1
            self._wrong_in_a_row += 1
            return Worth.WRONG
        if block.offset < self.offset or not block.data:
            self._counts["duplicates"] += 1
            return Worth.DUPLICATE
        if block.offset > self.offset:
            self._counts["out_of_order"] += 1
            return Worth.OUT_OF_ORDER
        self._counts["blocks"] += 1
        self._wrong_in_a_row = 0
        self.tries = self.probes = 0
        self.doubtful = False
        self.offset = end
        return Worth.LAST if end == self.image.image_size else Worth.NEXT

    def serves_another_image(self) -> bool:
        """So many wrong blocks in a row that waiting for a right one is no use."""
        return self._wrong_in_a_row >= WRONG_BLOCKS_TO_ABORT

    def request(self, maximum_octets: int, node_eui: int | None, now: float) -> ImageBlockRequest:
        """The request for the next octets. A repetition counts as a retry."""
        self._counts["retries"] += 1 if self.tries else 0
        self.tries += 1
        self.last_request = now
        image = self.image
        wanted = min(maximum_octets, image.image_size - self.offset)
        return ImageBlockRequest(
            image.manufacturer, image.image_type, image.file_version, self.offset, wanted, node_eui
        )
