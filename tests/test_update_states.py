"""The table of the update's states: closed, without dead ends, and never from running code back to a download."""

from __future__ import annotations

import itertools

import pytest

from agent.update.states import PENDING, TRANSITIONS, State, allowed


def test_every_state_is_in_the_table_and_leads_back_to_idle() -> None:
    assert set(TRANSITIONS) == set(State)
    for state in State:
        seen, reach = set(), {state}
        while reach - seen:
            seen |= reach
            reach = set(itertools.chain.from_iterable(TRANSITIONS[one] for one in reach))
        assert State.IDLE in seen | reach, f"{state} is a dead end"


@pytest.mark.parametrize("state", list(State))
def test_staying_is_always_allowed(state: State) -> None:
    assert allowed(state, state)


def test_only_a_whole_verified_image_can_be_activated() -> None:
    before_activation = {state for state in State if State.ACTIVATING in TRANSITIONS[state]}
    assert before_activation == PENDING


def test_an_activation_can_only_end_it_cannot_be_taken_back() -> None:
    assert TRANSITIONS[State.ACTIVATING] == {State.TRIAL, State.IDLE}
    assert TRANSITIONS[State.TRIAL] == {State.IDLE}
