"""A folder of wheels for another machine: the one step that needs the network."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from agent.errors import SettingsError
from flash.image_build import default_source
from flash.sd.base import GLIBC_MINOR, MACHINES
from flash.sd.environment import PROJECT, check_wheelhouse, platform_options, run_pip

OLDEST_GLIBC = min(GLIBC_MINOR.values())


def fill_wheelhouse(folder: Path, arch: str, python: str, source: Path | None = None) -> list[Path]:
    """The agent's own wheel, built from a checkout, and what it needs, fetched. Returns the wheels.

    Takes wheels that the oldest supported system can use. Raises SettingsError, StorageError.
    """
    if arch not in MACHINES.values():
        raise SettingsError(f"--arch {arch}: not one of {', '.join(MACHINES.values())}")
    project = source or default_source()
    if not (project / "pyproject.toml").is_file():
        raise SettingsError(f"{project}: no checkout (pyproject.toml) to build {PROJECT} from; name one with --source")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"--output {folder}: cannot be made: {error.strerror}") from None
    for old in folder.glob(f"{PROJECT.replace('-', '_')}-*.whl"):
        old.unlink()
    with tempfile.TemporaryDirectory(prefix="han-wheel-") as built:
        run_pip("wheel", "--no-deps", "--wheel-dir", built, project.resolve(), offline=False, date=_DATE)
        (wheel,) = Path(built).glob("*.whl")
        (folder / wheel.name).write_bytes(wheel.read_bytes())
    fitting = platform_options(arch, python, OLDEST_GLIBC)
    found: list[str | Path] = ["--find-links", folder.resolve(), "--dest", folder.resolve()]
    run_pip("download", *found, *fitting, folder.resolve() / wheel.name, offline=False)
    return check_wheelhouse(folder)


def running_python() -> str:
    """As in 3.11."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


_DATE = 1_580_601_600  # hatchling's own default: the wheel of one source is the same every time
