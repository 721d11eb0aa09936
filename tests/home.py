"""A whole HAN in one process and in virtual time: the real device on real slots, the real hub and head end.

``Home`` owns the world, the hub and one device; the device's program is restarted through the first stage whenever it
asks for it, and ``lose_power`` takes it away in mid-air.
"""

from __future__ import annotations

import atexit
import random
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from agent.assembly import Base, build_device
from agent.boot.control import SlotsControl
from agent.boot.handover import Handover
from agent.boot.slots import smallest_capacity_octets
from agent.device import Device
from agent.gbcs.keystore import KeyStore
from agent.image.ota_form import Form
from agent.image.version import Version
from agent.ports import Relay
from agent.settings import ImageSettings, OtaSettings, RadioSettings, Settings, StorageSettings, TunnelSettings
from agent.update.firmware_slots import FirmwareSlots
from agent.update.journal import Journal
from agent.zigbee.cbke.ecqv import Credentials
from agent.zigbee.cbke.key_files import SUITES, load_credentials
from agent.zigbee.endpoint import EndpointOptions
from boards.bench.backhaul import Backhaul
from boards.bench.faults import Faults
from boards.bench.head_end import HeadEnd, Parties
from boards.bench.hub import Hub, HubPlan
from boards.bench.images import ServedImage
from boards.bench.members import Member
from boards.bench.report import Report
from boards.bench.request_log import RequestLog
from boards.bench.settings import ZIGBEE_EPOCH, Activation, ActivationKind, ServerSettings
from boards.bench.trust_center import CredentialsOf
from boards.virtual.chip_memory import ChipMemory
from boards.virtual.disk import Disk, PowerCut
from boards.virtual.world import World
from flash.identity import SUPPLIER, Identities, new_certificate_sets, new_identities
from flash.image_sign import sign_trailer
from tests.image_factory import HEADER
from tests.update_rig import NEW, Rig, image, ota_file
from tests.update_rig import UTC as STARTED_UTC

HUB_EUI = 0x02DB_0000_0000_0C4F
DEVICE_EUI = 0x02DB_0000_0000_0001


@cache
def identity(role: str) -> Identities:
    """One identity a role and run; the folder lives as long as the tests."""
    folder = Path(mkdtemp(prefix="han-agent-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = new_identities(folder, DEVICE_EUI, role, datetime(2026, 1, 1, tzinfo=UTC))
    new_certificate_sets(made.certificate_authority, made.certificate_authority / "hub", HUB_EUI)
    return made


@cache
def hub_credentials(role: str, suites: tuple[int, ...]) -> dict[int, Credentials]:
    """The hub's own certificate sets."""
    return load_credentials(identity(role).certificate_authority / "hub", HUB_EUI, suites)


@cache
def _file(version: Version, role: str) -> bytes:
    if role != "hcalcs":
        return ota_file(version)
    supplier_key = identity(role).head_end_keys / f"{SUPPLIER:016x}-ds.key"
    return ota_file(version, Form.GB_HCALCS, sign_trailer(image(version), supplier_key))


@dataclass
class Home:
    """One hub and one device."""

    role: str = "ppmid"
    seed: int = 1
    loss: float = 0.0
    faults: Faults | None = None
    keys: str = "off"  # the device's key_establishment
    logical_type: str = "router"  # the device's; "end-device" sleeps
    hub_keys: str | Mapping[int, Credentials] = ""  # the hub's: as the device's, unless told otherwise, or its sets
    ota: OtaSettings = field(default_factory=OtaSettings)
    tunnel: TunnelSettings = field(default_factory=TunnelSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    log: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    disk: Disk = field(default_factory=Disk)
    on_disk: bool = False  # the journal and the chip's NV too: see ``Rig`` and ``ChipMemory``
    chip_lag_s: float = 0.0  # see ``Seat``
    starts_on: bool = True  # False: off until ``power_up``

    def __post_init__(self) -> None:
        self.identity = identity(self.role)
        self.world = World(self.seed, loss=self.loss)
        form = Form.GB_HCALCS if self.role == "hcalcs" else Form.GB_PPMID
        self.rig = Rig(by_command_only=self.role == "hcalcs", form=form, disk=self.disk, on_disk=self.on_disk)
        self.world.put_chip(DEVICE_EUI, ChipMemory(self.disk if self.on_disk else None), self.chip_lag_s)
        self.told: list[object] = []
        self.boots: list[str] = []
        self._start_hub()
        if self.starts_on:
            self.power_up()

    # --- the hub's side -----------------------------------------------------------------------------------------------

    def _start_hub(self) -> None:
        member = Member(DEVICE_EUI, self.role, self.identity.install_code)
        plan = HubPlan(
            channel=20,
            members=[member],
            utc=self._utc,
            credentials=self._hub_credentials(),
            answer_zdo=True,
            ota=self.server,
        )
        self.hub = Hub(plan, random.Random(self.seed), self.faults)
        keys = KeyStore.load(self.identity.head_end_keys)
        self.head_end = HeadEnd(keys, Parties(self.identity.acb_eui, self.identity.supplier_eui), RequestLog())
        self.backhaul = Backhaul(self.hub, self.head_end, self._wall)
        self.world.attach(HUB_EUI, self.hub)

    def _hub_credentials(self) -> CredentialsOf | None:
        if not isinstance(self.hub_keys, str):
            return {HUB_EUI: self.hub_keys}
        suites = SUITES[self.hub_keys or self.keys]
        return {HUB_EUI: hub_credentials(self.role, suites)} if suites else None

    def restart_hub(self) -> None:
        """The hub's program ends and starts anew; its chip keeps its network and keys."""
        self.world.detach(HUB_EUI)
        self._start_hub()

    def _utc(self, now: float) -> int:
        return STARTED_UTC + int(now) - ZIGBEE_EPOCH

    def _wall(self, now: float) -> datetime:
        return datetime.fromtimestamp(STARTED_UTC + now, UTC)

    def offer(self, version: Version = NEW, octets: bytes | None = None, **changes: object) -> ServedImage:
        """Put an image on offer."""
        form = Form.GB_HCALCS if self.role == "hcalcs" else Form.GB_PPMID
        kind = ActivationKind.WAIT if self.role == "hcalcs" else ActivationKind.NOW
        fields: dict[str, object] = {
            "name": str(version),
            "manufacturer": HEADER.manufacturer_code,
            "image_type": HEADER.image_type,
            "file_version": version.file_version,
            "octets": octets if octets is not None else self.file(version),
            "form": form.value,
            "activation": Activation(kind),
        }
        served = ServedImage(**{**fields, **changes})  # type: ignore[arg-type]
        if octets is not None or (self.role == "hcalcs" and served.activation.kind is not ActivationKind.WAIT):
            self.backhaul.offer(served, self.world.now)  # the hub serves what a careful head end would not send
        elif self.role == "hcalcs":
            self.backhaul.update_firmware(served, [DEVICE_EUI], self.world.now)
        else:
            self.backhaul.update_ppmid_firmware(served, [DEVICE_EUI], self.world.now)
        return served

    def file(self, version: Version) -> bytes:
        """The OTA file of a version, for an HCALCS signed by its supplier."""
        return _file(version, self.role)

    @property
    def reports(self) -> list[Report]:
        """What the head end judged, the first time each."""
        return [one for one in self.told if isinstance(one, Report) and not one.duplicate]

    # --- the device's side --------------------------------------------------------------------------------------------

    def power_up(self) -> None:
        """The first stage, then the program that it starts."""
        self.device = self._boot()

    def choose(self) -> Handover:
        """The first stage alone."""
        return self.rig.choose()

    def _boot(self) -> Device:
        handover = self.choose()
        self.boots.append(str(self.rig.running.version))
        control = self.boot_control(handover)
        state = self.rig.store.load().state
        base = Base(
            settings=self._settings(),
            running=self.rig.running,
            slots=FirmwareSlots(control, self.rig.areas, 3),
            slot_octets=smallest_capacity_octets(self.rig.areas),
            security_counter=state.security_counter if state else 0,
            trusted_keys=self.rig.trusted,
            journal=self.open_journal(),
            rng=random.Random(self.seed + len(self.boots)),
            log=self._log,
            options=EndpointOptions(answers_zdo=True),
            relay=self.open_relay(),
        )
        device = build_device(base)
        self.journal = base.journal
        self.world.attach(DEVICE_EUI, device)
        return device

    def open_journal(self) -> Journal:
        """As the program that has just started opens it."""
        return Journal(self.rig.open_database(), wall_clock=lambda: STARTED_UTC + self.world.now)

    def boot_control(self, handover: Handover) -> SlotsControl:
        """Of the program that starts."""
        return SlotsControl(self.rig.store, self.rig.areas, handover.slot)

    def open_relay(self) -> Relay | None:
        """What a program that has just started does with its pins: none here."""
        return None

    def _settings(self) -> Settings:
        nowhere = Path("/nonexistent")
        return Settings(
            role=self.role,
            eui=f"{DEVICE_EUI:016X}",
            radio=RadioSettings(
                path="in process",
                install_code=self.identity.install_code.hex(),
                key_establishment=self.keys,
                logical_type=self.logical_type,
            ),
            image=ImageSettings(
                manufacturer_code=HEADER.manufacturer_code,
                image_type=HEADER.image_type,
                hardware_version=2,
                form="gb-hcalcs" if self.role == "hcalcs" else "gb-ppmid",
                maximum_octets=100_000,
            ),
            storage=StorageSettings(
                slot_a=nowhere, slot_b=nowhere, boot_state=nowhere, database=nowhere, keys=self.identity.device_keys
            ),
            ota=self.ota,
            tunnel=self.tunnel,
        )

    def _log(self, event: str, /, **facts: object) -> None:
        self.log.append((event, facts))

    def logged(self, event: str) -> list[dict[str, object]]:
        """The facts of every log line of this name."""
        return [facts for name, facts in self.log if name == event]

    # --- time ---------------------------------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Let time pass; a program that asks for a restart gets one."""
        self.run_until(lambda: False, seconds)

    def run_until(self, until, limit_s: float = 3_600.0) -> bool:  # type: ignore[no-untyped-def]
        """Let time pass until ``until()``; False when ``limit_s`` is over before."""
        end = self.world.now + limit_s
        while self.world.now < end:
            done = self.world.run(lambda: self._look() or until(), end - self.world.now)
            if self.device.restart:
                self.restart()
            elif done:
                return bool(until())
        return bool(until())

    def _look(self) -> bool:
        self.told += self.backhaul.carry(self.world.now)
        return bool(self.device.restart)

    def restart(self) -> None:
        """The program ends and the first stage runs."""
        self.world.detach(DEVICE_EUI)
        self.rig.close_database()
        self.power_up()

    def lose_power(self) -> None:
        """The machine goes off and on: unsynced writes are gone, the chip has what its NV kept."""
        self.world.cut_power(DEVICE_EUI)
        self.rig.disk.lose_power()
        with suppress(PowerCut):
            self.rig.close_database()
        self.rig.disk.power_on()
        self.power_came_back()
        self.rig.boot_number += 1
        self.power_up()

    def power_came_back(self) -> None:
        """For hardware beside the disk."""
