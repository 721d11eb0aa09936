"""One device's folder, as ``han-agent flash provision`` makes it: device.toml, and the keys that it names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.errors import SettingsError
from agent.settings import Settings, load_device

CONFIG_NAME = "device.toml"
KEY_SUFFIXES = {".pem", ".key", ".txt"}


@dataclass(frozen=True, slots=True)
class DeviceFolder:
    """``files``: what goes into /etc/han-agent beside device.toml, by its path there; ``keys/`` is among it."""

    settings: Settings
    config: Path
    text: str
    files: dict[str, bytes]


def read_device(identity: Path) -> DeviceFolder:
    """A folder with a device.toml, or the file itself. Raises SettingsError."""
    config = identity / CONFIG_NAME if identity.is_dir() else identity
    if not config.is_file():
        raise SettingsError(f"--identity {identity}: no {CONFIG_NAME} in it; make one with han-agent flash provision")
    settings = load_device(config)
    folder = settings.storage.keys
    if settings.radio.certificates not in (None, folder):
        raise SettingsError(f"{config}: radio.certificates: a card has one folder of keys; put them into {folder}")
    paths = [path for path in folder.glob("*") if path.suffix in KEY_SUFFIXES]
    paths += folder.glob("trust/*.pem")
    keys = {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(paths) if path.is_file()}
    if not keys:
        raise SettingsError(f"{config}: storage.keys: no keys in {folder}; make them with han-agent flash provision")
    files = {f"keys/{name}": octets for name, octets in keys.items()} | _own_profile(settings, config)
    return DeviceFolder(settings, config, config.read_text(encoding="utf-8"), files)


def _own_profile(settings: Settings, config: Path) -> dict[str, bytes]:
    """A board profile of the user's own, which device.toml names beside itself."""
    profile = Path(settings.board.profile)
    if profile.suffix != ".toml":
        return {}
    if profile.parent != config.resolve().parent:
        raise SettingsError(f"{config}: board.profile: {profile} is not beside this file; copy it there")
    return {profile.name: profile.read_bytes()}
