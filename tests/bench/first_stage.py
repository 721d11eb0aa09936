"""The first stage: CPU from the start of its process up to the exec of a verified slot, with the agent itself in it."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from statistics import median

from boards.bench.demo.prepare import MARKER, prepare, write_configs
from tests.bench.measure import Row, cost_of

RUNS = 15
ALLOWED_S = 0.300
PROBE = """
import json, os, resource, runpy, sys
def tell(program, arguments, environment):
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"cpu_s": used.ru_utime + used.ru_stime, "arguments": arguments}), flush=True)
    os._exit(0)
os.execve = tell
sys.argv = ["first_stage", "--config", sys.argv[1]]
runpy.run_module("agent.boot.first_stage", run_name="__main__")
"""


def measure(base: Path) -> list[Row]:
    """CPU seconds, the median of several starts. ``base`` is the Python of a base system."""
    folder = Path(tempfile.mkdtemp(prefix="han-"))
    try:
        (folder / MARKER).touch()
        prepared = prepare(folder, ("ppmid",))
        write_configs(prepared, "tcp://127.0.0.1:1", {"ppmid": "tcp://127.0.0.1:2"})
        config = prepared.devices[0].config
        octets = prepared.devices[0].images.old.stat().st_size
        started = median(_first_stage_s(base, config) for _ in range(RUNS))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    bare = median(cost_of([base, "-I", "-c", "pass"]).cpu_s for _ in range(RUNS))
    what = f"CPU to the exec, image of {octets // 1024} KiB"
    return [
        Row("first stage", what, started * 1000, "ms", bare * 1000, "python -I -c pass"),
        Row("first stage", what, started * 1000, "ms", ALLOWED_S * 1000, "the 300 ms allowed"),
    ]


def _first_stage_s(base: Path, config: Path) -> float:
    """Everything as it runs on a device, but that exec tells the CPU used so far instead."""
    done = cost_of([base, "-I", "-c", PROBE, config], {"RUNTIME_DIRECTORY": ""})
    return float(json.loads(done.output.strip().splitlines()[-1])["cpu_s"])
