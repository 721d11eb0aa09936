"""Test identities on disk: what a device, its head end, its manufacturer and their CA each hold.

::

    DIR/devices/<eui>/    goes to the device, as the directory that ``storage.keys`` of its device.toml names:
                          its own ds and ka keys and certificates, the ACB's certificates, for an HCALCS the supplier's
                          signing certificate, <eui>-cbke-1.txt and -2.txt (key establishment with the hub, both
                          suites), and trust/manufacturer.pem (public)
    DIR/install-codes/    <eui>.txt: what is printed on the device's label; for the device and for whoever lets it join
    DIR/head-end/         stays with the bench: keys and certificates of ACB and supplier, every device's certificates,
                          the hub's own, also for key establishment
    DIR/manufacturer/     stays with the vendor: manufacturer.pem (private) signs images
    DIR/ca/               stays with the vendor: the test CAs (certificates, and cbke-1.txt and -2.txt for the
                          implicit certificates of key establishment), to add devices later

A second call adds a device to the same parties. Nothing is ever overwritten; private files have mode 0600.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from agent.errors import FormatError, StorageError
from agent.settings import check_role
from agent.zigbee.cbke.certificates import SUITE_1, SUITE_2
from agent.zigbee.cbke.ecqv import CertificateAuthority, Credentials, issue, make_authority
from agent.zigbee.cbke.install_code import add_crc
from agent.zigbee.cbke.key_files import file_name, format_authority, format_credentials, parse_authority
from flash.certificates import (
    Issuer,
    Role,
    Usage,
    certificate_pem,
    device_certificate,
    new_issuer,
    new_key,
    organisation_certificate,
    private_pem,
    public_pem,
)

# Locally administered EUIs, so that no test identity is ever mistaken for a real party's.
DEFAULT_DEVICE = 0x02DB_0000_0000_0001
ACB = 0x02DB_0000_0000_0A04
SUPPLIER = 0x02DB_0000_0000_0A02
INSTALL_CODE_OCTETS = 16
CBKE_CA_EUIS = {SUITE_1: 0x02DB_0000_0000_CA01, SUITE_2: 0x02DB_0000_0000_CA02}


@dataclass(frozen=True, slots=True)
class Identities:
    """Where everything of one device is."""

    device_eui: int
    acb_eui: int
    supplier_eui: int
    install_code: bytes = field(repr=False)  # with its CRC
    device_keys: Path
    install_code_file: Path
    head_end_keys: Path
    manufacturer_key: Path
    certificate_authority: Path


def new_identities(
    directory: Path, device_eui: int, role: str, now: datetime, install_code: bytes | None = None
) -> Identities:
    """Make a device's identity, and the parties round it where there are none yet.

    ``install_code``: the one, with its CRC, that is on the device already; None draws one.
    Raises SettingsError for a role that is none, StorageError when the device is there already.
    """
    check_role(role, "--role")
    name = f"{device_eui:016x}"
    if device_eui in (ACB, SUPPLIER):
        raise StorageError(f"{name}: is a party's EUI here; give the device another with --device")
    made = Identities(
        device_eui,
        ACB,
        SUPPLIER,
        install_code or add_crc(secrets.token_bytes(INSTALL_CODE_OCTETS)),
        directory / "devices" / name,
        directory / "install-codes" / f"{name}.txt",
        directory / "head-end",
        directory / "manufacturer" / "manufacturer.pem",
        directory / "ca",
    )
    if made.device_keys.exists():
        raise StorageError(f"{made.device_keys}: is there already; remove it or name another --device or --directory")
    issuer = _load_issuer(made.certificate_authority) or _new_parties(made, now)
    _new_device(made, issuer, role, now)
    return made


def new_hub(directory: Path, hub_eui: int, now: datetime) -> None:
    """The Communications Hub's own pairs and certificate sets, kept with the head end's. ``hub_eui``: its radio's.

    The bench's hub signs its CCS08 with the pairs and establishes keys with the sets. Raises StorageError.
    """
    ca, folder = directory / "ca", directory / "head-end"
    issuer = _load_issuer(ca)
    if issuer is None:
        raise StorageError(f"{ca}: no test CA; make a device's identity first")
    _new_pairs(folder, hub_eui, lambda usage, key: device_certificate(issuer, hub_eui, usage, key, now))
    new_certificate_sets(ca, folder, hub_eui)


def _new_parties(made: Identities, now: datetime) -> Issuer:
    """The CA, the manufacturer, the ACB and the supplier. The CA's key comes last: it says that all are there."""
    issuer = new_issuer(now)
    for eui, role in ((ACB, Role.ACCESS_CONTROL_BROKER), (SUPPLIER, Role.SUPPLIER)):

        def certify(usage: Usage, key: ec.EllipticCurvePrivateKey, eui: int = eui, role: Role = role) -> bytes:
            return organisation_certificate(issuer, eui, role, usage, key, now)

        _new_pairs(made.head_end_keys, eui, certify)
    manufacturer = new_key()
    _write(made.manufacturer_key, private_pem(manufacturer), 0o600)
    _write(made.manufacturer_key.parent / "trust" / "manufacturer.pem", public_pem(manufacturer), 0o644)
    for suite, eui in CBKE_CA_EUIS.items():
        authority = make_authority(suite, eui, secrets.SystemRandom())
        _write(made.certificate_authority / f"cbke-{suite}.txt", format_authority(authority).encode(), 0o600)
    _write(made.certificate_authority / "ca.pem", certificate_pem(issuer.certificate), 0o644)
    _write(made.certificate_authority / "ca.key", private_pem(issuer.key), 0o600)
    return issuer


def _new_device(made: Identities, issuer: Issuer, role: str, now: datetime) -> None:
    def certify(usage: Usage, key: ec.EllipticCurvePrivateKey) -> bytes:
        return device_certificate(issuer, made.device_eui, usage, key, now)

    _new_pairs(made.device_keys, made.device_eui, certify)
    new_certificate_sets(made.certificate_authority, made.device_keys, made.device_eui)
    for usage in Usage:
        _copy(made.device_keys, made.head_end_keys, f"{made.device_eui:016x}-{usage.value}.pem")
        _copy(made.head_end_keys, made.device_keys, f"{ACB:016x}-{usage.value}.pem")
    if role == "hcalcs":
        _copy(made.head_end_keys, made.device_keys, f"{SUPPLIER:016x}-{Usage.DIGITAL_SIGNATURE.value}.pem")
    _copy(made.manufacturer_key.parent / "trust", made.device_keys / "trust", "manufacturer.pem")
    _write(made.install_code_file, f"{made.install_code.hex().upper()}\n".encode(), 0o600)


def new_certificate_sets(ca: Path, folder: Path, eui: int) -> None:
    """``<eui>-cbke-1.txt`` and ``-2.txt`` for a device or a hub, from the test CAs in ``ca``. Raises StorageError."""
    for suite in CBKE_CA_EUIS:
        made = issue(load_authority(ca / f"cbke-{suite}.txt"), eui, secrets.SystemRandom())
        write_certificate_set(folder, eui, made)


def write_certificate_set(folder: Path, eui: int, made: Credentials, *, replace: bool = False) -> Path:
    """One set under its name; over another one only with ``replace``. Raises StorageError."""
    path = folder / file_name(eui, made.suite)
    if replace:
        path.unlink(missing_ok=True)
    _write(path, format_credentials(made).encode(), 0o600)
    return path


def load_authority(path: Path) -> CertificateAuthority:
    """A test CA for implicit certificates. Raises StorageError naming the file."""
    try:
        return parse_authority(path.read_text(encoding="ascii"))
    except OSError as error:
        raise StorageError(f"{path}: the test CA cannot be read: {error.strerror}; name another --directory") from None
    except (UnicodeDecodeError, FormatError) as error:
        raise StorageError(f"{path}: the test CA cannot be read: {error}; name another --directory") from None


def _new_pairs(folder: Path, eui: int, issue: Callable[[Usage, ec.EllipticCurvePrivateKey], bytes]) -> None:
    """A signing and a key agreement pair: ``<eui>-ds`` and ``<eui>-ka``, each ``.key`` and ``.pem``."""
    for usage in Usage:
        key = new_key()
        _write(folder / f"{eui:016x}-{usage.value}.key", private_pem(key), 0o600)
        _write(folder / f"{eui:016x}-{usage.value}.pem", issue(usage, key), 0o644)


def _load_issuer(folder: Path) -> Issuer | None:
    """The CA of an earlier call, None when there is none. Raises StorageError."""
    path = folder / "ca.key"
    if not path.exists():
        return None
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
        certificate = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(f"{folder}: the test CA cannot be read: {error}; name another --directory") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise StorageError(f"{path}: not an elliptic curve key; name another --directory")
    return Issuer(key, certificate)


def _copy(source: Path, target: Path, name: str) -> None:
    try:
        octets = (source / name).read_bytes()
    except OSError as error:
        raise StorageError(f"{source / name}: cannot be read: {error.strerror}; name another --directory") from None
    _write(target / name, octets, 0o644)


def _write(path: Path, octets: bytes, mode: int) -> None:
    """A new file, never over another one. Raises StorageError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise StorageError(f"{path}: is there already, nothing is overwritten; name another --directory") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(octets)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}; remove what is left of it") from None
