"""A folder of keys: certificates ``<eui>-ds.pem``, ``<eui>-ka.pem``; private keys ``<eui>-ds.key``, ``<eui>-ka.key``.

A device keeps its own two pairs, the ACB's key agreement certificate and, an HCALCS, its supplier's signing
certificate. Other file names in the folder are left alone.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from Crypto.IO import PEM
from Crypto.PublicKey import ECC

from agent.errors import FormatError, StorageError
from agent.events import format_eui
from agent.gbcs.certificate import Certificate, KeyUse, Role, decode_certificate

_FILE_NAME = re.compile(r"([0-9A-Fa-f]{16})-(ds|ka|pp-ka)\.(pem|key)")


class KeyName(NamedTuple):
    """Whose key, and for what."""

    eui: int
    use: KeyUse


class KeyStore:
    """Certificates and private keys by EUI and use. ``load`` reads a folder; ``add_...`` build one in memory."""

    def __init__(self) -> None:
        self._certificates: dict[KeyName, Certificate] = {}
        self._private_keys: dict[KeyName, ECC.EccKey] = {}

    @classmethod
    def load(cls, folder: Path) -> KeyStore:
        """Read every key file of ``folder``. Raises StorageError naming the file that does not fit its name."""
        store = cls()
        try:
            paths = sorted(folder.iterdir())
        except OSError as error:
            raise StorageError(f"{folder}: no folder of keys: {error.strerror}; name one with --keys DIR") from None
        for path in paths:
            match = _FILE_NAME.fullmatch(path.name)
            if match:
                name = KeyName(int(match[1], 16), KeyUse(match[2]))
                if match[3] == "pem":
                    store.add_certificate(name, read_certificate(path), str(path))
                else:
                    store._private_keys[name] = _read_private_key(path)
        store._check_pairs(str(folder))
        return store

    def add_certificate(self, name: KeyName, certificate: Certificate, where: str) -> None:
        """Take in one certificate. Raises StorageError when its EUI or its usage are not those of ``name``."""
        usage = KeyUse.DIGITAL_SIGNING if name.use is KeyUse.DIGITAL_SIGNING else KeyUse.KEY_AGREEMENT
        if certificate.eui != name.eui:
            raise StorageError(
                f"{where}: the certificate is of {format_eui(certificate.eui)}, not of {format_eui(name.eui)}; "
                "rename the file or put the right certificate there"
            )
        if certificate.usage is not usage:
            raise StorageError(
                f"{where}: the certificate is for {certificate.usage.name.lower().replace('_', ' ')}, "
                f"not for {usage.name.lower().replace('_', ' ')}; rename the file or put the right certificate there"
            )
        self._certificates[name] = certificate

    def add_private_key(self, name: KeyName, key: ECC.EccKey) -> None:
        """Take in one private key. Raises StorageError when the certificate under ``name`` holds another one."""
        self._private_keys[name] = key
        self._check_pairs("private key")

    def names(self) -> list[KeyName]:
        """Every certificate held, by whose it is and what for, in order."""
        return sorted(self._certificates, key=lambda name: (name.eui, name.use.value))

    def certificate(self, eui: int, use: KeyUse) -> Certificate | None:
        """The certificate of ``eui`` for ``use``, None when not held."""
        return self._certificates.get(KeyName(eui, use))

    def public_key(self, eui: int, use: KeyUse) -> ECC.EccKey | None:
        """The public key in that certificate, None when not held."""
        certificate = self.certificate(eui, use)
        return certificate.public_key if certificate else None

    def private_key(self, eui: int, use: KeyUse) -> ECC.EccKey | None:
        """The private key of ``eui`` for ``use``, None when not held."""
        return self._private_keys.get(KeyName(eui, use))

    def holders(self, role: Role, use: KeyUse) -> list[int]:
        """EUIs of the organisations of this role whose certificate for ``use`` is held, in order."""
        return sorted(name.eui for name, held in self._certificates.items() if held.role is role and name.use is use)

    def _check_pairs(self, where: str) -> None:
        for name, key in self._private_keys.items():
            certificate = self._certificates.get(name)
            if certificate and certificate.public_key != key.public_key():
                raise StorageError(
                    f"{where}: {name.eui:016x}-{name.use.value}.key is not the private key of its certificate; "
                    "put back the pair that belongs together"
                )


def read_certificate(path: Path) -> Certificate:
    """Read one PEM certificate. Raises StorageError naming the file."""
    octets = _read_pem(path, "CERTIFICATE")
    try:
        return decode_certificate(octets)
    except FormatError as error:
        raise StorageError(f"{path}: no certificate that a GB device can use: {error}") from None


def _read_private_key(path: Path) -> ECC.EccKey:
    octets = _read_pem(path, "PRIVATE KEY")
    try:
        key = ECC.import_key(octets)
    except (ValueError, IndexError, TypeError) as error:
        raise StorageError(f"{path}: no private key: {error}") from None
    if key.curve != "NIST P-256" or not key.has_private():
        raise StorageError(f"{path}: no private key on P-256")
    return key


def _read_pem(path: Path, wanted: str) -> bytes:
    try:
        octets, marker, _encrypted = PEM.decode(path.read_text(encoding="ascii"))
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # also what is not ASCII
        raise StorageError(f"{path}: not a PEM file: {error}") from None
    if not marker.endswith(wanted):
        raise StorageError(f"{path}: holds a {marker}, not a {wanted}")
    return octets
