"""Whatever people and power do to an update, the device comes to rest and takes the next image.

Seeded walks of the real device and the real hub in virtual time. What they look for: an update machine and an OTA
client that do not agree on what is going on, so that the device waits for something that will never come.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress

import pytest

from agent.boot.control import SlotsControl
from agent.boot.refusal import BootRefusedError
from agent.boot.state import EndReason, Slot
from agent.image.version import Version
from agent.update.states import State
from agent.zigbee.ota_states import State as ClientState
from boards.bench.settings import Activation, ActivationKind
from tests.home import DEVICE_EUI, Home
from tests.update_rig import NEW, NEWER

DAY_S = 86_400.0
LAST = Version(1, 3, 0)
PAUSES_S = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 30.0, 300.0, 5_000.0)  # a transfer takes about six


def offer(home: Home, choose: random.Random) -> None:
    home.offer(choose.choice([NEW, NEWER]))


def overtake(home: Home, choose: random.Random) -> None:
    """The newer one comes in the middle of the older one's transfer."""
    home.offer(NEW)
    home.run(choose.uniform(0.5, 5.0))
    home.offer(NEWER)


def offer_for_later(home: Home, choose: random.Random) -> None:
    if home.role == "ppmid":
        home.offer(choose.choice([NEW, NEWER]), activation=Activation(ActivationKind.AFTER, choose.randint(10, 4_000)))


def withdraw(home: Home, _choose: random.Random) -> None:
    for name in list(home.hub.ota.table.images):
        home.hub.ota.table.withdraw(name)


def activate(home: Home, _choose: random.Random) -> None:
    if home.role == "hcalcs" and home.head_end.image_hash_of(DEVICE_EUI):
        home.backhaul.activate_firmware(DEVICE_EUI, home.world.now)


def cancel(home: Home, _choose: random.Random) -> None:
    home.device.cancel_update("by the engineer", home.world.now)


def mark_the_other_slot_bad(home: Home, _choose: random.Random) -> None:
    """By an engineer beside the running device."""
    running = Slot[home.rig.running.slot]
    with suppress(BootRefusedError):  # the only one that can run
        SlotsControl(home.rig.store, home.rig.areas, running).mark_bad(running.other, EndReason.CANCELLED)


DEEDS: tuple[Callable[[Home, random.Random], None], ...] = (
    offer,
    overtake,
    offer_for_later,
    withdraw,
    activate,
    cancel,
    mark_the_other_slot_bad,
    lambda home, _: home.restart(),
    lambda home, _: home.lose_power(),
    lambda home, _: home.restart_hub(),
)


@pytest.mark.parametrize("role", ["ppmid", "hcalcs"])
@pytest.mark.parametrize("seed", range(40))
def test_the_device_comes_to_rest_and_takes_the_next_image(role: str, seed: int) -> None:
    choose = random.Random(f"{role} {seed}")
    home = Home(role, seed=seed, loss=choose.choice([0.0, 0.0, 0.02]))
    home.run(choose.uniform(5.0, 40.0))
    for _ in range(choose.randint(2, 6)):
        choose.choice(DEEDS)(home, choose)
        home.run(choose.choice(PAUSES_S))
    withdraw(home, choose)
    home.run(3 * DAY_S)
    state, client = home.device._update.state, home.device._endpoint.ota.state
    assert state in (State.IDLE, State.HELD)
    assert state is State.HELD or client is ClientState.NORMAL
    home.offer(LAST)
    assert home.run_until(lambda: took(home), 3 * DAY_S)


def took(home: Home) -> bool:
    """The last image, activated where the hub says so."""
    record = home.device._update.record
    held = record.state is State.HELD and record.file_version == LAST.file_version
    return held if home.role == "hcalcs" else home.rig.running.version == LAST and record.state is State.IDLE
