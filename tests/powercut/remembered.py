"""What is dear in a start, and the same in every one: key files, and the products of key establishment's curves.

The files do not lie on the disk that is cut, and the products are pure (seeds repeat the ephemeral keys too); what a
sweep tests is neither. What a forked run had to compute goes back to its parent (``take_new``, ``learn``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partialmethod
from pathlib import Path
from typing import Any
from unittest.mock import patch

from agent.gbcs.keystore import KeyStore
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


_load_keys: Callable[[Path], KeyStore] = cache(KeyStore.load)  # nobody adds to a store that was loaded


@contextmanager
def starts_made_cheap() -> Iterator[None]:
    """Inside, nothing is computed a second time."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(KeyStore, "load", _load_keys))
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
