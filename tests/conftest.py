"""Options and fixtures that more than one test file uses."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# A loaded machine must not fail a test: no example has a deadline.
settings.register_profile("han-agent", deadline=None)
settings.load_profile("han-agent")


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
