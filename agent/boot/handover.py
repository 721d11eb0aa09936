"""What the first stage tells the image, or the factory agent, that it starts: one environment variable, JSON.

The image reads it once at its start, journals what it needs, and must be ready to be told the same again: a revert
stays in the handover for as long as the slot stays bad.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from agent.boot.state import EndReason, Slot
from agent.errors import FormatError

VARIABLE = "HAN_HANDOVER"
FIRMWARE_VERIFICATION_FAILED = 0x8F1B  # GBCS event: a slot did not verify before it was to run


@dataclass(frozen=True, slots=True)
class Reverted:
    """The slot that does not run because its trial, or its use, ended."""

    slot: Slot
    reason: EndReason
    image_hash: bytes


@dataclass(frozen=True, slots=True)
class BootEvent:
    """Something for the security log. ``code`` is a GBCS event code."""

    code: int
    slot: Slot
    message: str


@dataclass(frozen=True, slots=True)
class Handover:
    """Which slot runs and how it came to that. ``tries_left`` counts the starts left after this one.

    ``slot`` None: no slot verifies, and this is told to the factory agent, which runs no image.
    """

    slot: Slot | None
    image_hash: bytes
    trial: bool = False
    tries_left: int = 0
    reverted: Reverted | None = None
    events: tuple[BootEvent, ...] = ()
    notes: tuple[str, ...] = ()

    def to_environment(self) -> dict[str, str]:
        """The variable to add to the environment."""
        reverted = self.reverted
        fields = {
            "slot": self.slot and self.slot.name,
            "image_hash": self.image_hash.hex(),
            "trial": self.trial,
            "tries_left": self.tries_left,
            "reverted": reverted
            and {"slot": reverted.slot.name, "reason": reverted.reason.name, "image_hash": reverted.image_hash.hex()},
            "events": [{"code": one.code, "slot": one.slot.name, "message": one.message} for one in self.events],
            "notes": list(self.notes),
        }
        return {VARIABLE: json.dumps(fields)}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Handover | None:
        """None when no first stage started us. Raises FormatError when the variable is not one of ours."""
        text = environment.get(VARIABLE)
        if text is None:
            return None
        try:
            fields = json.loads(text)
            reverted = fields["reverted"]
            return cls(
                slot=None if fields["slot"] is None else Slot[fields["slot"]],
                image_hash=bytes.fromhex(fields["image_hash"]),
                trial=bool(fields["trial"]),
                tries_left=int(fields["tries_left"]),
                reverted=None if reverted is None else _reverted(reverted),
                events=tuple(
                    BootEvent(int(one["code"]), Slot[one["slot"]], str(one["message"])) for one in fields["events"]
                ),
                notes=tuple(str(note) for note in fields["notes"]),
            )
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise FormatError(VARIABLE, 0, f"not what a first stage writes: {error!r}") from None


def _reverted(fields: Mapping[str, str]) -> Reverted:
    return Reverted(Slot[fields["slot"]], EndReason[fields["reason"]], bytes.fromhex(fields["image_hash"]))
