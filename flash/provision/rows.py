"""The list of devices: a CSV file with a heading, every problem of it told with its line before anything is made.

::

    eui,role,hardware_version,install_code,profile,radio,firmware
    02DB000000000001,ppmid
    02DB000000000002,hcalcs,2,83FED3407A939723A5C639B26916D505C3B5,raspberry-pi-4

``eui`` and ``role`` are needed; a column that is left out, or a field that is empty, takes the default. An install
code has its CRC, as on a label; without one it is drawn. ``profile`` is the machine; ``led`` (yes, no): whether a
PPMID's LED is wired. Lines that are empty or begin with # are skipped.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from agent.errors import FormatError, SettingsError
from agent.settings import check_role
from agent.zigbee.cbke.install_code import parse_install_code
from boards.bench.settings import parse_eui
from boards.raspberry_pi.profile import load_profile
from flash.identity import ACB, SUPPLIER

NEEDED = ("eui", "role")
OPTIONAL = (
    "hardware_version",
    "manufacturer_code",
    "image_type",
    "install_code",
    "profile",
    "led",
    "radio",
    "firmware",
)
LARGEST_U16 = 0xFFFF

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What a row does not say. ``radio``: the link that systemd/han-agent.rules gives to a known stick."""

    hardware_version: int = 1
    manufacturer_code: int = 0x1234
    image_type: int | None = None  # None: by role
    profile: str = ""
    led: bool = False
    radio: str = "/dev/han-radio"
    firmware: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One device to make. ``line``: where it stands in the file, 0 when it came from options."""

    line: int
    eui: int
    role: str
    hardware_version: int
    manufacturer_code: int
    image_type: int
    install_code: bytes | None = field(default=None, repr=False)
    profile: str
    led: bool
    radio: str
    firmware: Path | None

    @property
    def has_pins(self) -> bool:
        """Whether the device touches pins: an HCALCS has its relay, a PPMID its LED where one is wired."""
        return self.role == "hcalcs" or self.led


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a person has to put right."""

    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}" if self.line else self.text


class ListError(SettingsError):
    """The list has problems; nothing was made."""

    def __init__(self, where: str, problems: list[Problem]) -> None:
        count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "".join(f"\n  {problem}" for problem in problems)
        super().__init__(f"{where}: {count}, nothing was made:{lines}")
        self.problems = problems


IMAGE_TYPES = {"ppmid": 0x0001, "hcalcs": 0x0002}  # our choice: the manufacturer's to choose


def read_list(path: Path, defaults: Defaults) -> list[Row]:
    """Raises ListError with everything that is wrong, SettingsError when the file cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingsError(f"--csv {path}: cannot be read: {error.strerror}; name another file") from None
    except UnicodeDecodeError:
        raise SettingsError(f"--csv {path}: not UTF-8; save it as CSV UTF-8") from None
    return parse_list(text, str(path), defaults, path.parent)


def parse_list(text: str, where: str, defaults: Defaults, folder: Path) -> list[Row]:
    """``folder``: what paths in the list are relative to. Raises ListError."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if _counts(line)]
    if not lines:
        raise ListError(where, [Problem(0, f"no heading; the first line names the columns: {','.join(NEEDED)},...")])
    (heading_line, heading), *rest = lines
    columns = [name.strip().lower() for name in _split(heading)]
    problems = [Problem(heading_line, text) for text in _check_heading(columns, heading)]
    if problems:
        raise ListError(where, problems)
    rows, every = [], []
    for number, line in rest:
        values = _split(line)
        fields = dict(zip(columns, values, strict=False))
        row, found = make_row(fields, number, defaults, folder)
        if len(values) > len(columns):
            found = [Problem(number, f"{len(values)} fields, but the heading has {len(columns)}")]
        problems += found
        rows += [row] if row else []
        every.append((number, fields))
    problems += _repeated(every)
    if not rest:
        problems.append(Problem(heading_line, "no device follows the heading"))
    if problems:
        raise ListError(where, sorted(problems, key=lambda problem: problem.line))
    return rows


def make_row(
    fields: Mapping[str, str], line: int, defaults: Defaults, folder: Path
) -> tuple[Row | None, list[Problem]]:
    """One row out of its fields, and all that is wrong with it."""
    take = _Taking(fields, line)
    for name in NEEDED:
        if not fields.get(name):
            take.problems.append(Problem(line, f"{name}: is missing"))
    eui = take("eui", _eui, 0)
    role = take("role", _role, "")
    image_type = IMAGE_TYPES.get(role, 0) if defaults.image_type is None else defaults.image_type
    row = Row(
        line=line,
        eui=eui,
        role=role,
        hardware_version=take("hardware_version", partial(_u16, "hardware_version"), defaults.hardware_version),
        manufacturer_code=take("manufacturer_code", partial(_u16, "manufacturer_code"), defaults.manufacturer_code),
        image_type=take("image_type", partial(_u16, "image_type"), image_type),
        install_code=take("install_code", parse_install_code, None),
        profile=take("profile", _profile, defaults.profile),
        led=take("led", _yes, defaults.led),
        radio=fields.get("radio") or defaults.radio,
        firmware=take("firmware", lambda text: _file(folder / text), defaults.firmware),
    )
    if row.has_pins and not row.profile:
        what = "an HCALCS has a relay" if role == "hcalcs" else "an LED is on a pin"
        take.problems.append(Problem(line, f"profile: {what}; name the board, as in raspberry-pi-4"))
    return (None if take.problems else row), take.problems


class _Taking:
    """Fields one after the other, and what is wrong with any of them."""

    def __init__(self, fields: Mapping[str, str], line: int) -> None:
        self._fields = fields
        self._line = line
        self.problems: list[Problem] = []

    def __call__(self, name: str, convert: Callable[[str], T], default: T) -> T:
        try:
            return convert(self._fields[name]) if self._fields.get(name) else default
        except FormatError as error:
            self.problems.append(Problem(self._line, f"{name}: {error.reason}; compare it with the label"))
        except SettingsError as error:
            self.problems.append(Problem(self._line, str(error)))
        return default


def _eui(text: str) -> int:
    eui = parse_eui(text, "eui")
    if eui in (ACB, SUPPLIER):
        raise SettingsError(f"eui: {eui:016X} is the access control broker's or the supplier's; give another")
    return eui


def _role(text: str) -> str:
    check_role(text.lower(), "role")
    return text.lower()


def _profile(text: str) -> str:
    return load_profile(text).name


def _yes(text: str) -> bool:
    if text.lower() not in ("yes", "no"):
        raise SettingsError(f"led: {text!r} is not yes or no")
    return text.lower() == "yes"


def _file(path: Path) -> Path:
    if not path.is_file():
        raise SettingsError(f"firmware: {path}: no such file")
    return path


def _u16(name: str, text: str) -> int:
    try:
        number = int(text, 0)
    except ValueError:
        number = -1
    if not 0 <= number <= LARGEST_U16:
        raise SettingsError(f"{name}: {text!r} is no number from 0 to 65535 (or 0xFFFF)")
    return number


def _check_heading(columns: list[str], heading: str) -> Iterator[str]:
    known = (*NEEDED, *OPTIONAL)
    if ";" in heading and "," not in heading:
        yield "columns are separated by commas, not semicolons"
        return
    for name in columns:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            yield f"unknown column {name!r}" + (
                f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"
            )
        if columns.count(name) > 1:
            yield f"column {name!r} is there twice"
    yield from (f"column {name!r} is missing" for name in NEEDED if name not in columns)


def _repeated(every: list[tuple[int, dict[str, str]]]) -> Iterator[Problem]:
    """An EUI, or an install code, that two devices have; also of lines that have other problems."""
    for name in ("eui", "install_code"):
        first: dict[str, int] = {}
        for line, fields in every:
            digits = re.sub(r"[ :\t-]", "", fields.get(name, "")).upper()
            if digits and first.setdefault(digits, line) != line:
                yield Problem(
                    line, f"{name}: {fields[name]} is in line {first[digits]} already; each device has its own"
                )


def _counts(line: str) -> bool:
    return bool(line.strip(" ,\t")) and not line.lstrip().startswith("#")


def _split(line: str) -> list[str]:
    return [value.strip() for value in next(csv.reader(io.StringIO(line)), [])]
