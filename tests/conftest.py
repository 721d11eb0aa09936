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

JUDGES = {"tshark": "apt install tshark", "strace": "apt install strace"}  # program -> how a Debian machine gets it


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--vectors",
        type=Path,
        default=Path(__file__).parents[2] / "shared" / "vectors",
        help="folder of published test vectors (rtds/, keystore/, ...); tests that need it say so when it is absent",
    )


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
