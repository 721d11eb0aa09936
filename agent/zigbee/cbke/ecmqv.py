"""ECMQV with cofactor, the key derivation and the key confirmation (Smart Energy, Annex C; SEC 1, 3.4, 3.6.1, 3.7).

avf(Q) = (x mod 2^h) + 2^h with h half the bits of n, rounded up; s = ephemeral + avf(own ephemeral point) static mod n;
Z = x(cofactor s (Q'_ephemeral + avf(Q'_ephemeral) Q'_static)). U is the initiator, V the responder.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from agent.errors import FormatError
from agent.zigbee.cbke.certificates import CURVES
from agent.zigbee.cbke.curves import Curve, Point
from agent.zigbee.cbke.mmo import hmac_mmo, mmo


@dataclass(frozen=True, slots=True)
class EphemeralKey:
    """One side's key for one exchange; ``octets`` is the compressed point that goes over the air."""

    private_key: int = field(repr=False)
    octets: bytes


@dataclass(frozen=True, slots=True)
class SharedKeys:
    """What both sides derive. ``link_key`` replaces the pre-configured one."""

    mac_key: bytes = field(repr=False)
    link_key: bytes = field(repr=False)


def make_ephemeral(suite: int, private_key: int) -> EphemeralKey:
    """The key pair of a private key. Raises ValueError for a multiple of n."""
    curve = CURVES[suite]
    return EphemeralKey(private_key, curve.encode(curve.public(private_key)))


def associate_value(curve: Curve, point: Point) -> int:
    """avf (SEC 1, 3.4, step 1)."""
    half = (curve.n.bit_length() + 1) // 2
    return point.x % (1 << half) | 1 << half


def shared_secret(
    suite: int, static_private: int, ephemeral: EphemeralKey, static_public: Point, ephemeral_public: bytes
) -> bytes:
    """Z, 21 or 36 octets. Raises FormatError for a bad ephemeral point of the partner, or a result at infinity."""
    curve = CURVES[suite]
    theirs = curve.decode(ephemeral_public)
    s = (ephemeral.private_key + associate_value(curve, curve.decode(ephemeral.octets)) * static_private) % curve.n
    combined = curve.add(theirs, curve.multiply(associate_value(curve, theirs), static_public))
    result = curve.multiply_in_group(s, curve.multiply(curve.cofactor, combined))
    if result is None:
        raise FormatError("ephemeral point", 0, "the shared secret is infinity")
    return result.x.to_bytes(curve.field.octets, "big")


def derive_keys(z: bytes) -> SharedKeys:
    """The key derivation function of SEC 1, 3.6.1, with AES-MMO: MAC key and link key."""
    return SharedKeys(mmo(z + (1).to_bytes(4, "big")), mmo(z + (2).to_bytes(4, "big")))


def confirm_u(mac_key: bytes, eui_u: int, eui_v: int, ephemeral_u: bytes, ephemeral_v: bytes) -> bytes:
    """MACU, which the initiator sends: 16 octets."""
    return hmac_mmo(mac_key, b"\x02" + eui_u.to_bytes(8, "big") + eui_v.to_bytes(8, "big") + ephemeral_u + ephemeral_v)


def confirm_v(mac_key: bytes, eui_u: int, eui_v: int, ephemeral_u: bytes, ephemeral_v: bytes) -> bytes:
    """MACV, which the responder sends: 16 octets."""
    return hmac_mmo(mac_key, b"\x03" + eui_v.to_bytes(8, "big") + eui_u.to_bytes(8, "big") + ephemeral_v + ephemeral_u)


def same(a: bytes, b: bytes) -> bool:
    """Compared in a time that does not tell where they differ."""
    return hmac.compare_digest(a, b)
