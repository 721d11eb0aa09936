"""Files of a service request on their way in: the DUIS request itself, and the image that it carries."""

from __future__ import annotations

import hashlib
from pathlib import Path

from agent.errors import SettingsError, StorageError
from boards.bench.duis import LIMIT_OCTETS, DuisRequest, parse_duis


def read_duis(path: Path) -> DuisRequest:
    """Read and parse one file. Raises SettingsError when it cannot be read, FormatError for what it holds."""
    try:
        with path.open("rb") as file:
            octets = file.read(LIMIT_OCTETS + 1)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}; name a DUIS request file") from None
    return parse_duis(octets)


def store_image(state: Path, octets: bytes) -> Path:
    """Keep an image under its hash in the hub's state folder, where the hub reads it. Raises StorageError."""
    path = state / "images" / f"{hashlib.sha256(octets).hexdigest()}.ota"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(octets)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from None
    return path
