"""The relay of an HCALCS through a whole update: nothing of it moves the load, and only lost power does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from agent.boot.state import Slot, SlotState
from agent.gbcs.use_cases import ActivateFirmwareAlert, ActivateFirmwareResponse, ActivationOutcome
from agent.ports import Relay
from agent.update.states import State
from boards.raspberry_pi.gpio import PinRelay, prepare
from boards.raspberry_pi.memory import LevelMemory
from boards.raspberry_pi.profile import RelayPin
from boards.virtual.gpio import OUT, VirtualGpio, VirtualPins
from tests.home import DEVICE_EUI, Home
from tests.update_rig import NEW, OLD

RELAY = 17


@dataclass
class HomeWithRelay(Home):
    """A HAN whose device has a relay on a pin. Every start of its program opens the pin anew."""

    role: str = "hcalcs"
    lgpio: bool = False
    folder: Path = field(default_factory=Path)
    pins: VirtualPins = field(default_factory=VirtualPins)
    opened: list[PinRelay] = field(default_factory=list)

    def open_relay(self) -> Relay:
        gpio = prepare(VirtualGpio(self.pins, lgpio=self.lgpio), reads_outputs=not self.lgpio)
        memory = LevelMemory(self.folder, RELAY, f"boot {self.rig.boot_number}")
        self.opened.append(PinRelay(gpio, RelayPin(gpio=RELAY), memory))
        return self.opened[-1]

    def power_came_back(self) -> None:
        self.pins.lose_power()

    def hold(self) -> None:
        """The load is on, the image is distributed and held."""
        self.opened[-1].set(True)
        self.offer()
        assert self.run_until(lambda: self.device.update_state is State.HELD)

    @property
    def states_at_start(self) -> list[object]:
        return [facts["connected"] for facts in self.logged("relay")]


@pytest.fixture(params=[False, True], ids=["RPi.GPIO", "rpi-lgpio"])
def home(request: pytest.FixtureRequest) -> Iterator[HomeWithRelay]:
    with TemporaryDirectory() as folder:
        yield HomeWithRelay(lgpio=request.param, folder=Path(folder))


def outcomes(home: Home, kind: type) -> list[ActivationOutcome]:
    payloads = [report.payload for report in home.reports if isinstance(report.payload, kind)]
    return [payload.result.outcome for payload in payloads]  # type: ignore[union-attr]


def test_download_and_activation_leave_the_load_on(home: HomeWithRelay) -> None:
    home.hold()
    home.backhaul.activate_firmware(DEVICE_EUI, home.world.now)
    assert home.run_until(lambda: bool(outcomes(home, ActivateFirmwareResponse)))
    assert outcomes(home, ActivateFirmwareResponse) == [ActivationOutcome.SUCCESS]
    assert home.boots == [str(OLD), str(NEW)]
    assert home.pins.history == [(RELAY, 1)], "the one command of this test, and nothing after it"
    assert home.states_at_start == [False, True]


def test_a_load_that_is_off_stays_off(home: HomeWithRelay) -> None:
    home.offer()
    assert home.run_until(lambda: home.device.update_state is State.HELD)
    home.backhaul.activate_firmware(DEVICE_EUI, home.world.now)
    assert home.run_until(lambda: home.boots[-1] == str(NEW))
    assert home.pins.history == []
    assert home.pins.function(RELAY) == OUT


def test_a_rollback_leaves_the_load_on(home: HomeWithRelay) -> None:
    home.hold()
    home.backhaul.activate_firmware(DEVICE_EUI, home.world.now)
    assert home.run_until(lambda: home.boots[-1] == str(NEW))
    home.world.deaf.add(DEVICE_EUI)  # the new program never hears the hub
    assert home.run_until(lambda: home.boots[-1] == str(OLD))
    assert home.rig.slot_state(Slot.B) is SlotState.BAD
    home.world.deaf.clear()
    assert home.run_until(lambda: bool(outcomes(home, ActivateFirmwareResponse)))
    assert outcomes(home, ActivateFirmwareResponse) != [ActivationOutcome.SUCCESS]
    assert home.boots == [str(OLD), str(NEW), str(OLD)]
    assert home.pins.history == [(RELAY, 1)]
    assert home.states_at_start == [False, True, True]


def test_restarts_in_mid_download_leave_the_load_on(home: HomeWithRelay) -> None:
    home.opened[-1].set(True)
    home.offer()
    for _ in range(3):
        home.run(2.0)
        home.restart()
    assert home.run_until(lambda: home.device.update_state is State.HELD)
    assert home.pins.history == [(RELAY, 1)]


def test_lost_power_gives_the_default_once_and_the_update_does_not_undo_it(home: HomeWithRelay) -> None:
    home.hold()
    home.lose_power()
    assert home.pins.history == [(RELAY, 1), (RELAY, 0)], "the wire fell with the power, and set-up added no spike"
    home.backhaul.activate_firmware(DEVICE_EUI, home.world.now)
    assert home.run_until(lambda: bool(outcomes(home, ActivateFirmwareResponse)))
    assert outcomes(home, ActivateFirmwareResponse) == [ActivationOutcome.SUCCESS]
    assert home.pins.history == [(RELAY, 1), (RELAY, 0)]
    assert outcomes(home, ActivateFirmwareAlert) == []
