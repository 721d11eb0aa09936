"""The tools that the work is left to, each with the Debian package that brings it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.errors import StorageError

PACKAGES = {
    "sfdisk": "fdisk",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "resize2fs": "e2fsprogs",
    "mcopy": "mtools",
    "systemd-sysusers": "systemd",
    "lsblk": "util-linux",
}
SYSTEM_FOLDERS = "/usr/sbin:/sbin"  # Debian keeps them out of the PATH of who is not root
LIMIT_S = 1800.0


def require_tools(names: Sequence[str]) -> None:
    """Raises StorageError naming every package that is missing, before anything is done."""
    missing = sorted({PACKAGES[name] for name in names if shutil.which(name, path=_path()) is None})
    if missing:
        raise StorageError(f"missing tools: apt install {' '.join(missing)}")


def run_tool(
    *command: str | Path,
    folder: Path | None = None,
    text: str = "",
    date: int | None = None,
    accepted: Sequence[int] = (0,),
) -> subprocess.CompletedProcess[str]:
    """Run it in ``folder`` with ``text`` as input; its output is text. ``date``: the time that it shall take for now.

    Raises StorageError with the tool's own words.
    """
    environment = tool_environment(date)
    tool = str(command[0])
    program = shutil.which(tool, path=environment["PATH"])
    if program is None:
        raise StorageError(f"missing tools: apt install {PACKAGES.get(tool, tool)}")
    done = subprocess.run(
        [program, *map(str, command[1:])],
        cwd=folder,
        input=text,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=LIMIT_S,
    )
    if done.returncode not in accepted:
        raise StorageError(f"{tool}: {last_words(done)}")
    return done


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """Why it failed, in one line."""
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return "; ".join(lines[-3:]) or f"exit code {done.returncode}"


def tool_environment(date: int | None) -> Mapping[str, str]:
    """One language, one time zone and, for what is made the same every time, one date."""
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC", "PATH": _path(), "MTOOLS_SKIP_CHECK": "1"}
    if date is not None:
        environment |= {"SOURCE_DATE_EPOCH": str(date), "E2FSPROGS_FAKE_TIME": str(date)}
    return environment


def _path() -> str:
    return f"{os.environ.get('PATH', '/usr/bin:/bin')}:{SYSTEM_FOLDERS}"
