"""A module as it crosses the air: without its docstrings and comments, every statement on its own line number.

The words stay in the repository; a traceback from a device names the lines of it.
"""

from __future__ import annotations

import ast
import io
import tokenize

from agent.errors import FormatError

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def strip_words(source: str, name: str) -> str:
    """``source`` with empty docstrings and no comments. Raises FormatError where it is no Python or would change."""
    source = io.StringIO(source, newline=None).read()
    try:
        tree = ast.parse(source)
        spans = _docstrings(tree) | _comments(source)
    except (SyntaxError, ValueError, tokenize.TokenError) as error:  # ValueError: a NUL octet
        raise FormatError(name, 0, f"is not Python: {error}") from None
    lines = io.StringIO(source).readlines()  # not splitlines: that breaks at more than Python's tokenizer does
    for (first, begin), (last, end), instead in sorted(spans, reverse=True):
        lines[first - 1 : last] = _replaced(lines[first - 1 : last], begin, end, instead)
    stripped = "".join(lines)
    if ast.dump(ast.parse(stripped)) != ast.dump(_undocumented(tree)):
        raise FormatError(name, 0, "has another meaning without its docstrings and comments")
    return stripped


Span = tuple[tuple[int, int], tuple[int, int], str]  # (line, column), the same of the end, what stands there instead


def _docstrings(tree: ast.Module) -> set[Span]:
    return {
        ((word.lineno, word.col_offset), (word.end_lineno or 0, word.end_col_offset or 0), "''")
        for word in _words(tree)
    }


def _words(tree: ast.Module) -> list[ast.Constant]:
    first = (node.body[0] for node in ast.walk(tree) if isinstance(node, DOCUMENTED) and node.body)
    return [
        statement.value
        for statement in first
        if isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    ]


def _comments(source: str) -> set[Span]:
    """Columns in octets, as those of ``ast`` are."""
    return {
        (_octets(token.line, token.start), _octets(token.line, token.end), "")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }


def _octets(line: str, position: tuple[int, int]) -> tuple[int, int]:
    return position[0], len(line[: position[1]].encode())


def _replaced(lines: list[str], begin: int, end: int, instead: str) -> list[str]:
    """The same number of lines, so that what follows keeps its number."""
    head, tail = lines[0].encode()[:begin].decode(), lines[-1].encode()[end:].decode()
    rest = ["\n"] * (len(lines) - 1)
    if not instead:
        return [f"{head.rstrip()}{tail}"]
    if rest and tail.strip():  # a statement behind a docstring's end
        return [f"{head}({instead}\n", *rest[1:], f"){tail}"]
    return [f"{head}{instead}{tail}", *rest]


def _undocumented(tree: ast.Module) -> ast.Module:
    for word in _words(tree):
        word.value, word.kind = "", None
    return tree
