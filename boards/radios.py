"""CC2652 radios on USB: which stick is which, from what its descriptors say."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Sequence
from functools import cache
from typing import Literal

import msgspec

from agent.settings import load


class Radio(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One kind of stick. ``usb``: vendor and product id."""

    name: str
    usb: tuple[int, int]
    match: str
    enter: Literal["dtr-rts", "already"]

    def fits(self, usb: tuple[int, int], words: str) -> bool:
        """Whether a port with these ids and these words is one."""
        return usb == self.usb and re.search(self.match, words, re.IGNORECASE) is not None


class _Radios(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    radio: list[Radio]


@cache
def known_radios() -> Sequence[Radio]:
    """Those of ``radios.toml``."""
    with importlib.resources.as_file(importlib.resources.files("boards") / "radios.toml") as path:
        return tuple(load(path, _Radios).radio)


def recognise(usb: tuple[int, int], words: str) -> Radio | None:
    """The radio that calls itself ``words``; None when it is none that is known."""
    return next((radio for radio in known_radios() if radio.fits(usb, words)), None)
