"""The units are what systemd itself takes for right, and say what the code says."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.boot.first_stage import SERVICE_RESULT_FILE
from agent.shell import REOPEN_TURN_S
from boards.radios import known_radios
from boards.virtual.unit import RestartLimits
from boards.znp.link import OPEN_TIMEOUT_S

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


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as on a device, with a Python that is here."""
    for path in UNITS.glob("han-agent*"):
        text = path.read_text(encoding="utf-8").replace(PYTHON, sys.executable)
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("name", ["han-agent.service", "han-agent-health.target"])
def test_systemd_finds_nothing_wrong(units: Path, name: str) -> None:
    need("systemd-analyze")
    done = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(units / name))
    own = [line for line in done.stderr.splitlines() if "han-agent" in line]
    assert (done.returncode, own) == (0, []), done.stderr


@pytest.mark.parametrize("name", ["han-agent-network-radio.conf", "han-agent-boot-loader.conf"])
def test_a_drop_in_is_taken(units: Path, name: str) -> None:
    need("systemd-analyze")
    folder = units / "han-agent.service.d"
    folder.mkdir()
    shutil.move(units / name, folder / name)
    done = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(units / SERVICE.name))
    assert (done.returncode, done.stderr) == (0, "")


def open_points() -> dict[str, float]:
    need("systemd-analyze")
    done = run("systemd-analyze", "security", "--offline=true", "--json=short", str(SERVICE))
    if done.returncode:
        pytest.skip(f"systemd-analyze cannot judge a file here: {done.stderr.strip()}")
    return {one["json_field"]: float(one["exposure"]) for one in json.loads(done.stdout) if one.get("exposure")}


def test_its_exposure_is_what_was_promised() -> None:
    open_points()
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=20", str(SERVICE))
    assert done.returncode == 0, done.stdout


def test_every_open_point_is_explained_beside_it() -> None:
    text = SERVICE.read_text(encoding="utf-8").split("# Left open, and why")[1]
    explained = re.findall(r"^# (\w+): \S", text, re.MULTILINE)
    assert sorted(explained) == sorted(name for name, exposure in open_points().items() if exposure > 0)


def test_it_is_ready_by_its_own_word_and_watched() -> None:
    service = read_service()
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    limits = RestartLimits()
    assert service["WatchdogSec"] == f"{limits.watchdog_s:.0f}s", "the virtual unit keeps the same time"
    assert service["TimeoutStartSec"] == f"{limits.ready_timeout_s:.0f}s"
    # While the radio is looked for, a turn comes once its opening has failed.
    slowest_turn_s = OPEN_TIMEOUT_S + REOPEN_TURN_S
    assert slowest_turn_s + limits.watchdog_s / 4 < limits.watchdog_s


def test_the_group_s_names_agree() -> None:
    service = read_service()
    sysusers = (UNITS / "han-agent.sysusers").read_text(encoding="utf-8")
    for group in service["SupplementaryGroups"].split():
        assert f"m {service['User']} {group}" in sysusers


RULE = re.compile(r'([A-Z_]+)(\{[^}]+\})?\s*(==|!=|\+=|=)\s*"([^"]*)"')
KEYS = {"ACTION", "SUBSYSTEM", "KERNEL", "ATTRS", "ENV", "GOTO", "LABEL", "SYMLINK", "GROUP", "MODE", "TAG"}


def udev_rules() -> list[list[tuple[str, ...]]]:
    lines = (UNITS / "han-agent.rules").read_text(encoding="utf-8").splitlines()
    rules = []
    for line in lines:
        if line and not line.startswith("#"):
            parts = [part.strip() for part in line.split(", ")]
            matches = [RULE.fullmatch(part) for part in parts]
            assert all(matches), line
            rules.append([match.groups(default="") for match in matches if match])
    return rules


def test_the_udev_rules_are_well_formed() -> None:
    rules = udev_rules()
    assert {key for rule in rules for key, *_ in rule} <= KEYS
    labels = [value for rule in rules for key, _, _, value in rule if key == "LABEL"]
    jumps = [value for rule in rules for key, _, _, value in rule if key == "GOTO"]
    assert set(jumps) == set(labels)
    if shutil.which("udevadm") and run("udevadm", "verify", "--help").returncode == 0:
        done = run("udevadm", "verify", str(UNITS / "han-agent.rules"))
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_udev_rules_know_every_radio_that_the_board_command_knows() -> None:
    ids = {
        (rule[0][3], rule[1][3])
        for rule in udev_rules()
        if [part[1] for part in rule[:2]] == ["{idVendor}", "{idProduct}"]
    }
    assert ids == {(f"{radio.usb[0]:04x}", f"{radio.usb[1]:04x}") for radio in known_radios()}


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


def test_no_exit_code_of_an_image_ends_the_unit() -> None:
    """A trial that ends with it would never go back: whatever an update brings, there is a next start."""
    service = read_service()
    assert service["Restart"] == "always"
    assert not {"RestartPreventExitStatus", "SuccessExitStatus"} & set(service)
    assert "\nStartLimitIntervalSec=0\n" in SERVICE.read_text(encoding="utf-8")
    assert f"started anew after {service['RestartSec'].removesuffix('s')} s" in (UNITS / "README.md").read_text()


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
