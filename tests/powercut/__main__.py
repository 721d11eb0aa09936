"""``python -m tests.powercut``: the whole sweep, or one run again. See ``--help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator

from tests.powercut.cuts import FAULT_WAYS, WAYS, PlannedCut, Task
from tests.powercut.run import run
from tests.powercut.scenarios import BY_NAME, SCENARIOS
from tests.powercut.sweep import Row, sweep, sweep_faults

HEAD = (
    f"{'scenario':<24} {'operations':>10} {'runs':>6} {'cuts':>6} {'booted whole':>12} {'finished':>8} "
    f"{'octets twice':>12} {'alerts':>6} {'repeats':>7} {'failures':>8} {'seconds':>7}"
)
ALL_WAYS = (*WAYS, *FAULT_WAYS)


def main(argv: list[str] | None = None) -> int:
    """0: every end was an allowed one."""
    parser = argparse.ArgumentParser(prog="python -m tests.powercut", description=__doc__)
    parser.add_argument("--only", choices=sorted(BY_NAME), action="append", help="this scenario; may be given again")
    parser.add_argument("--cut", type=PlannedCut.parse, action="append", metavar="N:WAY",
                        help=f"one run with this cut (then this one ...); WAY is of {', '.join(ALL_WAYS)}")  # fmt: skip
    parser.add_argument("--faults", action="store_true", help="the medium fails instead of the power that goes")
    parser.add_argument("--seed", type=int, default=0, help="of the disk, for that one run")
    parser.add_argument("--pairs", type=int, default=200, help="runs with two or three cuts, for each scenario")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args(argv)
    scenarios = [BY_NAME[name] for name in args.only] if args.only else list(SCENARIOS)
    if args.cut:
        return _once(scenarios[0].name, args.cut, args.seed)
    rows = sweep_faults if args.faults else sweep
    return _all(list(_shown(rows(scenarios, args.pairs, args.processes))))


def _once(name: str, cuts: list[PlannedCut], seed: int) -> int:
    result = run(Task(name, tuple(cuts), seed))
    for number, where in enumerate(result.where, start=1):
        print(f"cut {number}: {where}")
    print(f"starts {result.whole_starts}, octets twice {result.octets_twice}, alerts {result.outcomes}")
    print(result.failure or "an allowed end")
    return bool(result.failure)


def _shown(rows: Iterable[Row]) -> Iterator[Row]:
    print(HEAD)
    print("(octets twice: those after the last checkpoint; below it, one is a failure)")
    for row in rows:
        print(_line(row), flush=True)
        for failure in row.failures:
            print(f"    {failure.failure}\n        {failure.task.command()}", flush=True)
        yield row


def _line(row: Row) -> str:
    return (
        f"{row.scenario:<24} {row.operations:>10} {row.runs:>6} {row.cuts:>6} {row.booted:>12} {row.finished:>8} "
        f"{row.twice:>12} {row.outcomes:>6} {row.repeats:>7} {len(row.failures):>8} {row.seconds:>7.0f}"
    )


def _all(rows: list[Row]) -> int:
    total = Row("all", sum(row.operations for row in rows))
    for row in rows:
        total.runs += row.runs
        total.cuts += row.cuts
        total.booted += row.booted
        total.finished += row.finished
        total.twice += row.twice
        total.outcomes += row.outcomes
        total.repeats += row.repeats
        total.seconds += row.seconds
        total.failures += row.failures
    print(_line(total))
    return bool(total.failures)


if __name__ == "__main__":
    sys.exit(main())
