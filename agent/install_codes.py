"""Which install code the device joins with: the one given last, to ``han-agent join`` or in device.toml.

device.toml stays the user's file. What ``join`` was given, once it has worked, is kept in the journal, where a factory
reset leaves it, since it is what the device's label says. It goes before device.toml's code until that one is changed:
so beside it stands a digest of device.toml's code as it was then.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from agent.errors import FormatError, SettingsError
from agent.events import JoinNetwork, LogicalType
from agent.settings import RadioSettings
from agent.update.journal import Journal
from agent.zigbee.cbke.install_code import parse_install_code

LOGICAL_TYPES = {"router": LogicalType.ROUTER, "end-device": LogicalType.END_DEVICE}


def parse_code(text: str, where: str) -> bytes:
    """The code with its CRC, both right. Raises SettingsError without showing it."""
    try:
        return parse_install_code(text)
    except FormatError as error:
        raise SettingsError(f"{where}: {error.reason}; compare it with the label") from None


class InstallCodes:
    """See the module. Raises SettingsError for a code of device.toml that is none."""

    def __init__(self, radio: RadioSettings, journal: Journal) -> None:
        self._radio = radio
        self._journal = journal

    def request(self) -> JoinNetwork | None:
        """What to join with; None when no code is known."""
        channels = tuple(self._radio.channels)
        written = self._radio.install_code
        code = parse_code(written, "radio.install_code") if written else b""
        given = given_code(self._journal)
        if is_in_force(given, self._radio):
            code, channels = bytes.fromhex(given["install_code"]), tuple(given["channels"])
        return self._join(code, channels) if code else None

    def request_for(self, code: bytes, channels: tuple[int, ...]) -> JoinNetwork | None:
        """A join by this code on these channels; where one is empty, what is known otherwise. None: no code at all."""
        known = self.request()
        code = code or (known.install_code if known else b"")
        return self._join(code, channels or tuple(self._radio.channels)) if code else None

    def _join(self, code: bytes, channels: tuple[int, ...]) -> JoinNetwork:
        return JoinNetwork(code, channels, LOGICAL_TYPES[self._radio.logical_type])

    def keep(self, request: JoinNetwork) -> None:
        """It has worked. Raises StorageError."""
        radio = self._radio
        if request.install_code.hex() == radio.install_code.lower() and list(request.channels) == radio.channels:
            self._journal.set_given_code("")
            return
        fields = {
            "install_code": request.install_code.hex(),
            "channels": request.channels,
            "instead_of": _digest(self._radio.install_code),
        }
        self._journal.set_given_code(json.dumps(fields))


def given_code(journal: Journal) -> dict[str, Any]:
    """What ``keep`` wrote; empty when nothing, or when another version of this program wrote it."""
    text = journal.given_code()
    try:
        fields = json.loads(text) if text else {}
        return fields if {"install_code", "channels", "instead_of"} <= fields.keys() else {}
    except (ValueError, AttributeError):
        return {}


def is_in_force(given: dict[str, Any], radio: RadioSettings) -> bool:
    """Whether it goes before device.toml's code."""
    return given.get("instead_of") == _digest(radio.install_code)


def _digest(written: str) -> str:
    return hashlib.sha256(written.encode()).hexdigest()
