"""The Koblitz curves sect163k1 and sect283k1: y^2 + xy = x^3 + a x^2 + 1 over GF(2^m) (SEC 2, 3.2.1 and 3.4.1).

On a Koblitz curve the Frobenius map tau(x, y) = (x^2, y^2) satisfies tau^2 + 2 = mu tau with mu = 1 for a = 1 and
-1 for a = 0. A scalar written in tau (tau-adic non-adjacent form, Solinas) replaces every doubling by three squarings,
which cost a tenth of a multiplication here. Not constant time (see the package).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from agent.errors import FormatError
from agent.zigbee.cbke.field import BinaryField


@dataclass(frozen=True, slots=True)
class Point:
    """A finite point, in affine coordinates. Infinity is None wherever a point may be it."""

    x: int
    y: int


class Curve:
    """One curve with its base point ``generator`` of prime order ``n``."""

    def __init__(self, name: str, field: BinaryField, a: int, n: int, cofactor: int, base: tuple[int, int]) -> None:
        self.name = name
        self.field = field
        self.a = a
        self.n = n
        self.cofactor = cofactor
        self.generator = Point(*base)
        self.point_octets = field.octets + 1  # compressed
        self._mu = 1 if a else -1

    def contains(self, point: Point) -> bool:
        """The curve's equation, and coordinates inside the field."""
        f, x, y = self.field, point.x, point.y
        if max(x, y) >> f.m:
            return False
        square = f.square(x)
        return f.square(y) ^ f.multiply(x, y) == f.multiply(square, x) ^ (square if self.a else 0) ^ 1

    # octets

    def encode(self, point: Point) -> bytes:
        """Compressed (SEC 1, 2.3.3): 02 or 03, then x."""
        f = self.field
        sign = f.multiply(point.y, f.inverse(point.x)) & 1 if point.x else 0
        return bytes((2 | sign,)) + point.x.to_bytes(f.octets, "big")

    def decode(self, octets: bytes) -> Point:
        """A compressed point on the curve whose multiple by the cofactor is not infinity. Raises FormatError."""
        if len(octets) != self.point_octets:
            raise FormatError("point", 0, f"{len(octets)} octets instead of {self.point_octets}")
        if octets[0] not in (2, 3):
            raise FormatError("point", 0, f"starts with {octets[0]:02X}, not a finite compressed point")
        point = self._lift(int.from_bytes(octets[1:], "big"), octets[0] & 1)
        if point is None:
            raise FormatError("point", 1, f"x is not on {self.name}")
        if self.multiply(self.cofactor, point) is None:
            raise FormatError("point", 1, "a point of small order")
        return point

    def _lift(self, x: int, sign: int) -> Point | None:
        f = self.field
        if x >> f.m:
            return None
        if x == 0:
            return Point(0, 1)  # y^2 = 1
        beta = x ^ self.a ^ f.square(f.inverse(x))
        if f.trace(beta):
            return None
        z = f.half_trace(beta)
        return Point(x, f.multiply(x, z ^ (z & 1) ^ sign))

    # group

    def negate(self, point: Point | None) -> Point | None:
        return None if point is None else Point(point.x, point.x ^ point.y)

    def add(self, p: Point | None, q: Point | None) -> Point | None:
        """The group law in affine coordinates."""
        if p is None or q is None:
            return q if p is None else p
        f = self.field
        if p.x == q.x:
            if p.y != q.y or p.x == 0:
                return None
            slope = p.x ^ f.multiply(p.y, f.inverse(p.x))
            x = f.square(slope) ^ slope ^ self.a
            return Point(x, f.square(p.x) ^ f.multiply(slope ^ 1, x))
        slope = f.multiply(p.y ^ q.y, f.inverse(p.x ^ q.x))
        x = f.square(slope) ^ slope ^ p.x ^ q.x ^ self.a
        return Point(x, f.multiply(slope, p.x ^ x) ^ x ^ p.y)

    def multiply(self, k: int, point: Point | None) -> Point | None:
        """k times any point of the curve, k >= 0."""
        return self._multiply_tau(k, 0, point)

    def multiply_in_group(self, k: int, point: Point | None) -> Point | None:
        """k times a point of order n (or infinity), in half the time. Wrong for other points."""
        return self._multiply_tau(*self._partial_reduction(k % self.n), point)

    def public(self, private_key: int) -> Point:
        """The public key of a private key: from 1 to n - 1, or equal to such a one modulo n (as Annex C has one)."""
        point = self.multiply_in_group(private_key, self.generator)
        if point is None:
            raise ValueError("a multiple of n is not a private key")
        return point

    def _multiply_tau(self, r0: int, r1: int, point: Point | None) -> Point | None:
        """(r0 + r1 tau) times the point, in Lopez-Dahab coordinates (x = X/Z, y = Y/Z^2)."""
        if point is None:
            return None
        negative = Point(point.x, point.x ^ point.y)
        f = self.field
        x, y, z = 1, 0, 0
        for digit in reversed(self._tau_naf(r0, r1)):
            x, y, z = f.square(x), f.square(y), f.square(z)
            if digit:
                x, y, z = self._add_mixed(x, y, z, point if digit > 0 else negative)
        if not z:
            return None
        inverse = f.inverse(z)
        return Point(f.multiply(x, inverse), f.multiply(y, f.square(inverse)))

    def _add_mixed(self, x1: int, y1: int, z1: int, q: Point) -> tuple[int, int, int]:
        """Projective plus affine (Guide to Elliptic Curve Cryptography, algorithm 3.25), with its special cases."""
        f = self.field
        if not z1:
            return q.x, q.y, 1
        square = f.square(z1)
        a = f.multiply(square, q.y) ^ y1
        b = f.multiply(z1, q.x) ^ x1
        if not b:
            double = None if a else self.add(q, q)
            return (1, 0, 0) if double is None else (double.x, double.y, 1)
        c = f.multiply(z1, b)
        d = f.multiply(f.square(b), c ^ (square if self.a else 0))
        z3 = f.square(c)
        e = f.multiply(a, c)
        x3 = f.square(a) ^ d ^ e
        tangent = x3 ^ f.multiply(q.x, z3)
        y3 = f.multiply(e ^ z3, tangent) ^ f.multiply(q.x ^ q.y, f.square(z3))
        return x3, y3, z3

    # tau

    def _tau_naf(self, r0: int, r1: int) -> list[int]:
        """Digits -1, 0, 1 of r0 + r1 tau, lowest first (Guide to Elliptic Curve Cryptography, algorithm 3.61)."""
        digits = []
        while r0 or r1:
            digit = 0
            if r0 & 1:
                digit = 2 - ((r0 - 2 * r1) % 4)
                r0 -= digit
            digits.append(digit)
            half = r0 >> 1
            r0, r1 = r1 + self._mu * half, -half
        return digits

    @cached_property
    def _delta(self) -> tuple[int, int]:
        """(tau^m - 1) / (tau - 1) = 1 + tau + ... + tau^(m-1); it maps every point of order n to infinity."""
        power, total = (1, 0), (0, 0)
        for _ in range(self.field.m):
            total = (total[0] + power[0], total[1] + power[1])
            power = (-2 * power[1], power[0] + self._mu * power[1])  # times tau
        return total

    def _partial_reduction(self, k: int) -> tuple[int, int]:
        """k modulo delta, so that the expansion has about m digits instead of 2 m. The norm of delta is n."""
        d0, d1 = self._delta
        conjugate = (d0 + self._mu * d1, -d1)
        q0, q1 = (_round_half(k * part, self.n) for part in conjugate)
        return k - (q0 * d0 - 2 * q1 * d1), -(q0 * d1 + q1 * d0 + self._mu * q1 * d1)


def _round_half(value: int, divisor: int) -> int:
    return (2 * value + divisor) // (2 * divisor)


SECT163K1 = Curve(
    "sect163k1",
    BinaryField(163, (7, 6, 3, 0)),
    a=1,
    n=0x04000000000000000000020108A2E0CC0D99F8A5EF,
    cofactor=2,
    base=(0x02FE13C0537BBC11ACAA07D793DE4E6D5E5C94EEE8, 0x0289070FB05D38FF58321F2E800536D538CCDAA3D9),
)
SECT283K1 = Curve(
    "sect283k1",
    BinaryField(283, (12, 7, 5, 0)),
    a=0,
    n=0x01FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFE9AE2ED07577265DFF7F94451E061E163C61,
    cofactor=4,
    base=(
        0x0503213F78CA44883F1A3B8162F188E553CD265F23C1567A16876913B0C2AC2458492836,
        0x01CCDA380F1C9E318D90F95D07E5426FE87E45C0E8184698E45962364E34116177DD2259,
    ),
)
