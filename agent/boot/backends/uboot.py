"""U-Boot's boot count: the environment through ``fw_printenv`` and ``fw_setenv`` of libubootenv. Untested on metal.

Variables, all decimal: ``upgrade_available`` (1 while a trial is on; U-Boot counts ``bootcount`` only then),
``bootcount``, ``bootlimit`` (tries), ``han_slot`` (``a`` or ``b``, our choice of name). The boot script starts
``han_slot`` and hands ``han.slot=a`` or ``b`` to the kernel; ``altbootcmd``, which U-Boot runs once ``bootcount`` is
above ``bootlimit``, starts the *other* one and saves nothing, so that what happened can be told afterwards::

    setenv bootcmd    'setenv s ${han_slot}; run han_boot'
    setenv altbootcmd 'if test ${han_slot} = a; then setenv s b; else setenv s a; fi; run han_boot'
    setenv han_boot   'setenv bootargs ... han.slot=${s}; ...'

A change of several variables is one script for ``fw_setenv``: libubootenv writes the other copy of a redundant
environment in one go. An environment with one copy is refused by nobody here and does not survive a power cut.

Sources: U-Boot documentation, "Boot Count Limit"; libubootenv, fw_setenv(1).
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from agent.boot.area import explain
from agent.boot.backends.loader import LoaderLook
from agent.boot.refusal import BootRefusedError
from agent.boot.state import Slot
from agent.errors import StorageError

TOOL_LIMIT_S = 30.0
MAXIMUM_DIGITS = 9
CMDLINE = Path("/proc/cmdline")
CMDLINE_KEY = "han.slot"
VALUES = {Slot.A: "a", Slot.B: "b"}


class Environment(Protocol):
    """U-Boot's variables. Methods raise StorageError."""

    def read(self) -> Mapping[str, str]:
        """All of them."""

    def write(self, changes: Mapping[str, str]) -> None:
        """All changes or none, durable on return."""


class ToolEnvironment:
    """Through the tools of libubootenv, found on PATH. ``config`` None: their own default, /etc/fw_env.config."""

    def __init__(self, config: Path | None = None) -> None:
        self._options = ["-c", str(config)] if config is not None else []

    def read(self) -> Mapping[str, str]:
        lines = _run("fw_printenv", *self._options).splitlines()
        return {name: value for name, mark, value in (line.partition("=") for line in lines) if mark}

    def write(self, changes: Mapping[str, str]) -> None:
        with tempfile.NamedTemporaryFile("w", prefix="han-agent-", suffix=".env", encoding="ascii") as script:
            script.writelines(f"{name}={value}\n" for name, value in changes.items())
            script.flush()
            _run("fw_setenv", *self._options, "-s", script.name)


class Uboot:
    """An `agent.boot.backends.loader.Loader`."""

    counts_tries = True

    def __init__(self, environment: Environment, cmdline: Path = CMDLINE) -> None:
        self._environment = environment
        self._cmdline = cmdline

    def check(self) -> None:
        missing = {"han_slot", "altbootcmd"} - set(self._environment.read())
        if missing:
            raise BootRefusedError(
                f"U-Boot's environment has no {' and no '.join(sorted(missing))}: set up its boot script"
            )

    def look(self) -> LoaderLook:
        variables = self._environment.read()
        if not _number(variables, "upgrade_available"):
            return LoaderLook(self._running(), committed=_slot(variables.get("han_slot", ""), "han_slot"), armed=False)
        left = max(_number(variables, "bootlimit") - _number(variables, "bootcount"), 0)
        return LoaderLook(self._running(), committed=None, armed=left > 0, tries_left=left)

    def arm(self, slot: Slot, tries: int) -> None:
        self._write({"han_slot": VALUES[slot], "bootlimit": str(tries), "bootcount": "0", "upgrade_available": "1"})

    def commit(self, slot: Slot) -> None:
        self._write({"han_slot": VALUES[slot], "bootcount": "0", "upgrade_available": "0"})

    def restart_arguments(self) -> tuple[str, ...]:
        return ()

    def _write(self, changes: Mapping[str, str]) -> None:
        if not _differs(self._environment.read(), changes):
            return  # the environment is flash in places: do not wear it
        self._environment.write(changes)
        left = _differs(self._environment.read(), changes)
        if left:
            raise StorageError(f"U-Boot's environment did not take {', '.join(left)}: see /etc/fw_env.config")

    def _running(self) -> Slot:
        try:
            words = self._cmdline.read_text(encoding="utf-8", errors="replace").split()
        except OSError as error:
            raise explain(error, self._cmdline, "read") from None
        values = [word.partition("=")[2] for word in words if word.startswith(f"{CMDLINE_KEY}=")]
        if not values:
            raise StorageError(f"{self._cmdline}: no {CMDLINE_KEY}=: U-Boot's boot script must hand it to the kernel")
        return _slot(values[-1], CMDLINE_KEY)


def _differs(variables: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    return [name for name, value in wanted.items() if variables.get(name) != value]


def _slot(value: str, name: str) -> Slot:
    for slot, text in VALUES.items():
        if value == text:
            return slot
    raise StorageError(f"{name}: {value!r} is neither a nor b")


def _number(variables: Mapping[str, str], name: str) -> int:
    value = variables.get(name, "0")
    if not (value.isascii() and value.isdigit() and len(value) <= MAXIMUM_DIGITS):
        raise StorageError(f"U-Boot's environment: {name}={value!r} is no number")
    return int(value)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TOOL_LIMIT_S)
    except FileNotFoundError:
        raise StorageError(f"{command[0]}: not installed: install libubootenv-tool") from None
    except (OSError, UnicodeDecodeError, subprocess.TimeoutExpired) as error:
        raise StorageError(f"{command[0]}: {error}") from None
    if done.returncode:
        raise StorageError(f"{command[0]}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout
