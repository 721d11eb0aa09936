"""A bounded selection of the power-cut sweep, and the proof that the sweep finds what it is there for.

The whole of it is ``make powercut``.
"""

from __future__ import annotations

import random
import shlex

import pytest

from tests.powercut.__main__ import main
from tests.powercut.cuts import WAYS, PlannedCut
from tests.powercut.downloads import Download
from tests.powercut.mutants import MUTANTS, Mutant
from tests.powercut.run import run
from tests.powercut.scenarios import BY_NAME, SCENARIOS, Scenario
from tests.powercut.sweep import Task, carry_out, count_operations, every_operation, several_cuts

SINGLE_CUTS = 12  # a scenario
SEVERAL_CUTS = 4


def a_selection(scenario: Scenario) -> list[Task]:
    """Spread over the operations, every way of cutting in turn, the same in every run."""
    operations = count_operations(scenario)
    choose = random.Random(scenario.name)
    numbers = sorted(choose.sample(range(1, operations + 1), min(SINGLE_CUTS, operations)))
    ways = choose.sample(WAYS, len(WAYS))
    singles = [
        Task(scenario.name, (PlannedCut(number, ways[at % len(ways)]),), number) for at, number in enumerate(numbers)
    ]
    return singles + several_cuts(scenario, operations, SEVERAL_CUTS)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_cut_anywhere_ends_as_it_may(scenario: Scenario) -> None:
    results = [carry_out(task) for task in a_selection(scenario)]
    assert sum(result.cuts_made for result in results) >= SINGLE_CUTS
    assert [f"{result.failure}; repeat it with: {result.command()}" for result in results if result.failure] == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.plant.__name__)
def test_a_planted_bug_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = BY_NAME[mutant.scenario]
    operations = count_operations(scenario)
    mutant.plant(monkeypatch)
    tasks = every_operation(scenario, operations, mutant.ways)
    random.Random(1).shuffle(tasks)  # most show in a few neighbouring operations: not one after the other
    assert any(carry_out(task).failure for task in tasks)


def test_the_command_of_a_failure_repeats_the_very_run(capsys: pytest.CaptureFixture[str]) -> None:
    cuts = (PlannedCut(33, "mixed"), PlannedCut(9, "torn"))
    first, second = (run(BY_NAME["ppmid-update"], cuts, 7) for _ in range(2))
    assert first == second
    assert len(first.where) == 2
    words = shlex.split(first.command())
    assert words[:3] == ["python", "-m", "tests.powercut"]
    assert main(words[3:]) == 0
    assert all(f"cut {number}: {where}" in capsys.readouterr().out for number, where in [(1, first.where[0])])


def test_a_download_is_judged_by_what_was_asked_for() -> None:
    download = Download(header_octets=60, checkpoint_octets=4096, total_octets=12_000)
    for offset in range(0, 4300, 50):
        download.ask(offset)
    download.ask(60 + 4096)  # a start, and on from the checkpoint
    assert (download.below_floor, download.twice) == ([], 4250 - 4156)
    download.ask(4000)
    assert download.below_floor == [4000]
    download.end()
    download.ask(11_000)
    assert download.below_floor == [4000, 11_000]
