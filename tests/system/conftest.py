"""Fixtures of the tests that run the whole programs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from boot_factory import make_base

from boards.bench.demo.prepare import MARKER
from tests.system.lab import Lab
from tests.system.sources import copy_without_words


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a base system in which this source is installed, whatever runs the tests."""
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This source without its comments and docstrings: the same code in half the blocks."""
    folder = tmp_path_factory.mktemp("source")
    copy_without_words(folder)
    return folder


@pytest.fixture
def workdir() -> Iterator[Path]:
    """A new folder with a short path: a control socket's may have 107 octets only."""
    folder = Path(tempfile.mkdtemp(prefix="han-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def lab(workdir: Path, base: Path, source: Path) -> Iterator[Lab]:
    """No log of any program in it may hold a traceback, whatever the test did to them."""
    (workdir / MARKER).touch()
    lab = Lab(workdir, base, source)
    try:
        yield lab
    finally:
        lab.close()
    assert "Traceback" not in lab.logs(), lab.logs()[-8000:]
