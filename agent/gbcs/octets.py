"""Reading octets front to back, with the offset of whatever is wrong. Shared by the message, DER and payload codecs."""

from __future__ import annotations

from agent.errors import FormatError

_LONG_FORM = 0x80
_MAXIMUM_LENGTH_OCTETS = 3  # of the length itself, after its first octet: nothing in GBCS comes near 16 MiB


class Reader:
    """A cursor over ``octets``. Errors are FormatError; offsets count from the first octet of the outermost input."""

    def __init__(self, what: str, octets: bytes, base: int = 0) -> None:
        self.what = what
        self._octets = octets
        self._base = base
        self.position = 0

    @property
    def offset(self) -> int:
        """Where the cursor stands in the outermost input."""
        return self._base + self.position

    @property
    def remaining(self) -> int:
        """How many octets are left."""
        return len(self._octets) - self.position

    def error(self, reason: str, at: int | None = None) -> FormatError:
        """A FormatError at the cursor, or at the outer offset ``at``."""
        return FormatError(self.what, self.offset if at is None else at, reason)

    def peek(self) -> int | None:
        """The next octet without taking it; None at the end."""
        return self._octets[self.position] if self.remaining else None

    def take(self, count: int, name: str) -> bytes:
        """The next ``count`` octets, called ``name`` in the error when they are not all there."""
        if count > self.remaining:
            raise self.error(f"{name} needs {count} octets, {self.remaining} left")
        taken = self._octets[self.position : self.position + count]
        self.position += count
        return taken

    def unsigned(self, count: int, name: str) -> int:
        """A big-endian unsigned integer of ``count`` octets."""
        return int.from_bytes(self.take(count, name))

    def expect(self, wanted: bytes, name: str) -> None:
        """These very octets come next."""
        start = self.offset
        found = self.take(len(wanted), name)
        if found != wanted:
            raise self.error(f"{name} is {found.hex().upper()}, not {wanted.hex().upper()}", start)

    def length(self, name: str) -> int:
        """A definite length in its shortest form (X.690 10.1): below 0x80 one octet, then 81 xx, then 82 xx xx."""
        start = self.offset
        first = self.unsigned(1, name)
        if first < _LONG_FORM:
            return first
        count = first - _LONG_FORM
        if not 1 <= count <= _MAXIMUM_LENGTH_OCTETS:
            raise self.error(f"{name} starts with {first:02X}, which is no definite length", start)
        value = self.unsigned(count, name)
        if encode_length(value)[0] != first:
            raise self.error(f"{name} {value} is not in its shortest form", start)
        return value

    def child(self, count: int, name: str) -> Reader:
        """A reader over the next ``count`` octets, which this one steps over."""
        base = self.offset
        return Reader(self.what, self.take(count, name), base)

    def end(self, name: str) -> None:
        """Nothing is left."""
        if self.remaining:
            raise self.error(f"{self.remaining} octets after the end of the {name}")


def encode_length(value: int) -> bytes:
    """A definite length in its shortest form."""
    if value < _LONG_FORM:
        return bytes([value])
    digits = value.to_bytes((value.bit_length() + 7) // 8)
    return bytes([_LONG_FORM + len(digits)]) + digits
