"""Copies of this source for images: every octet of an image crosses the air, and a test has little patience."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]


def copy_without_words(folder: Path) -> None:
    """``agent`` and ``boards`` without comments and docstrings, which no statement of theirs reads."""
    for name in ("agent", "boards"):
        ignored = shutil.ignore_patterns("__pycache__", "bench")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for path in folder.rglob("*.py"):
        path.write_text(_without_docstrings(path.read_text(encoding="utf-8")), encoding="utf-8")


def _without_docstrings(text: str) -> str:
    tree = ast.parse(text)
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree) + "\n"
