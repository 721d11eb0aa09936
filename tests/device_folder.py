"""A device as it lies on a disk: configuration, keys, slots, and a journal where it has run."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.boot.control import SlotsControl
from agent.boot.places import Places, open_places
from agent.boot.state import Slot, SlotRecord
from agent.cli import main
from agent.errors import EXIT_OK
from agent.update.database import open_database
from agent.update.facts import FactName
from agent.update.journal import Journal, LoggedEvent, Order, OutboxRow, Record
from agent.update.states import State
from agent.zigbee.tunnel_server import TunnelState
from flash.identity import ACB, SUPPLIER, Identities, new_identities
from tests.boot_factory import image_hash, small_image
from tests.image_factory import make_key

EUI = 0x02DB_0000_0000_0001
OLD, NEW = small_image(0, counter=3), small_image(1, counter=3)
STARTED_UTC = 1_800_000_000
CONFIG = """
role = "{role}"
eui = "{eui:016X}"
[radio]
path = "{radio}"
install_code = "{code}"  # of the label
[image]
manufacturer_code = 0x1234
image_type = 0x0042
hardware_version = 2
form = "gb-{role}"
[storage]
slot_a = "slots/a.bin"
slot_b = "slots/b.bin"
boot_state = "slots/boot.bin"
database = "agent.db"
keys = "{keys}"
"""


@dataclass
class DeviceFolder:
    """One device. ``call`` is the command line with this device's ``--config``."""

    folder: Path
    identity: Identities
    role: str = "hcalcs"

    @property
    def config(self) -> Path:
        return self.folder / "device.toml"

    @property
    def database(self) -> Path:
        return self.folder / "agent.db"

    @property
    def keys(self) -> Path:
        return self.identity.device_keys

    def call(self, *words: str) -> int:
        return main([*words, "--config", str(self.config)])

    def json(self, capsys: pytest.CaptureFixture[str], *words: str, code: int = EXIT_OK) -> dict[str, Any]:
        """The one JSON object that a command prints."""
        capsys.readouterr()
        assert self.call(*words, "--json") == code
        told: dict[str, Any] = json.loads(capsys.readouterr().out)
        return told

    def write_config(self, radio: str = "/dev/null") -> None:
        code = self.identity.install_code.hex()
        text = CONFIG.format(role=self.role, eui=EUI, radio=radio, code=code, keys=self.keys)
        self.config.write_text(text, encoding="utf-8")

    def provision(self, capsys: pytest.CaptureFixture[str]) -> None:
        (self.folder / "old.bin").write_bytes(OLD)
        assert self.call("provision", "--image", str(self.folder / "old.bin")) == EXIT_OK
        capsys.readouterr()

    def write_slot(self, name: str, image: bytes) -> None:
        """A whole, verified image, as an update leaves it."""
        with ExitStack() as stack:
            opened = open_places(Places.load(self.config), stack)
            control = SlotsControl(opened.store, opened.areas, Slot[name].other)
            writer = control.begin(Slot[name])
            writer.write(image)
            control.mark_written(Slot[name], writer.finish(), 3)

    def slot(self, name: str) -> SlotRecord:
        """What the boot state says of it."""
        with ExitStack() as stack:
            state = open_places(Places.load(self.config), stack, read_only=True).store.load().state
            assert state is not None
            return state[Slot[name]]

    def have_run(self) -> None:
        """A journal as a device leaves it that holds 1.0.1 in slot B and has a life behind it."""
        with closing(open_database(self.database)) as opened:
            journal = Journal(opened, wall_clock=lambda: STARTED_UTC)
            self._note_facts(journal)
            record = journal.move(
                Record(),
                State.DOWNLOADING,
                update_id="0123456789ab",
                file_version=0x01000001,
                total_octets=20_000,
                offset_octets=8192,
                slot="B",
                stream=b"reader",
            )
            journal.move(record, State.STAGED, image_hash=image_hash(NEW), offset_octets=20_000)
            journal.move(journal.load(), State.HELD)
            counter = journal.next_own_counter(STARTED_UTC)
            journal.accept(SUPPLIER, 0x0012, 41)
            journal.accept(ACB, 0x0129, 7)
            journal.set_order("dated", Order(b"\xdf\x09", image_hash(NEW), STARTED_UTC + 3600))
            journal.post(OutboxRow(str(counter), "receipt", b"\xdf\x09" * 30, "0123456789ab"))
            journal.set_tunnel(json.dumps(asdict(TunnelState(5, 0, 1, 0x02DB_0000_0000_0C4F, 1500))))
            journal.log(LoggedEvent("event", None, 0, "download starts version=1.0.1", "0123456789ab"))
            journal.log(LoggedEvent("security", STARTED_UTC, 0x8F3D, "MAC does not verify", ""))
            journal.log(LoggedEvent("event", STARTED_UTC, 0x8F43, "update confirmed", "0123456789ab"))

    def note(self, name: FactName, **values: str | float) -> None:
        """The device learnt one more thing."""
        with closing(open_database(self.database)) as opened:
            Journal(opened, wall_clock=lambda: STARTED_UTC).facts.record(name, STARTED_UTC, **values)

    def _note_facts(self, journal: Journal) -> None:
        facts = journal.facts
        facts.record(FactName.STARTED, STARTED_UTC, slot="A", version="1.0.0", trial=False)
        network = {"channel": 20, "pan_id": "0x1A62", "extended_pan_id": "02DB000000000C4F", "short_address": "0x77AA"}
        facts.record(FactName.NETWORK, STARTED_UTC, **network, logical_type="router", by="join")
        facts.record(FactName.HUB, STARTED_UTC, eui="02DB000000000C4F", short_address="0x0000", endpoint=1)
        facts.record(FactName.SOUGHT, STARTED_UTC + 60, sight="absent", detail="no beacon of our network")
        failure = "the hub did not answer within 180 s (health.limit_s)"
        facts.record(FactName.TRIAL_FAILED, STARTED_UTC + 5, update_id="ab", version="0.9.0", reason=failure)
        facts.record(FactName.CONTACT, STARTED_UTC + 9, link_quality=200, hub_has_time=True)


def make_device(folder: Path, role: str = "hcalcs") -> DeviceFolder:
    """Configuration and keys; nothing is provisioned."""
    identity = new_identities(folder / "identity", EUI, role, datetime(2026, 1, 1, tzinfo=UTC))
    key = make_key().public_key().export_key(format="PEM")
    (identity.device_keys / "trust" / "manufacturer.pem").write_text(key, encoding="ascii")
    device = DeviceFolder(folder, identity, role)
    device.write_config()
    return device
