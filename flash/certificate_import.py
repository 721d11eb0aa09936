"""Certificates of a laboratory's own PKI into a device's folder of keys, each checked before anything is written.

Taken: the device's own certificates with the private keys that fit them, the ACB's (OU 04) and the supplier's (OU 02).
A device builds no chain, so CA certificates have no place here; and nobody else's private key does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from Crypto.IO import PEM
from Crypto.PublicKey import ECC
from Crypto.PublicKey.ECC import EccKey

from agent.errors import FormatError, StorageError
from agent.events import format_eui
from agent.gbcs.certificate import Certificate, KeyUse, Role, decode_certificate
from agent.gbcs.keystore import KeyStore
from flash.key_folder import KeyFile, find_files, make_folder, remove_file, write_file

PARTIES = {Role.ACCESS_CONTROL_BROKER: "ACB", Role.SUPPLIER: "supplier"}
_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


@dataclass(slots=True)
class _Given:
    """What the files held, each with the file's name for messages."""

    certificates: list[tuple[Path, Certificate]] = field(default_factory=list)
    private_keys: list[tuple[Path, EccKey]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Placed:
    """One certificate and where it now lies. ``holder``: device, ACB or supplier."""

    holder: str
    certificate: Certificate
    path: Path
    replaced: bool


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import came to, for the device whose folder it is."""

    device: int
    placed: list[Placed]


@dataclass(slots=True)
class _Plan:
    """What is to be written and removed, in this order: keys, certificates, removals."""

    keys: dict[Path, bytes] = field(default_factory=dict)
    certificates: dict[Path, bytes] = field(default_factory=dict)
    removals: list[Path] = field(default_factory=list)
    placed: list[Placed] = field(default_factory=list)


def import_certificates(
    folder: Path, files: Sequence[Path], device: int | None = None, *, replace: bool = False
) -> Imported:
    """Check all, then put all in place. ``device`` None: the one whose private keys are in the folder.

    Raises StorageError naming the file that is refused, the reason and the remedy; nothing was written then.
    """
    if device is not None:
        make_folder(folder)
    existing = find_files(folder)
    given = _Given()
    for path in files:
        _read(path, given)
    if not given.certificates:
        raise StorageError(f"{files[0]}: no certificate among what was given; a private key alone is not imported")
    plan, owner = _Plan(), _device(folder, existing, device)
    _Importer(folder, existing, given, replace=replace).plan(owner, plan)
    for path, octets in plan.keys.items():
        write_file(path, octets, 0o600)
    for path, octets in plan.certificates.items():
        write_file(path, octets, 0o644)
    for path in plan.removals:
        remove_file(path)
    KeyStore.load(folder)  # the device's own reader has the last word
    return Imported(owner, plan.placed)


def missing_keys(folder: Path, role: str, device: int) -> list[str]:
    """What a device of this role still lacks, in words. Raises StorageError."""
    keys = KeyStore.load(folder)
    wanted: list[tuple[str, object]] = [
        (f"the device's {use.value} pair", keys.private_key(device, use) and keys.certificate(device, use))
        for use in (KeyUse.DIGITAL_SIGNING, KeyUse.KEY_AGREEMENT)
    ]
    wanted.append(("the ACB's ka certificate", keys.holders(Role.ACCESS_CONTROL_BROKER, KeyUse.KEY_AGREEMENT)))
    if role == "hcalcs":
        wanted.append(("the supplier's ds certificate", keys.holders(Role.SUPPLIER, KeyUse.DIGITAL_SIGNING)))
    return [words for words, there in wanted if not there]


def _device(folder: Path, existing: dict[KeyFile, Path], device: int | None) -> int:
    owners = sorted({name.eui for name in existing if name.suffix == "key"})
    if device is None and len(owners) != 1:
        held = ", ".join(map(format_eui, owners)) or "no device"
        raise StorageError(f"{folder}: holds private keys of {held}; say which device it is with --device EUI")
    return owners[0] if device is None else device


class _Importer:
    """Plans one import."""

    def __init__(self, folder: Path, existing: dict[KeyFile, Path], given: _Given, *, replace: bool) -> None:
        self._folder = folder
        self._existing = existing
        self._given = given
        self._replace = replace

    def plan(self, device: int, plan: _Plan) -> None:
        """Every certificate to its place. Raises StorageError for the first that has none."""
        for path, certificate in self._given.certificates:
            if certificate.role is None:
                self._plan_device(path, certificate, device, plan)
            elif certificate.role in PARTIES:
                self._plan_party(path, certificate, certificate.role, plan)
            else:
                raise StorageError(
                    f"{path}: a certificate of role {certificate.role.name.lower().replace('_', ' ')}; a device takes "
                    "its own, the ACB's (OU 04) and the supplier's (OU 02)"
                )
        self._check_no_stranger(device)

    def _plan_device(self, path: Path, certificate: Certificate, device: int, plan: _Plan) -> None:
        if certificate.eui != device:
            raise StorageError(
                f"{path}: is of device {format_eui(certificate.eui)}, this folder is of {format_eui(device)}; import "
                "it where its own keys are"
            )
        octets = self._private_key(path, certificate)
        target = KeyFile(device, certificate.usage.value, False, "key")
        where = self._existing.get(target, self._folder / target.name)
        if _differs(where, octets, private=True):
            self._check_replace(where)
            plan.keys[where] = octets
        self._place(path, certificate, "device", plan)
        for done in (KeyFile(device, target.use, True, "key"), KeyFile(device, target.use, False, "csr")):
            if done in self._existing:
                plan.removals.append(self._existing[done])

    def _private_key(self, path: Path, certificate: Certificate) -> bytes:
        """PEM of the private key that fits: given with the certificate, waiting for it, or in use."""
        for _, key in self._given.private_keys:
            if key.public_key() == certificate.public_key:
                return key.export_key(format="PEM", use_pkcs8=True).encode() + b"\n"
        for pending in (True, False):
            file = self._existing.get(KeyFile(certificate.eui, certificate.usage.value, pending, "key"))
            if file is not None and _read_private_key(file).public_key() == certificate.public_key:
                return file.read_bytes()
        raise StorageError(
            f"{path}: no private key fits it, neither in {self._folder} nor among the files given; ask for "
            "certificates with han-agent keys csr, or name the key's file too"
        )

    def _plan_party(self, path: Path, certificate: Certificate, role: Role, plan: _Plan) -> None:
        """A device has one ACB and at most one supplier, so another one's certificates go."""
        use = certificate.usage.value
        for name, file in self._existing.items():
            if name.suffix == "pem" and name.use == use and name.eui != certificate.eui and _role(file) is role:
                if not self._replace:
                    raise StorageError(f"{file}: the device has another {PARTIES[role]} there; --replace takes it out")
                plan.removals.append(file)
        self._place(path, certificate, PARTIES[role], plan)

    def _place(self, path: Path, certificate: Certificate, holder: str, plan: _Plan) -> None:
        target = KeyFile(certificate.eui, certificate.usage.value, False, "pem")
        where = self._existing.get(target, self._folder / target.name)
        if where in plan.certificates:
            raise StorageError(f"{path}: a second certificate for {target.name} among the files given; name one")
        octets = PEM.encode(certificate.octets, "CERTIFICATE").encode() + b"\n"
        replaced = _differs(where, certificate.octets, private=False)
        if replaced:
            if where.exists():
                self._check_replace(where)
            plan.certificates[where] = octets
        plan.placed.append(Placed(holder, certificate, where, replaced))

    def _check_replace(self, where: Path) -> None:
        if where.exists() and not self._replace:
            raise StorageError(f"{where}: is there already and differs; --replace puts the new one in its place")

    def _check_no_stranger(self, device: int) -> None:
        """Every private key given belongs to a certificate of the device that was given."""
        own = [certificate.public_key for _, certificate in self._given.certificates if certificate.eui == device]
        for path, key in self._given.private_keys:
            if key.public_key() not in own:
                raise StorageError(
                    f"{path}: a private key that fits no certificate of the device among the files given; another "
                    "party's private key does not belong into a device"
                )


def _read(path: Path, given: _Given) -> None:
    """One file: PEM blocks, or one DER certificate. Raises StorageError."""
    try:
        octets = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from None
    blocks = list(_PEM_BLOCK.finditer(octets))
    if not blocks:
        given.certificates.append((path, _certificate(path, octets)))
    for block in blocks:
        _read_block(path, block[1].decode(), block[0], given)


def _read_block(path: Path, marker: str, block: bytes, given: _Given) -> None:
    if marker == "CERTIFICATE":
        try:
            octets, _, _ = PEM.decode(block.decode("ascii"))
        except ValueError as error:
            raise StorageError(f"{path}: not a PEM file: {error}") from None
        given.certificates.append((path, _certificate(path, octets)))
    elif marker.endswith("CERTIFICATE REQUEST"):
        raise StorageError(f"{path}: the request, not the certificate that the CA made of it")
    elif marker.endswith("PRIVATE KEY"):
        given.private_keys.append((path, _private_key(path, block)))
    elif marker != "EC PARAMETERS":  # what openssl writes before a key; it says P-256 once more
        raise StorageError(f"{path}: holds a {marker}: neither a certificate nor a private key")


def _certificate(path: Path, octets: bytes) -> Certificate:
    try:
        return decode_certificate(octets)
    except FormatError as error:
        raise StorageError(f"{path}: no certificate that a GB device can use: {error}") from None


def _private_key(path: Path, octets: bytes) -> EccKey:
    try:
        key = ECC.import_key(octets)
    except (ValueError, IndexError, TypeError) as error:
        raise StorageError(f"{path}: no private key that can be used without a passphrase: {error}") from None
    if key.curve != "NIST P-256" or not key.has_private():
        raise StorageError(f"{path}: no private key on P-256")
    return key


def _read_private_key(path: Path) -> EccKey:
    try:
        return _private_key(path, path.read_bytes())
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from None


def _role(path: Path) -> Role | None:
    """The role in an existing certificate. Raises StorageError when it is none."""
    given = _Given()
    _read(path, given)
    return given.certificates[0][1].role if given.certificates else None


def _differs(path: Path, octets: bytes, *, private: bool) -> bool:
    """Whether the file is missing or holds another key or certificate than ``octets``."""
    if not path.exists():
        return True
    if private:
        return bool(_read_private_key(path).public_key() != _private_key(path, octets).public_key())
    given = _Given()
    _read(path, given)
    return [certificate.octets for _, certificate in given.certificates] != [octets]
