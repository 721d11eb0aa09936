"""Options and fixtures that more than one test file uses."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

# A loaded machine must not fail a test: no example has a deadline.
settings.register_profile("han-agent", deadline=None)
settings.load_profile("han-agent")

JUDGES = {  # program -> how a Debian machine gets it
    "tshark": "apt install tshark",
    "strace": "apt install strace",
    "sfdisk": "apt install fdisk",
    "mcopy": "apt install mtools",
    "mkfs.vfat": "apt install dosfstools",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--vectors",
        type=Path,
        default=Path(__file__).parents[2] / "shared" / "vectors",
        help="folder of published test vectors (rtds/, keystore/, ...); tests that need it say so when it is absent",
    )
    parser.addoption(
        "--whole-knife",
        action="store_true",
        help="kill the running device at every call of an update, and not at a selection (make powercut)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "whole_knife: of the series that only --whole-knife runs")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long series is there when it is asked for."""
    if not config.getoption("--whole-knife"):
        items[:] = [item for item in items if item.get_closest_marker("whole_knife") is None]


@pytest.fixture(scope="session")
def vectors(request: pytest.FixtureRequest) -> Path:
    """The folder of published vectors, which are not ours to redistribute."""
    folder: Path = request.config.getoption("--vectors")
    if not folder.is_dir():
        pytest.skip(f"published vectors not here: {folder} (name a folder with --vectors DIR)")
    return folder


def absent_judges() -> dict[str, str]:
    """What of another make would have judged us and is not here -> the remedy."""
    absent = {name: remedy for name, remedy in JUDGES.items() if shutil.which(name) is None}
    if os.geteuid() != 0:
        absent["root"] = "run the tests as root, for example with sudo"
    return absent


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Judges that are absent, and what nobody judged for it. Nothing when all are there."""
    absent = absent_judges()
    if not absent:
        return
    reasons = [str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", [])]
    terminalreporter.section("absent judges")
    for name, remedy in absent.items():
        count = sum(name in reason for reason in reasons)
        terminalreporter.line(f"{name}: {count} tests were skipped for it; {remedy}")
