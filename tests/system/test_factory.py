"""Both slots are spoilt while the device is off: the whole programs bring it back over the air, without a person."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from agent.boot.places import Places
from agent.boot.state import Slot
from tests.system.lab import Lab

FLIPPED_AT = 5_000  # in the middle of the code


def spoil(lab: Lab) -> None:
    """One bit of slot A's image; slot B never held one."""
    path = Places.load(lab.device.config).slots[Slot.A]
    with path.open("r+b") as file:
        file.seek(FLIPPED_AT)
        octet = file.read(1)[0]
        file.seek(FLIPPED_AT)
        file.write(bytes([octet ^ 1]))


def status(lab: Lab, *options: str) -> str:
    command = [str(lab.python), "-m", "agent.cli", "status", "--config", str(lab.device.config), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(240)
def test_the_factory_agent_joins_fetches_activates_and_the_new_image_reports(lab: Lab) -> None:
    lab.prepare()
    lab.start_air()
    lab.configure()
    spoil(lab)
    hub = lab.start_hub()
    device = lab.start_device()

    first = device.wait_for("factory agent")
    assert (first["version"], first["slot"]) == ("0.0.0", None)
    said = device.wait_for("firmware verification failed")
    assert (said["code"], said["slot"]) == ("0x8F1B", "A")
    program = Path(f"/proc/{device.child()}/cmdline").read_bytes().decode().split("\0")
    assert program[1:4] == ["-I", "-m", "agent.main"], "the base's own program, not a slot's"

    hub.wait_for("tunnel-opened")
    told = json.loads(status(lab, "--json"))
    assert (told["factory_agent"], told["runs"]) == (True, True)
    assert (told["slots"]["A"]["state"], told["slots"]["A"]["ended"]) == ("BAD", "VERIFY_FAILED")
    assert "the factory agent" in status(lab)

    lab.update(lab.device.images.new)
    report = hub.wait_for("report", cra="alert", message_code="0x012B")
    assert (report["verified"], report["version"], report["result"]) == (True, "1.1.0", "success")
    assert [(event["version"], event["slot"]) for event in device.said("running")] == [("1.1.0", "A")]
    assert len(device.said("factory agent")) == 1
    told = json.loads(status(lab, "--json"))
    assert (told["factory_agent"], told["slots"]["A"]["state"]) == (False, "CONFIRMED")
