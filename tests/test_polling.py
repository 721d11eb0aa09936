"""How often a sleepy end device polls: the table, the bounds, and every walk through it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.events import RadioResult, RadioStatus, SetPollRate
from agent.zigbee.polling import (
    ANSWER_S,
    LINGER_S,
    SILENCE_S,
    TABLE,
    Polling,
    PollInput,
    PollRateChanged,
    PollRateRefused,
    PollRates,
    PollState,
)

RATES = PollRates(rest_s=7.5, fast_s=0.1)
FAST, REST = SetPollRate(0.1, 0.1), SetPollRate(7.5, 0.1)
OK = RadioResult(RadioStatus.OK)


class Chip:
    """A machine whose requests are answered at once, and virtual time for it."""

    def __init__(self, result: RadioResult = OK) -> None:
        self.machine = Polling(RATES)
        self.now = 100.0
        self.result = result
        self.told: list[SetPollRate] = []

    def settle(self) -> None:
        while (request := self.machine.request_to_send()) is not None:
            self.told.append(request)
            self.machine.request_done(self.result, self.now)

    def go_to(self, when: float) -> None:
        """Time goes by, with a stop at every deadline."""
        while (deadline := self.machine.next_deadline()) is not None and deadline <= when:
            self.now = max(self.now, deadline)
            self.machine.handle_timer(self.now)
            self.settle()
        self.now = when

    def up(self) -> None:
        self.machine.network_up(self.now)
        self.settle()


def test_the_table_knows_every_state_and_each_one_can_be_left() -> None:
    assert set(TABLE) == set(PollState)
    assert {happened for row in TABLE.values() for happened in row} == set(PollInput)
    assert all(set(row.values()) - {state} for state, row in TABLE.items())


def test_a_network_is_fast_until_it_is_quiet() -> None:
    chip = Chip()
    assert chip.machine.request_to_send() is None  # no network, nothing to tell
    chip.up()
    chip.go_to(chip.now + LINGER_S - 0.1)
    assert chip.told == [FAST]
    chip.go_to(chip.now + 0.2)
    assert chip.told == [FAST, REST]
    assert chip.machine.next_deadline() is None


def test_fast_ends_when_the_answer_is_in() -> None:
    chip = Chip()
    chip.up()
    chip.go_to(200.0)
    chip.machine.asked(chip.now)
    chip.settle()
    chip.go_to(chip.now + LINGER_S + 0.5)
    assert chip.told == [FAST, REST, FAST]  # still awaited
    chip.machine.heard(chip.now)
    chip.go_to(chip.now + LINGER_S)
    assert chip.told == [FAST, REST, FAST, REST]


def test_fast_ends_when_the_answer_does_not_come() -> None:
    chip = Chip()
    chip.up()
    chip.go_to(200.0)
    chip.machine.asked(chip.now)
    chip.settle()
    chip.go_to(200.0 + ANSWER_S - 0.1)
    assert chip.told[-1] == FAST
    chip.go_to(200.0 + ANSWER_S)
    assert chip.told[-1] == REST


def test_a_transfer_is_one_spell_and_two_changes() -> None:
    chip = Chip()
    chip.up()
    chip.go_to(200.0)
    for _ in range(500):
        chip.machine.asked(chip.now)
        chip.settle()
        chip.go_to(chip.now + 0.3)
        chip.machine.heard(chip.now)
        chip.settle()
    chip.go_to(chip.now + 60.0)
    assert chip.told == [FAST, REST, FAST, REST]
    assert chip.machine.fast_s(chip.now) == pytest.approx(500 * 0.3 + 2 * LINGER_S)


def test_a_hub_that_is_away_costs_no_battery_and_is_fast_again_when_it_speaks() -> None:
    chip = Chip()
    chip.up()
    chip.go_to(200.0)
    for _ in range(1000):  # a block request every five seconds, for more than an hour
        chip.machine.asked(chip.now)
        chip.settle()
        chip.go_to(chip.now + 5.0)
    assert chip.told == [FAST, REST, FAST, REST]
    assert chip.machine.fast_s(chip.now) <= SILENCE_S + LINGER_S
    chip.machine.heard(chip.now)
    chip.settle()
    assert chip.told[-1] == FAST


def test_a_chip_that_cannot_be_told_is_asked_once_a_network() -> None:
    chip = Chip(RadioResult(RadioStatus.TIMEOUT, detail="no answer in time"))
    chip.up()
    chip.machine.asked(chip.now)
    chip.settle()
    assert chip.told == [FAST]
    assert chip.machine.next_event() == PollRateRefused(RadioStatus.TIMEOUT, "no answer in time")
    assert chip.machine.next_deadline() is None
    chip.up()
    assert chip.told == [FAST, FAST]


def test_the_radio_goes_away_while_it_is_told() -> None:
    chip = Chip()
    chip.machine.network_up(chip.now)
    assert chip.machine.request_to_send() == FAST
    chip.machine.network_down(chip.now)
    chip.machine.request_done(RadioResult(RadioStatus.RADIO_LOST), chip.now)
    assert chip.machine.next_event() is None
    assert chip.machine.request_to_send() is None
    chip.up()
    assert chip.told == [FAST]
    assert chip.machine.next_event() == PollRateChanged(0.1, "fast", 0.0)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["up", "down", "asked", "heard", "refuse", "lose", "accept"]),
        st.floats(min_value=0.0, max_value=40.0),
    ),
    max_size=60,
)


@given(STEPS)
def test_every_walk_keeps_the_bounds(steps: list[tuple[str, float]]) -> None:
    """One request at a time; never fast for longer than allowed after the last news; what the chip does is told."""
    chip = Chip()
    heard, first_asked = float("-inf"), None
    results = {"refuse": RadioStatus.REFUSED, "lose": RadioStatus.RADIO_LOST, "accept": RadioStatus.OK}
    for step, pause_s in steps:
        match step:
            case "up":
                chip.machine.network_up(chip.now)
                heard, first_asked = chip.now, None
            case "down":
                chip.machine.network_down(chip.now)
            case "asked":
                chip.machine.asked(chip.now)
                first_asked = chip.now if first_asked is None else first_asked
            case "heard":
                chip.machine.heard(chip.now)
                heard, first_asked = chip.now, None
            case _:
                chip.result = RadioResult(results[step])
        request = chip.machine.request_to_send()
        if request is not None:
            assert chip.machine.request_to_send() is None
            chip.machine.request_done(chip.result, chip.now)
            if chip.result.status is RadioStatus.OK:
                assert request == {PollState.FAST: FAST, PollState.REST: REST}[chip.machine.state]
        if chip.result.status is RadioStatus.OK:
            chip.settle()
            chip.go_to(chip.now + pause_s)
        else:
            chip.now += pause_s
            chip.machine.handle_timer(chip.now)
            chip.machine.handle_timer(chip.now)
        if chip.machine.state is PollState.FAST:
            bound = heard + LINGER_S if first_asked is None else max(heard + LINGER_S, first_asked + SILENCE_S)
            assert chip.now < bound
            assert chip.machine.next_deadline() is not None
        else:
            assert chip.machine.next_deadline() is None
        assert chip.machine.fast_s(chip.now) <= chip.now - 100.0 + 1e-6
