"""The agent's user and groups in the image, made by systemd-sysusers, so that its files are owned from the start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.errors import StorageError
from flash.sd.ext4 import Edit, Ext4, File
from flash.sd.tools import run_tool

USER = "han-agent"
FILES = ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow")


@dataclass(frozen=True, slots=True)
class Account:
    """The numbers of the agent's user and group in this image, and the edits that put them there."""

    uid: int
    gid: int
    edits: tuple[Edit, ...]


def make_account(root: Ext4, sysusers: Path, staging: Path, date: int) -> Account:
    """``sysusers``: systemd/han-agent.sysusers. Raises StorageError."""
    had = {path: root.read(path) for path in FILES}
    if had["/etc/passwd"] is None or had["/etc/group"] is None:
        raise StorageError("the image's root has no /etc/passwd or /etc/group: it is no whole system")
    (staging / "etc").mkdir(parents=True)
    for path, octets in had.items():
        if octets is not None:
            (staging / path.lstrip("/")).write_bytes(octets)
    run_tool("systemd-sysusers", f"--root={staging}", sysusers.resolve(), date=date)
    stats = root.stat(FILES)
    edits = []
    for path, octets in had.items():
        made = staging / path.lstrip("/")
        if octets is not None and made.read_bytes() != octets:
            owner = stats[path]
            edits.append(File(path, made.read_bytes(), owner.mode & 0o7777, owner.uid, owner.gid))
    line = next(line for line in (staging / "etc/passwd").read_text().splitlines() if line.startswith(f"{USER}:"))
    return Account(int(line.split(":")[2]), int(line.split(":")[3]), tuple(edits))
