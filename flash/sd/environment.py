"""The agent's own virtual environment, put together for another machine out of wheels, without running its code.

pip unpacks wheels of the image's processor and Python version; the rest of a virtual environment is pyvenv.cfg and two
links (PEP 405). It sees the system's packages, for RPi.GPIO or rpi-lgpio are Debian's.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from agent.errors import SettingsError, StorageError
from flash.sd.base import Base
from flash.sd.ext4 import Edit, File, Folder, Link, folders_above
from flash.sd.tools import LIMIT_S, last_words, tool_environment

PREFIX = "/opt/han-agent"
PROJECT = "han-agent"
OLDEST_GLIBC_MINOR = 17
SCRIPT = f"""#!{PREFIX}/bin/python
import sys

from agent.cli import main

sys.exit(main())
"""


def platform_options(arch: str, python: str, glibc_minor: int) -> list[str]:
    """Which wheels fit, as options of pip: every manylinux tag up to the image's glibc (PEP 600)."""
    tags = [f"manylinux_2_{minor}_{arch}" for minor in range(glibc_minor, OLDEST_GLIBC_MINOR - 1, -1)]
    tags += [f"manylinux2014_{arch}", f"linux_{arch}"]
    options = [word for tag in tags for word in ("--platform", tag)]
    return [*options, "--python-version", python, "--implementation", "cp", "--only-binary=:all:"]


def run_pip(*words: str | Path, offline: bool, date: int | None = None) -> None:
    """pip of the running Python. ``offline``: no index and no configuration of this machine. Raises StorageError."""
    command = [sys.executable, "-m", "pip", words[0], "--quiet", "--disable-pip-version-check", *words[1:]]
    environment = {**tool_environment(date), "PIP_ROOT_USER_ACTION": "ignore"}
    if offline:
        environment |= {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1"}
    done = subprocess.run(
        [str(word) for word in command],
        env=environment, capture_output=True, text=True, check=False, timeout=LIMIT_S
    )  # fmt: skip
    if done.returncode:
        words_of_pip = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        raise StorageError(f"pip: {'; '.join(words_of_pip) or last_words(done)}".replace("ERROR: ", ""))


def install(wheelhouse: Path, base: Base, staging: Path, date: int) -> Path:
    """Unpack the agent and what it needs below ``staging``; returns its site-packages. Raises StorageError."""
    packages = staging / "lib" / f"python{base.python}" / "site-packages"
    fitting = platform_options(base.arch, base.python, base.glibc_minor)
    try:
        options: list[str | Path] = [
            "--no-compile",
            "--no-cache-dir",
            "--find-links",
            wheelhouse.resolve(),
            "--target",
            packages,
        ]
        run_pip("install", *options, *fitting, PROJECT, offline=True, date=date)
    except StorageError as error:
        remedy = f"han-agent flash wheelhouse --output DIR --arch {base.arch} --python {base.python}"
        raise StorageError(f"{wheelhouse}: lacks wheels for this image ({error}); fill one with: {remedy}") from None
    shutil.rmtree(packages / "bin", ignore_errors=True)
    for record in packages.glob("*.dist-info/RECORD"):
        _forget_scripts(record)
    _compile(packages, base)
    return packages


def environment_edits(packages: Path, base: Base) -> Iterator[Edit]:
    """The environment as it goes into the image's root."""
    yield from folders_above(PREFIX)
    yield from (Folder(f"{PREFIX}{part}") for part in ("", "/bin", "/lib", f"/lib/python{base.python}"))
    settings = ["home = /usr/bin", "include-system-site-packages = true", f"version = {base.python}"]
    yield File(f"{PREFIX}/pyvenv.cfg", ("\n".join(settings) + "\n").encode())
    yield Link(f"{PREFIX}/bin/python", f"/usr/bin/python{base.python}")
    yield Link(f"{PREFIX}/bin/python3", "python")
    yield File(f"{PREFIX}/bin/han-agent", SCRIPT.encode(), 0o755)
    yield from folders_above("/usr/local/bin/han-agent")
    yield Link("/usr/local/bin/han-agent", f"{PREFIX}/bin/han-agent")
    yield from tree_edits(packages, f"{PREFIX}/lib/python{base.python}/site-packages")


def tree_edits(source: Path, target: str) -> Iterator[Edit]:
    """A folder and all in it, owned by root, sorted."""
    yield Folder(target)
    for path in sorted(source.rglob("*")):
        inside = f"{target}/{path.relative_to(source).as_posix()}"
        if path.is_dir():
            yield Folder(inside)
        else:
            yield File(inside, path, 0o755 if path.stat().st_mode & 0o100 else 0o644)


def _forget_scripts(record: Path) -> None:
    """pip wrote them for this machine's Python; they are gone."""
    lines = record.read_text(encoding="utf-8").splitlines(keepends=True)
    record.write_text("".join(line for line in lines if not re.match(r"(\.\./)*bin/", line)), encoding="utf-8")


def _compile(packages: Path, base: Base) -> None:
    """Byte code beside the sources, where this machine has that Python: the service may not write there.

    checked-hash: a source that somebody edits on the device counts. Without it the start takes longer.
    """
    mine = f"{sys.version_info.major}.{sys.version_info.minor}"
    python = sys.executable if mine == base.python else shutil.which(f"python{base.python}")
    if python is None:
        return
    place = f"{PREFIX}/lib/python{base.python}/site-packages"
    options = ["-q", "-q", "--invalidation-mode", "checked-hash", "-s", str(packages), "-p", place]
    environment = {**tool_environment(None), "PYTHONHASHSEED": "0"}
    # A package may hold a file that is not for this version; whoever imports it would hear of it.
    subprocess.run(
        [python, "-m", "compileall", *options, str(packages)],
        env=environment, capture_output=True, check=False, timeout=LIMIT_S
    )  # fmt: skip


def check_wheelhouse(folder: Path) -> list[Path]:
    """Its wheels, sorted. Raises SettingsError when there is no agent among them."""
    wheels = sorted(folder.glob("*.whl")) if folder.is_dir() else []
    if not any(wheel.name.startswith(PROJECT.replace("-", "_") + "-") for wheel in wheels):
        raise SettingsError(
            f"--wheelhouse {folder}: no wheel of {PROJECT} in it; fill one with han-agent flash wheelhouse --output DIR"
        )
    return wheels
