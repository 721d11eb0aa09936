"""A Debian root made from where this host's apt takes its packages, and commands in it that leave nothing behind.

Needs root and mmdebstrap. Every mount belongs to a namespace that ends with its command, however that ends: nobody may
ever clean up through a mounted /proc or /dev.
"""

from __future__ import annotations

import platform
import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from agent.errors import HanError

APT = Path("/etc/apt")
ALONE = ("unshare", "--mount", "--pid", "--fork", "--kill-child")


class RootError(HanError):
    """The root cannot be made here, or a command in it failed; the message says what and how."""


def bootstrap(suite: str, root: Path, options: Iterable[str]) -> None:
    """``options`` of mmdebstrap. ``suite``: this host's release, or another of the same mirror. Raises RootError."""
    with tempfile.TemporaryDirectory(prefix="han-sources-") as folder:
        sources = [Path(folder) / path.name for path in apt_sources()]
        for path, original in zip(sources, apt_sources(), strict=True):
            path.write_text(original.read_text(encoding="utf-8").replace(this_suite(), suite), encoding="utf-8")
        run([*ALONE, "--mount-proc", "mmdebstrap", "--quiet", *options, suite, str(root), *map(str, sources)])


def apt_sources() -> list[Path]:
    """The files of this host's apt that name its release. Raises RootError."""
    folder = APT / "sources.list.d"
    files = [APT / "sources.list", *sorted(folder.glob("*.list")), *sorted(folder.glob("*.sources"))]
    word = re.compile(rf"^(?!#).*(?<![\w-]){re.escape(this_suite())}\b", re.MULTILINE)
    found = [path for path in files if path.is_file() and word.search(path.read_text(encoding="utf-8"))]
    if not found:
        raise RootError(f"no apt source of {this_suite()} in {folder} or {APT}/sources.list: see sources.list(5)")
    return found


def this_suite() -> str:
    """This host's release of Debian. Raises RootError on another system."""
    release = platform.freedesktop_os_release()
    suite = release.get("VERSION_CODENAME", "")
    if release.get("ID") != "debian" or not suite:
        raise RootError(f"this host is {release.get('PRETTY_NAME')}: the root is made on Debian, from its mirror")
    return suite


def run_in(root: Path, *command: str, accepted: Sequence[int] = (0,)) -> str:
    """Its output, with the root's own /proc. Raises RootError with the command's last words."""
    return run([*ALONE, f"--mount-proc={root / 'proc'}", "chroot", str(root), *command], accepted=accepted)


def run(command: Sequence[str], *, words: str = "", accepted: Sequence[int] = (0,)) -> str:
    """Its standard output; ``words`` are its input. Raises RootError with its last words when it fails."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, input=words)
    if done.returncode not in accepted:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise RootError(f"{' '.join(command[:8])} ... ended with exit code {done.returncode}:\n{said}")
    return done.stdout
