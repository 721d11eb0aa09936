"""ECDSA P-256 over a SHA-256 that was calculated while the image streamed by, and the keys that are trusted for it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from Crypto.PublicKey import ECC
from Crypto.PublicKey.ECC import EccKey
from Crypto.Signature import DSS

from agent.errors import StorageError

P256 = "NIST P-256"


class _Calculated:
    """A finished SHA-256, in the shape that pycryptodome asks of a hash object."""

    oid = "2.16.840.1.101.3.4.2.1"
    digest_size = 32

    def __init__(self, digest: bytes) -> None:
        self._digest = digest

    def digest(self) -> bytes:
        return self._digest


def verify_digest(key: EccKey, digest: bytes, signature: bytes, *, encoding: Literal["der", "binary"]) -> bool:
    """Whether ``signature`` over ``digest`` is by ``key``: DER, or r and s of 32 octets each. Content never raises."""
    verifier = DSS.new(key, "fips-186-3", encoding=encoding)
    try:
        verifier.verify(_Calculated(digest), signature)
    except ValueError:
        return False
    return True


def key_hash(key: EccKey) -> bytes:
    """SHA-256 of the DER SubjectPublicKeyInfo: MCUboot's TLV 0x01."""
    return hashlib.sha256(key.public_key().export_key(format="DER")).digest()


def load_trusted_keys(folder: Path) -> dict[bytes, EccKey]:
    """The public keys of every ``*.pem`` in ``folder``, by key hash. Raises StorageError, naming the file."""
    if not folder.is_dir():
        raise StorageError(
            f"{folder}: no such directory of trusted keys; name one that holds a manufacturer's public key"
        )
    keys = {key_hash(key): key for key in map(load_public_key, sorted(folder.glob("*.pem")))}
    if not keys:
        raise StorageError(
            f"{folder}: no *.pem in it, so no image could be trusted; put a manufacturer's public key there"
        )
    return keys


def load_public_key(path: Path) -> EccKey:
    """One P-256 public key, bare or in a certificate. Raises StorageError, also for a private key."""
    try:
        key = ECC.import_key(path.read_text(encoding="ascii"))
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, IndexError, TypeError) as error:
        raise StorageError(f"{path}: not a public key or certificate in PEM: {error}") from None
    if key.curve != P256:
        raise StorageError(f"{path}: a key on {key.curve}, expected {P256}")
    if key.has_private():
        raise StorageError(
            f"{path}: holds a private key; only the public one belongs here, the private one to the vendor"
        )
    return key
