"""The payload: the device's code and nothing else, the same octets for the same input, and it runs."""

from __future__ import annotations

import ast
import io
import json
import os
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import FormatError, SettingsError
from agent.image.version import Version
from flash.image_build import MAXIMUM_PAYLOAD_OCTETS, build_payload, default_source, read_payload_facts

VERSION = Version(1, 1, 0)
MAIN = """
import json
import pkgutil


def main() -> int:
    facts = json.loads(pkgutil.get_data("agent", "payload.json"))
    print(facts["version"], __file__)
    return 7
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """This repository's own code, with a main that says what it is."""
    folder = tmp_path / "source"
    for name in ("agent", "boards", "flash", "tests"):
        shutil.copytree(default_source() / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "agent" / "main.py").write_text(MAIN)
    for name in (
        "boards/raspberry_pi/pins.py",
        "boards/profiles/pi.toml",
        "boards/znp/adapter.py",
        "boards/znp_radio.py",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("# of a device\n")
    for name in ("boards/bench/hub.py", "boards/virtual/ncp.py", "agent/cli/demo.py", "agent/DESIGN.md"):
        (folder / name).write_text("# not of a device\n")
    return folder


def test_only_what_runs_on_a_device_is_in_it(source: Path) -> None:
    (source / "agent" / "__pycache__").mkdir()
    (source / "agent" / "__pycache__" / "main.cpython-311.pyc").write_bytes(b"byte code")
    (source / "agent" / "payload.json").write_text('{"version": "of an earlier build"}')
    with zipfile.ZipFile(io.BytesIO(build_payload(VERSION, source=source, base_abi="debian-12"))) as archive:
        names = archive.namelist()
        facts = json.loads(archive.read("agent/payload.json"))
    assert facts == {"version": "1.1.0", "base_abi": "debian-12"}
    assert {"__main__.py", "agent/main.py", "agent/image/mcuboot.py", "boards/__init__.py"} <= set(names)
    assert {"boards/raspberry_pi/pins.py", "boards/profiles/pi.toml", "boards/znp/adapter.py"} <= set(names)
    assert "boards/znp_radio.py" in names
    allowed = (
        "__main__.py",
        "agent/",
        "boards/__init__.py",
        "boards/znp",
        "boards/raspberry_pi/",
        "boards/profiles/",
        "boards/virtual/__init__.py",
        "boards/virtual/gpio.py",
    )
    assert [name for name in names if not name.startswith(allowed) or name.startswith("agent/cli")] == []
    assert [name for name in names if name.endswith((".pyc", ".md"))] == []


def test_the_same_input_gives_the_same_octets(source: Path, tmp_path: Path) -> None:
    first = build_payload(VERSION, source=source)
    other = tmp_path / "elsewhere"
    shutil.copytree(source, other)
    for path in other.rglob("*.py"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
        path.chmod(0o600)
    assert build_payload(VERSION, source=other) == first
    assert build_payload(Version(1, 1, 1), source=other) != first


def test_the_payload_runs_from_its_own_copy(source: Path, tmp_path: Path) -> None:
    payload = tmp_path / "payload.zip"
    payload.write_bytes(build_payload(VERSION, source=source))
    result = subprocess.run([sys.executable, "-I", payload], capture_output=True, text=True, check=False)
    assert result.returncode == 7, result.stderr
    assert result.stdout.split() == ["1.1.0", str(payload / "agent" / "main.py")]


def test_facts_are_read_back(source: Path) -> None:
    assert read_payload_facts(build_payload(VERSION, source=source, base_abi="b")) == (VERSION, "b")
    assert read_payload_facts(b"another vendor's squashfs") is None


@pytest.mark.parametrize(
    "facts", ["", "[]", "{}", "\0", '{"version": 1, "base_abi": ""}', '{"version": "1", "base_abi": ""}']
)
def test_facts_that_make_no_sense(facts: str) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("agent/payload.json", facts)
    with pytest.raises(FormatError):
        read_payload_facts(target.getvalue())


def test_a_payload_too_large_is_refused_with_its_size(source: Path) -> None:
    noise = random.Random(0).randbytes(MAXIMUM_PAYLOAD_OCTETS).hex()
    (source / "agent" / "noise.py").write_text(f"NOISE = '{noise}'\n")
    with pytest.raises(SettingsError, match=r"a payload of \d+ octets, at most 262144"):
        build_payload(VERSION, source=source)


def test_a_folder_without_the_agent_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no agent/main\.py in it"):
        build_payload(VERSION, source=tmp_path)


def test_nothing_in_it_needs_what_stays_behind(source: Path) -> None:
    """Every first-party module that an included file imports is included."""
    with zipfile.ZipFile(io.BytesIO(build_payload(VERSION, source=source))) as archive:
        names = set(archive.namelist())
        needed = {
            (name, module)
            for name in names
            if name.endswith(".py")
            for module in _imported(ast.parse(archive.read(name)))
            if module.split(".")[0] in ("agent", "boards", "flash", "tests")
        }
    assert len(needed) > 10
    for name, module in sorted(needed):
        path = module.replace(".", "/")
        assert names & {f"{path}.py", f"{path}/__init__.py"}, f"{name} imports {module}, which no device has"


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
