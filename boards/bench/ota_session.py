"""What the OTA server keeps of one device's transfer, and how it answers its end (ZCL 11.13.9)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent.zigbee import ota_messages as ota
from agent.zigbee.zcl import ZclFrame
from boards.bench.desk import Peer
from boards.bench.images import FileId, ServedImage
from boards.bench.members import Member
from boards.bench.settings import UTC_UNKNOWN, ActivationKind


@dataclass(slots=True)
class Session:
    """One device's transfer of one file. ``reached`` is the end of the furthest block sent."""

    file_id: FileId
    started_at: float
    blocks: int = 0
    octets: int = 0
    repeats: int = 0
    waits: int = 0
    period_told: int = 0  # how often the device was told the minimum block period
    pages: int = 0
    reached: int = 0
    resumed: bool = False
    last_block_at: float | None = None
    silent_until: float = 0.0
    forgotten: bool = False
    page: int = 0  # counts page requests: blocks of an older one are not sent any more
    answer: tuple[int, int | None] | None = None  # status of the Upgrade End Request and upgrade time answered

    @property
    def given_back(self) -> bool:
        """The device did not want what it had: the next transfer of the same file is another one, with its own end."""
        return self.answer is not None and self.answer[1] is None


@dataclass(frozen=True, slots=True)
class Block:
    """A block to send: of which image, from where, at most how long, in answer to which request."""

    member: Member
    peer: Peer
    frame: ZclFrame
    image: ServedImage
    offset: int
    length: int

    def clipped(self, end: int) -> Block:
        """The block, not beyond ``end`` (of its page)."""
        return replace(self, length=min(self.length, end - self.offset))


def upgrade_answer(image: ServedImage, utc: int) -> ota.UpgradeEndResponse:
    """Current and upgrade time by the image's activation; 0, 0 is now for every client, with or without a clock."""
    activation = image.activation
    if activation.kind is ActivationKind.WAIT:
        return _wait_answer(image, utc)
    if activation.kind is ActivationKind.AFTER:
        clock = 0 if utc == UTC_UNKNOWN else utc
        return ota.UpgradeEndResponse(*image.file_id, clock, clock + activation.value)
    if activation.kind is ActivationKind.AT and utc == UTC_UNKNOWN:
        return ota.UpgradeEndResponse(*image.file_id, UTC_UNKNOWN, UTC_UNKNOWN)
    if activation.kind is ActivationKind.AT and activation.value > utc:
        return ota.UpgradeEndResponse(*image.file_id, utc, activation.value)
    return ota.UpgradeEndResponse(*image.file_id, 0, 0)


def _wait_answer(image: ServedImage, utc: int) -> ota.UpgradeEndResponse:
    """A hub tells an HCALCS to wait with wildcards and both times unknown; others with their own file id."""
    if image.form == "gb-hcalcs":
        wildcards = (ota.ANY_MANUFACTURER, ota.ANY_IMAGE_TYPE, ota.ANY_FILE_VERSION)
        return ota.UpgradeEndResponse(*wildcards, UTC_UNKNOWN, UTC_UNKNOWN)
    return ota.UpgradeEndResponse(*image.file_id, 0 if utc == UTC_UNKNOWN else utc, UTC_UNKNOWN)
