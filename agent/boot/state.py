"""The boot state: which slot runs, how each slot fares, and the security counter. Format, no I/O.

One record of 512 octets, so that it is one sector; little-endian:

    0   8   magic "HANBOOT\\0"
    8   2   format version, 1
    10  2   record length, 512
    12  4   zero
    16  8   sequence; the higher of two valid copies is the newer
    24  1   active slot: 0 A, 1 B, 255 none. The one that was confirmed last; a trial does not change it
    25  3   zero
    28  4   security counter: an image below it never runs
    32  128 slot A
    160 128 slot B
    288 192 room for later fields, kept as found
    480 32  SHA-256 over the 480 octets before

A slot:

    0   1   state (SlotState)
    1   1   tries left of the trial
    2   1   tries given to the trial
    3   1   why the last trial or the slot's use ended (EndReason)
    4   1   progress of the try under way (TryProgress)
    5   1   why an earlier try of this trial ended, if the image is to blame (EndReason)
    6   2   zero
    8   4   octets of the image
    12  4   security counter of the image
    16  32  SHA-256 of the Manufacturer Image, verbatim
    48  16  the machine's boot id in which the try under way began
    64  64  room for later fields, kept as found

The record's second copy lies 64 KiB after the first (`agent.boot.store`).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum

from agent.errors import FormatError

RECORD_OCTETS = 512
MAGIC = b"HANBOOT\0"
FORMAT_VERSION = 1
NO_SLOT = 255

_HEAD = struct.Struct("<8sHH4xQB3xI")
_SLOT = struct.Struct("<BBBBBB2xII32s16s64s")
_CHECKED_OCTETS = RECORD_OCTETS - hashlib.sha256().digest_size
_ROOM_AT = _HEAD.size + 2 * _SLOT.size


class Slot(Enum):
    """One of the two firmware slots. The value is its number in the record; the name is what people call it."""

    A = 0
    B = 1

    @property
    def other(self) -> Slot:
        return Slot.B if self is Slot.A else Slot.A


class SlotState(IntEnum):
    """What is known of a slot. Only TRIAL and CONFIRMED may run."""

    EMPTY = 0  # nothing usable: never written, being written, or cancelled
    WRITTEN = 1  # whole, read back and verified; nobody has activated it
    TRIAL = 2  # activated, not yet found healthy
    CONFIRMED = 3
    BAD = 4  # see the EndReason
    UNKNOWN = 5  # the boot state was lost and the slot bears no confirmed mark


class EndReason(IntEnum):
    """Why a trial (or the use of a slot) ended."""

    NONE = 0
    POWER = 1  # the machine lost its power and came up again
    UNHEALTHY = 2  # the health check said no, or got no answer in time
    NEVER_STARTED = 3  # the first stage handed over; the image never said that it runs
    WATCHDOG = 4
    CRASHED = 5  # the process ended by itself or by a signal
    VERIFY_FAILED = 6  # the slot does not hold a valid image, or another than the recorded one
    CANCELLED = 7  # an engineer marked it bad
    RESET = 8  # the machine came up anew without having lost its power: hardware watchdog, kernel panic or a reboot
    POWER_OR_RESET = 9  # the machine came up anew, and nothing tells which of the two it was
    STORAGE = 10  # the program ended because a medium failed


NOT_JUDGED = frozenset({EndReason.POWER, EndReason.POWER_OR_RESET, EndReason.STORAGE})  # the image is not to blame


class TryProgress(IntEnum):
    """How far the try under way came."""

    NOT_STARTED = 0
    HANDED_OVER = 1  # the first stage counted the try
    RUNNING = 2  # the image's own code reported that it runs


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """What the boot state says of one slot."""

    state: SlotState = SlotState.EMPTY
    tries_left: int = 0
    tries_given: int = 0
    reason: EndReason = EndReason.NONE
    progress: TryProgress = TryProgress.NOT_STARTED
    earlier: EndReason = EndReason.NONE
    image_octets: int = 0
    security_counter: int = 0
    image_hash: bytes = bytes(32)
    boot_id: bytes = bytes(16)
    room: bytes = field(default=bytes(64), repr=False)


EMPTY = SlotRecord()


@dataclass(frozen=True, slots=True)
class BootState:
    """The whole record. Immutable: every change is a new value with the next sequence, given by the store."""

    sequence: int = 0
    active: Slot | None = None
    security_counter: int = 0
    a: SlotRecord = EMPTY
    b: SlotRecord = EMPTY
    room: bytes = field(default=bytes(_CHECKED_OCTETS - _ROOM_AT), repr=False)

    def __getitem__(self, slot: Slot) -> SlotRecord:
        return self.a if slot is Slot.A else self.b

    def with_slot(self, slot: Slot, record: SlotRecord) -> BootState:
        return replace(self, a=record) if slot is Slot.A else replace(self, b=record)

    @property
    def trial(self) -> Slot | None:
        """The slot under trial; were there two, the one that is not active."""
        order = (self.active.other, self.active) if self.active else (Slot.A, Slot.B)
        return next((slot for slot in order if self[slot].state is SlotState.TRIAL), None)


def encode(state: BootState) -> bytes:
    """RECORD_OCTETS octets."""
    active = NO_SLOT if state.active is None else state.active.value
    head = _HEAD.pack(MAGIC, FORMAT_VERSION, RECORD_OCTETS, state.sequence, active, state.security_counter)
    octets = head + _encode_slot(state.a) + _encode_slot(state.b) + state.room
    return octets + hashlib.sha256(octets).digest()


def decode(octets: bytes) -> BootState:
    """One copy. Raises FormatError when it is torn, empty, of another format or says what cannot be."""
    if len(octets) != RECORD_OCTETS:
        raise FormatError("boot state", len(octets), f"a record has {RECORD_OCTETS} octets")
    if octets[:8] != MAGIC:
        raise FormatError("boot state", 0, "no record here (magic)")
    if hashlib.sha256(octets[:_CHECKED_OCTETS]).digest() != octets[_CHECKED_OCTETS:]:
        raise FormatError("boot state", _CHECKED_OCTETS, "checksum differs: torn or damaged")
    _, version, length, sequence, active, security_counter = _HEAD.unpack_from(octets)
    if (version, length) != (FORMAT_VERSION, RECORD_OCTETS):
        raise FormatError("boot state", 8, f"format {version} of {length} octets is not known here")
    if active not in (0, 1, NO_SLOT):
        raise FormatError("boot state", 24, f"active slot {active} does not exist")
    return BootState(
        sequence=sequence,
        active=None if active == NO_SLOT else Slot(active),
        security_counter=security_counter,
        a=_decode_slot(octets, _HEAD.size),
        b=_decode_slot(octets, _HEAD.size + _SLOT.size),
        room=octets[_ROOM_AT:_CHECKED_OCTETS],
    )


def _encode_slot(record: SlotRecord) -> bytes:
    return _SLOT.pack(
        record.state,
        record.tries_left,
        record.tries_given,
        record.reason,
        record.progress,
        record.earlier,
        record.image_octets,
        record.security_counter,
        record.image_hash,
        record.boot_id,
        record.room,
    )


def _decode_slot(octets: bytes, offset: int) -> SlotRecord:
    state, tries_left, tries_given, reason, progress, earlier, *rest = _SLOT.unpack_from(octets, offset)
    try:
        ends = EndReason(reason), TryProgress(progress), EndReason(earlier)
        return SlotRecord(SlotState(state), tries_left, tries_given, *ends, *rest)
    except ValueError as error:
        raise FormatError("boot state", offset, str(error)) from None
