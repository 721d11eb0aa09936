"""device.toml as it lies on the card: the text that was given, with [storage] and the base system put in."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec

from agent.errors import SettingsError
from agent.settings import Settings

CONFIG = "/etc/han-agent/device.toml"
KEYS = "/etc/han-agent/keys"
STATE = "/var/lib/han-agent"


def card_config(text: str, where: Path, base_abi: str, partuuids: tuple[str, str, str]) -> str:
    """Slots and boot state by ``partuuids``, database and pin memory on the data partition, keys in /etc.

    ``base_abi`` is that of the image; the file may leave it out or name the same. Raises SettingsError.
    """
    table = tomllib.loads(text)
    given = str(table.get("base_abi", ""))
    if given not in ("", base_abi):
        raise SettingsError(f"{where}: base_abi: {given!r}, but this image is {base_abi!r}: leave the key out")
    slot_a, slot_b, boot_state = (f'"PARTUUID={name}"' for name in partuuids)
    storage = "\n".join(
        [
            "[storage]",
            f"slot_a = {slot_a}",
            f"slot_b = {slot_b}",
            f"boot_state = {boot_state}",
            f'database = "{STATE}/agent.db"',
            f'keys = "{KEYS}"',
        ]
    )
    if "pins" not in table.get("board", {"pins": ""}):
        text = re.sub(r"^(\s*\[\s*board\s*\].*)$", rf'\1\npins = "{STATE}/pins"', text, flags=re.MULTILINE)
        table["board"] = {**table["board"], "pins": f"{STATE}/pins"}
    kept = re.sub(r"^base_abi\s*=.*\n", "", _without_storage(text), flags=re.MULTILINE)
    made = f'base_abi = "{base_abi}"\n{kept.strip()}\n\n{storage}\n'
    _check(table, made, where)
    return made


def _without_storage(text: str) -> str:
    lines = text.splitlines()
    kept, inside = [], False
    for line in lines:
        if re.match(r"\s*\[", line):
            inside = re.match(r"\s*\[\s*storage\s*\]", line) is not None
        if not inside:
            kept.append(line)
    return "\n".join(kept)


def _check(given: dict[str, object], made: str, where: Path) -> None:
    """Nothing but [storage] and base_abi may have changed: the text was edited, not parsed."""
    ours = ("storage", "base_abi")
    try:
        table = tomllib.loads(made)
        msgspec.convert(table, Settings, dec_hook=lambda _, value: Path(value))
    except (tomllib.TOMLDecodeError, msgspec.ValidationError):
        table = {}
    if {key: value for key, value in table.items() if key not in ours} != {
        key: value for key, value in given.items() if key not in ours
    }:
        raise SettingsError(
            f"{where}: write [storage] as a table of its own with one key a line, and base_abi alone on one"
        )
