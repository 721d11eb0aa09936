"""Makes the keystore and the messages beside this file, anew each time: ``python tests/vectors/gbcs/generate.py``.

Everything here is made with ``cryptography``, from the clauses, without our codec; the tests read it with pycryptodome.
The keys are for tests only: nothing else may ever trust them.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import NameOID, ObjectIdentifier

HERE = Path(__file__).parent
ACB = 0x90B3D51F30AA0001
SUPPLIER = 0x90B3D51F30AA0002
STRANGER = 0x90B3D51F30AA0003  # another supplier, whose keys are good but who holds no authority
HCALCS = 0x00DB1234567890B0
PPMID = 0x00DB1234567890B1
HUB = 0x00DB1234567890B2
ROLES = {ACB: "04", SUPPLIER: "02", STRANGER: "02"}
FOREVER = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
HASH = hashlib.sha256(b"manufacturer image").digest()

Keys = dict[tuple[int, str], ec.EllipticCurvePrivateKey]


def tlv(tag: int, content: bytes) -> bytes:
    """DER, for contents below 128 octets: all that is needed here."""
    return bytes([tag, len(content)]) + content


def certificate(eui: int, use: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """As the smart metering PKI shapes it: a device in the SAN, an organisation in the subject."""
    organisation = ROLES.get(eui)
    names: list[x509.NameAttribute[str | bytes]] = []
    if organisation:
        identifier = b"\x00" + eui.to_bytes(8)  # a BIT STRING without unused bits
        names = [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, organisation),
            x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, identifier, _type=x509.name._ASN1Type.BitString),
        ]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(START)
        .not_valid_after(FOREVER)
        .add_extension(usage(use), critical=True)
    )
    if not organisation:
        module = tlv(0x30, tlv(0x06, bytes.fromhex("2A864886F70D")) + tlv(0x04, eui.to_bytes(8)))
        other = x509.OtherName(ObjectIdentifier("1.3.6.1.5.5.7.8.4"), module)
        builder = builder.add_extension(x509.SubjectAlternativeName([other]), critical=True)
    return builder.sign(key, hashes.SHA256())


def usage(use: str) -> x509.KeyUsage:
    return x509.KeyUsage(use == "ds", False, False, False, use == "ka", False, False, False, False)


def write_keys() -> Keys:
    keys: Keys = {}
    folder = HERE / "keystore"
    folder.mkdir(exist_ok=True)
    for eui in (ACB, SUPPLIER, STRANGER, HCALCS, PPMID, HUB):
        for use in ("ds", "ka"):
            key = ec.generate_private_key(ec.SECP256R1())
            keys[eui, use] = key
            private = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            (folder / f"{eui:016x}-{use}.key").write_bytes(private)
            pem = certificate(eui, use, key).public_bytes(serialization.Encoding.PEM)
            (folder / f"{eui:016x}-{use}.pem").write_bytes(pem)
    return keys


def grouping(cra: int, counter: int, originator: int, target: int, other: bytes, payload: bytes) -> bytes:
    head = bytes([0xDF, 9, cra]) + counter.to_bytes(8) + b"\x08" + originator.to_bytes(8) + b"\x08" + target.to_bytes(8)
    return head + b"\x00" + bytes([len(other)]) + other + bytes([len(payload)]) + payload


def signed(body: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    r, s = decode_dss_signature(key.sign(body[1:], ec.ECDSA(hashes.SHA256())))
    return body + b"\x40" + r.to_bytes(32) + s.to_bytes(32)


def maced(body: bytes, secret: bytes) -> bytes:
    """``body`` ends with its signature length (and signature)."""
    originator, target = body[12:20], body[21:29]
    key = hashlib.sha256(
        bytes.fromhex("00000001") + secret + bytes.fromhex("60857406080300") + originator + body[1:11] + target
    ).digest()[:16]
    mac = AESGCM(key).encrypt(originator + bytes(4), b"", bytes.fromhex("110000000000") + body)[:12]
    service = bytes.fromhex("1100000000") + body + mac
    length = bytes([len(service)]) if len(service) < 128 else bytes([0x81, len(service)])
    return bytes.fromhex("DD000000000000") + length + service


def main() -> None:
    keys = write_keys()

    def secret(one: int, other: int) -> bytes:
        return keys[one, "ka"].exchange(ec.ECDH(), keys[other, "ka"].public_key())

    activate = tlv(0x30, tlv(0x04, HASH) + tlv(0x02, (1000).to_bytes(2)))
    command = grouping(1, 1000, SUPPLIER, HCALCS, bytes.fromhex("0012"), activate)
    read = grouping(
        1, 2000, ACB, PPMID, bytes.fromhex("0129") + SUPPLIER.to_bytes(8) + (7).to_bytes(8), bytes.fromhex("0500")
    )
    report = tlv(
        0x30,
        bytes.fromhex("0203008F8B") + tlv(0x18, b"20260102030405Z") + bytes.fromhex("040401020003 020100"),
    )
    messages = {
        "cs06-command": maced(signed(command, keys[SUPPLIER, "ds"]), secret(ACB, HCALCS)),
        "cs06-precommand": command,
        "cs08-command": maced(read + b"\x00", secret(ACB, PPMID)),
        "cs09-alert": signed(grouping(3, 5, PPMID, ACB, bytes.fromhex("012B"), report), keys[PPMID, "ds"]),
    }
    for name, octets in messages.items():
        (HERE / f"{name}.hex").write_text(octets.hex().upper() + "\n")


if __name__ == "__main__":
    main()
