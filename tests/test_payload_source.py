"""Docstrings and comments stay at home; every statement keeps its meaning and its line."""

from __future__ import annotations

import ast

import pytest

from agent.errors import FormatError
from flash.image_build import default_source
from flash.payload_source import strip_words

SOURCE = '''"""A module.

Of three lines."""
from x import y  # why

TEXT = "# no comment"  # a comment with an ü in it
BLOCK = """
# no comment  
no docstring \u2028 either
"""


class Thing:
    """Only words."""

    async def act(self) -> str:
        """Words
        of two lines."""; return "ü"  # and why

    def answer(self):
        # first a comment
        f"""no docstring: {TEXT}"""
'''  # noqa: W291


def statement_lines(source: str) -> list[tuple[str, int]]:
    return [(type(node).__name__, node.lineno) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)]


def test_words_go_and_code_stays_where_it_is() -> None:
    stripped = strip_words(SOURCE, "thing.py")
    assert statement_lines(stripped) == statement_lines(SOURCE)
    assert stripped.splitlines()[0] == "''"
    for gone in ("Of three", "why", "comment with", "Only words", "of two lines", "first a comment"):
        assert gone not in stripped
    for kept in ("# no comment  \n", "no docstring \u2028 either", 'f"""no docstring: {TEXT}"""', 'return "ü"\n'):
        assert kept in stripped


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_other_line_ends_are_taken(newline: str) -> None:
    source = '"""Words."""\nx = 1  # one\n'.replace("\n", newline)
    assert strip_words(source, "x.py") == "''\nx = 1\n"


def test_every_file_of_the_repository_keeps_its_meaning_and_its_lines() -> None:
    paths = [path for room in ("agent", "boards", "flash") for path in sorted((default_source() / room).rglob("*.py"))]
    assert len(paths) > 100
    for path in paths:
        source = path.read_text(encoding="utf-8")
        assert statement_lines(strip_words(source, path.name)) == statement_lines(source)


@pytest.mark.parametrize("source", ["def f(:\n", "x = (\n", "a\x00b", '"""open\n'])
def test_what_is_no_python_is_refused(source: str) -> None:
    with pytest.raises(FormatError, match=r"broken\.py"):
        strip_words(source, "broken.py")
