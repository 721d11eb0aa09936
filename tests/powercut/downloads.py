"""How much of a file was asked for twice, seen from the air alone: the device's Image Block Requests.

A block is asked for only when the one before it is in. So a request at an offset says that every checkpoint below it is
durable, and no later start may ask for anything below that checkpoint again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.events import ApsRequest

OTA_CLUSTER = 0x0019
IMAGE_BLOCK_REQUEST = 0x03
UPGRADE_END_REQUEST = 0x06
SUCCESS = 0x00
BLOCK = struct.Struct("<BHHIIB")  # field control, manufacturer, image type, file version, offset, maximum octets
END = struct.Struct("<BHHI")  # status, manufacturer, image type, file version


@dataclass
class Download:
    """One file version. ``header_octets``: where its image begins."""

    header_octets: int
    checkpoint_octets: int
    total_octets: int
    reached: int = 0  # every octet below was taken
    before: int = 0  # where that was a request ago
    floor: int = 0  # nothing below may be asked for again
    last: int = -1
    twice: int = 0
    below_floor: list[int] = field(default_factory=list)

    def ask(self, offset: int) -> None:
        """One Image Block Request."""
        if offset < self.last:  # a start has come between
            self.floor = max(self.floor, self._checkpoint_below(self.reached))
            self.twice += self.reached - offset
        if offset < self.floor:
            self.below_floor.append(offset)
        self.last = offset
        self.before, self.reached = self.reached, max(self.reached, offset)

    def end(self) -> None:
        """An Upgrade End Request with SUCCESS: the whole file is durable and judged."""
        self.reached = self.floor = self.total_octets

    def give_up(self) -> None:
        """One with another status: the slot had no room for the last block, and the next one was asked for already."""
        self.reached = self.before

    def _checkpoint_below(self, offset: int) -> int:
        image_octets = max(0, offset - self.header_octets)
        whole = image_octets // self.checkpoint_octets * self.checkpoint_octets
        return self.header_octets + whole if whole else 0


def watch(traffic: Iterable[ApsRequest], downloads: dict[int, Download]) -> None:
    """Take all of a device's requests in; ``downloads`` by file version."""
    for request in traffic:
        if request.cluster != OTA_CLUSTER or len(request.payload) < 3 or request.payload[0] & 0x03 != 0x01:
            continue
        command, body = request.payload[2], request.payload[3:]
        if command == IMAGE_BLOCK_REQUEST:
            _, _, _, version, offset, _ = BLOCK.unpack_from(body)
            downloads[version].ask(offset)
        elif command == UPGRADE_END_REQUEST:
            status, _, _, version = END.unpack_from(body)
            (downloads[version].end if status == SUCCESS else downloads[version].give_up)()
