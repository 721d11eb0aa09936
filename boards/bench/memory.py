"""What the hub remembers of its network over a restart, and with it the Trust Center's backup.

Who its members are, where they were last, and with whom it has a link key: not the key, which is in the chip, but its
hash, which is all that a replaced Trust Center needs (ZigBee PRO R23 4.7.4.1.2, ZigBee Smart Energy: Trust Center
swap-out). The hash then serves as a key, so the file is for its owner alone::

    {"hub_eui": "02DB...", "extended_pan_id": "02DB...", "channel": 20,
     "devices": [{"eui": "02DB...", "short_address": "0x28CE", "suite": 2, "key_hash": "..."}]}
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from agent.errors import SettingsError
from agent.events import NetworkInfo, format_eui
from agent.zigbee.cbke.mmo import mmo

KEY_OCTETS = 16


@dataclass(frozen=True, slots=True)
class Remembered:
    """One device. ``suite`` None: there is no link key with it.

    With a hash all the same, it is expected with that as its key: the hub has taken the place of another.
    """

    short: int | None = None
    suite: int | None = None
    key_hash: bytes = field(default=b"", repr=False)


@dataclass(slots=True)
class HubMemory:
    """``keep(text)`` stores it; it is called whenever something has changed, and only then."""

    keep: Callable[[str], None] = lambda _text: None
    hub_eui: int | None = None
    extended_pan_id: int | None = None
    channel: int | None = None
    devices: dict[int, Remembered] = field(default_factory=dict)

    def on_network(self, network: NetworkInfo, *, restored: bool) -> None:
        """The hub is on this network; what was known of another one, or of an earlier hub on it, is worth nothing."""
        same = restored and (self.hub_eui, self.extended_pan_id) == (network.eui, network.extended_pan_id)
        if not same:
            self.devices.clear()
        if not same or self.channel != network.channel:
            self.hub_eui, self.extended_pan_id, self.channel = network.eui, network.extended_pan_id, network.channel
            self._keep()

    def take_over(self, backup: HubMemory) -> None:
        """Of the Trust Center whose place this one takes: its devices are expected with the hash of their keys."""
        for eui, one in backup.devices.items():
            if one.key_hash:
                self.devices[eui] = Remembered(key_hash=one.key_hash)
        self._keep()

    def expected_key(self, eui: int) -> bytes:
        """The pre-shared key with which this device comes from an earlier Trust Center; empty: with none."""
        one = self.devices.get(eui, Remembered())
        return one.key_hash if one.suite is None else b""

    def holders(self) -> set[int]:
        """The devices with which there is a link key."""
        return {eui for eui, one in self.devices.items() if one.suite is not None}

    def address(self, eui: int, short: int | None) -> None:
        """Where it is now; None: it has left."""
        self._change(eui, short=short)

    def key_made(self, eui: int, suite: int, link_key: bytes) -> None:
        """A link key of key establishment; only its hash is remembered."""
        self._change(eui, suite=suite, key_hash=mmo(link_key))

    def key_gone(self, eui: int) -> None:
        """No link key with it any more."""
        self._change(eui, suite=None, key_hash=b"")

    def _change(self, eui: int, **values: Any) -> None:
        before = self.devices.get(eui, Remembered())
        after = replace(before, **values)
        if after != before:
            self.devices[eui] = after
            self._keep()

    def _keep(self) -> None:
        self.keep(self.text())

    def text(self) -> str:
        """As it is stored."""
        devices = [
            {
                "eui": format_eui(eui),
                "short_address": None if one.short is None else f"0x{one.short:04X}",
                "suite": one.suite,
                "key_hash": one.key_hash.hex(),
            }
            for eui, one in sorted(self.devices.items())
        ]
        fields = {
            "hub_eui": None if self.hub_eui is None else format_eui(self.hub_eui),
            "extended_pan_id": None if self.extended_pan_id is None else format_eui(self.extended_pan_id),
            "channel": self.channel,
            "devices": devices,
        }
        return json.dumps(fields, indent=1) + "\n"


def parse_memory(text: str, where: str) -> HubMemory:
    """What ``HubMemory.text`` made. Raises SettingsError."""
    try:
        fields = json.loads(text)
        memory = HubMemory(
            hub_eui=int(fields["hub_eui"], 16),
            extended_pan_id=int(fields["extended_pan_id"], 16),
            channel=int(fields["channel"]),
        )
        for one in fields["devices"]:
            memory.devices[int(one["eui"], 16)] = _remembered(one)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise SettingsError(f"{where}: no hub's memory of its network: restore a copy, or remove the file") from None
    return memory


def _remembered(one: dict[str, Any]) -> Remembered:
    short, suite, key_hash = one["short_address"], one["suite"], bytes.fromhex(one["key_hash"])
    if (suite is not None and not key_hash) or len(key_hash) not in (0, KEY_OCTETS):
        raise ValueError("key hash")
    return Remembered(None if short is None else int(short, 16), suite if suite is None else int(suite), key_hash)
