"""Where slots, boot state and trusted keys are: the few keys of device.toml that the first stage needs.

Read with the standard library alone. The image itself checks the whole file, with types and unknown keys
(`agent.settings`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from agent.boot.area import FileArea, Medium
from agent.boot.state import Slot
from agent.boot.store import BootStateStore
from agent.errors import SettingsError, StorageError

SLOT_OCTETS = 16 * 1024 * 1024
BOOT_STATE_OCTETS = 1024 * 1024
DEFAULT_TRIES = 3
SLOTS, TRYBOOT, UBOOT = BACKENDS = ("slots", "tryboot", "uboot")


@dataclass(frozen=True, slots=True)
class BootChoice:
    """``[boot]``: who selects the slot (`agent.boot.backends`), and what a boot loader needs to be known of it."""

    backend: str = SLOTS
    autoboot: Path = Path("/boot/autoboot/autoboot.txt")  # tryboot: the first FAT partition, mounted where you like
    partition_a: int = 2
    partition_b: int = 3
    fw_env_config: Path | None = None  # uboot; None: /etc/fw_env.config


@dataclass(frozen=True, slots=True)
class Places:
    """Absolute paths, or ``PARTUUID=...`` for a partition, found when it is opened (`agent.boot.partitions`).

    A slot whose partition is gone must not keep the other one from running, so nothing is looked up here. ``trust``
    holds the manufacturers' public keys as ``*.pem``; ``tries`` are given to a trial.
    """

    slots: Mapping[Slot, Path]
    boot_state: Path
    trust: Path
    tries: int
    boot: BootChoice = BootChoice()

    @classmethod
    def load(cls, config: Path) -> Self:
        """Paths of ``config``, relative to its folder. Raises SettingsError naming file and key."""
        table = _read_toml(config)
        folder = config.resolve().parent
        return cls(
            slots={
                Slot.A: folder / _text(config, table, "slot_a"),
                Slot.B: folder / _text(config, table, "slot_b"),
            },
            boot_state=folder / _text(config, table, "boot_state"),
            trust=folder / _text(config, table, "keys") / "trust",
            tries=_tries(config, table),
            boot=_boot(config, _section(config, table, "boot")),
        )


@dataclass(frozen=True, slots=True)
class OpenPlaces:
    """The areas of one device, open. Use ``open_places``."""

    areas: Mapping[Slot, Medium]
    store: BootStateStore


class MissingArea:
    """A slot that cannot be opened: whatever is asked of it raises why, and the device lives on the other one."""

    size_octets = 0

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def read(self, offset: int, length: int) -> bytes:
        raise StorageError(self._reason)

    def read_medium(self, offset: int, length: int) -> bytes:
        raise StorageError(self._reason)

    def write(self, offset: int, data: bytes) -> None:
        raise StorageError(self._reason)

    def sync(self) -> None:
        raise StorageError(self._reason)

    def erase(self, offset: int, length: int) -> None:
        raise StorageError(self._reason)


def open_places(places: Places, stack: ExitStack, *, read_only: bool = False, all_slots: bool = True) -> OpenPlaces:
    """Open slots and boot state; ``stack`` closes them. Raises StorageError; for a slot only with ``all_slots``."""
    state_area = stack.enter_context(FileArea.open(places.boot_state, read_only=read_only))
    areas: dict[Slot, Medium] = {}
    for slot, path in places.slots.items():
        try:
            areas[slot] = stack.enter_context(FileArea.open(path, read_only=read_only))
        except StorageError as error:
            if all_slots:
                raise
            areas[slot] = MissingArea(str(error))
    return OpenPlaces(areas, BootStateStore(state_area, state_area.exclusive))


def _read_toml(config: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{config}: no such configuration file; name one with --config FILE") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{config}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{config}: not valid TOML: {error}") from None


def _section(config: Path, table: Mapping[str, object], name: str) -> Mapping[str, object]:
    section = table.get(name, {})
    if not isinstance(section, dict):
        raise SettingsError(f"{config}: {name}: must be a table, [{name}]")
    return section


def _text(config: Path, table: Mapping[str, object], key: str) -> str:
    value = _section(config, table, "storage").get(key)
    if value is None:
        raise SettingsError(f"{config}: missing key storage.{key}")
    if not isinstance(value, str) or not value or "\0" in value:
        raise SettingsError(f"{config}: storage.{key}: must be a path in quotes")
    return value


def _boot(config: Path, section: Mapping[str, object]) -> BootChoice:
    default = BootChoice()
    backend = section.get("backend", default.backend)
    if not isinstance(backend, str) or backend not in BACKENDS:
        raise SettingsError(f"{config}: boot.backend: {backend!r} is not one of {', '.join(BACKENDS)}")
    autoboot, environment = section.get("autoboot", str(default.autoboot)), section.get("fw_env_config")
    partitions = section.get("partition_a", default.partition_a), section.get("partition_b", default.partition_b)
    if not isinstance(autoboot, str) or not isinstance(environment, str | None):
        raise SettingsError(f"{config}: boot.autoboot and boot.fw_env_config: must be paths in quotes")
    if not all(type(number) is int and 1 <= number <= 9 for number in partitions) or len(set(partitions)) == 1:
        raise SettingsError(f"{config}: boot.partition_a, boot.partition_b: must be two different numbers from 1 to 9")
    return BootChoice(backend, Path(autoboot), *partitions, None if environment is None else Path(environment))  # type: ignore[arg-type]  # checked above


def _tries(config: Path, table: Mapping[str, object]) -> int:
    value = _section(config, table, "health").get("tries", DEFAULT_TRIES)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 255:
        raise SettingsError(f"{config}: health.tries: must be a number from 1 to 255")
    return value
