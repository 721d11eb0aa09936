"""Requests for the implicit certificates of key establishment (ECQV, SEC 4 section 2), and what a test CA answers.

::

    device                              request                          CA
    k_U, R_U = k_U G      <eui>-cbke-2.req: EUI, suite, R_U    -->   k;  P_U = R_U + k G
    k_U stays here                                                   certificate(P_U, EUI);  e = AES-MMO(certificate)
    d_U = e k_U + r       answer: certificate, r, CA's key     <--   r = e k + d_CA
    d_U G = e P_U + Q_CA, or it is refused

The CA never learns the device's private key d_U, and r is of no use to anybody without k_U. How requests and answers
look as files is *our choice*, in the manner of the certificate sets; the mathematics is the standard's. Such a request
proves no possession of its key: the CA must know where it comes from.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.errors import FormatError, HanError, StorageError
from agent.events import format_eui
from agent.zigbee.cbke.certificates import (
    CERTIFICATE_OCTETS,
    CURVES,
    SUITE_1,
    build_certificate_1,
    build_certificate_2,
)
from agent.zigbee.cbke.curves import Curve, Point
from agent.zigbee.cbke.ecqv import CertificateAuthority, Credentials, check_credentials, random_scalar
from agent.zigbee.cbke.key_files import KeyText
from agent.zigbee.cbke.mmo import mmo
from flash.key_folder import make_folder, remove_file, write_file

EUI, SUITE, POINT = "Device IEEE Address", "Suite", "Request Public Key"
EPHEMERAL = "Request Private Key"
CA_KEY, CERTIFICATE, CONTRIBUTION = "CA Public Key", "Device Implicit Cert", "Private Key Contribution"


@dataclass(frozen=True, slots=True)
class Request:
    """What goes to the CA: who asks, for which suite, and the compressed ephemeral point."""

    eui: int
    suite: int
    point: bytes

    def text(self) -> str:
        """The file."""
        return f"{EUI}: {format_eui(self.eui)}\n{SUITE}: {self.suite}\n{POINT}: {self.point.hex().upper()}\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back: the certificate, the CA's contribution to the private key, the CA's public key."""

    suite: int
    certificate: bytes
    contribution: bytes
    ca_public: bytes

    def text(self) -> str:
        """The file. No secret: without the request's private key it is of no use."""
        values = {CA_KEY: self.ca_public, CERTIFICATE: self.certificate, CONTRIBUTION: self.contribution}
        return "".join(f"{label}: {octets.hex().upper()}\n" for label, octets in values.items())


# --- the arithmetic ---------------------------------------------------------------------------------------------------


def make_request(eui: int, suite: int, rng: random.Random) -> tuple[Request, int]:
    """A request, and the ephemeral private key that its answer needs."""
    curve = CURVES[suite]
    ephemeral = random_scalar(suite, rng)
    return Request(eui, suite, curve.encode(curve.public(ephemeral))), ephemeral


def answer_request(authority: CertificateAuthority, request: Request, rng: random.Random, serial: int = 1) -> Answer:
    """As the CA. Raises FormatError for a point that is none, HanError for another suite."""
    if request.suite != authority.suite:
        raise HanError(f"the request is for suite {request.suite}, this CA is of suite {authority.suite}")
    curve = CURVES[request.suite]
    asked = _in_group(curve, request.point)
    while True:
        k = random_scalar(request.suite, rng)
        point = curve.add(asked, curve.public(k))
        if point is not None:
            break
    octets = curve.encode(point)
    if request.suite == SUITE_1:
        certificate = build_certificate_1(octets, request.eui, authority.eui)
    else:
        certificate = build_certificate_2(octets, request.eui, authority.eui, serial)
    contribution = (_hash(certificate) * k + authority.private_key) % curve.n
    return Answer(request.suite, certificate, contribution.to_bytes(curve.field.octets, "big"), authority.public)


def reconstruct(answer: Answer, ephemeral: int, eui: int) -> Credentials:
    """The device's set. Raises FormatError or HanError when the answer is not to this request, or not this CA's."""
    curve = CURVES[answer.suite]
    contribution = int.from_bytes(answer.contribution, "big")
    if len(answer.contribution) != curve.field.octets or not 0 <= contribution < curve.n:
        raise FormatError("answer", 0, f"{CONTRIBUTION} is not {curve.field.octets} octets below the curve's order")
    secret = (_hash(answer.certificate) * ephemeral + contribution) % curve.n
    private = secret.to_bytes(curve.field.octets, "big")
    return check_credentials(answer.suite, answer.certificate, private, answer.ca_public, eui)


def _hash(certificate: bytes) -> int:
    return int.from_bytes(mmo(certificate), "big")


def _in_group(curve: Curve, octets: bytes) -> Point:
    """A point of the curve's large group; anything else would leak, or make a certificate for a weak key."""
    point = curve.decode(octets)
    if curve.multiply(curve.n, point) is not None:
        raise FormatError("request", 0, f"{POINT} is of another order than {curve.name}'s")
    return point


# --- the files --------------------------------------------------------------------------------------------------------


def request_files(folder: Path, eui: int, suites: Sequence[int], *, replace: bool = False) -> list[Path]:
    """Make the requests; their private keys wait beside them. Raises StorageError, also while some are waiting."""
    make_folder(folder)
    waiting = [path for suite in suites if (path := _pending(folder, eui, suite)).exists()]
    if waiting and not replace:
        raise StorageError(
            f"{waiting[0]}: waits for a certificate already asked for; import that, or drop the request with --replace"
        )
    made = []
    for suite in suites:
        request, ephemeral = make_request(eui, suite, random.SystemRandom())
        octets = ephemeral.to_bytes(CURVES[suite].field.octets, "big")
        write_file(_pending(folder, eui, suite), f"{EPHEMERAL}: {octets.hex().upper()}\n".encode(), 0o600)
        path = folder / f"{eui:016x}-cbke-{suite}.req"
        write_file(path, request.text().encode(), 0o644)
        made.append(path)
    return made


def read_request(path: Path) -> Request:
    """A request. Raises StorageError naming the file and what is wrong with it."""
    values = _values(path)
    try:
        eui, suite, point = values[EUI], values[SUITE], bytes.fromhex(values[POINT])
    except KeyError as missing:
        raise StorageError(f"{path}: no request: it has no line {missing}; make one with keys csr-zigbee") from None
    except ValueError:
        raise StorageError(f"{path}: {POINT} is not hex") from None
    if not re.fullmatch(r"[0-9A-Fa-f]{16}", eui) or suite not in ("1", "2"):
        raise StorageError(f"{path}: {EUI} is not 16 hex digits, or {SUITE} is not 1 or 2")
    return Request(int(eui, 16), int(suite), point)


def read_contribution(path: Path) -> bytes:
    """The CA's contribution in an answer; empty where the file is something else. Raises StorageError."""
    try:
        return bytes.fromhex(_values(path).get(CONTRIBUTION, ""))
    except ValueError:
        raise StorageError(f"{path}: {CONTRIBUTION} is not hex") from None


def take_answer(folder: Path, path: Path, entry: KeyText, eui: int) -> Credentials:
    """The set that an answer and the private key waiting in ``folder`` make. Raises StorageError naming the file."""
    pending = _pending(folder, eui, entry.suite)
    if not pending.exists():
        raise StorageError(
            f"{path}: an answer to a request, but no request of suite {entry.suite} by {format_eui(eui)} waits in "
            f"{folder}; make one with keys csr-zigbee"
        )
    try:
        ephemeral = int(_values(pending)[EPHEMERAL], 16)
        answer = Answer(entry.suite, entry.certificate, read_contribution(path), entry.ca_public)
        if len(entry.certificate) != CERTIFICATE_OCTETS[entry.suite] or not entry.ca_public:
            raise FormatError("answer", 0, f"{CERTIFICATE} or {CA_KEY} is missing")
        return reconstruct(answer, ephemeral, eui)
    except (KeyError, ValueError):
        raise StorageError(f"{pending}: no private key of a request; drop it with keys csr-zigbee --replace") from None
    except HanError as error:
        raise StorageError(f"{path}: refused: {error}; it must be the answer to the request that waits here") from None


def settle(folder: Path, eui: int, suite: int) -> None:
    """The set is in place: the request and its private key are of no more use. Raises StorageError."""
    remove_file(_pending(folder, eui, suite))
    remove_file(folder / f"{eui:016x}-cbke-{suite}.req")


def _pending(folder: Path, eui: int, suite: int) -> Path:
    return folder / f"{eui:016x}-cbke-{suite}-pending.txt"


def _values(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{path}: cannot be read: {error}") from None
    return {label.strip(): value.strip() for label, colon, value in (line.partition(":") for line in lines) if colon}
