"""ECQV implicit certificates (SEC 4): a public key is reconstructed from certificate and CA, never written down.

e = AES-MMO(certificate) as an integer; Q = e P + Q_CA with P the certificate's point.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from agent.errors import FormatError, HanError
from agent.zigbee.cbke.certificates import (
    CURVES,
    SUITE_1,
    Certificate,
    build_certificate_1,
    build_certificate_2,
    parse_certificate,
)
from agent.zigbee.cbke.curves import Point
from agent.zigbee.cbke.mmo import mmo


@dataclass(frozen=True, slots=True)
class Credentials:
    """A device's secret for one suite: certificate, private key, and the CA's public key. Made by ``check``."""

    certificate: Certificate
    private_key: int = field(repr=False)
    ca_public: Point

    @property
    def suite(self) -> int:
        return self.certificate.suite


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """A test CA: whoever has it can make certificates. ``public`` compressed."""

    suite: int
    eui: int
    private_key: int = field(repr=False)
    public: bytes


def public_key(certificate: Certificate, ca_public: Point) -> Point:
    """The subject's static public key. Raises FormatError when certificate and CA give none."""
    curve = CURVES[certificate.suite]
    e = int.from_bytes(mmo(certificate.octets), "big")
    key = curve.add(curve.multiply(e, certificate.point()), ca_public)
    if key is None or curve.multiply(curve.cofactor, key) is None:
        raise FormatError("certificate", 0, "its public key is infinity or of small order")
    return key


def check_credentials(suite: int, certificate: bytes, private_key: bytes, ca_public: bytes, eui: int) -> Credentials:
    """A device's set as it comes from files, proved to fit together. Raises FormatError or HanError with the reason."""
    parsed = parse_certificate(suite, certificate)
    curve = CURVES[suite]
    faults = parsed.faults(subject=eui)
    if faults:
        raise HanError(f"this certificate does not fit the device: {'; '.join(faults)}")
    ca = curve.decode(ca_public)
    secret = int.from_bytes(private_key, "big")
    if len(private_key) != curve.field.octets or not 0 < secret < curve.n:
        raise FormatError("private key", 0, f"not {curve.field.octets} octets below the order of {curve.name}")
    if curve.public(secret) != public_key(parsed, ca):
        raise HanError("certificate, private key and CA key do not belong together")
    return Credentials(parsed, secret, ca)


def random_scalar(suite: int, random: random.Random) -> int:
    """1 to n - 1. For keys, give a ``random.SystemRandom``."""
    return random.randrange(1, CURVES[suite].n)


def make_authority(suite: int, eui: int, random: random.Random) -> CertificateAuthority:
    """A new test CA."""
    curve = CURVES[suite]
    secret = random_scalar(suite, random)
    return CertificateAuthority(suite, eui, secret, curve.encode(curve.public(secret)))


def issue(
    authority: CertificateAuthority,
    subject: int,
    random: random.Random,
    *,
    serial: int = 1,
    attributes: bytes = bytes(10),
) -> Credentials:
    """Certificate and private key for one device, made in one place (a test CA's way). ``attributes`` for suite 1."""
    curve = CURVES[authority.suite]
    k = random_scalar(authority.suite, random)
    octets = curve.encode(curve.public(k))
    if authority.suite == SUITE_1:
        certificate = build_certificate_1(octets, subject, authority.eui, attributes)
    else:
        certificate = build_certificate_2(octets, subject, authority.eui, serial)
    e = int.from_bytes(mmo(certificate), "big")
    secret = (e * k + authority.private_key) % curve.n
    return check_credentials(
        authority.suite, certificate, secret.to_bytes(curve.field.octets, "big"), authority.public, subject
    )
