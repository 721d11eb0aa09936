"""Test certificates that look like those of the GB smart metering PKI, made with ``cryptography``.

P-256, ecdsa-with-SHA256, key usage critical and exactly one. A device's subject is empty and its EUI stands in the
critical alternative name (hardwareModuleName); an organisation's subject holds its role (OU, two hex digits) and its
EUI (x500UniqueIdentifier). Key identifiers are 8 octets (RFC 5280 4.2.1.2, method 2), as in published test
certificates. Nobody trusts these outside a laboratory: their issuer says so in its name.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.name import _ASN1Type  # without it no BIT STRING, hence no x500UniqueIdentifier
from cryptography.x509.oid import NameOID

HARDWARE_MODULE_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.4")
DEVICE_TYPE = bytes.fromhex("060d2a863a0001848fb90f01020201")  # 1.2.826.0.1.8641679.1.2.2.1, of published samples
POLICY = x509.ObjectIdentifier("1.2.826.0.1.8641679.1.2.1.4")
NEVER_EXPIRES = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
ORGANISATION_LIFETIME = timedelta(days=3652)
ISSUER_NAME = "HAN TEST CA"


class Role(Enum):
    """An organisation's role: the OU of its certificates."""

    SUPPLIER = "02"
    ACCESS_CONTROL_BROKER = "04"
    ISSUING_CA = "07"


class Usage(Enum):
    """What a key is for: the end of its file's name."""

    DIGITAL_SIGNATURE = "ds"
    KEY_AGREEMENT = "ka"


@dataclass(frozen=True, slots=True)
class Issuer:
    """The test CA: signs every certificate of one directory."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def new_key() -> ec.EllipticCurvePrivateKey:
    """A P-256 key from the system's randomness."""
    return ec.generate_private_key(ec.SECP256R1())


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS #8, not encrypted: a device has nobody to type a password."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The bare public key (SubjectPublicKeyInfo)."""
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """The certificate as a file holds it."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def new_issuer(now: datetime) -> Issuer:
    """A CA that signs itself."""
    key = new_key()
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, Role.ISSUING_CA.value),
            x509.NameAttribute(NameOID.COMMON_NAME, ISSUER_NAME),
        ]
    )
    builder = _builder(name, name, key, key, now, now + ORGANISATION_LIFETIME)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(certificate_sign=True), critical=True)
    return Issuer(key, builder.sign(key, hashes.SHA256()))


def device_certificate(issuer: Issuer, eui: int, usage: Usage, key: ec.EllipticCurvePrivateKey, now: datetime) -> bytes:
    """PEM of a device's certificate: an empty subject, valid for ever."""
    builder = _builder(x509.Name([]), issuer.certificate.subject, key, issuer.key, now, NEVER_EXPIRES)
    builder = builder.add_extension(device_name(eui), critical=True)
    return _issue(issuer, builder, usage)


def device_name(eui: int) -> x509.SubjectAlternativeName:
    """A device's EUI as its certificate names it: hardwareModuleName."""
    serial = b"\x04\x08" + eui.to_bytes(8, "big")
    module = x509.OtherName(HARDWARE_MODULE_NAME, bytes((0x30, len(DEVICE_TYPE) + len(serial))) + DEVICE_TYPE + serial)
    return x509.SubjectAlternativeName([module])


def organisation_certificate(
    issuer: Issuer, eui: int, role: Role, usage: Usage, key: ec.EllipticCurvePrivateKey, now: datetime
) -> bytes:
    """PEM of a party's certificate: role and EUI in its subject."""
    unique = b"\x00" + eui.to_bytes(8, "big")  # a BIT STRING: no unused bits, then the EUI
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role.value),
            x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, unique, _ASN1Type.BitString),
        ]
    )
    builder = _builder(subject, issuer.certificate.subject, key, issuer.key, now, now + ORGANISATION_LIFETIME)
    return _issue(issuer, builder, usage)


def _issue(issuer: Issuer, builder: x509.CertificateBuilder, usage: Usage) -> bytes:
    builder = builder.add_extension(key_usage(usage), critical=True)
    policy = x509.PolicyInformation(POLICY, None)
    builder = builder.add_extension(x509.CertificatePolicies([policy]), critical=True)
    return certificate_pem(builder.sign(issuer.key, hashes.SHA256()))


def _builder(  # the six fields of every certificate
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    not_before: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), secrets.randbits(126) | 1 << 126)
    builder = builder.not_valid_before(not_before.replace(microsecond=0)).not_valid_after(
        not_after.replace(microsecond=0)
    )
    builder = builder.add_extension(x509.SubjectKeyIdentifier(_key_identifier(key)), critical=False)
    return builder.add_extension(x509.AuthorityKeyIdentifier(_key_identifier(issuer_key), None, None), critical=False)


def _key_identifier(key: ec.EllipticCurvePrivateKey) -> bytes:
    point = key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    low = hashlib.sha1(point, usedforsecurity=False).digest()[-8:]
    return bytes((0x40 | low[0] & 0x0F,)) + low[1:]


def key_usage(usage: Usage) -> x509.KeyUsage:
    """Exactly one of digitalSignature and keyAgreement."""
    signing = usage is Usage.DIGITAL_SIGNATURE
    return _key_usage(signing=signing, agreement=not signing)


def _key_usage(*, signing: bool = False, agreement: bool = False, certificate_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signing,
        key_agreement=agreement,
        key_cert_sign=certificate_sign,
        crl_sign=certificate_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        encipher_only=False,
        decipher_only=False,
    )
