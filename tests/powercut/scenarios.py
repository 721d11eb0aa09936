"""The walks that are cut: what comes before, what happens while the power may go, and the only allowed ends.

``prepare`` is never cut; ``drive`` is, at every operation. Both play the people and the head end: a command that got no
answer within an hour is sent again, as an operator would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.boot.state import Slot
from agent.image.version import Version
from agent.update.commands import FACTORY
from agent.update.failed_version import UNJUDGED_PAUSE_S
from agent.update.states import State
from boards.bench.report import Request
from boards.bench.settings import Activation, ActivationKind
from tests.home import DEVICE_EUI
from tests.powercut.home import CutHome
from tests.update_rig import NEW, NEWER, OLD
from tests.update_rig import UTC as STARTED_UTC

HOUR_S = 3_600.0
DAY_S = 86_400.0
TRIES = 3
PATIENCE_S = 3 * DAY_S  # after that an update that has not ended counts as lost


def nothing(home: CutHome) -> None:
    """The walk begins with the very first start of the device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """``version`` runs at the end, and the head end was told ``outcomes`` and ``receipts``, each once.

    The last of ``attempts`` activations is what is cut; those before have spent all their tries in ``prepare``.
    """

    name: str
    role: str = "ppmid"
    prepare: Callable[[CutHome], None] = nothing
    drive: Callable[[CutHome], None]
    version: Version = NEW
    outcomes: tuple[bool, ...] = (True,)
    receipts: int = 0
    attempts: int = 1
    deaf: frozenset[Version] = frozenset()
    stillborn: frozenset[Version] = frozenset()
    keys: str = "suite-2"  # the key establishment of device and hub
    chip_lag_s: float = 0.0  # a chip that has a link key in NV only after its answer


def expect(happened: bool, what: str) -> None:
    assert happened, f"not finished: {what}"


def wait_for_outcome(home: CutHome) -> None:
    expect(home.run_until(lambda: bool(home.outcomes), PATIENCE_S), "no report of the activation")


def wait_for_state(home: CutHome, *states: State) -> None:
    expect(home.run_until(lambda: home.state in states, PATIENCE_S), f"never {states[0].value}")


# --- the HAN ---------------------------------------------------------------------------------------------------------


def join(home: CutHome) -> None:
    """A new device, or one that was here before: on the HAN with a key that both sides hold."""
    expect(home.run_until(lambda: home.is_member, HOUR_S), "not back on the HAN within an hour")


def joined_and_off(home: CutHome) -> None:
    join(home)
    home.switch_off()


def start_twice(home: CutHome) -> None:
    """The power comes, and later the program alone is started anew."""
    join(home)
    home.device.restart = "by the engineer"
    expect(home.run_until(lambda: home.device.restart == "", HOUR_S), "no restart")
    join(home)


# --- a PPMID ----------------------------------------------------------------------------------------------------------


def update(home: CutHome) -> None:
    home.offer()
    wait_for_outcome(home)


def half_downloaded(home: CutHome) -> None:
    home.offer()
    half = len(home.file(NEW)) // 2
    expect(home.run_until(lambda: home.state is State.DOWNLOADING and home.device._update.record.offset_octets > half
                          ), "half of the download")  # fmt: skip
    home.lose_power()


def no_slot_verifies(home: CutHome) -> None:
    """One bit of the only image, and a slot that never held one: the very first start is the factory agent's."""
    area = home.rig.areas[Slot.A]
    area.write(100, bytes([area.read(100, 1)[0] ^ 1]))
    area.sync()


def staged_for_a_minute(home: CutHome) -> None:
    home.offer(activation=Activation(ActivationKind.AFTER, 60))
    wait_for_state(home, State.COUNTDOWN)


def staged_for_a_day(home: CutHome) -> None:
    home.offer(activation=Activation(ActivationKind.AFTER, int(DAY_S)))
    wait_for_state(home, State.COUNTDOWN)


def in_trial(home: CutHome) -> None:
    home.offer()
    wait_for_state(home, State.TRIAL)


def lost_to_power_before(home: CutHome) -> None:
    """The power goes in every try of a first attempt, which is reported; then the pause after it passes."""
    in_trial(home)
    for _ in range(TRIES):
        home.lose_power()
    wait_for_outcome(home)
    assert home.outcomes == [(False, OLD)]
    home.run(UNJUDGED_PAUSE_S)
    assert home.state is State.IDLE


def update_again(home: CutHome) -> None:
    home.offer()
    expect(home.run_until(lambda: len(home.outcomes) == 2, PATIENCE_S), "no report of the second attempt")


def amid_a_transfer(home: CutHome) -> None:
    home.offer()
    expect(home.run_until(lambda: home.device._update.record.offset_octets > 0), "a first checkpoint")


def replace_pending(home: CutHome) -> None:
    home.offer(NEWER)
    wait_for_outcome(home)


# --- an HCALCS --------------------------------------------------------------------------------------------------------


def held(home: CutHome) -> None:
    home.offer()
    expect(home.run_until(lambda: bool(home.receipts) and home.state is State.HELD, PATIENCE_S), "nothing is held")
    assert len({version for version, _ in home.starts}) == 1, "an image ran that nobody activated"


def ask_until_answered(home: CutHome, ask: Callable[[], Request]) -> None:
    for _ in range(5):
        request = ask()
        if home.run_until(lambda request=request: home.answered(request), HOUR_S):
            return
    raise AssertionError("not finished: no command was answered")


def activate_at_once(home: CutHome) -> None:
    ask_until_answered(home, lambda: home.backhaul.activate_firmware(DEVICE_EUI, home.world.now))


def order_a_date(home: CutHome, after_s: float = 2 * HOUR_S) -> None:
    date = datetime.fromtimestamp(STARTED_UTC + int(home.world.now + after_s), UTC)
    ask_until_answered(home, lambda: home.backhaul.activate_firmware(DEVICE_EUI, home.world.now, at=date))


def held_and_dated(home: CutHome) -> None:
    held(home)
    order_a_date(home, 12 * HOUR_S)  # late enough for a cancellation that is lost on its way and asked for again


def activate_at_a_date(home: CutHome) -> None:
    order_a_date(home)
    wait_for_outcome(home)


def cancel_the_date(home: CutHome) -> None:
    ask_until_answered(home, lambda: home.backhaul.cancel_activation(DEVICE_EUI, home.world.now))
    home.run(14 * HOUR_S)
    assert home.state is State.HELD


def let_the_date_come(home: CutHome) -> None:
    wait_for_outcome(home)


def replace_held(home: CutHome) -> None:
    home.offer(NEWER)
    expect(home.run_until(lambda: len(home.receipts) == 2 and home.state is State.HELD, PATIENCE_S), "nothing is held")
    activate_at_once(home)


def hold_and_activate(home: CutHome) -> None:
    held(home)
    activate_at_once(home)


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(name="ppmid-join", drive=join, version=OLD, outcomes=()),
    Scenario(name="ppmid-join-lag", drive=join, version=OLD, outcomes=(), chip_lag_s=0.05),
    Scenario(name="ppmid-restart", prepare=joined_and_off, drive=start_twice, version=OLD, outcomes=()),
    Scenario(name="hcalcs-join", role="hcalcs", drive=join, version=OLD, outcomes=(), keys="suite-1"),
    Scenario(name="ppmid-update", drive=update),
    Scenario(name="ppmid-resume", prepare=half_downloaded, drive=wait_for_outcome),
    Scenario(name="ppmid-confirm", prepare=in_trial, drive=wait_for_outcome),
    Scenario(name="ppmid-dated", prepare=staged_for_a_day, drive=wait_for_outcome),
    Scenario(
        name="ppmid-unhealthy",
        prepare=staged_for_a_minute,
        drive=wait_for_outcome,
        version=OLD,
        outcomes=(False,),
        deaf=frozenset({NEW}),
    ),
    Scenario(
        name="ppmid-never-started",
        prepare=staged_for_a_minute,
        drive=wait_for_outcome,
        version=OLD,
        outcomes=(False,),
        stillborn=frozenset({NEW}),
    ),
    Scenario(name="ppmid-again", prepare=lost_to_power_before, drive=update_again, outcomes=(False, True), attempts=2),
    Scenario(name="ppmid-replace", prepare=staged_for_a_day, drive=replace_pending, version=NEWER),
    Scenario(name="ppmid-overtaken", prepare=amid_a_transfer, drive=replace_pending, version=NEWER),
    Scenario(name="ppmid-factory", prepare=no_slot_verifies, drive=update),
    Scenario(
        name="ppmid-factory-unhealthy",
        prepare=no_slot_verifies,
        drive=update,
        version=FACTORY.version,
        outcomes=(False,),
        deaf=frozenset({NEW}),
    ),
    Scenario(name="hcalcs-factory", role="hcalcs", prepare=no_slot_verifies, drive=hold_and_activate, receipts=1),
    Scenario(name="hcalcs-hold", role="hcalcs", drive=held, version=OLD, outcomes=(), receipts=1),
    Scenario(name="hcalcs-activate", role="hcalcs", prepare=held, drive=activate_at_once, receipts=1),
    Scenario(name="hcalcs-dated", role="hcalcs", prepare=held, drive=activate_at_a_date, receipts=1),
    Scenario(name="hcalcs-due", role="hcalcs", prepare=held_and_dated, drive=let_the_date_come, receipts=1),
    Scenario(
        name="hcalcs-cancel",
        role="hcalcs",
        prepare=held_and_dated,
        drive=cancel_the_date,
        version=OLD,
        outcomes=(),
        receipts=1,
    ),
    Scenario(
        name="hcalcs-unhealthy",
        role="hcalcs",
        prepare=held,
        drive=activate_at_once,
        version=OLD,
        outcomes=(False,),
        receipts=1,
        deaf=frozenset({NEW}),
    ),
    Scenario(name="hcalcs-replace", role="hcalcs", prepare=held, drive=replace_held, version=NEWER, receipts=2),
)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
