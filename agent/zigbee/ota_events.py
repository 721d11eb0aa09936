"""What goes in and out of the OTA client: who the device is, where a download stands, and the client's events.

The client decides nothing about an image: the owner answers an event with ``begin_download``, ``decline`` or
``end_upgrade``, and journals before it does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from agent.zigbee.ota_messages import ImageFound


class ActivationPolicy(IntEnum):
    """Attribute 0x000B: who starts activation."""

    SERVER = 0
    OUT_OF_BAND = 1  # an HCALCS: a signed command through the tunnel


class TimeoutPolicy(IntEnum):
    """Attribute 0x000C: what an unanswered Upgrade End leads to."""

    APPLY = 0
    DO_NOT_APPLY = 1


@dataclass(frozen=True, slots=True)
class OtaIdentity:
    """What this device is to the server. ``device_specific``: ask Query Device Specific File."""

    manufacturer: int
    image_type: int
    hardware_version: int
    running_file_version: int
    eui: int
    device_specific: bool = False
    activation_policy: ActivationPolicy = ActivationPolicy.SERVER
    timeout_policy: TimeoutPolicy = TimeoutPolicy.APPLY


@dataclass(frozen=True, slots=True)
class DownloadResume:
    """A download that a restart interrupted: ``offset`` octets of ``image`` are durable (all of them: verify again)."""

    image: ImageFound
    offset: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Counters of the present (or last) transfer."""

    offset: int = 0
    image_size: int = 0
    blocks: int = 0
    retries: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    wrong: int = 0


@dataclass(frozen=True, slots=True)
class ImageOffered:
    """The server has this image for us. Owner: ``begin_download(offset)`` or ``decline``."""

    image: ImageFound


@dataclass(frozen=True, slots=True)
class NoImage:
    """The server answered a query with another status than SUCCESS."""

    status: int


@dataclass(frozen=True, slots=True)
class Ignored:
    """A frame that changed nothing, and why (for the log)."""

    reason: str


@dataclass(frozen=True, slots=True)
class BlockReceived:
    """The next octets of the file: offsets are contiguous, from the one that the download began at."""

    offset: int
    data: bytes = field(repr=False)


SERVER_SILENT = "server silent"  # one offset was asked for too often


@dataclass(frozen=True, slots=True)
class TransferPaused:
    """No octets for now; ``until_s`` seconds from now something is tried (None: when the server is back)."""

    reason: str
    until_s: float | None


@dataclass(frozen=True, slots=True)
class TransferResumed:
    """Octets come again, at ``offset``."""

    offset: int


@dataclass(frozen=True, slots=True)
class TransferComplete:
    """All octets are here. Owner: verify, then ``end_upgrade(status)``."""

    image: ImageFound


@dataclass(frozen=True, slots=True)
class TransferAborted:
    """The transfer is over before its end. ``wire_status``: what the server sent or was sent; None: neither."""

    reason: str
    wire_status: int | None


@dataclass(frozen=True, slots=True)
class ActivateNow:
    """The server says so, or the time that it named has come."""


@dataclass(frozen=True, slots=True)
class ActivateAt:
    """Activate in ``seconds``; ``utc`` is that moment in the hub's UTCTime (None when the hub has no clock)."""

    seconds: float
    utc: int | None


@dataclass(frozen=True, slots=True)
class HoldForCommand:
    """Wait for a further command: a later Upgrade End Response, or CS06 through the tunnel."""


@dataclass(frozen=True, slots=True)
class UpgradeEndUnanswered:
    """Upgrade End was tried enough. ``apply`` is what attribute 0x000C says; the client itself holds and asks on."""

    apply: bool


OtaEvent = (
    ImageOffered
    | NoImage
    | Ignored
    | BlockReceived
    | TransferPaused
    | TransferResumed
    | TransferComplete
    | TransferAborted
    | ActivateNow
    | ActivateAt
    | HoldForCommand
    | UpgradeEndUnanswered
)
