"""The command line itself: its version, its help, and what it makes of words that it does not know."""

from __future__ import annotations

import importlib.metadata
import json
import tomllib
from pathlib import Path

import pytest

from agent import cli
from agent.errors import EXIT_USAGE

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def test_it_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"han-agent {tomllib.loads(PYPROJECT.read_text())['project']['version']}\n"


def test_it_runs_where_it_is_not_installed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert "not installed" in capsys.readouterr().out


@pytest.mark.parametrize("group", sorted(cli.GROUPS))
def test_every_group_has_help(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main([group, "--help"])
    out = capsys.readouterr().out
    assert out.startswith(f"usage: han-agent {group}")
    assert " ".join(out.split()).find(cli.GROUPS[group][1].split(",")[0]) > 0


@pytest.mark.parametrize("words", [[], ["no-such"], ["--no-such"]])
def test_other_words_are_a_usage_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=str(EXIT_USAGE)):
        cli.main(words)
    assert "usage: han-agent" in capsys.readouterr().err


def test_an_error_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--config", str(tmp_path / "device.toml")]) == EXIT_USAGE
    err = capsys.readouterr().err
    assert err.startswith("han-agent: ")
    assert err.count("\n") == 1
    assert "device.toml" in err


def test_with_json_an_error_is_an_object_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--config", str(tmp_path / "device.toml"), "--json"]) == EXIT_USAGE
    told = capsys.readouterr()
    error = json.loads(told.out)
    assert (error["ok"], error["exit_code"]) == (False, EXIT_USAGE)
    assert told.err == f"han-agent: {error['error']}\n"
