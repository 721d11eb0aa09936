"""A lab whose device runs under the knife, and the judgement of where its update ended."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import imgtool.image
import imgtool.keys

from agent.boot.places import Places, open_places
from agent.boot.state import Slot, SlotState
from agent.errors import StorageError
from agent.image.ota_file import HeaderReady, ImageOctets, OtaStream
from agent.image.ota_form import Form
from agent.image.version import Version
from agent.update.database import read_database
from tests.system.knife import Plan, calls
from tests.system.lab import DEVICE_EUI, Event, Lab, Running

ABORT = "0x95"
TRIES = 3
LIMIT_S = 60.0
BLOCKS = "[ota]\nblock_octets = 200\n"  # a quarter of the rounds of the default


@dataclass
class KnifeLab:
    """Air, hub and a device whose starts are cut as planned."""

    lab: Lab
    plan: Plan
    folder: Path = field(init=False)
    hub: Running = field(init=False)
    device: Running = field(init=False)

    def __post_init__(self) -> None:
        self.folder = self.lab.folder / "knife"
        self.folder.mkdir()

    @property
    def slot_b(self) -> str:
        """Its path, as the plan names it."""
        return str(self.lab.folder / "ppmid" / "slot-b.bin")

    @property
    def journal_log(self) -> str:
        """The write-ahead log of the journal."""
        return str(self.lab.folder / "ppmid" / "agent.db-wal")

    @property
    def boot_state(self) -> str:
        """Both copies of it."""
        return str(self.lab.folder / "ppmid" / "boot-state.bin")

    def start(self) -> None:
        """Everything runs and the device is in the network."""
        self.lab.prepare()
        self.lab.start_air()
        self.lab.configure((r"^\[health\]", f"{BLOCKS}\n[health]"), hub=f"\n{BLOCKS}")
        self.plan.save(self.folder)
        self.hub = self.lab.start_hub()
        command = [str(self.lab.python), "-m", "tests.system.knife", "unit", str(self.folder)]
        log = self.lab.folder / "device.log"
        self.device = Running("device", [*command, str(self.lab.device.config)], log, self.lab.news)
        self.lab.programs.append(self.device)
        self.hub.wait_for("tunnel-opened")

    def update(self) -> None:
        """The head end asks for version 1.1.0."""
        self.lab.update(self.lab.device.images.new)

    def refused(self, times: int) -> None:
        """Wait until the device has ended so many transfers for its storage, and told the hub so."""
        told = self.hub.wait_for("transfer-ended", times, LIMIT_S, status=ABORT)
        assert told["device_eui"] == f"{DEVICE_EUI:016X}"
        self.device.wait_for("image refused", times, LIMIT_S, reason="storage", wire_status=ABORT)

    @property
    def stops(self) -> list[str]:
        """What the program, or its first stage, said when the medium ended it: each time the file and the remedy."""
        said = [str(one["reason"]) for name in ("stopped", "boot_failed") for one in self.device.said(name)]
        files = (self.slot_b, self.journal_log.removesuffix("-wal"), self.boot_state)
        for words in said:
            assert any(file in words for file in files), f"no file: {words}"
            assert any(remedy in words for remedy in ("free space", "replace the card")), f"no remedy: {words}"
        return said

    def judge_fault(self) -> None:
        """As ``judge``; and the transfer began once, was never given up, and no program ended with a traceback."""
        self.judge()
        assert len(self.device.said("download starts")) == 1, "a restart of the transfer is no resume"
        assert not self.device.said("image refused")
        assert not [line for line in self.device.lines if "Traceback" in line or "never retrieved" in line]

    def kill(self) -> None:
        """The next start takes its own cuts."""
        os.kill(self.device.child(), signal.SIGKILL)

    @property
    def reports(self) -> list[Event]:
        """What the head end was told of the activation, each once; it must have verified every one."""
        told = self.hub.said("report", cra="alert", message_code="0x012B")
        assert all(one["verified"] for one in told), told
        return [one for one in told if not one.get("duplicate")]

    def wait_for_report(self, limit_s: float) -> None:
        """The update has come to an end, whichever. Each time that its slot was full the head end asks once more."""
        answered = self.waits

        def is_due() -> bool:
            return bool(self.reports) or self.waits > answered

        self.device.until(is_due, "a report of the update", limit_s)
        while not self.reports:
            answered += 1
            self.hub.wait_for("transfer-ended", answered, LIMIT_S, status=ABORT)
            self.update()
            self.device.until(is_due, "a report of the update", limit_s)

    @property
    def waits(self) -> int:
        """Times that the transfer had to wait for space."""
        return len(self.device.said("download waits"))

    @property
    def trials(self) -> int:
        """Starts of the first stage on a trial."""
        return len(self.device.said("boot_decision", rule="trial"))

    @property
    def faults_made(self) -> int:
        """Calls that were told to fail."""
        return sum(trace.read_text(errors="replace").count("(INJECTED)") for trace in self.folder.glob("trace-*"))

    @property
    def cuts_made(self) -> int:
        """Starts that were killed."""
        return sum("was ended by signal 9" in line for line in self.device.lines)

    def calls(self) -> list[list[str]]:
        """Of every start so far."""
        return calls(self.folder)

    def judge(self) -> None:
        """The new version and one report of success; or, with every try spent, the old one and one of failure."""
        self.device.until(self._is_settled, "its report is delivered", LIMIT_S)
        (report,) = self.reports
        if report["result"] != "success":
            assert self.trials >= TRIES, f"{report} after {self.trials} trials"
            self._judge_slot(Slot.A, self.lab.device.images.old, "1.0.0", report)
        else:
            self._judge_slot(Slot.B, self.lab.device.images.new, "1.1.0", report)
        self.device.stop()
        with closing(read_database(self.lab.folder / "ppmid" / "agent.db")) as database:
            assert database.row("SELECT count(*) FROM outbox WHERE delivered = 0") == (0,)
            assert database.row("SELECT state FROM journal") == ("idle",)
        assert len(self.reports) == 1

    def _is_settled(self) -> bool:
        """Killed after the transaction that says so, before the line that tells it, a device has delivered as well."""
        if self.device.said("message delivered"):
            return True
        with suppress(StorageError), closing(read_database(self.lab.folder / "ppmid" / "agent.db")) as database:
            return database.row("SELECT count(*), coalesce(sum(delivered), 0) FROM outbox") == (1, 1)
        return False

    def _judge_slot(self, slot: Slot, file: Path, version: str, report: Event) -> None:
        assert report["version"] == version
        assert self.device.said("running")[-1]["version"] == version
        with ExitStack() as stack:
            opened = open_places(Places.load(self.lab.device.config), stack, read_only=True)
            state = opened.store.load().state
            assert state is not None
            assert (state.active, state[slot].state) == (slot, SlotState.CONFIRMED)
            octets = opened.areas[slot].read(0, state[slot].image_octets)
        assert octets == manufacturer_image(file)
        path = self.folder / "image.bin"
        path.write_bytes(octets)
        key = imgtool.keys.load(str(self.lab.prepared.keys / "manufacturer" / "manufacturer.pem"))
        verdict, *_ = imgtool.image.Image.verify(str(path), key)
        assert verdict is imgtool.image.VerifyResult.OK
        assert Version.parse(version).minor + 1 >= state.security_counter


def manufacturer_image(file: Path) -> bytes:
    """The image inside an OTA file."""
    pieces = OtaStream(Form.GB_PPMID).feed(file.read_bytes())
    assert isinstance(pieces[0], HeaderReady)
    return b"".join(piece.octets for piece in pieces if isinstance(piece, ImageOctets))
