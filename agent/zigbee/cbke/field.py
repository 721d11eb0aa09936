"""Binary fields GF(2^m) in polynomial basis: an element is an int, bit i the coefficient of x^i; addition is xor.

Not constant time (see the package).
"""

from __future__ import annotations


class BinaryField:
    """GF(2^m) modulo x^m + sum of x^t for t in ``terms`` (which contain 0)."""

    def __init__(self, m: int, terms: tuple[int, ...]) -> None:
        self.m = m
        self.octets = (m + 7) // 8
        self._terms = terms
        self._low = (1 << m) - 1
        self._modulus = 1 << m | sum(1 << term for term in terms)

    def reduce(self, value: int) -> int:
        """Any polynomial modulo the field's."""
        high = value >> self.m
        while high:
            value &= self._low
            for term in self._terms:
                value ^= high << term
            high = value >> self.m
        return value

    def multiply(self, a: int, b: int) -> int:
        """By four bits of ``b`` at a time."""
        table = [0, a]
        for index in range(1, 8):
            double = table[index] << 1
            table += (double, double ^ a)
        result = 0
        for octet in b.to_bytes(self.octets, "big"):
            result = result << 8 ^ table[octet >> 4] << 4 ^ table[octet & 15]
        return self.reduce(result)

    def square(self, a: int) -> int:
        """The binary digits read in base four: squaring puts a zero between the coefficients."""
        return self.reduce(int(f"{a:b}", 4))

    def square_root(self, a: int) -> int:
        """a^(2^(m-1))."""
        for _ in range(self.m - 1):
            a = self.square(a)
        return a

    def inverse(self, a: int) -> int:
        """Extended Euclid on polynomials. Raises ZeroDivisionError for 0."""
        if not a:
            raise ZeroDivisionError("0 has no inverse")
        u, v, g1, g2 = a, self._modulus, 1, 0
        while u != 1:
            shift = u.bit_length() - v.bit_length()
            if shift < 0:
                u, v, g1, g2 = v, u, g2, g1
                shift = -shift
            u ^= v << shift
            g1 ^= g2 << shift
        return self.reduce(g1)

    def trace(self, a: int) -> int:
        """a + a^2 + a^4 + ... : 0 or 1."""
        total = a
        for _ in range(self.m - 1):
            a = self.square(a)
            total ^= a
        return total

    def half_trace(self, a: int) -> int:
        """A z with z^2 + z = a, when trace(a) is 0 (m odd)."""
        total = a
        for _ in range((self.m - 1) // 2):
            a = self.square(self.square(a))
            total ^= a
        return total
