"""A bounded selection of the power-cut sweep, and the proof that the sweep finds what it is there for.

The whole of it is ``make powercut``.
"""

from __future__ import annotations

import random
import shlex

import pytest

from tests.powercut.__main__ import main
from tests.powercut.cuts import FAULT_WAYS, PlannedCut, Task
from tests.powercut.downloads import Download
from tests.powercut.forks import run_all
from tests.powercut.mutants import FAULT_MUTANTS, MUTANTS, Mutant
from tests.powercut.run import make_home, run
from tests.powercut.scenarios import BY_NAME, SCENARIOS, Scenario, join
from tests.powercut.sweep import count_operations, every_operation, faults_and_cuts, several_cuts

SINGLE_CUTS = 15  # a scenario
SEVERAL_CUTS = 5
SINGLE_FAULTS = 12
FAULTS_AND_CUTS = 4
FAULTY_NAMES = (
    "ppmid-update",
    "ppmid-dated",
    "ppmid-unhealthy",
    "ppmid-replace",
    "ppmid-factory",
    "hcalcs-hold",
    "hcalcs-dated",
)
FAULTY = [BY_NAME[name] for name in FAULTY_NAMES]


def a_selection(scenario: Scenario) -> list[Task]:
    """Spread over the operations, every way of cutting in turn, the same in every run."""
    operations = count_operations(scenario)
    choose = random.Random(scenario.name)
    singles = choose.sample(every_operation(scenario, operations), SINGLE_CUTS)
    return singles + several_cuts(scenario, operations, SEVERAL_CUTS)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_cut_anywhere_ends_as_it_may(scenario: Scenario) -> None:
    results = list(run_all(scenario, a_selection(scenario)))
    assert len(results) == 1 + SINGLE_CUTS + SEVERAL_CUTS
    assert sum(result.cuts_made for result in results) >= SINGLE_CUTS + SEVERAL_CUTS
    assert [f"{result.failure}; repeat it: {result.task.command()}" for result in results if result.failure] == []


@pytest.mark.parametrize("scenario", FAULTY, ids=lambda scenario: scenario.name)
def test_a_medium_that_fails_anywhere_ends_as_it_may(scenario: Scenario) -> None:
    """The head end is told what is so, once; nothing that was checkpointed is asked for again; the slot is whole."""
    operations = count_operations(scenario)
    singles = every_operation(scenario, operations, FAULT_WAYS)
    tasks = random.Random(f"{scenario.name} faults").sample(singles, SINGLE_FAULTS)
    results = list(run_all(scenario, tasks + faults_and_cuts(scenario, operations, FAULTS_AND_CUTS)))
    assert sum(result.cuts_made for result in results) >= SINGLE_FAULTS + FAULTS_AND_CUTS
    assert [f"{result.failure}; repeat it: {result.task.command()}" for result in results if result.failure] == []


@pytest.mark.parametrize("mutant", FAULT_MUTANTS, ids=lambda mutant: mutant.plant.__name__)
def test_a_planted_bug_is_found_by_a_medium_that_fails(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = BY_NAME[mutant.scenario]
    tasks = every_operation(scenario, count_operations(scenario), mutant.ways)
    mutant.plant(monkeypatch)
    assert any(result.failure for result in run_all(scenario, tasks, stops_at_failure=True))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.plant.__name__)
def test_a_planted_bug_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = BY_NAME[mutant.scenario]
    tasks = every_operation(scenario, count_operations(scenario), mutant.ways)
    mutant.plant(monkeypatch)
    assert any(result.failure for result in run_all(scenario, tasks, stops_at_failure=True))


KEPT, LOST = "kept", "lost"


@pytest.mark.parametrize(
    ("scenario", "write", "way", "joined", "keys", "forgotten"),
    [
        ("ppmid-join", "keep network", LOST, 1, 1, 0),
        ("ppmid-join", "keep network", KEPT, 0, 1, 0),
        ("ppmid-join", "keep link keys", KEPT, 1, 2, 0),
        ("ppmid-join-lag", "keep link keys", LOST, 1, 2, 1),
        ("ppmid-join-lag", "keep link keys", KEPT, 1, 1, 0),
    ],
    ids=["no network yet", "the network only", "the chip's key only", "the journal's key only", "both"],
)
def test_what_a_start_does_after_a_cut_between_chip_and_journal(
    scenario: str, write: str, way: str, joined: int, keys: int, forgotten: int
) -> None:
    """The rows of DESIGN.md; ``joined``: the times that the host was told so."""
    whole = make_home(BY_NAME[scenario], Task(scenario))
    whole.arm()
    join(whole)
    writes = [one.number for one in whole.disk.operations if one.kind == write]
    number = writes[write == "keep link keys"]  # the first write of its keys is the chip's forgetting before it joins
    home = make_home(BY_NAME[scenario], Task(scenario, (PlannedCut(number, way),)))
    home.arm()
    join(home)
    assert home.cuts_made == [f"#{number} chip {write}"]
    assert [one["joined"] for one in home.logged("network up")].count(True) == joined
    assert (home.keys_made, len(home.logged("link key forgotten"))) == (keys, forgotten)
    assert home.world.now < 180.0
    assert home.world.reused == []


def test_a_run_is_the_same_from_its_beginning_as_from_a_fork_and_by_its_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = Task("ppmid-update", (PlannedCut(133, "mixed"), PlannedCut(9, "torn")), 7)
    first, second = run(task), run(task)
    assert first == second
    assert len(first.where) == 2
    _, forked = run_all(BY_NAME[task.scenario], [task])
    assert forked == first
    words = shlex.split(task.command())
    assert words[:3] == ["python", "-m", "tests.powercut"]
    assert main(words[3:]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("cut")] == [
        f"cut {number}: {where}" for number, where in enumerate(first.where, start=1)
    ]


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
