"""What an OTA server may do wrong, on purpose and repeatably: for labs that want to see how a device takes it.

Every fault acts on block responses. The ones with an offset strike once a device, at the first request at or above it.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Faults:
    """All off by default. Offsets and sizes in octets of the OTA file."""

    abort_at: int | None = None  # answer ABORT
    wait_at: int | None = None  # answer WAIT_FOR_DATA ...
    wait_s: int = 5  # ... for so long
    wait_without_clock: bool = False  # current time 0, request time the offset
    silent_at: int | None = None  # answer nothing ...
    silent_s: float = 60.0  # ... for so long
    forget_at: int | None = None  # forget the session: nothing is answered until the device queries anew
    foreign_from: int | None = None  # from here on serve another image's octets
    foreign_octets: bytes = field(default=b"", repr=False)
    corrupt_at: int | None = None  # the lowest bit of this octet flips, every time
    wrong_version_at: int | None = None  # one response that names another file version
    drop_every: int = 0  # every n-th response is not sent
    repeat_responses: int = 0  # so many further copies of each response
    late_every: int = 0  # every n-th response leaves late ...
    late_s: float = 3.0  # ... by so much
    short_every: int = 0  # every n-th block carries half of what it could
    _struck: set[tuple[int, str]] = field(default_factory=set)
    _responses: int = 0

    def strikes(self, name: str, device_eui: int, offset: int) -> bool:
        """True once a device, when its request reaches the offset that the fault ``name`` waits for."""
        at: int | None = getattr(self, name)
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
        if self.every(self.short_every) and length > 1:
            length //= 2
        data = bytearray(octets[offset : offset + length])
        if self.foreign_from is not None and offset + length > self.foreign_from:
            start = max(self.foreign_from - offset, 0)
            foreign = self.foreign_octets[offset + start : offset + len(data)]
            data[start : start + len(foreign)] = foreign
        if self.corrupt_at is not None and offset <= self.corrupt_at < offset + len(data):
            data[self.corrupt_at - offset] ^= 0x01
        return bytes(data)
