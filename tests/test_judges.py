"""The summary of judges that are absent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import JUDGES

ROOT = Path(__file__).parents[1]


def summary(path: str, folder: Path) -> str:
    """The last words of a run of one small test file with this PATH."""
    (folder / "test_small.py").write_text(
        "import shutil, pytest\n"
        "@pytest.mark.skipif(shutil.which('tshark') is None, reason='tshark is not installed')\n"
        "def test_judged(): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", "/dev/null", str(folder)]
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def judges(folder: Path, names: tuple[str, ...]) -> str:
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return str(folder)


def test_an_absent_judge_is_named_with_its_package(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    text = summary(judges(tmp_path / "bin", ("strace",)), tmp_path)
    assert "tshark: 1 tests were skipped for it; apt install tshark" in text
    assert "apt install strace" not in text


def test_nothing_is_said_when_all_are_there(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    text = summary(judges(tmp_path / "bin", tuple(JUDGES)), tmp_path)
    assert "1 passed" in text
    assert ("absent judges" in text) == (os.geteuid() != 0)
