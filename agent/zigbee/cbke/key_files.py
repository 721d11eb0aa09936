"""A device's certificate sets as files: ``<eui>-cbke-1.txt`` and ``<eui>-cbke-2.txt``, one for each suite.

::

    CA Public Key: 0207A4...            22 or 37 octets in hex
    Device Implicit Cert: 0026...       48 or 74
    Device Private Key: 0084...         21 or 36

The form in which certificate authorities deliver them: a line a value, its suite told by its length, other lines left
alone. A file may hold both suites.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.errors import FormatError, HanError, StorageError
from agent.events import format_eui
from agent.zigbee.cbke.certificates import CERTIFICATE_OCTETS, CURVES, SUITE_1, SUITE_2
from agent.zigbee.cbke.ecqv import CertificateAuthority, Credentials, check_credentials

#: What the setting ``key_establishment`` may say, with its suites.
SUITES = {"suite-2": (SUITE_2,), "suite-1": (SUITE_1,), "both": (SUITE_1, SUITE_2), "off": ()}

_FILE_NAME = re.compile(r"([0-9A-Fa-f]{16})-cbke-([12])\.txt")
_LABELS = {
    "ca public key": "ca_public",
    "ca pub key": "ca_public",
    "device implicit cert": "certificate",
    "device implicit certificate": "certificate",
    "device private key": "private_key",
    "private key": "private_key",
}
_OCTETS = {
    "ca_public": {1 + curve.field.octets: suite for suite, curve in CURVES.items()},
    "certificate": {octets: suite for suite, octets in CERTIFICATE_OCTETS.items()},
    "private_key": {curve.field.octets: suite for suite, curve in CURVES.items()},
}


@dataclass(slots=True)
class KeyText:
    """One suite's octets as a file has them; nothing is judged yet. Empty: not in the file."""

    suite: int
    ca_public: bytes = b""
    certificate: bytes = b""
    private_key: bytes = field(default=b"", repr=False)

    def check(self, eui: int) -> Credentials:
        """The set, proved to be this device's and to fit together. Raises FormatError or HanError."""
        for name, label in (("ca_public", "CA Public Key"), ("certificate", "Device Implicit Cert"),
                            ("private_key", "Device Private Key")):  # fmt: skip
            if not getattr(self, name):
                raise FormatError("certificate set", 0, f"suite {self.suite} has no line {label!r}")
        return check_credentials(self.suite, self.certificate, self.private_key, self.ca_public, eui)


def parse_sets(text: str) -> dict[int, KeyText]:
    """What a file holds, by suite. Raises FormatError for a value that is not hex, of a wrong length or there twice."""
    found: dict[int, KeyText] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        label, colon, digits = line.partition(":")
        name = _LABELS.get(re.sub(r"\s*\(?(sect)?(163|283)k1\)?\s*$", "", label.strip().lower()))
        if not colon or name is None:
            continue
        try:
            octets = bytes.fromhex(digits)
        except ValueError:
            raise FormatError("certificate set", 0, f"line {number}: {label.strip()} is not hex") from None
        suite = _OCTETS[name].get(len(octets))
        if suite is None:
            lengths = " or ".join(map(str, _OCTETS[name]))
            what = f"line {number}: {label.strip()} has {len(octets)} octets instead of {lengths}"
            raise FormatError("certificate set", 0, what)
        entry = found.setdefault(suite, KeyText(suite))
        if getattr(entry, name):
            raise FormatError("certificate set", 0, f"line {number}: {label.strip()} of suite {suite} is there twice")
        setattr(entry, name, octets)
    return found


def format_credentials(made: Credentials) -> str:
    """The text of a file with one set, as ``parse_sets`` reads it."""
    curve = CURVES[made.suite]
    values = {
        "CA Public Key": curve.encode(made.ca_public),
        "Device Implicit Cert": made.certificate.octets,
        "Device Private Key": made.private_key.to_bytes(curve.field.octets, "big"),
    }
    return _lines(values)


def format_authority(authority: CertificateAuthority) -> str:
    """The text of a test CA's file; it is a secret."""
    curve = CURVES[authority.suite]
    values = {
        "CA IEEE Address": authority.eui.to_bytes(8, "big"),
        "CA Public Key": authority.public,
        "CA Private Key": authority.private_key.to_bytes(curve.field.octets, "big"),
    }
    return _lines(values)


def parse_authority(text: str) -> CertificateAuthority:
    """A test CA from its file. Raises FormatError when something is missing or does not fit together."""
    lines = (line.partition(":") for line in text.splitlines())
    try:
        values = {label.strip(): bytes.fromhex(digits) for label, _, digits in lines}
        eui, public = values["CA IEEE Address"], values["CA Public Key"]
        private = int.from_bytes(values["CA Private Key"], "big")
    except ValueError:
        raise FormatError("test CA", 0, "a line is not hex") from None
    except KeyError as missing:
        raise FormatError("test CA", 0, f"no line {missing}") from None
    suite = _OCTETS["ca_public"].get(len(public), 0)
    curve = CURVES.get(suite)
    if curve is None or not 0 < private < curve.n or curve.encode(curve.public(private)) != public:
        raise FormatError("test CA", 0, "its private key and its public key do not belong together")
    return CertificateAuthority(suite, int.from_bytes(eui, "big"), private, public)


def _lines(values: dict[str, bytes]) -> str:
    return "".join(f"{label}: {octets.hex().upper()}\n" for label, octets in values.items())


def file_name(eui: int, suite: int) -> str:
    """Under which a set stands in a folder of keys."""
    return f"{eui:016x}-cbke-{suite}.txt"


def load_credentials(folder: Path, eui: int, suites: Sequence[int]) -> dict[int, Credentials]:
    """This device's sets for these suites. Raises StorageError naming the file and what is wrong with it."""
    return {suite: read_set(folder / file_name(eui, suite), eui, suite) for suite in suites}


def read_set(path: Path, eui: int, suite: int) -> Credentials:
    """One set from one file. Raises StorageError naming the file."""
    sets = read_sets(path)
    if suite not in sets:
        raise StorageError(f"{path}: holds no certificate set of suite {suite}")
    try:
        return sets[suite].check(eui)
    except HanError as error:
        raise StorageError(f"{path}: {error}; get a set made for {format_eui(eui)}") from None


def read_sets(path: Path) -> dict[int, KeyText]:
    """Every set in a file, not yet judged. Raises StorageError naming it."""
    try:
        return parse_sets(path.read_text(encoding="ascii"))
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be read: {error.strerror}; make one with han-agent keys new, or put a real one there with "
            "han-agent keys import-zigbee"
        ) from None
    except UnicodeDecodeError:
        raise StorageError(f"{path}: not a text file with a certificate set") from None
    except FormatError as error:
        raise StorageError(f"{path}: {error}") from None


def holders(folder: Path) -> list[int]:
    """The EUIs that a set of either suite is held for, in order; none where there is no such folder."""
    names = (_FILE_NAME.fullmatch(path.name) for path in folder.glob("*-cbke-?.txt"))
    return sorted({int(name[1], 16) for name in names if name})
