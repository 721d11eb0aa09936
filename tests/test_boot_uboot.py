"""The uboot backend: fakes of the tools on PATH, the real ones where installed, and every write cut. No metal here."""

from __future__ import annotations

import itertools
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_factory import steady
from loader_lab import TRIES, Trial, UbootMachine, every_cut, hangs, healthy, one_start, settle, unhealthy

from agent.boot.area import FileArea, make_area_file
from agent.boot.backends.loader import LoaderControl, LoaderLook
from agent.boot.backends.uboot import ToolEnvironment, Uboot
from agent.boot.places import BOOT_STATE_OCTETS
from agent.boot.refusal import BootRefusedError
from agent.boot.state import EndReason, Slot, SlotState
from agent.boot.store import BootStateStore
from agent.errors import StorageError

ENVIRONMENT_OCTETS = 8192

# What fw_printenv and fw_setenv -s do, in shell: name=value lines in a file, one rename for a whole script.
FAKE_PRINTENV = """#!/bin/sh
cat "$(dirname "$0")/environment"
"""
FAKE_SETENV = """#!/bin/sh
here=$(dirname "$0")
echo "$@" >> "$here/calls"
while [ "$1" != -s ]; do shift; done
cp "$here/environment" "$here/new"
while IFS== read -r name value; do
    grep -v "^$name=" "$here/new" > "$here/newer"
    echo "$name=$value" >> "$here/newer"
    mv "$here/newer" "$here/new"
done < "$2"
mv "$here/new" "$here/environment"
"""


@pytest.fixture
def machine(tmp_path: Path) -> UbootMachine:
    return UbootMachine(tmp_path)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the fakes, put first on PATH."""
    folder = tmp_path / "tools"
    folder.mkdir()
    make_tool(folder, "fw_printenv", FAKE_PRINTENV)
    make_tool(folder, "fw_setenv", FAKE_SETENV)
    (folder / "environment").write_text("altbootcmd=run other\nhan_slot=a\nbootdelay=2\n", encoding="ascii")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def make_tool(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(script, encoding="ascii")
    (folder / name).chmod(0o755)


def test_a_trial_that_is_healthy_is_committed(machine: UbootMachine) -> None:
    settle(machine, healthy)
    assert machine.started == [Slot.A, Slot.B]
    status = machine.control().status()
    assert (status.running, status.active, status.trial, status.security_counter) == (Slot.B, Slot.B, None, 2)
    assert machine.environment.read() == {
        "altbootcmd": "run other",
        "han_slot": "b",
        "upgrade_available": "0",
        "bootcount": "0",
        "bootlimit": str(TRIES),
    }


def test_arming_survives_the_power(machine: UbootMachine) -> None:
    assert one_start(machine, healthy)
    machine.lose_power()
    settle(machine, healthy)
    assert machine.started == [Slot.A, Slot.B]


def test_a_trial_that_never_runs_is_tried_as_often_as_it_may_be(machine: UbootMachine) -> None:
    settle(machine, hangs)
    assert machine.started == [Slot.A, *[Slot.B] * TRIES, Slot.A]
    record = machine.control().status().slots[Slot.B]
    assert (record.state, record.reason) == (SlotState.BAD, EndReason.NEVER_STARTED)
    assert machine.environment.read()["upgrade_available"] == "0"
    settle(machine, healthy, wanted=False)
    assert machine.started[-2:] == [Slot.A, Slot.A]


def test_a_trial_that_ran_and_lost_power_says_so(machine: UbootMachine) -> None:
    one_start(machine, healthy)
    for left in (2, 1, 0):
        machine.come_up()
        control = machine.control()
        assert not control.reconcile()
        assert control.status().slots[Slot.B].tries_left == left
        control.report_running()
    settle(machine, healthy)
    assert machine.started == [Slot.A, *[Slot.B] * TRIES, Slot.A]
    assert machine.control().status().slots[Slot.B].reason is EndReason.POWER


def test_an_unhealthy_trial_goes_back_at_once(machine: UbootMachine) -> None:
    settle(machine, unhealthy)
    assert machine.started == [Slot.A, Slot.B, Slot.A]
    assert machine.control().status().slots[Slot.B].reason is EndReason.UNHEALTHY


def test_a_cancelled_trial_is_disarmed(machine: UbootMachine) -> None:
    machine.come_up()
    control = machine.control()
    control.activate(Slot.B, TRIES)
    control.cancel(Slot.B)
    settle(machine, healthy)
    assert machine.started == [Slot.A, Slot.A]


@pytest.mark.parametrize(("trial", "kept"), [(healthy, Slot.B), (unhealthy, Slot.A), (hangs, Slot.A)])
def test_every_cut_ends_on_a_whole_slot(tmp_path: Path, trial: Trial, kept: Slot) -> None:
    """Cuts in U-Boot's own count included."""
    numbers = itertools.count()

    def make() -> UbootMachine:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return UbootMachine(folder)

    for where, machine in every_cut(make, trial):
        status = machine.control().status()
        assert (status.running, status.active, status.trial) == (kept, kept, None), where
        assert (status.slots[Slot.B].state is SlotState.BAD) == (kept is Slot.A), where
        variables = machine.environment.read()
        assert (variables["han_slot"], variables["upgrade_available"]) == (kept.name.lower(), "0"), where


# --- the tools --------------------------------------------------------------------------------------------------------


def test_a_change_is_one_call_of_the_tool(tools: Path, tmp_path: Path) -> None:
    cmdline = tmp_path / "cmdline"
    cmdline.write_text("quiet han.slot=a\n", encoding="ascii")
    uboot = Uboot(ToolEnvironment(tmp_path / "fw_env.config"), cmdline)
    uboot.check()
    assert uboot.look().committed is Slot.A
    uboot.arm(Slot.B, 3)
    look = uboot.look()
    assert (look.running, look.committed, look.armed, look.tries_left) == (Slot.A, None, True, 3)
    uboot.commit(Slot.A)
    uboot.commit(Slot.A)
    calls = (tools / "calls").read_text(encoding="ascii").splitlines()
    assert len(calls) == 2, "what is so already is not written again"
    assert all(call.startswith(f"-c {tmp_path / 'fw_env.config'} -s ") for call in calls)
    lines = (tools / "environment").read_text(encoding="ascii").splitlines()
    assert {"altbootcmd=run other", "bootdelay=2", "han_slot=a", "upgrade_available=0"} <= set(lines)


def test_a_tool_that_takes_nothing_is_found_out(tools: Path, tmp_path: Path) -> None:
    make_tool(tools, "fw_setenv", "#!/bin/sh\nexit 0\n")
    with pytest.raises(StorageError, match="did not take han_slot, bootcount, upgrade_available: see"):
        Uboot(ToolEnvironment(), tmp_path / "cmdline").commit(Slot.B)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("#!/bin/sh\necho Cannot read environment >&2\nexit 1\n", "fw_printenv: Cannot read environment"),
        ("#!/bin/sh\nexit 3\n", "fw_printenv: exit code 3"),
        ("#!/bin/sh\nprintf '\\377\\n'\n", "fw_printenv: .*codec"),
        ("#!/bin/sh\necho upgrade_available=1\necho bootcount=many\n", "bootcount='many' is no number"),
        ("#!/bin/sh\necho han_slot=c\n", "han_slot: 'c' is neither a nor b"),
    ],
)
def test_what_the_tools_say_is_not_trusted(tools: Path, tmp_path: Path, script: str, message: str) -> None:
    make_tool(tools, "fw_printenv", script)
    (tmp_path / "cmdline").write_text("han.slot=a", encoding="ascii")
    with pytest.raises(StorageError, match=message):
        Uboot(ToolEnvironment(), tmp_path / "cmdline").look()


class Told:
    """An environment of any content."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._variables = variables

    def read(self) -> dict[str, str]:
        return self._variables

    def write(self, changes: Mapping[str, str]) -> None:
        self._variables.update(changes)


values = st.sampled_from(["0", "1", "3", "", "a", "b", "-1", "\u00b2", "9" * 5000]) | st.text()


@given(
    st.dictionaries(st.sampled_from(["upgrade_available", "bootcount", "bootlimit", "han_slot"]), values),
    st.binary() | st.sampled_from([b"han.slot=a", b"han.slot=b quiet"]),
)
@settings(steady)
def test_any_environment_is_understood_or_a_storage_error(
    tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str], cmdline: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "cmdline"
    path.write_bytes(cmdline)
    uboot = Uboot(Told(variables), path)
    try:
        look = uboot.look()
    except StorageError:
        return
    assert look.armed == bool(look.tries_left)
    uboot.commit(Slot.B)
    assert uboot.look() == LoaderLook(look.running, Slot.B, armed=False)


def test_a_tool_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StorageError, match="fw_printenv: not installed: install libubootenv-tool"):
        ToolEnvironment().read()


def test_a_boot_script_that_is_not_set_up(tools: Path, tmp_path: Path) -> None:
    (tools / "environment").write_text("bootdelay=2\n", encoding="ascii")
    with pytest.raises(BootRefusedError, match="has no altbootcmd and no han_slot"):
        Uboot(ToolEnvironment(), tmp_path / "cmdline").check()
    (tools / "environment").write_text("han_slot=a\n", encoding="ascii")
    (tmp_path / "cmdline").write_text("root=/dev/mmcblk0p2", encoding="ascii")
    with pytest.raises(StorageError, match=r"no han\.slot=: U-Boot's boot script must hand it"):
        Uboot(ToolEnvironment(), tmp_path / "cmdline").look()


@pytest.mark.skipif(shutil.which("fw_setenv") is None, reason="needs libubootenv-tool")
def test_the_real_tools_on_a_redundant_environment(tmp_path: Path) -> None:
    """fw_setenv and fw_printenv of libubootenv, two copies in files; one torn copy loses one change and no more."""
    copies = [tmp_path / "one.bin", tmp_path / "two.bin"]
    data = b"altbootcmd=run other\0han_slot=a\0\0".ljust(ENVIRONMENT_OCTETS - 5, b"\0")
    for flag, path in enumerate(copies, start=1):
        path.write_bytes(zlib.crc32(data).to_bytes(4, "little") + bytes([flag]) + data)
    config = tmp_path / "fw_env.config"
    config.write_text("".join(f"{path} 0x0 {ENVIRONMENT_OCTETS:#x}\n" for path in copies), encoding="ascii")
    make_area_file(tmp_path / "journal", BOOT_STATE_OCTETS)
    cmdline = tmp_path / "cmdline"
    cmdline.write_text("han.slot=a", encoding="ascii")
    with FileArea.open(tmp_path / "journal") as journal:
        control = LoaderControl(BootStateStore(journal), Uboot(ToolEnvironment(config), cmdline))
        assert not control.reconcile()
        assert control.status().active is Slot.A
        uboot = Uboot(ToolEnvironment(config), cmdline)
        before = [path.read_bytes() for path in copies]
        uboot.arm(Slot.B, 3)
        changed = [path for path, octets in zip(copies, before, strict=True) if path.read_bytes() != octets]
        assert len(changed) == 1, "a change must leave one copy alone"
        assert (uboot.look().armed, uboot.look().tries_left) == (True, 3)
        changed[0].write_bytes(bytes(100) + changed[0].read_bytes()[100:])
        assert uboot.look().committed is Slot.A, "a torn copy must leave what was before"
