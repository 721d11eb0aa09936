"""What a card is made of, and one number over all of it."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from agent.errors import SettingsError
from boards.raspberry_pi.profile import Profile
from flash.sd.device import DeviceFolder
from flash.sd.environment import check_wheelhouse
from flash.sd.layout import Table, Wishes
from flash.sd.units import units_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """``identity``: a device's folder. ``arch``: "" asks the image. ``wishes``: seed "" takes the device's EUI."""

    image: Path
    profile: Profile
    identity: Path
    firmware: Path
    wheelhouse: Path
    wishes: Wishes = field(default_factory=lambda: Wishes(""))
    arch: str = ""


def check_profile(inputs: Inputs, device: DeviceFolder) -> None:
    """Whether board, device, boot loader and table go together. Raises SettingsError."""
    profile, named = inputs.profile, device.settings.board.profile
    if named and not named.endswith(".toml") and named != profile.name:
        raise SettingsError(f"{device.config}: board.profile: {named!r}, but --profile is {profile.name!r}")
    backend = device.settings.boot.backend
    if backend != "slots":
        raise SettingsError(
            f"{device.config}: boot.backend: {backend!r}: a card is for the first stage's slots; leave [boot] out, "
            "and set that boot loader up by hand (agent/boot/README.md)"
        )
    if inputs.wishes.table is Table.GPT and not profile.gpt:
        raise SettingsError(f"--table gpt: a {profile.title} does not boot from it; leave --table out")


def digest_inputs(inputs: Inputs, device: DeviceFolder, firmware: bytes) -> str:
    """Over everything that the card is made of; the wheels are the agent, the tools of this machine are not in it."""
    wishes = inputs.wishes
    parts: dict[str, object] = {
        "image": _hash_file(inputs.image),
        "device": device.text,
        "files": {name: hashlib.sha256(octets).hexdigest() for name, octets in device.files.items()},
        "firmware": hashlib.sha256(firmware).hexdigest(),
        "wheels": {wheel.name: _hash_file(wheel) for wheel in check_wheelhouse(inputs.wheelhouse)},
        "units": {path.name: _hash_file(path) for path in sorted(units_folder().glob("han-agent*"))},
        "profile": repr(inputs.profile),
        "wishes": [wishes.seed, wishes.table and wishes.table.value, wishes.root_octets, wishes.data_octets],
        "arch": inputs.arch,
        "date": os.environ.get("SOURCE_DATE_EPOCH", ""),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read_firmware(path: Path) -> bytes:
    """Raises SettingsError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"--firmware {path}: cannot be read: {error.strerror}") from None


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}; name another file") from None
