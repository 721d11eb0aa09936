"""Make the devices of a list. Each is whole once its device.toml is there; those that are there are kept.

::

    DIR/                  as flash.identity lays it: devices, head-end, manufacturer, ca, install-codes
    DIR/devices/<eui>/    keys, and device.toml: what flash sd --identity takes
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from agent.errors import FormatError, StorageError
from agent.zigbee.cbke.install_code import parse_install_code
from flash.identity import SUPPLIER, new_identities
from flash.key_folder import write_file
from flash.provision.rows import ListError, Problem, Row

CONFIG_NAME = "device.toml"
FORMS = {"ppmid": "gb-ppmid", "hcalcs": "gb-hcalcs"}


@dataclass(frozen=True, slots=True)
class Made:
    """One device. ``kept``: it was there already."""

    row: Row
    folder: Path
    install_code: bytes = field(repr=False)
    kept: bool

    @property
    def eui(self) -> str:
        return f"{self.row.eui:016X}"


def make_devices(rows: list[Row], directory: Path, where: str, now: datetime) -> list[Made]:
    """Raises ListError before anything is made, StorageError."""
    problems = [problem for row in rows for problem in _compare(row, directory)]
    if problems:
        raise ListError(where, problems)
    return [_make(row, directory, now) for row in rows]


def device_folder(directory: Path, eui: int) -> Path:
    """Where flash.identity puts a device's keys."""
    return directory / "devices" / f"{eui:016x}"


def _make(row: Row, directory: Path, now: datetime) -> Made:
    folder = device_folder(directory, row.eui)
    code = _read_code(directory, row.eui)
    if (folder / CONFIG_NAME).exists() and code is not None:
        return Made(row, folder, code, kept=True)
    if code is None:
        code = new_identities(directory, row.eui, row.role, now, row.install_code).install_code
    write_file(folder / CONFIG_NAME, device_toml(row, code).encode(), 0o600)
    return Made(row, folder, code, kept=False)


def device_toml(row: Row, install_code: bytes) -> str:
    """Runs as it is beside the keys; flash sd puts partitions in the place of the files."""
    board = f'\n[board]\nprofile = "{row.profile}"\n' if row.has_pins else ""
    return f"""\
# Made by han-agent flash provision. On a card flash sd puts its partitions into [storage].
role = "{row.role}"
eui = "{row.eui:016X}"

[radio]
path = {_quoted(row.radio)}
install_code = "{install_code.hex().upper()}"

[image]
manufacturer_code = 0x{row.manufacturer_code:04X}
image_type = 0x{row.image_type:04X}
hardware_version = {row.hardware_version}
form = "{FORMS[row.role]}"

[storage]
slot_a = "slots/a.bin"
slot_b = "slots/b.bin"
boot_state = "slots/boot-state.bin"
database = "agent.db"
keys = "."
{board}"""


def hub_toml(made: list[Made]) -> str:
    """[[devices]] of the bench's hub.toml."""
    head = "# Made by han-agent flash provision: into the bench's hub.toml.\n"
    block = '\n[[devices]]\neui = "{}"\nrole = "{}"\ninstall_code = "{}"\n'
    return head + "".join(block.format(one.eui, one.row.role, one.install_code.hex().upper()) for one in made)


def _compare(row: Row, directory: Path) -> Iterator[Problem]:
    """What speaks against going on where a device of this EUI is there already, or half of one."""
    folder = device_folder(directory, row.eui)
    try:
        code = _read_code(directory, row.eui)
    except StorageError as error:
        yield Problem(row.line, str(error))
        return
    if code is not None:
        yield from (Problem(row.line, text) for text in _compare_whole(row, folder, code))
    elif folder.exists():
        remedy = f"remove it, {directory / 'head-end'}/{row.eui:016x}-*, and run this again"
        yield Problem(row.line, f"{folder}: half a device, left by a run that broke off; {remedy}")


def _compare_whole(row: Row, folder: Path, code: bytes) -> Iterator[str]:
    if row.install_code not in (None, code):
        yield f"install_code: {folder} is there already, with another one; nothing is overwritten"
    if row.role == "hcalcs" and not (folder / f"{SUPPLIER:016x}-ds.pem").exists():
        yield f"role: {folder} is there already, made for a PPMID: it has no supplier's certificate"
    path = folder / CONFIG_NAME
    if path.exists() and _facts(path.read_text(encoding="utf-8")) != _facts(device_toml(row, code)):
        yield f"{path}: is there already and says otherwise; remove it, or correct this line"


def _facts(text: str) -> object:
    """What the list decides; the rest of a device.toml is its owner's to change."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
    return [table.get("role"), table.get("eui"), table.get("image"), table.get("board", {}).get("profile")]


def _read_code(directory: Path, eui: int) -> bytes | None:
    """The install code of a device whose keys are whole: its file is the last that is written. Raises StorageError."""
    path = directory / "install-codes" / f"{eui:016x}.txt"
    try:
        return parse_install_code(path.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, FormatError) as error:
        raise StorageError(f"{path}: cannot be read: {error}; correct it or remove the device") from None


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
