"""Why an image is refused, and what is known of one that is not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from agent.errors import FormatError
from agent.image.mcuboot import MagicError, ManufacturerImage
from agent.image.ota_form import TRAILER
from agent.image.version import Version

ABORT = 0x95  # ZCL 2.6.3: the image may be good, this device cannot take it as things stand
INVALID_IMAGE = 0x96  # the image is not one, not ours, or not vouched for


class Reason(Enum):
    """Why an image is refused; the value is what logs and reports carry."""

    SIZE = "size"
    MAGIC = "magic"
    HEADER = "header"
    FORMAT = "format"
    MANUFACTURER = "manufacturer"
    IMAGE_TYPE = "image-type"
    HARDWARE = "hardware"
    DESTINATION = "destination"
    VERSION_MISMATCH = "version-mismatch"
    NOT_NEWER = "not-newer"
    SECURITY_COUNTER = "security-counter"
    UPGRADE_FROM = "upgrade-from"
    BASE_ABI = "base-abi"
    SECURITY_COUNTER_ABSENT = "security-counter-absent"
    UNPROTECTED_TLV = "unprotected-tlv"
    HASH = "hash"
    UNSIGNED = "unsigned"
    UNKNOWN_KEY = "unknown-key"
    SIGNATURE = "signature"
    SUPPLIER_TRAILER = "supplier-trailer"
    SUPPLIER_SIGNATURE = "supplier-signature"


# Our choice within ZCL 11.13.9.2.1: ABORT where another day or another device could take the same file.
_ABORTED = {Reason.SIZE, Reason.UPGRADE_FROM, Reason.BASE_ABI, Reason.DESTINATION}


@dataclass(frozen=True, slots=True)
class Refusal:
    """``message`` names the thing, what was expected and found, and the remedy."""

    reason: Reason
    message: str

    @property
    def wire_status(self) -> int:
        """The ZCL status for the Upgrade End Request."""
        return ABORT if self.reason in _ABORTED else INVALID_IMAGE

    def __str__(self) -> str:
        return f"refused ({self.reason.value}): {self.message}"


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What is known of an image that passed every check."""

    version: Version
    security_counter: int
    manufacturer_image_hash: bytes
    key_hash: bytes


def refuse_format(error: FormatError) -> Refusal:
    """The refusal for octets that do not parse."""
    if isinstance(error, MagicError):
        reason = Reason.MAGIC
    else:
        reason = Reason.SUPPLIER_TRAILER if error.what == TRAILER else Reason.FORMAT
    return Refusal(reason, f"{error}; nobody vouches for this file, ask the manufacturer for the image again")


def accept(image: ManufacturerImage) -> Acceptance:
    """The facts of an image that ``check_image`` did not refuse."""
    key_hash = image.key_hash or b""
    return Acceptance(image.version, image.security_counter or 0, image.manufacturer_image_hash, key_hash)
