"""Intel HEX, strictly: every checksum, an end record and nothing after it, no address given twice.

::

    : LL AAAA TT data CC    LL octets of data, AAAA offset, TT record type, CC so that all octets add up to 0 (mod 256)

Record types: 00 data, 01 end, 02 extended segment address, 04 extended linear address; 03 and 05 (start addresses)
mean nothing to a chip that starts from its vector table.
"""

from __future__ import annotations

from agent.errors import FormatError

_LENGTHS = {1: (0,), 2: (2,), 3: (4,), 4: (2,), 5: (4,)}


def parse_intel_hex(name: str, content: bytes) -> list[tuple[int, bytes]]:
    """(address, octets) runs, ascending and apart from each other. Raises FormatError with the line."""
    pieces: list[tuple[int, bytes, int]] = []
    base, offset, ended = 0, 0, False
    for number, line in enumerate(content.split(b"\n"), start=1):
        record = line.strip()
        at, offset = offset, offset + len(line) + 1
        if not record:
            continue
        if ended:
            raise FormatError(name, at, f"line {number}: data after the end record")
        address, kind, data = _parse_record(name, at, number, record)
        if kind == 0 and data:
            pieces.append((base + address, data, number))
        elif kind == 1:
            ended = True
        elif kind in (2, 4):
            base = int.from_bytes(data, "big") << (4 if kind == 2 else 16)
    if not ended:
        raise FormatError(name, len(content), "no end record: the file was cut short")
    return _join(name, pieces)


def _parse_record(name: str, at: int, number: int, record: bytes) -> tuple[int, int, bytes]:
    try:
        if record[:1] != b":":
            raise ValueError
        octets = bytes.fromhex(record[1:].decode("ascii"))
    except ValueError:
        raise FormatError(name, at, f"line {number}: not an Intel HEX record") from None
    if len(octets) < 5 or octets[0] != len(octets) - 5:
        raise FormatError(name, at, f"line {number}: the length does not fit the record")
    if sum(octets) & 0xFF:
        raise FormatError(name, at, f"line {number}: wrong checksum")
    kind = octets[3]
    if kind > 5 or octets[0] not in _LENGTHS.get(kind, (octets[0],)):
        raise FormatError(name, at, f"line {number}: record type {kind} with {octets[0]} octets")
    return int.from_bytes(octets[1:3], "big"), kind, octets[4:-1]


def _join(name: str, pieces: list[tuple[int, bytes, int]]) -> list[tuple[int, bytes]]:
    runs: list[tuple[int, bytearray]] = []
    for address, data, number in sorted(pieces, key=lambda piece: piece[0]):
        end = runs[-1][0] + len(runs[-1][1]) if runs else -1
        if address < end:
            raise FormatError(name, 0, f"line {number}: address {address:#x} is given twice")
        if address == end:
            runs[-1][1].extend(data)
        else:
            runs.append((address, bytearray(data)))
    return [(address, bytes(data)) for address, data in runs]
