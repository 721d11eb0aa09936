"""The units are what systemd itself takes for right, and say what the code says."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.boot.first_stage import EXIT_NOTHING_RUNS, SERVICE_RESULT_FILE
from agent.errors import EXIT_RESTART, EXIT_USAGE
from boards.virtual.unit import FINAL_EXIT_CODES

UNITS = Path(__file__).parents[1] / "systemd"
SERVICE = UNITS / "han-agent.service"
PYTHON = "/opt/han-agent/bin/python"


def read_service() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(SERVICE.read_text(encoding="utf-8"))
    return parser["Service"]


def need(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not here (Debian package systemd)")


def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    need("systemd-analyze")
    unit = tmp_path / SERVICE.name
    # systemd looks for the program, which is only there on a device.
    unit.write_text(SERVICE.read_text(encoding="utf-8").replace(PYTHON, sys.executable), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    own = [line for line in done.stderr.splitlines() if "han-agent" in line]
    assert (done.returncode, own) == (0, []), done.stderr


def test_sysusers_and_tmpfiles_are_taken(tmp_path: Path) -> None:
    need("systemd-sysusers")
    if os.geteuid() != 0:
        pytest.skip("needs root to make folders for another user")
    (tmp_path / "etc").mkdir()
    for tool, name in (("systemd-sysusers", "han-agent.sysusers"), ("systemd-tmpfiles", "han-agent.tmpfiles")):
        options = ["--create"] if tool == "systemd-tmpfiles" else []
        done = subprocess.run(
            [tool, *options, f"--root={tmp_path}", str(UNITS / name)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert "han-agent:" in (tmp_path / "etc" / "passwd").read_text(encoding="utf-8")
    assert (tmp_path / "etc" / "han-agent" / "keys" / "trust").is_dir()


def test_exit_codes_are_the_code_s() -> None:
    service = read_service()
    assert service["RestartForceExitStatus"] == str(EXIT_RESTART)
    assert service["RestartPreventExitStatus"].split() == [str(EXIT_USAGE), str(EXIT_NOTHING_RUNS)]
    assert set(FINAL_EXIT_CODES) == {0, EXIT_USAGE, EXIT_NOTHING_RUNS}


def test_it_starts_the_first_stage_and_leaves_word_for_the_next() -> None:
    service = read_service()
    assert service["ExecStart"].startswith(f"{PYTHON} -I -m agent.boot.first_stage --config ")
    assert f"/{SERVICE_RESULT_FILE}" in service["ExecStopPost"]
    assert service["RuntimeDirectoryPreserve"] == "restart"


def test_the_sealed_copy_passes_the_system_call_filter() -> None:
    need("systemd-analyze")
    allowed: set[str] = set()
    groups = ["@system-service"]
    while groups:
        done = subprocess.run(
            ["systemd-analyze", "syscall-filter", groups.pop()], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"systemd-analyze cannot list system calls here: {done.stderr.strip()}")
        names = {line.strip() for line in done.stdout.splitlines() if line.startswith("    ") and "#" not in line}
        groups += [name for name in names if name.startswith("@")]
        allowed |= names
    assert {"memfd_create", "execve", "fcntl", "mmap", "flock", "fsync", "pwrite64", "fallocate", "ioctl"} <= allowed
