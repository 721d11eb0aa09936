"""What an OTA server may do wrong, on purpose and repeatably: for labs that want to see how a device takes it.

Every fault acts on block responses. The ones with an offset strike once a device, at the first request at or above it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec


class FaultPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[faults]`` of hub.toml, all off by default. Offsets and sizes in octets of the OTA file."""

    abort_at: int | None = None  # answer ABORT
    wait_at: int | None = None  # answer WAIT_FOR_DATA ...
    wait_s: int = 5  # ... for so long
    wait_without_clock: bool = False  # current time 0, request time the offset
    silent_at: int | None = None  # answer nothing ...
    silent_s: float = 60.0  # ... for so long
    forget_at: int | None = None  # forget the session: nothing is answered until the device queries anew
    foreign_from: int | None = None  # from here on serve the octets of another file ...
    foreign_file: Path | None = None  # ... this one
    corrupt_at: int | None = None  # the lowest bit of this octet flips, every time
    wrong_version_at: int | None = None  # one response that names another file version
    drop_every: int = 0  # every n-th response is not sent
    repeat_responses: int = 0  # so many further copies of each response
    late_every: int = 0  # every n-th response leaves late ...
    late_s: float = 3.0  # ... by so much
    short_every: int = 0  # every n-th block carries half of what it could


NONE = FaultPlan()


class Faults:
    """A plan and what of it has struck already. ``foreign`` is the other file, whole."""

    def __init__(self, plan: FaultPlan = NONE, foreign: bytes = b"") -> None:
        self.plan = plan
        self._foreign = foreign
        self._struck: set[tuple[int, str]] = set()
        self._responses = 0

    def strikes(self, name: str, device_eui: int, offset: int) -> bool:
        """True once a device, when its request reaches the offset that the fault ``name`` waits for."""
        at: int | None = getattr(self.plan, name)
        if at is None or offset < at or (device_eui, name) in self._struck:
            return False
        self._struck.add((device_eui, name))
        return True

    def count_response(self) -> None:
        """One more block response is about to be made."""
        self._responses += 1

    def every(self, period: int) -> bool:
        """True for each ``period``-th response; never for 0."""
        return period > 0 and self._responses % period == 0

    def block(self, octets: bytes, offset: int, length: int) -> bytes:
        """The data of one block, with what the faults make of it."""
        plan = self.plan
        if self.every(plan.short_every) and length > 1:
            length //= 2
        data = bytearray(octets[offset : offset + length])
        if plan.foreign_from is not None and offset + length > plan.foreign_from:
            start = max(plan.foreign_from - offset, 0)
            foreign = self._foreign[offset + start : offset + len(data)]
            data[start : start + len(foreign)] = foreign
        if plan.corrupt_at is not None and offset <= plan.corrupt_at < offset + len(data):
            data[plan.corrupt_at - offset] ^= 0x01
        return bytes(data)
