"""What must not leave the device, and taking it out: install code, private keys, link keys, however they are written.

Secrets are found where they are kept, not guessed by their looks: whatever lies in the folders of keys and is not a
certificate, a public key or a request counts as one.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from Crypto.PublicKey import ECC

from agent.errors import FormatError, StorageError
from agent.settings import Settings
from agent.zigbee.cbke.install_code import link_key

REDACTED = "<redacted>"
_PUBLIC = (b"BEGIN CERTIFICATE", b"BEGIN PUBLIC KEY", b"BEGIN NEW CERTIFICATE")
_HEX_RUN = re.compile(r"(?:[0-9A-Fa-f]{2}){12,}")  # shorter ones are versions, dates, addresses
_TEXT_RUN = re.compile(r"[A-Za-z0-9+/=]{24,}")
_INSTALL_CODE = re.compile(r"""(install_code\s*=\s*)("[^"\n]*"|'[^'\n]*')""")
_BETWEEN_OCTETS = str.maketrans("", "", " :,-")
_CRC_OCTETS = 2


class Redactor:
    """Knows one device's secrets. ``text`` takes them out, ``finds`` says whether octets hold one."""

    def __init__(self, secrets: Iterable[bytes], words: Iterable[str] = ()) -> None:
        self._secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        self._words = sorted({*words, *map(_base64, self._secrets), *map(_escaped, self._secrets)}, key=len)[::-1]

    def text(self, text: str) -> str:
        """The text without them."""
        text = _INSTALL_CODE.sub(rf'\1"{REDACTED}"', text)
        digits = text.lower().translate(_BETWEEN_OCTETS)
        for secret in self._secrets:
            if secret.hex() in digits:  # a search for the whole pattern at once would take seconds for a long log
                text = _written(secret).sub(REDACTED, text)
        for word in self._words:
            text = text.replace(word, REDACTED)
        return text

    def finds(self, octets: bytes) -> bool:
        """Whether they are in there, as octets or written out in one piece."""
        written = (form.encode() for one in self._secrets for form in (one.hex(), one.hex().upper()))
        words = (word.encode() for word in self._words)
        return any(form in octets for form in chain(self._secrets, written, words))


def redactor_for(settings: Settings, more: Iterable[bytes] = (), codes: Iterable[str] = ()) -> Redactor:
    """A redactor with all that this device keeps secret. ``codes``: install codes beside that of device.toml.

    Raises StorageError when its keys cannot be read.
    """
    secrets = {*more, *chain.from_iterable(map(_install_code, (settings.radio.install_code, *codes)))}
    words: set[str] = set()
    for folder in _key_folders(settings):
        for path in _secret_files(folder):
            octets = path.read_bytes()
            text = octets.decode("latin-1")
            secrets |= {bytes.fromhex(run) for run in _HEX_RUN.findall(text)} | set(_scalars(octets))
            words |= set(_TEXT_RUN.findall(text))
    return Redactor(secrets, words)


def _install_code(text: str) -> Iterator[bytes]:
    """With and without its CRC, and the link key that it makes."""
    if not text:
        return
    code = bytes.fromhex(text)
    yield code
    yield code[:-_CRC_OCTETS]
    try:
        yield link_key(code)
    except FormatError:
        return  # mistyped: nothing was ever derived from it


def _key_folders(settings: Settings) -> list[Path]:
    certificates = getattr(settings.radio, "certificates", None)
    return [settings.storage.keys] + ([certificates] if certificates else [])


def _secret_files(folder: Path) -> list[Path]:
    try:
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        return [path for path in files if not _is_public(path.read_bytes())]
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot be read: {error.strerror}: nobody can tell what must be redacted"
        ) from None


def _is_public(octets: bytes) -> bool:
    return b"PRIVATE KEY" not in octets and any(mark in octets for mark in _PUBLIC)


def _scalars(octets: bytes) -> Iterator[bytes]:
    """The number that a private key is, however its file is wrapped."""
    try:
        key = ECC.import_key(octets)
    except (ValueError, IndexError, TypeError):
        return  # not such a file; its runs of digits are taken as they stand
    if key.has_private():
        yield int(key.d).to_bytes(32, "big")


def _written(secret: bytes) -> re.Pattern[str]:
    """Its hex digits, with or without something between the octets."""
    return re.compile(r"[ :,\-]{0,2}".join(f"{octet:02x}" for octet in secret), re.IGNORECASE)


def _base64(secret: bytes) -> str:
    return base64.b64encode(secret).decode().rstrip("=")


def _escaped(secret: bytes) -> str:
    """As Python shows octets."""
    return repr(secret)[2:-1]
