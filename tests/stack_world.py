"""A virtual air with stacks on it, for the tests of the stack: every callback of the sink is kept."""

from __future__ import annotations

import random
import struct
from pathlib import Path

from agent.events import LogicalType
from boards.virtual.air.capture import Capture
from boards.virtual.air.medium import Air, AirSettings
from boards.virtual.air.scheduler import ManualScheduler
from boards.virtual.stack.core import StackSettings
from boards.virtual.stack.interface import DataIndication, DataRequest, JoinFailure, NetworkState
from boards.virtual.stack.keys import install_code_link_key
from boards.virtual.stack.stack import Stack

INSTALL_CODE = bytes.fromhex("83FED3407A939723A5C639B26916D505C3B5")
OTHER_CODE = bytes.fromhex("83FED3407A932B70")
LINK_KEY = install_code_link_key(INSTALL_CODE)
HUB_EUI = 0x00DB1234567890A0
DEVICE_EUI = 0x90B3D51F30010000
CHANNEL = 20


class Chip:
    """A stack and what it told its NCP. It announces itself as the NCP does, and persists its state when asked to."""

    def __init__(self, air: Air, eui: int, seed: int, settings: StackSettings | None = None) -> None:
        self.stack = Stack(air, eui, self, random.Random(seed), settings)
        self.confirms: list[tuple[int, int]] = []
        self.indications: list[DataIndication] = []
        self.started: list[NetworkState] = []
        self.failures: list[JoinFailure] = []
        self.joined: list[tuple[int, int, int]] = []
        self.left: list[tuple[int, int]] = []
        self.gone: list[bool] = []
        self.addresses: list[int] = []
        self.persisted: NetworkState | None = None
        self._announcements = 0

    def data_confirm(self, handle: int, status: int) -> None:
        self.confirms.append((handle, status))

    def data_indication(self, indication: DataIndication) -> None:
        if indication.destination_endpoint != 0:
            self.indications.append(indication)

    def network_started(self, state: NetworkState) -> None:
        self.started.append(state)
        if state.logical_type != LogicalType.COORDINATOR:
            self._announcements += 1
            capability = 0x8E if state.logical_type == LogicalType.ROUTER else 0x80
            payload = struct.pack("<BHQB", self._announcements, state.short, self.stack.eui, capability)
            self.stack.data_request(-self._announcements, DataRequest(0xFFFD, 0, 0, 0x0013, 0, payload))

    def join_failed(self, reason: JoinFailure) -> None:
        self.failures.append(reason)

    def device_joined(self, eui: int, short: int, parent: int) -> None:
        self.joined.append((eui, short, parent))

    def device_left(self, eui: int, short: int) -> None:
        self.left.append((eui, short))

    def left_network(self, rejoin: bool) -> None:
        self.gone.append(rejoin)

    def address_changed(self, short: int) -> None:
        self.addresses.append(short)

    def state_changed(self) -> None:
        self.persisted = self.stack.export_state()

    @property
    def short(self) -> int:
        return self.started[-1].short

    @property
    def ended(self) -> bool:
        """Joined or failed."""
        return bool(self.started or self.failures)

    def status_of(self, handle: int) -> int | None:
        return next((status for known, status in self.confirms if known == handle), None)


class World:
    """An air with virtual time, a hub, and any number of devices."""

    def __init__(
        self,
        settings: AirSettings | None = None,
        seed: int = 1,
        capture: Path | None = None,
        stack: StackSettings | None = None,
    ) -> None:
        self.scheduler = ManualScheduler()
        self.capture = Capture(capture, epoch_s=1_700_000_000.0) if capture else None
        self.air = Air(self.scheduler, settings or AirSettings(), random.Random(seed), self.capture)
        self.stack_settings = stack
        self.seed = seed * 100
        self.hub = self.chip(HUB_EUI)

    def chip(self, eui: int) -> Chip:
        self.seed += 1
        return Chip(self.air, eui, self.seed, self.stack_settings)

    def form(self, chip: Chip | None = None, channels: tuple[int, ...] = (CHANNEL,)) -> Chip:
        chip = chip or self.hub
        chip.stack.form(channels)
        assert self.scheduler.run_while(lambda: not chip.started, 60.0)
        return chip

    def join(
        self,
        chip: Chip,
        logical_type: LogicalType = LogicalType.ROUTER,
        code: bytes = INSTALL_CODE,
        receiver_on: bool = True,
        extended_pan_id: int | None = None,
    ) -> None:
        """Until it joined or failed, and its announcement had time to spread."""
        key = install_code_link_key(code)
        chip.stack.join((CHANNEL,), key, logical_type, extended_pan_id, receiver_on_when_idle=receiver_on)
        assert self.scheduler.run_while(lambda: not chip.ended, 120.0)
        self.scheduler.run_for(3.0)

    def pair(self) -> Chip:
        """A hub that requires install codes, and a router that has joined it. At most a few tries on a bad air."""
        self.form()
        self.hub.stack.require_install_code(True)
        self.hub.stack.allow_link_key(DEVICE_EUI, LINK_KEY)
        self.hub.stack.permit_join(255)
        for _ in range(5):
            device = self.chip(DEVICE_EUI)
            self.join(device)
            if device.started:
                return device
        raise AssertionError("the device did not join in five tries")

    def send(self, sender: Chip, handle: int, request: DataRequest, limit_s: float = 60.0) -> int:
        """One request to its confirm; the status."""
        sender.stack.data_request(handle, request)
        assert self.scheduler.run_while(lambda: sender.status_of(handle) is None, limit_s)
        status = sender.status_of(handle)
        assert status is not None
        return status


def request(destination: int, payload: bytes, **options: object) -> DataRequest:
    """To endpoint 1, cluster OTA, profile Smart Energy, with an APS ack unless told otherwise."""
    fields: dict[str, object] = {"aps_ack": True, **options}
    return DataRequest(destination, 1, 1, 0x0019, 0x0109, payload, **fields)  # type: ignore[arg-type]
