"""X.509 certificates as the GB smart metering PKI makes them: whose key is it, and for what.

A device's EUI stands in the critical subject alternative name (hardwareModuleName), an organisation's in the subject
(x500UniqueIdentifier) beside its role (OU, two hex digits). Key usage is exactly one of digitalSignature and
keyAgreement. Validity dates are reported, not enforced, and no chain is built: a GBCS device has no trusted clock
before it has keys, and trusts what its keystore holds.

Source: SEC Appendices A and B (certificate policies), checked on published test certificates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from Crypto.PublicKey import ECC

from agent.gbcs import der
from agent.gbcs.octets import Reader

ORGANISATIONAL_UNIT = bytes.fromhex("55040B")
UNIQUE_IDENTIFIER = bytes.fromhex("55042D")
KEY_USAGE = bytes.fromhex("551D0F")
SUBJECT_ALTERNATIVE_NAME = bytes.fromhex("551D11")
HARDWARE_MODULE_NAME = bytes.fromhex("2B06010505070804")

DIGITAL_SIGNATURE_BIT = 0x80
KEY_AGREEMENT_BIT = 0x08


class Role(Enum):
    """What an organisation is in the smart metering system: the OU of its certificates."""

    RECOVERY = 0x01
    SUPPLIER = 0x02
    NETWORK_OPERATOR = 0x03
    ACCESS_CONTROL_BROKER = 0x04
    TRANSITIONAL_COS = 0x05
    WAN_PROVIDER = 0x06
    ISSUING_CA = 0x07
    LOAD_CONTROLLER = 0x08


class KeyUse(Enum):
    """What a key is for; the value is the part of its file name after the EUI."""

    DIGITAL_SIGNING = "ds"
    KEY_AGREEMENT = "ka"
    PREPAYMENT = "pp-ka"  # a second key agreement key, for top-ups; never used for messages here


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate. ``role`` None: a device's."""

    eui: int
    role: Role | None
    usage: KeyUse
    not_before: datetime
    not_after: datetime
    public_key: ECC.EccKey = field(repr=False)
    octets: bytes = field(repr=False)


def decode_certificate(octets: bytes) -> Certificate:
    """Parse one DER certificate. Raises FormatError, also for what none of GB is (another curve, two usages)."""
    reader = Reader("certificate", octets)
    whole = der.value(reader, der.SEQUENCE, "certificate")
    reader.end("certificate")
    body = der.value(whole, der.SEQUENCE, "to-be-signed part")
    der.skip(whole, "signature algorithm")
    der.skip(whole, "signature")
    whole.end("certificate")
    for name in ("version", "serial number", "signature algorithm", "issuer"):
        der.skip(body, name)
    validity = der.value(body, der.SEQUENCE, "validity")
    not_before, not_after = der.certificate_time(validity, "not before"), der.certificate_time(validity, "not after")
    role, organisation = _subject(der.value(body, der.SEQUENCE, "subject"))
    public_key = _public_key(body)
    usage, device = _extensions(body)
    eui = organisation if device is None else device
    if eui is None:
        raise reader.error("names no EUI: neither hardwareModuleName nor x500UniqueIdentifier", 0)
    return Certificate(eui, role if device is None else None, usage, not_before, not_after, public_key, octets)


def _subject(names: Reader) -> tuple[Role | None, int | None]:
    """Role and EUI of an organisation; both None in a device's empty subject."""
    role: Role | None = None
    eui: int | None = None
    while names.remaining:
        group = der.value(names, der.SET, "relative name")
        while group.remaining:
            attribute = der.value(group, der.SEQUENCE, "name attribute")
            kind = _identifier(attribute)
            content = der.skip(attribute, "name value")
            if kind == ORGANISATIONAL_UNIT:
                role = _role(content)
            elif kind == UNIQUE_IDENTIFIER:
                content.expect(b"\x00", "unused bits of the unique identifier")
                eui = _eui(content, "unique identifier")
    return role, eui


def _role(content: Reader) -> Role:
    at = content.offset
    text = content.take(content.remaining, "OU")
    try:
        return Role(int(text, 16))
    except ValueError:
        raise content.error(f"OU {text!r} is no role", at) from None


def _eui(content: Reader, name: str) -> int:
    if content.remaining != 8:
        raise content.error(f"{name} has {content.remaining} octets, not 8")
    return content.unsigned(8, name)


def _identifier(reader: Reader) -> bytes:
    content = der.value(reader, der.OBJECT_IDENTIFIER, "object identifier")
    return content.take(content.remaining, "object identifier")


def _public_key(body: Reader) -> ECC.EccKey:
    at = body.offset
    content = der.value(body, der.SEQUENCE, "public key")
    octets = der.encode(der.SEQUENCE, content.take(content.remaining, "public key"))
    try:
        key = ECC.import_key(octets)
    except (ValueError, IndexError, TypeError) as error:
        raise body.error(f"public key: {error}", at) from None
    if key.curve != "NIST P-256":
        raise body.error(f"public key is on {key.curve}, not P-256", at)
    return key


def _extensions(body: Reader) -> tuple[KeyUse, int | None]:
    """Key usage, and the EUI of a device."""
    at = body.offset
    while body.peek() not in (der.CONTEXT_3, None):
        der.skip(body, "unique id")
    extensions = der.value(der.value(body, der.CONTEXT_3, "extensions"), der.SEQUENCE, "extensions")
    usage: KeyUse | None = None
    eui: int | None = None
    while extensions.remaining:
        extension = der.value(extensions, der.SEQUENCE, "extension")
        kind = _identifier(extension)
        if extension.peek() == der.BOOLEAN:
            der.skip(extension, "critical")
        content = der.value(extension, der.OCTET_STRING, "extension value")
        if kind == KEY_USAGE:
            usage = _key_usage(content)
        elif kind == SUBJECT_ALTERNATIVE_NAME:
            eui = _hardware_module(content)
    if usage is None:
        raise body.error("has no key usage", at)
    return usage, eui


def _key_usage(content: Reader) -> KeyUse:
    at = content.offset
    bits = der.value(content, der.BIT_STRING, "key usage")
    bits.unsigned(1, "unused bits")
    octets = bits.take(bits.remaining, "key usage")
    if octets == bytes([DIGITAL_SIGNATURE_BIT]):
        return KeyUse.DIGITAL_SIGNING
    if octets == bytes([KEY_AGREEMENT_BIT]):
        return KeyUse.KEY_AGREEMENT
    raise content.error(f"key usage {octets.hex()} is not exactly one of digitalSignature and keyAgreement", at)


def _hardware_module(content: Reader) -> int | None:
    """The EUI in GeneralNames { [0] otherName { OID, [0] SEQUENCE { hwType OID, hwSerialNum OCTET STRING } } }."""
    names = der.value(content, der.SEQUENCE, "alternative names")
    while names.remaining:
        if names.peek() != der.CONTEXT_0:
            der.skip(names, "alternative name")
            continue
        other = der.value(names, der.CONTEXT_0, "other name")
        if _identifier(other) != HARDWARE_MODULE_NAME:
            continue
        module = der.value(der.value(other, der.CONTEXT_0, "module name"), der.SEQUENCE, "module name")
        _identifier(module)
        return _eui(der.value(module, der.OCTET_STRING, "hardware serial number"), "hardware serial number")
    return None
