"""Whole GBCS messages out of the tunnel's octets, whatever pieces TransferData cut them into."""

from __future__ import annotations

from agent.errors import FormatError
from agent.gbcs.message import GENERAL_CIPHERING, GENERAL_SIGNING, MAC_HEADER_START
from agent.gbcs.octets import Reader

MAXIMUM_MESSAGE_OCTETS = 16_384  # our choice: several times a credentials update with all its certificates

_FIXED_GROUPING_OCTETS = 29  # DF, transaction id, originator and target, before the date-time


class MessageAssembler:
    """Feed octets, take whole messages. A pre-command has no length of its own and never crosses a tunnel.

    ``next_message`` raises FormatError when what was fed is no message; everything fed is dropped then, since a tunnel
    has no mark to start again from.
    """

    def __init__(self, maximum_octets: int = MAXIMUM_MESSAGE_OCTETS) -> None:
        self._maximum_octets = maximum_octets
        self._buffer = b""

    @property
    def pending_octets(self) -> int:
        """How many octets wait for the rest of their message."""
        return len(self._buffer)

    def feed(self, octets: bytes) -> None:
        """Append what one TransferData brought."""
        self._buffer += octets

    def next_message(self) -> bytes | None:
        """The next whole message; None until more octets come. Raises FormatError."""
        if not self._buffer:
            return None
        try:
            length = _message_length(self._buffer)
            if (len(self._buffer) if length is None else length) > self._maximum_octets:
                raise FormatError("GBCS message", 0, f"is longer than {self._maximum_octets} octets")
        except FormatError:
            self.reset()
            raise
        if length is None or length > len(self._buffer):
            return None
        message, self._buffer = self._buffer[:length], self._buffer[length:]
        return message

    def reset(self) -> None:
        """Drop what is pending: the tunnel was closed, or the rest never came."""
        self._buffer = b""


class _IncompleteError(Exception):
    """The header is not all there yet."""


def _message_length(octets: bytes) -> int | None:
    """The length of the message that ``octets`` start with; None while its header is incomplete. Raises FormatError."""
    reader = Reader("GBCS message", octets)
    try:
        if octets[0] == GENERAL_CIPHERING:
            return _ciphered_length(reader)
        if octets[0] == GENERAL_SIGNING:
            return _signed_length(reader)
    except _IncompleteError:
        return None
    raise reader.error(f"starts with {octets[0]:02X}, neither DD (MAC header) nor DF (grouping header)")


def _ciphered_length(reader: Reader) -> int:
    there = min(reader.remaining, len(MAC_HEADER_START))
    reader.expect(MAC_HEADER_START[:there], "MAC header")
    count = _length(reader, "MAC header length")
    return reader.position + count


def _signed_length(reader: Reader) -> int:
    _skip(reader, _FIXED_GROUPING_OCTETS)
    for name in ("date-time length", "other information length", "payload length"):
        _skip(reader, _length(reader, name))
    count = _length(reader, "signature length")
    return reader.position + count


def _skip(reader: Reader, count: int) -> None:
    if reader.remaining < count:
        raise _IncompleteError
    reader.take(count, "header")


def _length(reader: Reader, name: str) -> int:
    """A length field that may not be all there yet."""
    first = reader.peek()
    if first is None or (0x81 <= first <= 0x83 and reader.remaining <= first - 0x80):
        raise _IncompleteError
    return reader.length(name)
