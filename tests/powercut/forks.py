"""All runs of a scenario from one walk: at the operation of a task's first cut the process forks, and the child falls.

So a walk up to the cut is made once and not for every run; what a child does is the same as ``run`` does from the
beginning (a test compares).
"""

from __future__ import annotations

import os
import pickle
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator

from tests.powercut.cuts import Task
from tests.powercut.remembered import learn, take_new
from tests.powercut.run import Result, finish, make_home
from tests.powercut.scenarios import Scenario


class Forks:
    """At most ``processes`` children at a time. Give ``fork`` to the home."""

    def __init__(self, tasks: Iterable[Task], processes: int) -> None:
        self._tasks: defaultdict[int, list[Task]] = defaultdict(list)
        for task in tasks:
            self._tasks[task.cuts[0].operation].append(task)
        self._processes = processes
        self._children: deque[tuple[Task, int, int]] = deque()
        self.results: list[Result] = []
        self.task: Task | None = None  # in a child: its own
        self._answer = -1
        self.stops_at_failure = False

    def fork(self, operation: int) -> Task | None:
        """In a child: the task that it is to carry out."""
        for task in self._tasks.pop(operation, ()):
            if self.stops_at_failure and any(result.failure for result in self.results):
                break
            while len(self._children) >= self._processes:
                self._collect()
            ours, theirs = os.pipe()
            child = os.fork()
            if not child:
                os.close(ours)
                take_new()  # the parent has those
                self.task, self._answer = task, theirs
                return task
            os.close(theirs)
            self._children.append((task, child, ours))
        return None

    def end_child(self, result: Result) -> None:
        """Tell the parent. Does not return, also where nobody reads any more (the parent's test ran out of time)."""
        code = 1
        try:
            with os.fdopen(self._answer, "wb") as pipe:
                pickle.dump((result, take_new()), pipe)
            code = 0
        finally:
            os._exit(code)

    def leave_child(self) -> None:
        """A child never goes on as its parent, whatever was raised in it; nothing in the parent."""
        if self.task is not None:
            os._exit(1)

    def end(self) -> None:
        """Wait for all children; what was never reached is a failure."""
        while self._children:
            self._collect()
        if not self.stops_at_failure:
            rest = [task for tasks in self._tasks.values() for task in tasks]
            self.results += [Result(task, failure="the walk never came to this operation") for task in rest]

    def _collect(self) -> None:
        task, child, pipe = self._children.popleft()
        with os.fdopen(pipe, "rb") as answer:
            octets = answer.read()
        _, status = os.waitpid(child, 0)
        if not octets:
            self.results.append(Result(task, failure=f"the process of this run ended with status {status}"))
            return
        result, computed = pickle.loads(octets)  # noqa: S301  # from our own child
        self.results.append(result)
        learn(computed)


def run_all(
    scenario: Scenario, tasks: Iterable[Task], processes: int = 1, *, stops_at_failure: bool = False
) -> Iterator[Result]:
    """The undisturbed walk's result first, then those of the tasks (with ``stops_at_failure``: as far as it got)."""
    forks = Forks(tasks, processes)
    forks.stops_at_failure = stops_at_failure
    whole = Task(scenario.name)
    home = make_home(scenario, whole, forks.fork)
    try:
        result = finish(scenario, home, Result(whole))
    except BaseException:
        forks.leave_child()
        raise
    if forks.task is not None:
        result.task = forks.task
        forks.end_child(result)
    forks.end()
    yield result
    yield from forks.results
