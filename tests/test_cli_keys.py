"""``han-agent keys csr`` and ``keys import``: a CA of one's own, as `cryptography` plays it, and every wrong file."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent.cli import main
from agent.errors import EXIT_OK, EXIT_STORAGE, EXIT_USAGE
from agent.gbcs.certificate import KeyUse
from agent.gbcs.keystore import KeyStore
from flash.certificates import (
    Issuer,
    Role,
    Usage,
    certificate_pem,
    device_certificate,
    device_name,
    new_issuer,
    new_key,
    organisation_certificate,
    private_pem,
)

EUI, OTHER = 0x90B3D51F30AA0001, 0x90B3D51F30AA0002
ACB, SUPPLIER, NETWORK_OPERATOR = 0x90B3D51F30010000, 0x90B3D51F30020000, 0x90B3D51F30030000
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def ca() -> Issuer:
    return new_issuer(NOW)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def run(*words: str | Path) -> int:
    return main(["keys", *map(str, words)])


def csr(keys: Path, *options: str) -> int:
    return run("csr", "--directory", keys, "--device", f"{EUI:016X}", *options)


def bring(keys: Path, *words: str | Path) -> int:
    return run("import", "--directory", keys, *words)


def sign(ca: Issuer, request: Path, eui: int = EUI) -> Path:
    """What a laboratory's CA makes of a request: its public key, in the profile of a device."""
    asked = x509.load_pem_x509_csr(request.read_bytes())
    assert asked.is_signature_valid
    usage = asked.extensions.get_extension_for_class(x509.KeyUsage).value
    name = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert name.critical
    assert name.value == device_name(EUI)
    assert usage.digital_signature != usage.key_agreement
    use = Usage.DIGITAL_SIGNATURE if usage.digital_signature else Usage.KEY_AGREEMENT

    class Public:
        """A key of which the CA has but the public half."""

        def public_key(self) -> ec.EllipticCurvePublicKey:
            key = asked.public_key()
            assert isinstance(key, ec.EllipticCurvePublicKey)
            return key

    made = request.with_suffix(".issued")
    made.write_bytes(device_certificate(ca, eui, use, Public(), NOW))  # type: ignore[arg-type]
    return made


def party(ca: Issuer, folder: Path, eui: int, role: Role, usage: Usage, now: datetime = NOW) -> Path:
    path = folder / f"party-{role.name}-{eui:016x}-{usage.value}.crt"
    path.write_bytes(organisation_certificate(ca, eui, role, usage, new_key(), now))
    return path


def issued(ca: Issuer, keys: Path) -> list[Path]:
    """A device with its requests answered, not imported."""
    assert csr(keys) == EXIT_OK
    return [sign(ca, keys / f"{EUI:016x}-{use}.csr") for use in ("ds", "ka")]


def refused(capsys: pytest.CaptureFixture[str], code: int, says: str) -> None:
    assert code == EXIT_STORAGE
    err = capsys.readouterr().err
    assert says in err, err


def test_from_request_to_a_whole_device(
    ca: Issuer, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificates = issued(ca, keys)
    pending = keys / f"{EUI:016x}-ds-pending.key"
    assert stat.S_IMODE(pending.stat().st_mode) == 0o600
    assert KeyStore.load(keys).private_key(EUI, KeyUse.DIGITAL_SIGNING) is None, "not in use before its certificate"
    assert b"PRIVATE" not in (keys / f"{EUI:016x}-ds.csr").read_bytes()
    acb = party(ca, tmp_path, ACB, Role.ACCESS_CONTROL_BROKER, Usage.KEY_AGREEMENT)
    supplier = party(ca, tmp_path, SUPPLIER, Role.SUPPLIER, Usage.DIGITAL_SIGNATURE)
    capsys.readouterr()
    assert bring(keys, "--role", "hcalcs", "--json", *certificates, acb) == EXIT_OK
    told = json.loads(capsys.readouterr().out)
    assert [(one["holder"], one["use"]) for one in told["imported"]] == [
        ("device", "ds"),
        ("device", "ka"),
        ("ACB", "ka"),
    ]
    assert told["missing"] == ["the supplier's ds certificate"]
    assert bring(keys, "--role", "hcalcs", supplier) == EXIT_OK
    assert "missing" not in capsys.readouterr().out
    held = KeyStore.load(keys)
    for use in (KeyUse.DIGITAL_SIGNING, KeyUse.KEY_AGREEMENT):
        private = held.private_key(EUI, use)
        assert private is not None
        assert private.public_key() == held.public_key(EUI, use)
    assert sorted(path.suffix for path in keys.iterdir() if "pending" in path.name) == []
    assert stat.S_IMODE((keys / f"{EUI:016x}-ds.key").stat().st_mode) == 0o600
    assert not list(keys.glob("*.new"))


def test_a_second_request_leaves_the_keys_in_use_alone(
    ca: Issuer, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bring(keys, *issued(ca, keys)) == EXIT_OK
    before = KeyStore.load(keys).private_key(EUI, KeyUse.DIGITAL_SIGNING)
    again = issued(ca, keys)
    assert KeyStore.load(keys).private_key(EUI, KeyUse.DIGITAL_SIGNING) == before
    capsys.readouterr()
    refused(capsys, bring(keys, *again), "--replace puts the new one in its place")
    assert KeyStore.load(keys).private_key(EUI, KeyUse.DIGITAL_SIGNING) == before
    assert bring(keys, "--replace", *again) == EXIT_OK
    assert KeyStore.load(keys).private_key(EUI, KeyUse.DIGITAL_SIGNING) != before
    assert bring(keys, again[0]) == EXIT_OK
    assert "was there already" in capsys.readouterr().out


def test_requests_that_wait_are_dropped_only_when_told(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert csr(keys) == EXIT_OK
    first = (keys / f"{EUI:016x}-ds-pending.key").read_bytes()
    refused(capsys, csr(keys), "waits for a certificate already asked for")
    assert (keys / f"{EUI:016x}-ds-pending.key").read_bytes() == first
    assert csr(keys, "--replace", "--json") == EXIT_OK
    assert (keys / f"{EUI:016x}-ds-pending.key").read_bytes() != first
    told = json.loads(capsys.readouterr().out)
    assert sorted(told) == ["digital_signature", "key_agreement"]


def test_a_pair_made_elsewhere_comes_with_its_private_key(ca: Issuer, keys: Path, tmp_path: Path) -> None:
    key = new_key()
    both = tmp_path / "both.pem"
    both.write_bytes(private_pem(key) + device_certificate(ca, EUI, Usage.DIGITAL_SIGNATURE, key, NOW))
    assert bring(keys, "--device", f"{EUI:016X}", both) == EXIT_OK
    held = KeyStore.load(keys)
    assert held.private_key(EUI, KeyUse.DIGITAL_SIGNING) is not None
    assert held.certificate(EUI, KeyUse.DIGITAL_SIGNING) is not None


def test_der_is_read_as_pem_is(ca: Issuer, keys: Path, tmp_path: Path) -> None:
    pem = party(ca, tmp_path, ACB, Role.ACCESS_CONTROL_BROKER, Usage.KEY_AGREEMENT)
    der = tmp_path / "acb.der"
    octets = x509.load_pem_x509_certificate(pem.read_bytes()).public_bytes(serialization.Encoding.DER)
    der.write_bytes(octets)
    assert bring(keys, "--device", f"{EUI:016X}", der) == EXIT_OK
    assert bring(keys, "--device", f"{EUI:016X}", pem) == EXIT_OK, "the same certificate again"
    (placed,) = keys.glob("*.pem")
    assert placed.name == f"{ACB:016x}-ka.pem"


def test_another_acb_takes_the_first_ones_place_only_when_told(
    ca: Issuer, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device = ("--device", f"{EUI:016X}")
    first = party(ca, tmp_path, ACB, Role.ACCESS_CONTROL_BROKER, Usage.KEY_AGREEMENT)
    second = party(ca, tmp_path, ACB + 1, Role.ACCESS_CONTROL_BROKER, Usage.KEY_AGREEMENT)
    assert bring(keys, *device, first) == EXIT_OK
    refused(capsys, bring(keys, *device, second), "another ACB")
    assert bring(keys, *device, "--replace", second) == EXIT_OK
    assert [path.name for path in keys.iterdir()] == [f"{ACB + 1:016x}-ka.pem"]


def test_an_expired_certificate_is_taken_with_a_note(
    ca: Issuer, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = party(ca, tmp_path, ACB, Role.ACCESS_CONTROL_BROKER, Usage.KEY_AGREEMENT, datetime(2001, 1, 1, tzinfo=UTC))
    assert bring(keys, "--device", f"{EUI:016X}", old) == EXIT_OK
    assert "NOTE: expired on 2011-01-01" in capsys.readouterr().out


# --- what is refused, with nothing written ----------------------------------------------------------------------------


def test_a_certificate_of_another_device(ca: Issuer, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert csr(keys) == EXIT_OK
    other = sign(ca, keys / f"{EUI:016x}-ds.csr", OTHER)
    refused(capsys, bring(keys, other), f"is of device {OTHER:016X}, this folder is of {EUI:016X}")
    assert KeyStore.load(keys).names() == []


def test_a_certificate_that_no_private_key_fits(
    ca: Issuer, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = issued(ca, keys)
    alien = tmp_path / "alien.pem"
    alien.write_bytes(device_certificate(ca, EUI, Usage.KEY_AGREEMENT, new_key(), NOW))
    refused(capsys, bring(keys, good[0], alien), "no private key fits it")
    assert KeyStore.load(keys).names() == [], "the good one was not written either"
    assert (keys / f"{EUI:016x}-ds-pending.key").exists()


def test_a_request_for_signing_answered_with_key_agreement(
    ca: Issuer, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert csr(keys) == EXIT_OK
    asked = x509.load_pem_x509_csr((keys / f"{EUI:016x}-ds.csr").read_bytes())
    wrong = tmp_path / "wrong.pem"

    class Public:
        def public_key(self) -> object:
            return asked.public_key()

    wrong.write_bytes(device_certificate(ca, EUI, Usage.KEY_AGREEMENT, Public(), NOW))  # type: ignore[arg-type]
    refused(capsys, bring(keys, wrong), "no private key fits it")


def test_a_ca_certificate_and_another_party(
    ca: Issuer, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_bytes(certificate_pem(ca.certificate))
    refused(capsys, bring(keys, "--device", f"{EUI:016X}", authority), "no certificate that a GB device can use")
    operator = tmp_path / "operator.pem"

    class NetworkOperator:
        value = "03"

    operator.write_bytes(
        organisation_certificate(ca, NETWORK_OPERATOR, NetworkOperator, Usage.KEY_AGREEMENT, new_key(), NOW)  # type: ignore[arg-type]
    )
    refused(capsys, bring(keys, "--device", f"{EUI:016X}", operator), "role network operator")


def test_another_partys_private_key(ca: Issuer, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = new_key()
    certificate = organisation_certificate(ca, ACB, Role.ACCESS_CONTROL_BROKER, Usage.KEY_AGREEMENT, key, NOW)
    both = tmp_path / "acb.pem"
    both.write_bytes(certificate + private_pem(key))
    refused(capsys, bring(keys, "--device", f"{EUI:016X}", both), "does not belong into a device")
    assert list(keys.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "octets", "says"),
    [
        ("empty.pem", b"", "no certificate that a GB device can use"),
        ("text.pem", b"certificate, honestly", "no certificate that a GB device can use"),
        ("torn.pem", b"-----BEGIN CERTIFICATE-----\nMIIB\n", "no certificate that a GB device can use"),
        ("bad64.pem", b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", "bad64.pem"),
        ("public.pem", b"-----BEGIN PUBLIC KEY-----\nMFk=\n-----END PUBLIC KEY-----\n", "holds a PUBLIC KEY"),
        ("key.pem", private_pem(new_key()), "a private key alone is not imported"),
        ("bad.key", b"-----BEGIN PRIVATE KEY-----\nMFk=\n-----END PRIVATE KEY-----\n", "no private key"),
    ],
)
def test_files_that_are_no_certificates(
    keys: Path, tmp_path: Path, name: str, octets: bytes, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(octets)
    refused(capsys, bring(keys, "--device", f"{EUI:016X}", tmp_path / name), says)


def test_the_request_itself_and_a_file_that_is_not_there(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert csr(keys) == EXIT_OK
    refused(capsys, bring(keys, keys / f"{EUI:016x}-ds.csr"), "the request, not the certificate")
    refused(capsys, bring(keys, keys / "none.pem"), "none.pem: cannot be read")


def test_another_curve_and_an_encrypted_key(
    ca: Issuer, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ec.generate_private_key(ec.SECP384R1())
    path = tmp_path / "p384.pem"
    path.write_bytes(device_certificate(ca, EUI, Usage.DIGITAL_SIGNATURE, other, NOW))
    refused(capsys, bring(keys, "--device", f"{EUI:016X}", path), "not P-256")
    path.write_bytes(
        new_key().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    refused(capsys, bring(keys, "--device", f"{EUI:016X}", path), "without a passphrase")


def test_a_folder_of_nobody_needs_the_device_named(
    ca: Issuer, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    acb = party(ca, tmp_path, ACB, Role.ACCESS_CONTROL_BROKER, Usage.KEY_AGREEMENT)
    refused(capsys, bring(keys, acb), "no folder of keys")
    keys.mkdir()
    refused(capsys, bring(keys, acb), "say which device it is with --device EUI")


@pytest.mark.parametrize("eui", ["12", "90B3D51F30AA000G", ""])
def test_an_eui_that_is_none(keys: Path, eui: str) -> None:
    with pytest.raises(SystemExit) as ended:
        run("csr", "--directory", keys, f"--device={eui}")
    assert ended.value.code == EXIT_USAGE
