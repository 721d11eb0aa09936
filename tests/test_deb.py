"""What the Debian package is made of, without making it; ``make deb-test`` makes, installs and purges it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.errors import EXIT_STORAGE, EXIT_USAGE
from agent.settings import load_device
from flash.deb import package
from flash.deb.__main__ import main
from flash.deb.package import RELEASES, UNITS, Order
from flash.image_build import default_source
from flash.sd.base import GLIBC_MINOR
from flash.sd.units import PLACES

SOURCE = default_source()
DEBIAN = SOURCE / "flash" / "deb" / "debian"


def test_it_has_every_unit_that_the_repository_has() -> None:
    shipped = {*UNITS, *(Path(name).name for name in package.DOCUMENTS)}
    assert {path.name for path in (SOURCE / "systemd").glob("han-agent*")} <= shipped


def test_its_udev_rules_stand_where_a_card_has_them() -> None:
    (priority,) = re.findall(r"--priority=(\d+)", (DEBIAN / "rules").read_text())
    assert Path(PLACES["han-agent.rules"]).name == f"{priority}-han-agent.rules"


def test_its_example_is_a_configuration() -> None:
    settings = load_device(SOURCE / "flash" / "deb" / "device.toml")
    assert (settings.role, settings.storage.keys) == ("ppmid", Path("/etc/han-agent/keys"))


@pytest.mark.parametrize("release", RELEASES.values(), ids=lambda release: release.name)
def test_a_release_takes_its_own_python_and_no_other(release: package.Release) -> None:
    order = Order(SOURCE, release, "arm64", None, Path("build"))
    assert release.number in GLIBC_MINOR
    assert order.version.endswith(f"~deb{release.number}")
    assert order.machine == "aarch64"
    major, minor = release.python.split(".")
    assert release.depends == (
        f"python3 (>= {release.python}), python3 (<< {major}.{int(minor) + 1}), python{release.python}"
    )


def test_an_upgrade_of_the_system_is_an_upgrade_of_the_package() -> None:
    if shutil.which("dpkg") is None:
        pytest.skip("dpkg is not here")
    old, new = (Order(SOURCE, RELEASES[name], "amd64", None, Path("x")).version for name in ("bookworm", "trixie"))
    assert subprocess.run(["dpkg", "--compare-versions", old, "lt", new], check=False).returncode == 0


def test_the_tree_for_dpkg_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBFULLNAME", "A Lab")
    monkeypatch.setenv("DEBEMAIL", "lab@example.org")
    order = Order(SOURCE, RELEASES["trixie"], "arm64", None, tmp_path)
    package._copy(order, tmp_path / "tree", date=86_400)
    debian = tmp_path / "tree" / "debian"
    assert "Maintainer: A Lab <lab@example.org>\n" in (debian / "control").read_text()
    assert "@" not in (debian / "control").read_text().replace("lab@example.org", "")
    changelog = (debian / "changelog").read_text()
    assert changelog.startswith(f"han-agent ({order.version}) trixie;")
    assert changelog.endswith(" -- A Lab <lab@example.org>  Fri, 02 Jan 1970 00:00:00 -0000\n")
    named = [name for list_ in ("docs", "examples", "manpages") for name in (DEBIAN / list_).read_text().split()]
    assert [name for name in named if not (tmp_path / "tree" / name).exists()] == ["han-agent.1"]  # made by help2man


def test_missing_tools_are_told_by_their_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--build", str(tmp_path / "build")]) == EXIT_STORAGE
    assert capsys.readouterr().err == "make deb: missing tools: apt install debhelper dpkg-dev help2man\n"


def test_it_is_made_from_a_checkout_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("flash.deb.__main__.default_source", lambda: tmp_path)
    assert main(["--build", str(tmp_path / "build")]) == EXIT_USAGE
    assert "no checkout" in capsys.readouterr().err
