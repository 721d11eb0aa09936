"""The laptop's stand-in for the systemd unit: keeps the first stage, and the image that it becomes, running.

::

    python -m boards.virtual.unit --config device.toml [-- arguments for the image]

As ``systemd/han-agent.service``: a new start at once when the image asks for one (exit code 75), after a growing pause
when it ended in any other way. Here, where a person looks on, exit codes that another start cannot mend end it; systemd
knows none. An image on trial has no such code, so that every trial comes to its end. SIGTERM and SIGINT go on to the
child; the child dies with the unit, whatever kills it. Standard output and error are the child's own. How a run ended
is left in ``$RUNTIME_DIRECTORY/service-result`` for the next first stage, in systemd's words.

The watchdog is systemd's as well (Type=notify): a child that does not say that it is ready in time, or is ready and
then gives no sign of life, is ended with SIGABRT, and with SIGKILL when it does not heed that.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from agent.boot.area import FileArea
from agent.boot.first_stage import SERVICE_RESULT_FILE
from agent.boot.places import Places
from agent.boot.store import BootStateStore
from agent.errors import EXIT_OK, EXIT_RESTART, EXIT_USAGE, HanError

PR_SET_PDEATHSIG = 1  # linux/prctl.h
NOTIFY_SOCKET = "notify"
NOTIFY_OCTETS = 4096
STOPPED = "stopped"
SILENCE = {"watchdog": "gives no sign of life", "timeout": "did not say in time that it is ready"}
FINAL_EXIT_CODES = {
    EXIT_OK: "the image ended by itself",
    EXIT_USAGE: "the configuration is wrong: correct it, then start the unit again",
}


@dataclass(frozen=True, slots=True)
class RestartLimits:
    """Our choices; the pause doubles from the first to the longest and is forgotten after a run of that length."""

    first_pause_s: float = 0.2
    longest_pause_s: float = 5.0
    starts: int = 20  # within window_s; more is a loop that a person must see
    window_s: float = 60.0
    stop_timeout_s: float = 10.0  # from SIGTERM, or the watchdog's SIGABRT, to SIGKILL
    ready_timeout_s: float = 120.0  # from the start to READY=1; the first opening of a radio takes its time
    watchdog_s: float = 90.0  # from READY=1, or a WATCHDOG=1, to the next


@dataclass(frozen=True, slots=True)
class Restart:
    """Start again after a pause."""

    after_s: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Do not start again; the unit ends with ``exit_code``."""

    exit_code: int
    message: str


class RestartPolicy:
    """Pure: told of starts and ends, says what follows. ``now`` in seconds, monotonic."""

    def __init__(self, limits: RestartLimits) -> None:
        self._limits = limits
        self._starts: deque[float] = deque()
        self._pause_s = limits.first_pause_s

    def note_start(self, now: float) -> None:
        self._starts.append(now)

    def after_end(self, exit_code: int, now: float, *, on_trial: bool = False) -> Restart | Stop:
        """``exit_code`` as subprocess gives it: negative for a signal. ``on_trial``: an image on trial ended."""
        if exit_code in FINAL_EXIT_CODES and not on_trial:
            return Stop(exit_code, FINAL_EXIT_CODES[exit_code])
        limits = self._limits
        ran_s = now - self._starts[-1] if self._starts else 0.0
        while self._starts and now - self._starts[0] > limits.window_s:
            self._starts.popleft()
        if len(self._starts) >= limits.starts:
            message = f"{len(self._starts)} starts within {limits.window_s:g} s: given up; see the log for the reason"
            return Stop(_shell_code(exit_code), message)
        if exit_code == EXIT_RESTART:
            self._pause_s = limits.first_pause_s
            return Restart(0.0)
        if ran_s >= limits.longest_pause_s:
            self._pause_s = limits.first_pause_s
        pause_s = self._pause_s
        self._pause_s = min(2 * pause_s, limits.longest_pause_s)
        return Restart(pause_s)


class Watchdog:
    """Pure: told what the child says, knows when it has been silent for too long."""

    def __init__(self, limits: RestartLimits, now: float) -> None:
        self._limits = limits
        self._ready = False
        self.deadline = now + limits.ready_timeout_s

    def hear(self, words: str, now: float) -> None:
        """One datagram of the child's."""
        lines = words.split("\n")
        if "READY=1" in lines:
            self._ready = True
        if self._ready and ("READY=1" in lines or "WATCHDOG=1" in lines):
            self.deadline = now + self._limits.watchdog_s

    def result(self, now: float) -> str:
        """``""`` while there is time; then how the run ended, in systemd's words."""
        if now < self.deadline:
            return ""
        return "watchdog" if self._ready else "timeout"


def service_result(exit_code: int) -> str:
    """systemd.exec(5), $SERVICE_RESULT: what is known of how the run ended."""
    if exit_code == EXIT_OK:
        return "success"
    return "signal" if exit_code < 0 else "exit-code"


class Unit:
    """Runs ``command`` again and again. Signals are waited for, so ``run`` belongs in the main thread."""

    def __init__(
        self, command: Sequence[str], limits: RestartLimits, on_trial: Callable[[], bool] = lambda: False
    ) -> None:
        """``on_trial`` says, when the child has ended, whether the boot state has a trial under way."""
        self._command = list(command)
        self._on_trial = on_trial
        self._limits = limits
        self._policy = RestartPolicy(limits)

    def run(self) -> int:
        """Until it is stopped or gives up. Returns the unit's exit code."""
        waited = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
        runtime = Path(tempfile.mkdtemp(prefix="han-agent-"))
        try:
            return self._run(runtime)
        finally:
            shutil.rmtree(runtime, ignore_errors=True)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _run(self, runtime: Path) -> int:
        while True:
            self._policy.note_start(time.monotonic())
            with closing(_listen(runtime / NOTIFY_SOCKET)) as ear:
                child = self._start(runtime)
                ended = self._wait_for_end(child, ear)
            if ended == STOPPED:
                return EXIT_OK
            result = ended or service_result(child.returncode)
            (runtime / SERVICE_RESULT_FILE).write_text(result, encoding="ascii")
            what = self._policy.after_end(child.returncode, time.monotonic(), on_trial=self._on_trial())
            if isinstance(what, Stop):
                say(what.message)
                return what.exit_code
            if child.returncode != EXIT_RESTART:
                say(f"the image {_ending(child.returncode)}; next start in {what.after_s:g} s")
            if self._pause(what.after_s):
                return EXIT_OK

    def _start(self, runtime: Path) -> subprocess.Popen[bytes]:
        libc = ctypes.CDLL(None)  # before the fork: the child only calls
        parent = os.getpid()

        def before_exec() -> None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)  # the unit was gone before the line above took hold
            signal.pthread_sigmask(signal.SIG_SETMASK, ())

        environment = {
            **{name: value for name, value in os.environ.items() if name != "WATCHDOG_PID"},
            "RUNTIME_DIRECTORY": str(runtime),
            "NOTIFY_SOCKET": str(runtime / NOTIFY_SOCKET),
            "WATCHDOG_USEC": str(int(self._limits.watchdog_s * 1e6)),
        }
        return subprocess.Popen(self._command, env=environment, preexec_fn=before_exec)  # noqa: PLW1509 (one thread)

    def _wait_for_end(self, child: subprocess.Popen[bytes], ear: socket.socket) -> str:
        """STOPPED when the unit was told to stop and the child ended for that; else the watchdog's result, or ""."""
        watchdog = Watchdog(self._limits, time.monotonic())
        look_s = min(self._limits.watchdog_s, self._limits.ready_timeout_s) / 4
        while child.poll() is None:
            got = signal.sigtimedwait({signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}, look_s)
            if got is not None and got.si_signo != signal.SIGCHLD:
                self._stop(child, got.si_signo)
                return STOPPED
            now = time.monotonic()
            for words in _heard(ear):
                watchdog.hear(words, now)
            if child.poll() is None and (result := watchdog.result(now)):
                say(f"the image {SILENCE[result]}: ended")
                self._stop(child, signal.SIGABRT)
                return result
        return ""

    def _stop(self, child: subprocess.Popen[bytes], number: int) -> None:
        child.send_signal(number)
        try:
            child.wait(self._limits.stop_timeout_s)
        except subprocess.TimeoutExpired:
            say(f"the image did not end within {self._limits.stop_timeout_s:g} s of being told to: killed")
            child.kill()
            child.wait()

    def _pause(self, after_s: float) -> bool:
        """True when the unit was told to stop meanwhile."""
        return signal.sigtimedwait({signal.SIGTERM, signal.SIGINT}, after_s) is not None


def _listen(path: Path) -> socket.socket:
    """A datagram socket for what the child has to say."""
    path.unlink(missing_ok=True)
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    ear.bind(str(path))
    return ear


def _heard(ear: socket.socket) -> Iterator[str]:
    while True:
        try:
            yield ear.recv(NOTIFY_OCTETS).decode(errors="replace")
        except BlockingIOError:
            return


def first_stage_command(config: Path, arguments: Sequence[str] = ()) -> list[str]:
    """What the unit runs: the first stage of the installed base."""
    command = [sys.executable, "-I", "-m", "agent.boot.first_stage", "--config", str(config)]
    return [*command, "--", *arguments] if arguments else command


def has_trial(config: Path) -> bool:
    """Whether the boot state has a trial under way; not when it cannot be read, for then no image has run."""
    try:
        with ExitStack() as stack:
            area = stack.enter_context(FileArea.open(Places.load(config).boot_state, read_only=True))
            state = BootStateStore(area).load().state
    except HanError:
        return False
    return state is not None and state.trial is not None


def run_device(config: Path, arguments: Sequence[str] = (), limits: RestartLimits | None = None) -> int:
    """The device of a configuration, until it is stopped or gives up. Returns the unit's exit code."""
    command = first_stage_command(config, arguments)
    return Unit(command, limits or RestartLimits(), lambda: has_trial(config)).run()


def say(text: str) -> None:
    """A line of the unit's own, between those of the child."""
    print(f"unit: {text}", file=sys.stderr, flush=True)  # noqa: T201


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="unit", description="Keep the device of a configuration running.")
    parser.add_argument("--config", type=Path, required=True, metavar="device.toml")
    parser.add_argument("--starts", type=int, default=20, help="starts within a minute, then give up")
    parser.add_argument("arguments", nargs="*", help="handed to the image")
    args = parser.parse_args(argv)
    return run_device(args.config, args.arguments, RestartLimits(starts=args.starts))


def _ending(exit_code: int) -> str:
    return f"was ended by signal {-exit_code}" if exit_code < 0 else f"ended with exit code {exit_code}"


def _shell_code(exit_code: int) -> int:
    return 128 - exit_code if exit_code < 0 else exit_code


if __name__ == "__main__":
    sys.exit(main())
