"""What runs after an update is the copy that the first stage verified, and nothing of the base's own agent.

Seen from outside: the process has a sealed memory file as its program, which is octet for octet the image on offer; a
changed line of the source speaks in its log; and the kernel's word (strace) is that it opened no module of the agent
anywhere but in that copy, so every ``agent.*`` that it has loaded came from there.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from agent.boot.inspection import SEALS
from agent.image import ota_file
from agent.image.ota_form import Form
from agent.image.version import Version
from tests.system.lab import Lab, Running
from tests.system.sources import ROOT

CHANGED = "running the changed line"


def changed_source(source: Path, folder: Path) -> Path:
    """A copy in which one line of ``agent/main.py`` says something else."""
    shutil.copytree(source, folder)
    main = folder / "agent" / "main.py"
    text = main.read_text(encoding="utf-8")
    assert text.count("'running'") == 1
    main.write_text(text.replace("'running'", f"'{CHANGED}'"), encoding="utf-8")
    return folder


def start_traced(lab: Lab, trace: Path) -> Running:
    """``han-agent run`` under strace, which stays aside (-D): the unit is our child as ever."""
    strace = ("strace", "-D", "-f", "--seccomp-bpf", "-qq", "-s", "4096", "-e", "trace=execve,openat,open,openat2")
    command = [*strace, "-o", str(trace), str(lab.python), "-m", "agent.cli", "run", "--config", str(lab.device.config)]
    running = Running("device", command, lab.folder / "device.log", lab.news)
    lab.programs.append(running)
    return running


def opened_since_exec(trace: Path, pid: int) -> list[str]:
    """What this process opened with success since it last became another program."""
    lines = [line for line in trace.read_text(errors="replace").splitlines() if line.split(None, 1)[0] == str(pid)]
    start = max(number for number, line in enumerate(lines) if "execve(" in line and line.endswith(" = 0"))
    assert "/proc/self/fd/" in lines[start]
    found = (re.search(r'open\w*\(.*?"([^"]*)".* = \d+$', line) for line in lines[start + 1 :])
    return [match[1] for match in found if match]


@pytest.mark.timeout(400)
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_changed_line_runs_and_every_module_is_of_the_verified_copy(lab: Lab, tmp_path: Path) -> None:
    lab.prepare()
    lab.start_air()
    lab.configure()
    hub = lab.start_hub()
    trace = tmp_path / "trace"
    device = start_traced(lab, trace)
    hub.wait_for("tunnel-opened")
    image = lab.make_image(Version(1, 1, 0), source=changed_source(lab.source, tmp_path / "changed"))
    lab.update(image)
    told = device.wait_for(CHANGED, limit_s=300.0)
    assert (told["version"], told["slot"]) == ("1.1.0", "B")
    device.wait_for("update confirmed")
    hub.wait_for("report", cra="alert", message_code="0x012B", verified=True, version="1.1.0")
    pid = device.child()
    check_program(pid, image)
    opened = opened_since_exec(trace, pid)
    assert any("/structlog/" in name for name in opened), "the trace does see modules"
    ours = [name for name in opened if name.startswith((f"{ROOT}/agent", f"{ROOT}/boards", f"{ROOT}/flash"))]
    assert ours == [], "modules of the base, not of the image"


def check_program(pid: int, image: Path) -> None:
    """The interpreter's program is a sealed file in memory: the image, with the changed line in its main."""
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    program = next(word.decode() for word in arguments if word.startswith(b"/proc/self/fd/"))
    path = Path(f"/proc/{pid}/fd/{program.rsplit('/', 1)[1]}")
    assert "memfd:" in str(path.readlink())
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & SEALS == SEALS
        running = b"".join(iter(lambda: os.read(descriptor, 1 << 20), b""))
    finally:
        os.close(descriptor)
    assert running == ota_file.parse(image.read_bytes(), Form.GB_PPMID).image
    with zipfile.ZipFile(BytesIO(running)) as archive:
        assert CHANGED in archive.read("agent/main.py").decode()
