"""How the machine came up, out of the files of a Raspberry Pi and of the kernel's watchdogs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_factory import steady

from agent.boot.reset_cause import BOOTLOADER, WATCHDOGS, ResetCause, read_reset_cause


def put(root: Path, path: Path, octets: bytes) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(octets)


def test_a_machine_that_tells_nothing_is_unknown(tmp_path: Path) -> None:
    assert read_reset_cause(tmp_path) is ResetCause.UNKNOWN


@pytest.mark.parametrize("name", ["rsts", "pm_rsts"])
@pytest.mark.parametrize(
    ("register", "cause"),
    [
        (0x0000_1000, ResetCause.POWER),  # the plug
        (0x0000_0020, ResetCause.RESET),  # reboot, panic or watchdog: all three go through the watchdog
        (0x0000_0021, ResetCause.RESET),  # reboot into partition 1
        (0x0000_1020, ResetCause.RESET),
        (0x0000_0200, ResetCause.RESET),
        (0x0000_0002, ResetCause.RESET),
        (0x0000_0555, ResetCause.UNKNOWN),  # only a boot partition (63: halt)
        (0x0000_0000, ResetCause.UNKNOWN),
    ],
)
def test_the_register_of_a_raspberry_pi(tmp_path: Path, name: str, register: int, cause: ResetCause) -> None:
    put(tmp_path, BOOTLOADER / name, register.to_bytes(4, "big"))
    assert read_reset_cause(tmp_path) is cause


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (b"32\n", ResetCause.RESET),
        (b"0x20\n", ResetCause.RESET),
        (b"0\n", ResetCause.UNKNOWN),
        (b"1\n", ResetCause.UNKNOWN),
        (b"", ResetCause.UNKNOWN),
        (b"\xff", ResetCause.UNKNOWN),
    ],
)
def test_a_watchdog_that_reset_the_machine_says_so(tmp_path: Path, said: bytes, cause: ResetCause) -> None:
    put(tmp_path, WATCHDOGS / "watchdog0" / "bootstatus", said)
    assert read_reset_cause(tmp_path) is cause


def test_the_register_counts_more_than_a_watchdog_beside_it(tmp_path: Path) -> None:
    put(tmp_path, WATCHDOGS / "watchdog1" / "bootstatus", b"32\n")
    put(tmp_path, BOOTLOADER / "rsts", (0x1000).to_bytes(4, "big"))
    assert read_reset_cause(tmp_path) is ResetCause.POWER


@steady
@given(register=st.binary(max_size=8), said=st.binary(max_size=8))
def test_whatever_stands_there_is_one_of_the_three(
    tmp_path_factory: pytest.TempPathFactory, register: bytes, said: bytes
) -> None:
    root = tmp_path_factory.mktemp("root")
    put(root, BOOTLOADER / "rsts", register)
    put(root, WATCHDOGS / "watchdog0" / "bootstatus", said)
    assert read_reset_cause(root) in ResetCause
