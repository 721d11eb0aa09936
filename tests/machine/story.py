"""What is told of the machine: first boot, update through a power cut and a reset, reboot, an image that hangs."""

from __future__ import annotations

import io
import json
import random
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from agent.image.version import Version
from boards.bench.demo.prepare import NEW
from flash.sd.layout import Part
from tests.machine.base import MachineError, debian
from tests.machine.card import RADIO, make_card
from tests.machine.qemu import Machine
from tests.system.lab import Event, Heard, Lab

REPOSITORY = Path(__file__).parents[2]
SPEED = 50.0  # of the air; the processors in software are what a transfer waits for
LIMIT_S = 900.0  # of any wait: a host with other work takes its time
CHECKPOINT_OCTETS = 4096
HANGING = Version(1, 2, 0)
# Comes up as an image does, by the agent's own code, which the base has too; then it never does anything again.
HANGING_MAIN = """\
import os, sys, time
from contextlib import ExitStack
from pathlib import Path
from agent.boot.control import SlotsControl
from agent.boot.handover import Handover
from agent.boot.places import Places, open_places
from agent.notify import ServiceManager
handover = Handover.from_environment(os.environ)
with ExitStack() as stack:
    opened = open_places(Places.load(Path(sys.argv[sys.argv.index("--config") + 1])), stack)
    SlotsControl(opened.store, opened.areas, handover.slot).report_running()
ServiceManager.from_environment(os.environ).ready("about to hang")
while True:
    time.sleep(60)
"""
WATCHDOG_S = 60  # more than the quarter of 90 s in which the running image feeds it, less than a test's patience
TRIES = 3


@dataclass
class Story:
    """``say`` takes a line of the test's own, ``heard`` what the programs say."""

    folder: Path
    cache: Path
    seed: int
    say: Callable[[str], None]
    heard: Heard
    proved: list[str] = field(default_factory=list)

    def tell(self) -> None:
        """All of it. Raises AssertionError or RootError where it goes another way."""
        self.lab = Lab(self.folder, Path(sys.executable), REPOSITORY, SPEED, heard=self.heard)
        try:
            self._prepare()
            self._first_boot()
            self._update()
            self._reboot()
            self._hanging_image()
            self._judge_units()
            self._power_off()
        finally:
            self.lab.close()

    def _prepare(self) -> None:
        lab = self.lab
        lab.prepare()
        lab.start_air()
        self.say("Debian for the machine: out of the cache, or from apt's mirror")
        self.system = debian(self.cache)
        self.say("han-agent flash sd: the agent from a wheel of this checkout, version 1.0.0, this device's identity")
        self.card = make_card(lab, self.system, self.cache / "wheels")
        self.hub = lab.start_hub()

    def _start(self) -> Machine:
        lab = self.lab
        self.machine = Machine(self.folder, self.system, self.card, lab.addresses[1], lab.news, self.heard)
        lab.programs.append(self.machine)
        return self.machine

    def _first_boot(self) -> None:
        self.say("the machine is switched on")
        machine = self._start()
        machine.wait_for("running", limit_s=LIMIT_S, version="1.0.0", slot="A", trial=False)
        machine.wait_for("link key made", limit_s=LIMIT_S)
        self.hub.wait_for("key-established", limit_s=LIMIT_S)
        self.hub.wait_for("tunnel-opened", limit_s=LIMIT_S)
        self._check_rights()
        self._prove("first boot: version 1.0.0 runs from slot A, joined with its install code, key established")

    def _check_rights(self) -> None:
        """A user of its own, its partitions and the radio in its reach, and nothing else of the card."""
        user = self._ask("ps -o user= -p $(systemctl show --value -p MainPID han-agent)")
        assert user == "han-agent", user
        parts = [self.card.partuuids[part.value] for part in (Part.SLOT_A, Part.SLOT_B, Part.BOOT_STATE)]
        nodes = [f"/dev/disk/by-partuuid/{name}" for name in parts]
        owners = self._ask(f"stat -L -c '%G %a' {' '.join(nodes)} /dev/mmcblk0 /dev/mmcblk0p1 '{RADIO}'").splitlines()
        assert owners == ["han-agent 660"] * 3 + ["disk 660"] * 2 + ["dialout 660"], owners
        assert self._ask("systemctl is-active han-agent-health.target") == "active"

    def _update(self) -> None:
        image = self.lab.device.images.new
        total = image.stat().st_size
        moment = random.Random(self.seed).uniform(0.1, 0.9)
        self.lab.update(image)
        self.machine.until(lambda: self._progress() >= moment * total, f"{moment:.0%} of the transfer", LIMIT_S)
        reached = self._progress()
        self.machine.pull_power()
        self.say(f"power pulled at {moment:.0%} of the transfer (seed {self.seed}), and on again")
        machine = self._start()
        resumed = int(str(machine.wait_for("download resumes", limit_s=LIMIT_S)["offset_octets"]))
        assert reached - 2 * CHECKPOINT_OCTETS <= resumed < total, (reached, resumed)
        self._prove(f"power pulled at octet {reached} of {total}: resumed at {resumed}")
        machine.wait_for("image verified", limit_s=LIMIT_S)
        machine.wait_for("boot_decision", limit_s=LIMIT_S, rule="trial verified", slot="B")
        machine.order("system_reset")
        self.say("machine reset in the first seconds of the trial")
        machine.wait_for("boot_decision", 2, limit_s=LIMIT_S, rule="trial verified", slot="B")
        machine.wait_for("update confirmed", limit_s=LIMIT_S)
        self._expect_report(1, "1.1.0", "success")
        self._prove("machine reset in the trial: slot B again, one try down; confirmed; CS09 says 1.1.0, result 0")

    def _reboot(self) -> None:
        machine = self.machine
        starts = len(machine.said("running"))
        joined = len(machine.said("network up"))
        self.say("systemctl reboot")
        machine.run("(sleep 1; systemctl reboot) &")
        event = machine.wait_for("running", starts + 1, LIMIT_S)
        assert (event["version"], event["slot"], event["trial"]) == ("1.1.0", "B", False)
        again = machine.wait_for("network up", joined + 1, LIMIT_S)
        assert again["joined"] is False, "a reboot must not join anew"
        self._prove("clean reboot: version 1.1.0 runs from slot B, confirmed, on its network without a new join")

    def _hanging_image(self) -> None:
        machine = self.machine
        back: Event = {"version": str(NEW), "slot": "B", "trial": False}
        starts = len(machine.said("running", **back))
        folder = "/etc/systemd/system/han-agent.service.d"
        drop_in = f"[Service]\\nWatchdogSec={WATCHDOG_S}s\\n"
        self._ask(f"mkdir -p {folder} && printf '{drop_in}' > {folder}/test.conf && systemctl daemon-reload")
        image = self.lab.make_image(HANGING, payload=_zipapp(HANGING_MAIN))
        size = image.stat().st_size
        self.say(f"an image that hangs, well signed ({size} octets); WatchdogSec={WATCHDOG_S}s by a drop-in")
        self.lab.update(image)
        machine.wait_for("boot_decision", TRIES, LIMIT_S, rule="trial verified", slot="A")
        machine.wait_for("boot_decision", 1, LIMIT_S, rule="trial spent", slot="A")
        machine.wait_for("running", starts + 1, LIMIT_S, **back)
        kills = [line for line in machine.lines if "han-agent.service: Watchdog timeout" in line]
        assert len(kills) == TRIES, kills
        self._expect_report(2, "1.1.0", "failure")
        slots = json.loads(self._ask("han-agent slots show --json --config /etc/han-agent/device.toml"))
        bad = slots["slots"]["A"]
        assert (bad["state"], bad["reason"], bad["version"]) == ("BAD", "WATCHDOG", str(HANGING)), slots
        words = f"an image that hangs: {TRIES} tries, ended by systemd's watchdog; back in slot B; CS09, result 1"
        self._prove(words)

    def _judge_units(self) -> None:
        self._ask("rm /etc/systemd/system/han-agent.service.d/test.conf && systemctl daemon-reload")
        words = self._ask("systemd-analyze security --no-pager han-agent.service | tail -n 1")
        exposure = float(words.split(":")[1].split()[0])
        assert exposure <= 2.0, words
        assert self._ask("systemctl --failed --quiet --no-legend --plain") == ""
        self._prove(f"{self._ask('systemctl --version | head -n 1')}: no unit failed, exposure {exposure}")

    def _power_off(self) -> None:
        self.machine.run("(sleep 1; systemctl poweroff) &")
        assert self.machine.wait_for_end(LIMIT_S) == 0
        self._prove("powered off")

    def _progress(self) -> int:
        seen = self.hub.said("transfer-progress")
        return int(str(seen[-1]["offset"])) if seen else 0

    def _expect_report(self, count: int, version: str, result: str) -> Event:
        """The head end's ``count``-th CS09."""
        report = self.hub.wait_for("report", count, LIMIT_S, message_code="0x012B", cra="alert", duplicate=False)
        assert (report["verified"], report["signature_verified"]) == (True, True), report
        assert (report["alert_code"], report["version"], report["result"]) == ("0x8F8B", version, result), report
        return report

    def _ask(self, command: str) -> str:
        code, output = self.machine.run(command)
        if code:
            raise MachineError(f"in the machine: {command}: exit code {code}: {output}")
        return output

    def _prove(self, words: str) -> None:
        self.say(f"PROVED: {words}")
        self.proved.append(words)


def _zipapp(main: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__main__.py", main)
    return buffer.getvalue()
