"""The payload: a reproducible zipapp of the code that runs on the device.

Same input, same octets: fixed dates and permissions, sorted names, one compression (of one zlib: another zlib may
compress otherwise). Sources only, and without their docstrings and comments, since every octet crosses the air;
``han-agent image build`` prints the size.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import agent
from agent.errors import FormatError, SettingsError
from agent.image.version import Version
from flash.payload_source import strip_words

MAXIMUM_PAYLOAD_OCTETS = 256 * 1024  # our choice: about four minutes at the best speed of the medium
PAYLOAD_FACTS = "agent/payload.json"
MAIN = "from agent.main import main\n\nraise SystemExit(main())\n"

# What runs on a device. A board's adapter that is only a laptop's, the bench and the makers stay behind.
INCLUDED = (
    "agent",
    "boards/__init__.py",
    "boards/znp_radio.py",
    "boards/znp",
    "boards/raspberry_pi",
    "boards/profiles",
    "boards/virtual/__init__.py",
    "boards/virtual/gpio.py",  # a device on a laptop has pins too
)
EXCLUDED = (
    "agent/cli",
    PAYLOAD_FACTS,
    # of the base system and its tools: the first stage is never updated over the air
    "agent/boot/first_stage.py",
    "agent/boot/decide.py",
    "agent/boot/inspection.py",
    "agent/boot/loader_stage.py",
    "agent/boot/provision.py",
    "agent/boot/engineer.py",
    "agent/gbcs/describe.py",
)
SUFFIXES = {".py", ".toml", ".sql"}
BASE_SET = 1  # rises when the payload needs another package, or a newer one, than the base had before
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say
_PERMISSIONS = 0o100644 << 16
_COMPRESSION_LEVEL = 9


def base_abi() -> str:
    """The name of the base system that this interpreter is: an image built here runs on another of the same name.

    Our choice: the Python minor version, and the number of the set of dependencies that the base provides.
    """
    return f"cp{sys.version_info.major}{sys.version_info.minor}-base{BASE_SET}"


def default_source() -> Path:
    """The directory that holds ``agent``, ``boards`` and ``flash``: a checkout or the site-packages of a wheel."""
    return Path(next(iter(agent.__path__))).parent


def build_payload(version: Version, *, source: Path | None = None, base_abi: str = "") -> bytes:
    """The zipapp.

    Raises SettingsError when ``source`` does not hold the agent or the payload is too large, FormatError for a module
    that is no Python.
    """
    folder = source or default_source()
    if not (folder / "agent" / "main.py").is_file():
        raise SettingsError(f"{folder}: no agent/main.py in it; name the directory of the agent's source with --source")
    files = {path.relative_to(folder).as_posix(): _read(path) for path in _find_files(folder)}
    files["__main__.py"] = MAIN.encode()
    files[PAYLOAD_FACTS] = _facts(version, base_abi)
    octets = _zip(files)
    if len(octets) > MAXIMUM_PAYLOAD_OCTETS:
        raise SettingsError(
            f"{folder}: a payload of {len(octets)} octets, at most {MAXIMUM_PAYLOAD_OCTETS}; leave out code"
        )
    return octets


def read_payload_facts(payload: bytes) -> tuple[Version, str] | None:
    """Version and base system out of a payload that ``build_payload`` made; None for any other. Raises FormatError."""
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            facts = json.loads(archive.read(PAYLOAD_FACTS)) if PAYLOAD_FACTS in archive.namelist() else None
    except zipfile.BadZipFile:
        return None
    except (ValueError, TypeError, RuntimeError, EOFError, OSError, zlib.error) as error:
        raise FormatError("payload", 0, f"{PAYLOAD_FACTS} cannot be read: {error}") from None
    if facts is None:
        return None
    version, base_abi = (facts.get(name) if isinstance(facts, dict) else None for name in ("version", "base_abi"))
    if not isinstance(version, str) or not isinstance(base_abi, str):
        raise FormatError("payload", 0, f"{PAYLOAD_FACTS}: version and base_abi are not both text")
    return Version.parse(version), base_abi


def _find_files(folder: Path) -> Iterator[Path]:
    for name in INCLUDED:
        root = folder / name
        candidates = sorted(root.rglob("*")) if root.is_dir() else [root]
        for path in candidates:
            relative = path.relative_to(folder).as_posix()
            excluded = any(relative == name or relative.startswith(name + "/") for name in EXCLUDED)
            if path.is_file() and path.suffix in SUFFIXES and not excluded:
                yield path


def _read(path: Path) -> bytes:
    octets = path.read_bytes()
    if path.suffix != ".py":
        return octets
    try:
        return strip_words(octets.decode(), str(path)).encode()
    except UnicodeDecodeError as error:
        raise FormatError(str(path), error.start, "is not UTF-8") from None


def _facts(version: Version, base_abi: str) -> bytes:
    return (json.dumps({"base_abi": base_abi, "version": str(version)}, sort_keys=True) + "\n").encode()


def _zip(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system = 3  # Unix, whatever builds it
            info.external_attr = _PERMISSIONS
            archive.writestr(info, files[name], zipfile.ZIP_DEFLATED, _COMPRESSION_LEVEL)
    return target.getvalue()
