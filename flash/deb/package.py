"""The Debian package: what dpkg-buildpackage is given, and the call.

The environment in it is the one of ``flash.sd.environment``: wheels of the release's Python and the package's
processor, so that a package for a Pi is made on any machine. Same sources and wheels, same octets.
"""

from __future__ import annotations

import email.utils
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from agent.errors import SettingsError, StorageError
from flash.sd.base import GLIBC_MINOR, Base
from flash.sd.environment import PREFIX, environment_edits, install
from flash.sd.ext4 import Edit, File, Folder, Link
from flash.sd.tools import run_tool
from flash.sd.wheelhouse import fill_wheelhouse

TOOLS = {"dpkg-buildpackage": "dpkg-dev", "dh": "debhelper", "help2man": "help2man"}
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
UNITS = {  # of systemd/, by the names that debhelper takes them under
    "han-agent.service": "han-agent.service",
    "han-agent-health.target": "han-agent.han-agent-health.target",
    "han-agent.sysusers": "han-agent.sysusers",
    "han-agent.tmpfiles": "han-agent.tmpfiles",
    "han-agent.rules": "han-agent.udev",
}
DOCUMENTS = (
    "README.md",
    "SECURITY.md",
    "systemd/han-agent-boot-loader.conf",
    "systemd/han-agent-network-radio.conf",
    "systemd/han-agent-watchdog.conf",
)
OF_THE_CHECKOUT = "flash/deb"


@dataclass(frozen=True, slots=True)
class Release:
    """A Debian release, Raspberry Pi OS's too. ``number``: as in its os-release."""

    name: str
    number: str
    python: str

    @property
    def depends(self) -> str:
        """Its Python, which the environment's is a link to, and no other minor version."""
        major, minor = self.python.split(".")
        return f"python3 (>= {self.python}), python3 (<< {major}.{int(minor) + 1}), python{self.python}"


RELEASES = {release.name: release for release in (Release("bookworm", "12", "3.11"), Release("trixie", "13", "3.13"))}


@dataclass(frozen=True, slots=True)
class Order:
    """A package to make. ``arch``: Debian's word. ``wheelhouse`` None: wheels are fetched. ``folder`` is emptied."""

    source: Path
    release: Release
    arch: str
    wheelhouse: Path | None
    folder: Path

    @property
    def version(self) -> str:
        """The project's, and the release that it is for, so that an upgrade of the system takes the next one."""
        project = tomllib.loads((self.source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return f"{project['version']}~deb{self.release.number}"

    @property
    def machine(self) -> str:
        return MACHINES[self.arch]


def build(order: Order) -> Path:
    """The package's path below the order's folder. Raises SettingsError, StorageError."""
    _require(order.source)
    shutil.rmtree(order.folder, ignore_errors=True)
    wheels = order.wheelhouse
    if wheels is None:
        wheels = order.folder / "wheels"
        fill_wheelhouse(wheels, order.machine, order.release.python, order.source)
    date = _date(order.source)
    tree = order.folder / "han-agent"
    _copy(order, tree, date)
    _environment(order, tree, wheels, date)
    _man_page(tree, date)
    run_tool(
        "dpkg-buildpackage", "-b", "-us", "-uc", "--no-check-builddeps", "-a", order.arch,
        folder=tree, date=date
    )  # fmt: skip
    return order.folder / f"han-agent_{order.version}_{order.arch}.deb"


def _require(source: Path) -> None:
    if not (source / OF_THE_CHECKOUT / "debian").is_dir():
        raise SettingsError(f"{source}: no checkout ({OF_THE_CHECKOUT}/debian): a package is made from one")
    missing = sorted(package for tool, package in TOOLS.items() if shutil.which(tool) is None)
    if missing:
        raise StorageError(f"missing tools: apt install {' '.join(missing)}")


def _date(source: Path) -> int:
    """SOURCE_DATE_EPOCH, else the last commit's: POSIX seconds."""
    text = os.environ.get("SOURCE_DATE_EPOCH") or _git(source, "log", "-1", "--format=%ct")
    if not text.isdigit():
        raise SettingsError(f"{source}: no git history to take a date from; set SOURCE_DATE_EPOCH")
    return int(text)


def _maintainer(source: Path) -> str:
    """Who makes a package answers for it: DEBFULLNAME and DEBEMAIL, else what git knows. Raises SettingsError."""
    name = os.environ.get("DEBFULLNAME") or _git(source, "config", "user.name")
    address = os.environ.get("DEBEMAIL") or _git(source, "config", "user.email")
    if not name or not address:
        raise SettingsError("whose package is this? Set DEBFULLNAME and DEBEMAIL, or git's user.name and user.email")
    return f"{name} <{address}>"


def _git(source: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(source), *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _copy(order: Order, tree: Path, date: int) -> None:
    """debian/ with what belongs to this release, and the files of the checkout that the package takes."""
    source, debian = order.source, tree / "debian"
    shutil.copytree(source / OF_THE_CHECKOUT / "debian", debian)
    for name in DOCUMENTS:
        shutil.copyfile(source / name, tree / Path(name).name)
    shutil.copyfile(source / OF_THE_CHECKOUT / "device.toml", tree / "device.toml")
    for unit, name in UNITS.items():
        shutil.copyfile(source / "systemd" / unit, debian / name)
    maintainer = _maintainer(source)
    control = debian / "control"
    control.write_text(control.read_text(encoding="utf-8").replace("@MAINTAINER@", maintainer), encoding="utf-8")
    (tree / "python-depends").write_text(order.release.depends, encoding="utf-8")
    (debian / "changelog").write_text(
        f"han-agent ({order.version}) {order.release.name}; urgency=medium\n\n"
        "  * See CHANGELOG.md of the project.\n\n"
        f" -- {maintainer}  {email.utils.formatdate(date)}\n",
        encoding="utf-8",
    )


def _environment(order: Order, tree: Path, wheels: Path, date: int) -> None:
    base = Base("", order.release.python, order.machine, GLIBC_MINOR[order.release.number], has_gpio=False)
    packages = install(wheels, base, tree / "staging", date)
    for path in list(packages.rglob("__pycache__")):
        shutil.rmtree(path)  # postinst makes it, by the Python that is there
    for edit in environment_edits(packages, base):
        if edit.path == PREFIX or edit.path.startswith(f"{PREFIX}/"):
            _make(edit, tree / "venv" / edit.path.removeprefix(PREFIX).lstrip("/"))
    shutil.rmtree(tree / "staging")


def _make(edit: Edit, place: Path) -> None:
    match edit:
        case Folder():
            place.mkdir(parents=True, exist_ok=True)
        case File():
            place.write_bytes(edit.source if isinstance(edit.source, bytes) else edit.source.read_bytes())
            place.chmod(edit.mode)
        case Link(target=target):
            place.symlink_to(target)


def _man_page(tree: Path, date: int) -> None:
    """What ``--help`` and ``--version`` say, by the code that makes the package."""
    program = f"{sys.executable} -m agent.cli"
    what = "--name=firmware agent for a GB smart metering HAN"
    run_tool("help2man", "--no-info", what, "--output=han-agent.1", program, folder=tree, date=date)
