"""The curves' products are remembered: every start loads the same certificates, and seeds repeat ephemeral keys.

They are pure, and the dearest thing in a start; what a sweep tests is not them. What a forked run had to compute goes
back to its parent (``take_new``, ``learn``), so that the next one need not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partialmethod
from typing import Any
from unittest.mock import patch

from agent.zigbee.cbke.curves import Curve

METHODS = ("_multiply_tau", "_lift")

Call = tuple[str, str, tuple[Any, ...]]

_known: dict[Call, Any] = {}
_new: dict[Call, Any] = {}


def _remembered(curve: Curve, name: str, compute: Callable[..., Any], *arguments: Any) -> Any:
    call = (name, curve.name, arguments)
    if call not in _known:
        _known[call] = _new[call] = compute(curve, *arguments)
    return _known[call]


@contextmanager
def points_remembered() -> Iterator[None]:
    """Inside, nothing is computed a second time."""
    with ExitStack() as stack:
        for name in METHODS:
            method = partialmethod(_remembered, name, getattr(Curve, name))
            stack.enter_context(patch.object(Curve, name, method))
        yield


def take_new() -> dict[Call, Any]:
    """What was computed since the last call."""
    taken = dict(_new)
    _new.clear()
    return taken


def learn(computed: dict[Call, Any]) -> None:
    """What another process computed."""
    _known.update(computed)
