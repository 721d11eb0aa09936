"""``make bench``: speed, CPU and memory, each beside what it can be compared with in the same run. See README.md."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from boot_factory import make_base
from rich.console import Console
from rich.table import Table

from tests.bench import chain, crypto, first_stage, sleepy, staging
from tests.bench.measure import BenchError, Row

PARTS: dict[str, Callable[[Path], list[Row]]] = {
    "first-stage": first_stage.measure,
    "crypto": lambda _base: crypto.measure(),
    "staging": lambda _base: staging.measure(),
    "chain": chain.measure,
    "sleepy": sleepy.measure,
}


def main(argv: list[str] | None = None) -> int:
    """1 when a part could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", choices=list(PARTS), action="append", help="this part; may be given again")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)
    rows: list[Row] = []
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="han-bench-") as folder:
        base = make_base(Path(folder))
        for name in args.only or PARTS:
            print(f"measuring: {name}", file=sys.stderr, flush=True)
            try:
                rows += PARTS[name](base)
            except (BenchError, AssertionError) as error:  # a lab says with an assertion what did not happen
                failures.append(f"{name}: {error}")
    if args.json:
        print(json.dumps({"rows": [row.as_object() for row in rows], "failures": failures}))
    else:
        _print_table(rows)
    for failure in failures:
        print(failure, file=sys.stderr)
    return bool(failures)


def _print_table(rows: list[Row]) -> None:
    table = Table("part", "what", "against", title="Measured in one run on this machine")
    for column in ("measured", "reference", "ratio"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        reference = "" if row.reference is None else _figure(row.reference, row.unit)
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        table.add_row(row.part, row.what, row.against, _figure(row.value, row.unit), reference, ratio)
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(table)


def _figure(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.4g} {unit}"


if __name__ == "__main__":
    sys.exit(main())
