"""The implicit certificates of both suites (Smart Energy, Annex C). All integers big-endian.

::

    suite 1   | point 22 | subject 8 | issuer 8 | attributes 10 |                                             48 octets

    suite 2   | type 1 | serial 8 | curve 1 | hash 1 | issuer 8 | valid from 5 | valid for 4 | subject 8 |
              | key usage 1 | point 37 |                                                                      74 octets

Validity times are shown and not judged: a device has no trusted time before key establishment.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.errors import FormatError
from agent.zigbee.cbke.curves import SECT163K1, SECT283K1, Curve, Point

SUITE_1 = 0x0001
SUITE_2 = 0x0002
CURVES: dict[int, Curve] = {SUITE_1: SECT163K1, SUITE_2: SECT283K1}
CERTIFICATE_OCTETS = {SUITE_1: 48, SUITE_2: 74}

TYPE_IMPLICIT = 0x00
CURVE_SECT283K1 = 0x0D
HASH_AES_MMO = 0x08
USAGE_KEY_AGREEMENT = 0x08
USAGE_SIGNATURE = 0x80
VALID_EVER = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Certificate:
    """One implicit certificate. ``octets`` is the whole of it, which is what gets hashed.

    EUIs are ints. ``attributes`` belongs to suite 1, the fields after it to suite 2.
    """

    suite: int
    octets: bytes
    subject: int
    issuer: int
    point_octets: bytes
    attributes: bytes = b""
    kind: int = TYPE_IMPLICIT
    serial: int = 0
    curve: int = CURVE_SECT283K1
    hash_algorithm: int = HASH_AES_MMO
    valid_from_s: int = 0
    valid_for_s: int = VALID_EVER
    key_usage: int = USAGE_KEY_AGREEMENT

    def point(self) -> Point:
        """The public reconstruction point. Raises FormatError when it is none."""
        return CURVES[self.suite].decode(self.point_octets)

    def faults(self, subject: int | None = None) -> list[str]:
        """What makes it unfit for key agreement, apart from its issuer; with ``subject``, of this device."""
        reasons = []
        if subject is not None and self.subject != subject:
            reasons.append(f"made for {self.subject:016X}, not for {subject:016X}")
        if self.kind != TYPE_IMPLICIT:
            reasons.append(f"type {self.kind:02X} is not an implicit certificate")
        if self.curve != CURVE_SECT283K1:
            reasons.append(f"curve {self.curve:02X} is not sect283k1")
        if self.hash_algorithm != HASH_AES_MMO:
            reasons.append(f"hash {self.hash_algorithm:02X} is not AES-MMO")
        if not self.key_usage & USAGE_KEY_AGREEMENT:
            reasons.append(f"key usage {self.key_usage:02X} is not key agreement")
        try:
            self.point()
        except FormatError as error:
            reasons.append(str(error))
        return reasons


def parse_certificate(suite: int, octets: bytes) -> Certificate:
    """Take the fields apart; judging them is ``faults``. Raises FormatError for a wrong length or suite."""
    if suite not in CERTIFICATE_OCTETS:
        raise FormatError("certificate", 0, f"suite {suite:#06x} is not known")
    if len(octets) != CERTIFICATE_OCTETS[suite]:
        raise FormatError("certificate", 0, f"{len(octets)} octets instead of {CERTIFICATE_OCTETS[suite]}")
    number = int.from_bytes
    if suite == SUITE_1:
        return Certificate(
            suite=suite,
            octets=octets,
            point_octets=octets[0:22],
            subject=number(octets[22:30], "big"),
            issuer=number(octets[30:38], "big"),
            attributes=octets[38:48],
        )
    return Certificate(
        suite=suite,
        octets=octets,
        kind=octets[0],
        serial=number(octets[1:9], "big"),
        curve=octets[9],
        hash_algorithm=octets[10],
        issuer=number(octets[11:19], "big"),
        valid_from_s=number(octets[19:24], "big"),
        valid_for_s=number(octets[24:28], "big"),
        subject=number(octets[28:36], "big"),
        key_usage=octets[36],
        point_octets=octets[37:74],
    )


def build_certificate_1(point: bytes, subject: int, issuer: int, attributes: bytes = bytes(10)) -> bytes:
    """Suite 1: 48 octets."""
    if len(point) != 22 or len(attributes) != 10:
        raise ValueError("a suite 1 certificate has a point of 22 octets and attributes of 10")
    return point + subject.to_bytes(8, "big") + issuer.to_bytes(8, "big") + attributes


def build_certificate_2(
    point: bytes,
    subject: int,
    issuer: int,
    serial: int,
    valid_from_s: int = 0,
    key_usage: int = USAGE_KEY_AGREEMENT | USAGE_SIGNATURE,
) -> bytes:
    """Suite 2, valid for ever: 74 octets."""
    if len(point) != 37:
        raise ValueError("a suite 2 certificate has a point of 37 octets")
    head = bytes((TYPE_IMPLICIT,)) + serial.to_bytes(8, "big") + bytes((CURVE_SECT283K1, HASH_AES_MMO))
    validity = valid_from_s.to_bytes(5, "big") + VALID_EVER.to_bytes(4, "big")
    return head + issuer.to_bytes(8, "big") + validity + subject.to_bytes(8, "big") + bytes((key_usage,)) + point
