"""The support bundle: everything that a report needs in one archive, and nothing that must stay on the device."""

from __future__ import annotations

import io
import json
import os
import platform
import sqlite3
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from agent.boot.area import FileArea
from agent.boot.store import MINIMUM_OCTETS
from agent.cli.engineer.describing import describe, describe_event
from agent.cli.engineer.journal_copy import copy_journal
from agent.cli.engineer.looking import Look, look
from agent.cli.engineer.redaction import Redactor, redactor_for
from agent.cli.engineer.status_text import render
from agent.errors import HanError, SettingsError, StorageError

LOG_OCTETS = 4 * 1024 * 1024  # our choice: the newest part of a log
CAPTURE_OCTETS = 32 * 1024 * 1024  # our choice: a larger capture is only taken when it is named
PACKAGE = "han-agent"
DEPENDENCIES = (
    "zigpy-znp", "zigpy", "pycryptodome", "pyserial", "structlog", "msgspec", "rich", "cryptography", "imgtool",
    "RPi.GPIO", "rpi-lgpio",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive; ``what`` says it in words."""

    name: str
    what: str
    octets: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the caller names: log files, and a capture (None: the newest beside the device, if there is one)."""

    logs: Sequence[Path] = ()
    capture: Path | None = None


@dataclass(slots=True)
class Bundle:
    """What went in, and what was left out with the reason."""

    members: list[Member] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def collect(config: Path, wanted: Wanted) -> Bundle:
    """Everything, redacted. What cannot be read is left out and said; a file that was named is an error."""
    seen = look(config)
    memory = seen.memory
    codes = [str(memory.given_code["install_code"])] if memory and memory.given_code else []
    redactor = redactor_for(seen.settings, memory.key_material if memory else (), codes)
    bundle = Bundle()
    for member in _texts(seen, wanted, bundle):
        text = redactor.text(member.octets.decode("utf-8", "replace"))
        bundle.members.append(Member(member.name, member.what, text.encode()))
    for member in _binaries(seen, wanted, bundle):
        bundle.members.append(member)
    bundle.members = [member for member in bundle.members if _is_clean(member, redactor, bundle)]
    bundle.members.insert(0, _contents(bundle))
    return bundle


def write_bundle(bundle: Bundle, target: Path) -> None:
    """A tar.gz for its owner alone. Raises SettingsError when there is a file already, StorageError."""
    octets = io.BytesIO()
    with tarfile.open(fileobj=octets, mode="w:gz") as archive:
        for member in bundle.members:
            info = tarfile.TarInfo(f"han-agent-support/{member.name}")
            info.size, info.mode = len(member.octets), 0o600
            info.mtime = int(datetime.now(UTC).timestamp())
            archive.addfile(info, io.BytesIO(member.octets))
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(octets.getvalue())
    except FileExistsError:
        raise SettingsError(f"{target}: is there already, nothing is overwritten; name another with -o") from None
    except OSError as error:
        raise StorageError(f"{target}: cannot be written: {error.strerror}") from None


# --- what is text -----------------------------------------------------------------------------------------------------


def _texts(seen: Look, wanted: Wanted, bundle: Bundle) -> Iterator[Member]:
    status = describe(seen)
    yield Member("status.txt", "what is known of the device", f"{render(status)}\n".encode())
    yield Member("status.json", "the same for programs", json.dumps(status, indent=1).encode())
    events = [json.dumps(describe_event(event)) for event in seen.memory.events] if seen.memory else []
    yield Member("events.jsonl", f"{len(events)} lines of event and security log", "\n".join([*events, ""]).encode())
    yield Member("device.toml", "the settings without secrets", seen.config.read_bytes())
    yield Member("versions.txt", "program, packages, system", _versions().encode())
    for path in wanted.logs or sorted(seen.config.resolve().parent.glob("*.log")):
        if log := _read_end(path, LOG_OCTETS, bundle, named=bool(wanted.logs)):
            yield Member(f"logs/{path.name}", "a log", log)


def _versions() -> str:
    lines = [
        f"{PACKAGE} {_version(PACKAGE)}",
        f"python {sys.version}",
        f"sqlite {sqlite3.sqlite_version}",
        f"system {platform.platform()}",
        *(f"{name} {_version(name)}" for name in DEPENDENCIES),
    ]
    return "\n".join([*lines, ""])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed as a package"


# --- what is not ------------------------------------------------------------------------------------------------------


def _binaries(seen: Look, wanted: Wanted, bundle: Bundle) -> Iterator[Member]:
    for read in (_journal, _boot_state):
        try:
            yield from read(seen, bundle)
        except HanError as error:
            bundle.left_out.append(str(error))
    capture = wanted.capture or _newest_capture(seen.config.resolve().parent)
    if capture is None:
        bundle.left_out.append("a capture of the air: none beside the device; name one with --capture FILE")
    elif wanted.capture is None and capture.stat().st_size > CAPTURE_OCTETS:
        bundle.left_out.append(f"{capture}: {capture.stat().st_size} octets; name it with --capture to have it all")
    elif octets := _read_end(capture, None, bundle, named=wanted.capture is not None):
        yield Member(capture.name, "the last capture of the air", octets)


def _journal(seen: Look, bundle: Bundle) -> Iterator[Member]:
    if not seen.has_run:
        bundle.left_out.append("journal: the device has never run")
        return
    with tempfile.TemporaryDirectory(prefix="han-agent-") as folder:
        copy = Path(folder) / "journal.db"
        missing = copy_journal(seen.settings.storage.database, copy)
        octets = copy.read_bytes()
    if missing:
        bundle.left_out.append(f"journal: tables {', '.join(missing)}: keys, or not known here")
    yield Member("journal.db", "SQLite: update, counters, orders, outbox, logs, facts", octets)


def _boot_state(seen: Look, _bundle: Bundle) -> Iterator[Member]:
    with ExitStack() as stack:
        area = stack.enter_context(FileArea.open(seen.settings.storage.boot_state, read_only=True))
        octets = area.read(0, min(MINIMUM_OCTETS, area.size_octets))
    yield Member("boot-state.bin", "both copies of the boot state", octets)


def _newest_capture(folder: Path) -> Path | None:
    found = [path for place in (folder, folder.parent / "air") for path in place.glob("*.pcapng")]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def _read_end(path: Path, limit: int | None, bundle: Bundle, *, named: bool) -> bytes:
    """The newest ``limit`` octets of a file, from a line's begin on."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if limit is None or size <= limit:
                file.seek(0)
                return file.read()
            file.seek(size - limit)
            file.readline()  # what is cut in two is not shown: half a secret would not be known as one
            return file.read()
    except OSError as error:
        if named:
            raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
        bundle.left_out.append(f"{path}: cannot be read: {error.strerror}")
        return b""


# --- the last look ----------------------------------------------------------------------------------------------------


def _is_clean(member: Member, redactor: Redactor, bundle: Bundle) -> bool:
    """No member leaves with a secret in it, wherever it came from."""
    if not redactor.finds(member.octets):
        return True
    bundle.left_out.append(f"{member.name}: holds key material")
    return False


def _contents(bundle: Bundle) -> Member:
    lines = [
        f"Support bundle of {PACKAGE} {_version(PACKAGE)}, made {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}.",
        "Install code, private keys and link keys are not in it; EUIs, addresses, versions, times and messages are.",
        "",
        *(f"{member.name:<16}{member.what}" for member in bundle.members),
        "",
        *(f"left out: {reason}" for reason in bundle.left_out),
        "",
    ]
    return Member("CONTENTS.txt", "this list", "\n".join(lines).encode())
