"""Test identities on disk: what a device, its head end, its manufacturer and their CA each hold.

::

    DIR/devices/<eui>/    goes to the device, as the directory that ``storage.keys`` of its device.toml names:
                          its own ds and ka keys and certificates, the ACB's certificates, for an HCALCS the supplier's
                          signing certificate, and trust/manufacturer.pem (public)
    DIR/install-codes/    <eui>.txt: what is printed on the device's label; for the device and for whoever lets it join
    DIR/head-end/         stays with the bench: keys and certificates of ACB and supplier, every device's certificates
    DIR/manufacturer/     stays with the vendor: manufacturer.pem (private) signs images
    DIR/ca/               stays with the vendor: the test CA, to add devices later

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

from agent.errors import StorageError
from agent.settings import check_role
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


def new_identities(directory: Path, device_eui: int, role: str, now: datetime) -> Identities:
    """Make a device's identity, and the parties round it where there are none yet.

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
        _with_crc(secrets.token_bytes(INSTALL_CODE_OCTETS)),
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
    """The Communications Hub's own pairs, kept with the head end's: the bench's hub signs its CCS08 with them."""
    issuer = _load_issuer(directory / "ca")
    if issuer is None:
        raise StorageError(f"{directory / 'ca'}: no test CA; make a device's identity first")
    _new_pairs(directory / "head-end", hub_eui, lambda usage, key: device_certificate(issuer, hub_eui, usage, key, now))


def install_code_crc(code: bytes) -> bytes:
    """CRC-16/X-25 of an install code, little-endian (ZigBee base device behaviour 10.1)."""
    crc = 0xFFFF
    for octet in code:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0x8408 if crc & 1 else 0)
    return (crc ^ 0xFFFF).to_bytes(2, "little")


def _with_crc(code: bytes) -> bytes:
    return code + install_code_crc(code)


def _new_parties(made: Identities, now: datetime) -> Issuer:
    """The CA, the manufacturer, the ACB and the supplier. The CA's key comes last: it says that all are there."""
    issuer = new_issuer(now)
    for eui, role in ((ACB, Role.ACCESS_CONTROL_BROKER), (SUPPLIER, Role.SUPPLIER)):

        def issue(usage: Usage, key: ec.EllipticCurvePrivateKey, eui: int = eui, role: Role = role) -> bytes:
            return organisation_certificate(issuer, eui, role, usage, key, now)

        _new_pairs(made.head_end_keys, eui, issue)
    manufacturer = new_key()
    _write(made.manufacturer_key, private_pem(manufacturer), 0o600)
    _write(made.manufacturer_key.parent / "trust" / "manufacturer.pem", public_pem(manufacturer), 0o644)
    _write(made.certificate_authority / "ca.pem", certificate_pem(issuer.certificate), 0o644)
    _write(made.certificate_authority / "ca.key", private_pem(issuer.key), 0o600)
    return issuer


def _new_device(made: Identities, issuer: Issuer, role: str, now: datetime) -> None:
    def issue(usage: Usage, key: ec.EllipticCurvePrivateKey) -> bytes:
        return device_certificate(issuer, made.device_eui, usage, key, now)

    _new_pairs(made.device_keys, made.device_eui, issue)
    for usage in Usage:
        _copy(made.device_keys, made.head_end_keys, f"{made.device_eui:016x}-{usage.value}.pem")
        _copy(made.head_end_keys, made.device_keys, f"{ACB:016x}-{usage.value}.pem")
    if role == "hcalcs":
        _copy(made.head_end_keys, made.device_keys, f"{SUPPLIER:016x}-{Usage.DIGITAL_SIGNATURE.value}.pem")
    _copy(made.manufacturer_key.parent / "trust", made.device_keys / "trust", "manufacturer.pem")
    _write(made.install_code_file, f"{made.install_code.hex().upper()}\n".encode(), 0o600)


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
