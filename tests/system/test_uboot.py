"""``[boot] backend = "uboot"`` under the real programs: fakes of libubootenv's tools, of U-Boot, and of a restart.

The device has a /proc/cmdline of its own in a mount namespace. ``systemctl reboot`` plays U-Boot: it counts, picks the
slot and hands it to the kernel; the process that asked ends with 75 and the unit starts the first stage anew.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.system.lab import Lab, Running

ENVIRONMENT = "han_slot=a\naltbootcmd=run other\nupgrade_available=0\n"
PRINTENV = '#!/bin/sh\ncat "$(dirname "$0")/environment"\n'
SETENV = """#!/bin/sh
here=$(dirname "$0")
while [ "$1" != -s ]; do shift; done
cp "$here/environment" "$here/new"
while IFS== read -r name value; do
    grep -v "^$name=" "$here/new" > "$here/newer"
    echo "$name=$value" >> "$here/newer"
    mv "$here/newer" "$here/new"
done < "$2"
mv "$here/new" "$here/environment"
"""
SYSTEMCTL = """#!/bin/sh
here=$(dirname "$0")
. "$here/environment"
echo "$@" >> "$here/restarts"
if [ "$upgrade_available" = 1 ]; then
    bootcount=$((bootcount + 1))
    grep -v "^bootcount=" "$here/environment" > "$here/new"
    echo "bootcount=$bootcount" >> "$here/new"
    mv "$here/new" "$here/environment"
    if [ "$bootcount" -gt "$bootlimit" ]; then [ "$han_slot" = a ] && han_slot=b || han_slot=a; fi
fi
echo "root=/dev/mmcblk0p2 han.slot=$han_slot quiet" > "$here/cmdline"
"""
OWN_CMDLINE = 'mount --bind "$1" /proc/cmdline && shift && exec "$@"'


def make_machine(folder: Path) -> Path:
    """A folder for PATH with everything of the machine in it."""
    folder.mkdir()
    for name, text in (("fw_printenv", PRINTENV), ("fw_setenv", SETENV), ("systemctl", SYSTEMCTL)):
        (folder / name).write_text(text, encoding="ascii")
        (folder / name).chmod(0o755)
    (folder / "environment").write_text(ENVIRONMENT.replace("altbootcmd=run other", "altbootcmd='run other'"))
    (folder / "cmdline").write_text("root=/dev/mmcblk0p2 han.slot=a quiet\n", encoding="ascii")
    return folder


def need_own_cmdline() -> None:
    probe = ["unshare", "-m", "mount", "--bind", "/proc/cmdline", "/proc/cmdline"]
    if (
        os.geteuid()
        or not shutil.which("unshare")
        or subprocess.run(probe, check=False, capture_output=True).returncode
    ):
        pytest.skip("needs root and mount namespaces, for a /proc/cmdline of its own")


def start_device(lab: Lab, machine: Path) -> Running:
    program = [str(lab.python), "-m", "agent.cli", "run", "--config", str(lab.device.config)]
    command = ["unshare", "-m", "sh", "-c", OWN_CMDLINE, "sh", str(machine / "cmdline"),
               "env", f"PATH={machine}:{os.environ['PATH']}", *program]  # fmt: skip
    running = Running("device", command, lab.folder / "device.log", lab.news)
    lab.programs.append(running)
    return running


@pytest.mark.timeout(240)
def test_an_update_restarts_the_machine_and_is_committed_in_the_boot_loader(lab: Lab) -> None:
    need_own_cmdline()
    lab.prepare()
    lab.start_air()
    lab.configure()
    config = lab.device.config
    config.write_text(config.read_text(encoding="utf-8") + '\n[boot]\nbackend = "uboot"\n', encoding="utf-8")
    machine = make_machine(lab.folder / "machine")
    hub = lab.start_hub()
    device = start_device(lab, machine)
    hub.wait_for("tunnel-opened")
    lab.update(lab.device.images.new)
    report = hub.wait_for("report", cra="alert", message_code="0x012B")
    assert (report["verified"], report["version"], report["result"]) == (True, "1.1.0", "success")
    started = [(event["version"], event["slot"], event["trial"]) for event in device.said("running")]
    assert started == [("1.0.0", "A", False), ("1.1.0", "B", True)]
    assert (machine / "restarts").read_text().splitlines() == ["reboot"]
    variables = dict(line.split("=", 1) for line in (machine / "environment").read_text().splitlines())
    assert (variables["han_slot"], variables["upgrade_available"]) == ("b", "0")
