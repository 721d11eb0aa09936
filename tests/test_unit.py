"""The stand-in for the systemd unit: its policy, and its hold on a real child."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_factory import steady

from agent.errors import EXIT_OK, EXIT_RESTART, EXIT_STORAGE, EXIT_USAGE
from boards.virtual.unit import (
    Restart,
    RestartLimits,
    RestartPolicy,
    Stop,
    Watchdog,
    first_stage_command,
    service_result,
)

ROOT = Path(__file__).parents[1]
LIMITS = RestartLimits(first_pause_s=1.0, longest_pause_s=5.0, starts=6, window_s=60.0)


def test_a_restart_that_the_image_asks_for_comes_at_once() -> None:
    policy = RestartPolicy(LIMITS)
    policy.note_start(0.0)
    assert policy.after_end(EXIT_RESTART, 1.0) == Restart(0.0)


def test_crashes_pause_longer_and_longer_up_to_a_bound() -> None:
    policy = RestartPolicy(RestartLimits(first_pause_s=1.0, longest_pause_s=5.0, starts=100))
    pauses = []
    for number in range(5):
        policy.note_start(number)
        pauses.append(policy.after_end(-signal.SIGKILL, number + 0.5))
    assert pauses == [Restart(1.0), Restart(2.0), Restart(4.0), Restart(5.0), Restart(5.0)]


def test_a_long_run_forgets_the_crashes_before() -> None:
    policy = RestartPolicy(LIMITS)
    policy.note_start(0.0)
    assert policy.after_end(1, 0.0) == Restart(1.0)
    policy.note_start(1.0)
    assert policy.after_end(1, 7.0) == Restart(1.0)


@pytest.mark.parametrize("code", [EXIT_OK, EXIT_USAGE])
def test_what_another_start_cannot_mend_stops(code: int) -> None:
    policy = RestartPolicy(LIMITS)
    policy.note_start(0.0)
    end = policy.after_end(code, 1.0)
    assert isinstance(end, Stop)
    assert end.exit_code == code
    assert policy.after_end(code, 1.0, on_trial=True) == Restart(1.0), "a trial must come to its end"


def test_a_storage_error_is_tried_again() -> None:
    policy = RestartPolicy(LIMITS)
    policy.note_start(0.0)
    assert policy.after_end(EXIT_STORAGE, 1.0) == Restart(1.0)


@steady
@given(st.lists(st.tuples(st.sampled_from([EXIT_RESTART, 1, -9]), st.floats(0, 5)), min_size=40, max_size=60))
def test_a_loop_of_starts_is_given_up_and_slow_ones_never(ends: list[tuple[int, float]]) -> None:
    """At most ``starts`` within the window, whatever ends them."""
    policy, now, starts = RestartPolicy(LIMITS), 0.0, []
    for code, ran_s in ends:
        starts.append(now)
        policy.note_start(now)
        now += ran_s
        what = policy.after_end(code, now)
        recent = [start for start in starts if now - start <= LIMITS.window_s]
        assert isinstance(what, Stop) == (len(recent) >= LIMITS.starts)
        if isinstance(what, Stop):
            assert "given up" in what.message
            return
        assert what.after_s <= LIMITS.longest_pause_s
        now += what.after_s


def test_results_are_in_systemd_s_words() -> None:
    assert [service_result(code) for code in (0, 75, -9)] == ["success", "exit-code", "signal"]


def test_the_command_is_the_first_stage_s() -> None:
    command = first_stage_command(Path("device.toml"), ["--x"])
    assert command == [
        sys.executable, "-I", "-m", "agent.boot.first_stage", "--config", "device.toml", "--", "--x",
    ]  # fmt: skip


RUN = """
import sys
from boards.virtual.unit import RestartLimits, Unit
limits = RestartLimits(
    first_pause_s=0.01, longest_pause_s=0.02, starts=4, stop_timeout_s=float(sys.argv[2]),
    ready_timeout_s=float(sys.argv[3]), watchdog_s=float(sys.argv[4]),
)
raise SystemExit(Unit([sys.executable, "-c", sys.argv[1]], limits).run())
"""
COUNT = """
import os, pathlib, sys
runtime = pathlib.Path(os.environ["RUNTIME_DIRECTORY"])
count = runtime / "count"
number = int(count.read_text()) if count.exists() else 0
count.write_text(str(number + 1))
result = runtime / "service-result"
print(number, result.read_text() if result.exists() else "none", runtime, flush=True)
"""


@contextmanager
def unit(
    child: str, stop_timeout_s: float = 10.0, ready_timeout_s: float = 60.0, watchdog_s: float = 60.0
) -> Iterator[subprocess.Popen[str]]:
    times = (str(seconds) for seconds in (stop_timeout_s, ready_timeout_s, watchdog_s))
    command = [sys.executable, "-c", RUN, child, *times]
    with (
        tempfile.TemporaryDirectory() as folder,  # a unit that is killed cannot tidy up
        subprocess.Popen(
            command,
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "TMPDIR": folder},
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_it_starts_again_and_tells_how_the_last_run_ended() -> None:
    ends = "\nif number == 0: raise SystemExit(75)\nif number == 1: os.kill(os.getpid(), 9)\nraise SystemExit(0)"
    with unit(COUNT + ends) as process:
        out, err = process.communicate(timeout=30)
    lines = [line.split() for line in out.splitlines()]
    assert [line[:2] for line in lines] == [["0", "none"], ["1", "exit-code"], ["2", "signal"]]
    assert process.returncode == 0
    assert err.splitlines() == [
        "unit: the image was ended by signal 9; next start in 0.01 s",
        "unit: the image ended by itself",
    ]
    assert not Path(lines[0][2]).exists(), "the runtime directory is left behind"


def test_it_gives_up_a_loop_with_a_message() -> None:
    with unit("raise SystemExit(75)") as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == 75
    assert "4 starts within 60 s: given up" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_goes_on_to_the_child_and_ends_the_unit(number: signal.Signals) -> None:
    child = (
        "import signal, sys\n"
        f"signal.signal({int(number)}, lambda *_: (print('told', flush=True), sys.exit(0)))\n"
        "print('up', flush=True)\nsignal.pause()"
    )
    with unit(child) as process:
        assert read_line(process) == "up"
        process.send_signal(number)
        assert read_line(process) == "told"
        assert process.wait(30) == EXIT_OK


def test_a_child_that_does_not_listen_is_killed() -> None:
    child = "import signal\nsignal.signal(15, signal.SIG_IGN)\nprint('up', flush=True)\nwhile True: signal.pause()"
    with unit(child, stop_timeout_s=0.1) as process:
        assert read_line(process) == "up"
        process.terminate()
        _, err = process.communicate(timeout=30)
    assert process.returncode == EXIT_OK
    assert "killed" in err


def test_the_child_dies_with_the_unit() -> None:
    with unit("import os, signal\nprint(os.getpid(), flush=True)\nsignal.pause()") as process:
        child = int(read_line(process))
        watch = os.pidfd_open(child)
        process.kill()
        process.wait(30)
        assert select.select([watch], [], [], 30)[0], "the child outlived the unit"
        os.close(watch)


# --- the watchdog -----------------------------------------------------------------------------------------------------

TIMES = RestartLimits(ready_timeout_s=100.0, watchdog_s=10.0)


def test_the_watchdog_counts_from_ready_and_every_sign_of_life() -> None:
    dog = Watchdog(TIMES, 0.0)
    dog.hear("WATCHDOG=1", 50.0)
    assert (dog.result(99.9), dog.result(100.0)) == ("", "timeout"), "a sign of life is not readiness"
    dog.hear("READY=1\nSTATUS=up", 60.0)
    assert (dog.result(69.9), dog.result(70.0)) == ("", "watchdog")
    dog.hear("WATCHDOG=1", 69.0)
    dog.hear("STATUS=WATCHDOG=1", 75.0)
    assert (dog.result(78.9), dog.result(79.0)) == ("", "watchdog")


ALIVE = """
import os, socket, signal, pathlib
runtime = pathlib.Path(os.environ["RUNTIME_DIRECTORY"])
result = runtime / "service-result"
if result.exists():
    print(result.read_text(), flush=True)
    raise SystemExit(0)
def say(words):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.sendto(words, os.environ["NOTIFY_SOCKET"])
"""


def test_a_child_that_falls_silent_is_started_anew_and_the_next_first_stage_knows_why() -> None:
    with unit(ALIVE + "say(b'READY=1')\nsignal.pause()", watchdog_s=0.2) as process:
        out, err = process.communicate(timeout=60)
    assert out == "watchdog\n"
    assert "unit: the image gives no sign of life: ended" in err
    assert "ended by signal 6" in err


def test_a_child_that_never_becomes_ready_is_started_anew() -> None:
    with unit(ALIVE + "signal.pause()", ready_timeout_s=0.2) as process:
        out, err = process.communicate(timeout=60)
    assert out == "timeout\n"
    assert "did not say in time that it is ready" in err


def test_a_hung_child_that_ignores_the_watchdogs_signal_is_killed() -> None:
    child = ALIVE + "signal.signal(signal.SIGABRT, signal.SIG_IGN)\nsay(b'READY=1')\nwhile True: signal.pause()"
    with unit(child, stop_timeout_s=0.1, watchdog_s=0.2) as process:
        out, err = process.communicate(timeout=60)
    assert out == "watchdog\n"
    assert "killed" in err


def test_a_child_that_gives_signs_of_life_is_left_alone() -> None:
    beat = """
import select
say(b"READY=1")
for _ in range(12):
    select.select([], [], [], 0.05)
    say(b"WATCHDOG=1")
print("done", flush=True)
raise SystemExit(0)
"""
    with unit(ALIVE + beat, watchdog_s=20.0) as process:
        out, _ = process.communicate(timeout=60)
    assert out == "done\n"
    assert process.returncode == EXIT_OK
