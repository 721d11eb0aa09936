"""Test identities: the GB profile as `cryptography` reads it, one directory a holder, nothing overwritten."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from Crypto.PublicKey import ECC
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from agent.errors import SettingsError, StorageError
from agent.image.signature import load_trusted_keys
from flash.identity import ACB, DEFAULT_DEVICE, SUPPLIER, Identities, new_identities

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Identities:
    return new_identities(tmp_path_factory.mktemp("identities"), DEFAULT_DEVICE, "hcalcs", NOW)


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def extension(certificate: x509.Certificate, oid: str) -> x509.Extension:
    return certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(oid))


@pytest.mark.parametrize("usage", ["ds", "ka"])
def test_a_device_certificate(made: Identities, usage: str) -> None:
    certificate = load(made.device_keys / f"{DEFAULT_DEVICE:016x}-{usage}.pem")
    assert list(certificate.subject) == []
    assert certificate.not_valid_after_utc == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert certificate.not_valid_before_utc == NOW
    names = extension(certificate, "2.5.29.17")
    assert names.critical
    (module,) = names.value
    assert module.type_id.dotted_string == "1.3.6.1.5.5.7.8.4"
    assert module.value.endswith(b"\x04\x08" + DEFAULT_DEVICE.to_bytes(8, "big"))
    assert len(extension(certificate, "2.5.29.14").value.digest) == 8


@pytest.mark.parametrize(("eui", "role"), [(ACB, "04"), (SUPPLIER, "02")])
@pytest.mark.parametrize("usage", ["ds", "ka"])
def test_an_organisation_certificate(made: Identities, eui: int, role: str, usage: str) -> None:
    certificate = load(made.head_end_keys / f"{eui:016x}-{usage}.pem")
    unit, unique = certificate.subject
    assert (unit.oid, unit.value) == (NameOID.ORGANIZATIONAL_UNIT_NAME, role)
    assert unique.oid.dotted_string == "2.5.4.45"
    bit_string = b"\x03\x09\x00" + eui.to_bytes(8, "big")
    assert certificate.subject.public_bytes().endswith(bit_string)


def test_every_certificate_has_one_critical_usage_its_own_key_and_one_issuer(made: Identities) -> None:
    authority = load(made.certificate_authority / "ca.pem")
    authority.verify_directly_issued_by(authority)
    paths = [path for folder in (made.device_keys, made.head_end_keys) for path in folder.glob("*.pem")]
    assert len(paths) == 5 + 6
    for path in paths:
        certificate = load(path)
        certificate.verify_directly_issued_by(authority)
        assert certificate.signature_algorithm_oid.dotted_string == "1.2.840.10045.4.3.2"
        usage = extension(certificate, "2.5.29.15")
        signing = path.name.endswith("-ds.pem")
        assert usage.critical
        assert (usage.value.digital_signature, usage.value.key_agreement) == (signing, not signing)
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert isinstance(key.curve, ec.SECP256R1)
        private = path.with_suffix(".key")
        if private.exists():
            loaded = load_pem_private_key(private.read_bytes(), None)
            assert isinstance(loaded, ec.EllipticCurvePrivateKey)
            assert loaded.public_key() == key


def test_the_profile_is_that_of_published_certificates(made: Identities, vectors: Path) -> None:
    pairs = [
        (made.device_keys / f"{DEFAULT_DEVICE:016x}-ds.pem", vectors / "keystore" / "00db1234567890a5-ds.pem"),
        (made.head_end_keys / f"{ACB:016x}-ds.pem", vectors / "keystore" / "90b3d51f30000002-ds.pem"),
    ]
    for ours, theirs in ((load(one), load(other)) for one, other in pairs):
        shape = [{(item.oid, item.critical) for item in certificate.extensions} for certificate in (ours, theirs)]
        assert shape[0] == shape[1]
        assert [item.oid for item in ours.subject] == [item.oid for item in theirs.subject]
        assert ours.version == theirs.version


def test_who_holds_what(made: Identities) -> None:
    device = {path.name for path in made.device_keys.iterdir()}
    own = f"{DEFAULT_DEVICE:016x}"
    assert {f"{own}-ds.key", f"{own}-ds.pem", f"{own}-ka.key", f"{own}-ka.pem", f"{ACB:016x}-ka.pem"} <= device
    assert f"{SUPPLIER:016x}-ds.pem" in device
    assert [name for name in device if name.endswith(".key") and not name.startswith(own)] == []
    assert not list(made.head_end_keys.glob(f"{own}*.key"))
    assert {path.name for path in (made.device_keys / "trust").iterdir()} == {"manufacturer.pem"}
    (trusted,) = load_trusted_keys(made.device_keys / "trust").values()
    assert trusted == ECC.import_key(made.manufacturer_key.read_text()).public_key()


def test_private_files_are_for_their_owner_only(made: Identities) -> None:
    root = made.certificate_authority.parent
    private = [*root.rglob("*.key"), *root.rglob("*cbke-?.txt"), made.manufacturer_key, made.install_code_file]
    assert len(private) == 2 + 4 + 1 + 2 + 2 + 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}


def test_a_ppmid_holds_nothing_of_the_supplier(tmp_path: Path) -> None:
    made = new_identities(tmp_path, DEFAULT_DEVICE, "ppmid", NOW)
    assert not list(made.device_keys.glob(f"{SUPPLIER:016x}*"))


def test_a_second_device_joins_the_same_parties(tmp_path: Path) -> None:
    first = new_identities(tmp_path, DEFAULT_DEVICE, "ppmid", NOW)
    second = new_identities(tmp_path, DEFAULT_DEVICE + 1, "hcalcs", NOW)
    assert first.install_code != second.install_code
    name = f"{ACB:016x}-ka.pem"
    assert (first.device_keys / name).read_bytes() == (second.device_keys / name).read_bytes()
    assert (first.head_end_keys / f"{DEFAULT_DEVICE + 1:016x}-ds.pem").is_file()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    made = new_identities(tmp_path, DEFAULT_DEVICE, "ppmid", NOW)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(StorageError, match="is there already"):
        new_identities(tmp_path, DEFAULT_DEVICE, "ppmid", NOW)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    (made.certificate_authority / "ca.key").unlink()
    with pytest.raises(StorageError, match="nothing is overwritten"):
        new_identities(tmp_path, DEFAULT_DEVICE + 1, "ppmid", NOW)


def test_damage_is_named(tmp_path: Path) -> None:
    made = new_identities(tmp_path, DEFAULT_DEVICE, "ppmid", NOW)
    (made.certificate_authority / "ca.key").write_text("not a key")
    with pytest.raises(StorageError, match="the test CA cannot be read"):
        new_identities(tmp_path, DEFAULT_DEVICE + 1, "ppmid", NOW)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Not a directory"):
        new_identities(tmp_path / "file", DEFAULT_DEVICE, "ppmid", NOW)


def test_roles_and_parties_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ihd was taken out of the scope"):
        new_identities(tmp_path, DEFAULT_DEVICE, "ihd", NOW)
    with pytest.raises(StorageError, match="is a party's EUI"):
        new_identities(tmp_path, ACB, "ppmid", NOW)
    assert list(tmp_path.iterdir()) == []
