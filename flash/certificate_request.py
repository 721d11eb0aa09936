"""Certificate signing requests (PKCS #10) for a device: the private keys are made here and stay here.

A request looks like the certificate that it asks for: empty subject, the EUI in the critical hardwareModuleName, key
usage exactly one. That is our choice; a CA that wants it otherwise takes the public key and ignores the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from agent.errors import StorageError
from flash.certificates import Usage, device_name, key_usage, new_key, private_pem
from flash.key_folder import KeyFile, find_files, make_folder, write_file


@dataclass(frozen=True, slots=True)
class Requested:
    """One request, for the CA, and the private key that waits for its certificate."""

    usage: Usage
    request: Path
    private_key: Path


def request_certificates(folder: Path, eui: int, *, replace: bool = False) -> list[Requested]:
    """Make both pairs. The keys in use stay untouched until their certificates are imported.

    Raises StorageError, also when requests are waiting already and ``replace`` does not say to drop those.
    """
    make_folder(folder)
    waiting = [path for name, path in find_files(folder).items() if name.eui == eui and name.pending]
    if waiting and not replace:
        raise StorageError(
            f"{waiting[0]}: waits for a certificate already asked for; import that, or drop the request with --replace"
        )
    return [_request(folder, eui, usage) for usage in Usage]


def _request(folder: Path, eui: int, usage: Usage) -> Requested:
    key = new_key()
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
    builder = builder.add_extension(device_name(eui), critical=True)
    builder = builder.add_extension(key_usage(usage), critical=True)
    octets = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    made = Requested(
        usage,
        folder / KeyFile(eui, usage.value, False, "csr").name,
        folder / KeyFile(eui, usage.value, True, "key").name,
    )
    write_file(made.private_key, private_pem(key), 0o600)  # first: no request whose key was never kept
    write_file(made.request, octets, 0o644)
    return made
