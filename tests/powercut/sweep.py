"""All cuts of a scenario: one at every operation in every way, then seeded pairs and triples."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.powercut.cuts import FAULT_WAYS, WAYS, PlannedCut, Task
from tests.powercut.forks import run_all
from tests.powercut.run import Result, run
from tests.powercut.scenarios import Scenario

LATER_OPERATIONS = 40  # a second cut falls among the first of these after the start that follows


@dataclass
class Row:
    """A scenario in the table. Sums over all its runs."""

    scenario: str
    operations: int
    runs: int = 0
    cuts: int = 0
    booted: int = 0
    finished: int = 0
    twice: int = 0
    outcomes: int = 0
    repeats: int = 0
    seconds: float = 0.0
    failures: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        self.runs += 1
        self.cuts += result.cuts_made
        self.booted += result.whole_starts
        self.finished += result.finished
        self.twice += result.octets_twice
        self.outcomes += result.outcomes
        self.repeats += result.repeats
        if result.failure:
            self.failures.append(result)


def count_operations(scenario: Scenario) -> int:
    """Of the undisturbed run, which must itself be whole."""
    result = run(Task(scenario.name))
    assert not result.failure, f"{scenario.name} fails undisturbed: {result.failure}"
    return result.operations


def every_operation(scenario: Scenario, operations: int, ways: Iterable[str] = WAYS) -> list[Task]:
    """One cut each."""
    ways = tuple(ways)
    return [
        Task(scenario.name, (PlannedCut(number, way),), number) for number in range(1, operations + 1) for way in ways
    ]


def several_cuts(scenario: Scenario, operations: int, count: int, seed: int = 1) -> list[Task]:
    """``count`` runs with two or three cuts, the same for the same ``seed``."""
    choose = random.Random(f"{scenario.name} {seed}")
    tasks = []
    for number in range(count):
        first = PlannedCut(choose.randint(1, operations), choose.choice(WAYS))
        later = [PlannedCut(choose.randint(1, LATER_OPERATIONS), choose.choice(WAYS)) for _ in range(1 + number % 2)]
        tasks.append(Task(scenario.name, (first, *later), choose.randrange(10_000)))
    return tasks


def faults_and_cuts(scenario: Scenario, operations: int, count: int, seed: int = 1) -> list[Task]:
    """``count`` runs in which the medium fails once, and the power goes some operations after it answers again."""
    choose = random.Random(f"{scenario.name} {seed} faults")
    tasks = []
    for _ in range(count):
        fault = PlannedCut(choose.randint(1, operations), choose.choice(FAULT_WAYS))
        cut = PlannedCut(choose.randint(1, LATER_OPERATIONS), choose.choice(WAYS))
        tasks.append(Task(scenario.name, (fault, cut), choose.randrange(10_000)))
    return tasks


def sweep_faults(scenarios: Iterable[Scenario], pairs: int, processes: int) -> Iterator[Row]:
    """As ``sweep``, of a medium that fails instead of a power that goes."""
    for scenario in scenarios:
        started = time.monotonic()
        row = Row(scenario.name, count_operations(scenario))
        tasks = every_operation(scenario, row.operations, FAULT_WAYS)
        for result in run_all(scenario, tasks + faults_and_cuts(scenario, row.operations, pairs), processes):
            row.add(result)
        row.seconds = time.monotonic() - started
        yield row


def sweep(scenarios: Iterable[Scenario], pairs: int, processes: int) -> Iterator[Row]:
    """A row as soon as its scenario is done."""
    for scenario in scenarios:
        started = time.monotonic()
        row = Row(scenario.name, count_operations(scenario))
        tasks = every_operation(scenario, row.operations) + several_cuts(scenario, row.operations, pairs)
        for result in run_all(scenario, tasks, processes):
            row.add(result)
        row.seconds = time.monotonic() - started
        yield row
