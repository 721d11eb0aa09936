"""The files of systemd/ and where they go in the image; compare the table in systemd/README.md."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path

from agent.errors import SettingsError, StorageError
from flash.image_build import default_source
from flash.sd.ext4 import Edit, File, Folder, Link, folders_above

SYSTEM = "/etc/systemd/system"
PLACES = {
    "han-agent.service": f"{SYSTEM}/han-agent.service",
    "han-agent-health.target": f"{SYSTEM}/han-agent-health.target",
    "han-agent.sysusers": "/usr/lib/sysusers.d/han-agent.conf",
    "han-agent.tmpfiles": "/usr/lib/tmpfiles.d/han-agent.conf",
    "han-agent.rules": "/usr/lib/udev/rules.d/60-han-agent.rules",
}
WATCHDOG = ("han-agent-watchdog.conf", "/etc/systemd/system.conf.d/han-agent-watchdog.conf")
NETWORK = ("han-agent-network-radio.conf", f"{SYSTEM}/han-agent.service.d/network-radio.conf")
ENABLED = f"{SYSTEM}/multi-user.target.wants/han-agent.service"


def units_folder() -> Path:
    """Of a checkout, or of the installed package. Raises StorageError."""
    source = default_source()
    for folder in (source / "systemd", source / "flash" / "systemd"):
        if (folder / "han-agent.service").is_file():
            return folder
    raise StorageError(f"{source}: the units (systemd/) are not beside the code; install han-agent from its wheel")


def unit_edits(folder: Path, radio_path: str, *, watchdog: bool) -> Iterator[Edit]:
    """Everything of systemd/ that this device needs, and the service enabled."""
    for name, place in (*PLACES.items(), *((WATCHDOG,) if watchdog else ())):
        yield from folders_above(place)
        yield File(place, (folder / name).read_bytes())
    host = re.match(r"(?:socket|tcp)://\[?([^\]/]+?)\]?:\d+$", radio_path)
    if host:
        name, place = NETWORK
        yield from folders_above(place)
        yield File(place, (folder / name).read_text(encoding="utf-8").replace("localhost", _address(host[1])).encode())
    yield Folder(f"{SYSTEM}/multi-user.target.wants")
    yield Link(ENABLED, f"{SYSTEM}/han-agent.service")


def _address(host: str) -> str:
    if host == "localhost":
        return host
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise SettingsError(
            f"radio.path: {host!r}: the service may reach one address only; name the radio's IP address, not its name"
        ) from None
