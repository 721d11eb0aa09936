"""Strict DER (X.690 clause 10), as much as GBCS payloads and certificates need. Raises FormatError with the offset."""

from __future__ import annotations

from datetime import UTC, datetime

from agent.gbcs.octets import Reader, encode_length

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
NULL = 0x05
OBJECT_IDENTIFIER = 0x06
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
SET = 0x31
CONTEXT_0 = 0xA0  # [0], constructed
CONTEXT_3 = 0xA3

_NEGATIVE = 0x80


def value(reader: Reader, tag: int, name: str) -> Reader:
    """Step into an element with this tag."""
    at = reader.offset
    found = reader.unsigned(1, name)
    if found != tag:
        raise reader.error(f"{name} has tag {found:02X}, not {tag:02X}", at)
    return reader.child(reader.length(f"length of {name}"), name)


def skip(reader: Reader, name: str) -> Reader:
    """Step over an element whatever its tag; its content comes back."""
    reader.unsigned(1, name)
    return reader.child(reader.length(f"length of {name}"), name)


def integer(reader: Reader, name: str, maximum: int = 2**64 - 1) -> int:
    """A non-negative INTEGER in its shortest form, at most ``maximum``."""
    at = reader.offset
    content = value(reader, INTEGER, name)
    octets = content.take(content.remaining, name)
    if not octets or octets[0] & _NEGATIVE:
        raise reader.error(f"{name} is {'negative' if octets else 'empty'}", at)
    if octets[0] == 0 and len(octets) > 1 and not octets[1] & _NEGATIVE:
        raise reader.error(f"{name} is not in its shortest form", at)
    number = int.from_bytes(octets)
    if number > maximum:
        raise reader.error(f"{name} {number} is more than {maximum}", at)
    return number


def octet_string(reader: Reader, name: str, count: int) -> bytes:
    """An OCTET STRING of exactly ``count`` octets."""
    at = reader.offset
    content = value(reader, OCTET_STRING, name)
    if content.remaining != count:
        raise reader.error(f"{name} has {content.remaining} octets, not {count}", at)
    return content.take(count, name)


def null(reader: Reader, name: str) -> None:
    """NULL."""
    value(reader, NULL, name).end(name)


def generalized_time(reader: Reader, name: str) -> datetime:
    """A GeneralizedTime in UTC to the second: YYYYMMDDHHMMSSZ and no other form."""
    at = reader.offset
    content = value(reader, GENERALIZED_TIME, name)
    return _moment(reader, content.take(content.remaining, name), name, at)


def certificate_time(reader: Reader, name: str) -> datetime:
    """A GeneralizedTime or a UTCTime (RFC 5280 4.1.2.5: years 50 to 99 are the last century's)."""
    if reader.peek() != UTC_TIME:
        return generalized_time(reader, name)
    at = reader.offset
    content = value(reader, UTC_TIME, name)
    text = content.take(content.remaining, name)
    return _moment(reader, (b"19" if text >= b"50" else b"20") + text, name, at)


def _moment(reader: Reader, text: bytes, name: str, at: int) -> datetime:
    digits = text[:-1]
    if len(digits) != 14 or not digits.isdigit() or text[-1:] != b"Z":
        raise reader.error(f"{name} {text!r} is not YYYYMMDDHHMMSSZ", at)
    month, day, hour, minute, second = (int(digits[i : i + 2]) for i in range(4, 14, 2))
    try:
        return datetime(int(digits[:4]), month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise reader.error(f"{name} {text!r} is no date and time", at) from None


def encode(tag: int, *contents: bytes) -> bytes:
    """One element."""
    content = b"".join(contents)
    return bytes([tag]) + encode_length(len(content)) + content


def encode_integer(number: int) -> bytes:
    """A non-negative INTEGER in its shortest form."""
    return encode(INTEGER, number.to_bytes(number.bit_length() // 8 + 1))


def encode_time(moment: datetime) -> bytes:
    """GeneralizedTime in UTC, to the second. ``moment`` must know its time zone."""
    utc = moment.astimezone(UTC)
    date = f"{utc.year:04d}{utc.month:02d}{utc.day:02d}{utc.hour:02d}{utc.minute:02d}{utc.second:02d}Z"
    return encode(GENERALIZED_TIME, date.encode())
