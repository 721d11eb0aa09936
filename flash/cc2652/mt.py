"""As much of Z-Stack's MT as a probe needs: SYS_PING and SYS_VERSION over an open line.

::

    FE | length u8 | command0 | command1 | data | FCS: XOR of all but FE      (Z-Stack, MT)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flash.cc2652.rom import Link

START = 0xFE
PING = b"\x21\x01"
VERSION = b"\x21\x02"
ANSWER = 0x40  # SREQ 0x2x is answered by SRSP 0x6x
ANSWER_S = 1.0
NOISE_OCTETS = 4096  # more than that, and it is not MT that talks
PRODUCTS = {0: "Z-Stack Home 1.2", 1: "Z-Stack 3.x.0", 2: "Z-Stack 3.0.x"}


@dataclass(frozen=True, slots=True)
class Firmware:
    """What SYS_VERSION tells. ``revision`` is the build date in community firmware."""

    product: int
    version: str
    revision: int | None

    def __str__(self) -> str:
        name = PRODUCTS.get(self.product, f"product {self.product}")
        return f"{name} ({self.version})" + ("" if self.revision is None else f", build {self.revision}")


def encode_frame(command: bytes, data: bytes = b"") -> bytes:
    """One frame. ``command`` is two octets."""
    body = bytes((len(data),)) + command + data
    return bytes((START,)) + body + bytes((_fcs(body),))


def decode_frames(octets: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Every whole frame with a right FCS: command and data. What is none is passed over; nothing is raised."""
    at = octets.find(START)
    while at >= 0 and at + 5 <= len(octets):
        end = at + 4 + octets[at + 1]
        if end < len(octets) and _fcs(octets[at + 1 : end]) == octets[end]:
            yield octets[at + 2 : at + 4], octets[at + 4 : end]
            at = end
        at = octets.find(START, at + 1)


def ask_firmware(link: Link) -> Firmware | None:
    """Ping, then ask for the version; None when nobody who speaks MT answers. Raises RadioError (the port)."""
    if _ask(link, PING) is None:
        return None
    data = _ask(link, VERSION)
    if data is None or len(data) < 5:
        return Firmware(-1, "tells no version", None)
    revision = int.from_bytes(data[5:9], "little") if len(data) >= 9 else None
    return Firmware(data[1], ".".join(str(octet) for octet in data[2:5]), revision)


def _ask(link: Link, command: bytes) -> bytes | None:
    """Twice: the first octets after an opening are lost on some bridges."""
    wanted = bytes((command[0] + ANSWER, command[1]))
    for _ in range(2):
        link.write(encode_frame(command))
        heard = b""
        while len(heard) < NOISE_OCTETS and (octets := link.read(256, ANSWER_S)):
            heard += octets
            for answered, data in decode_frames(heard):
                if answered == wanted:
                    return data
    return None


def _fcs(body: bytes) -> int:
    value = 0
    for octet in body:
        value ^= octet
    return value
