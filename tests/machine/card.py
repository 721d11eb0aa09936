"""The machine's card, made as a lab makes it: ``han-agent flash sd`` on a system's image and a device's folder."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from boards.bench.demo.prepare import write_configs
from tests.debian_root import run
from tests.machine.base import MIB, System
from tests.system.lab import Lab

RADIO = "/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL_HAN-if00-port0"  # QEMU's serial bridge, as udev calls it
HEALTH_LIMIT_S = 900.0  # emulated processors take their time, and the trial's own limit is not what is tried here
CARD_OCTETS = 2048 * MIB  # a power of two, as QEMU's card asks


@dataclass(frozen=True, slots=True)
class Card:
    """``partuuids``: by what the partition is for, "" is the root's."""

    path: Path
    partuuids: dict[str, str]


def make_card(lab: Lab, system: System, wheels: Path) -> Card:
    """The agent installed out of a wheel of this checkout, version 1.0.0 in slot A, this device's identity."""
    lab.hub_toml = write_configs(lab.prepared, lab.addresses[0], {lab.device.role: RADIO})
    device = lab.device
    lab.change_config(device.config, (r"^\[health\]", f"[health]\nlimit_s = {HEALTH_LIMIT_S}"))
    _han_agent("flash", "wheelhouse", "--output", str(wheels), "--arch", "x86_64")
    path = lab.folder / "card.img"
    inputs = ["--image", str(system.image), "--identity", str(device.config.parent), "--wheelhouse", str(wheels)]
    inputs += ["--firmware", str(device.images.old), "--profile", "virtual", "--data-size", "64M"]
    facts = json.loads(_han_agent("flash", "sd", *inputs, "--output", str(path), "--json"))
    with path.open("r+b") as file:
        file.truncate(CARD_OCTETS)
    own = [one for one in facts["partitions"] if one["part"] or one["number"] == 1]
    return Card(path, {one["part"]: one["partuuid"] for one in own})


def _han_agent(*arguments: str) -> str:
    return run([sys.executable, "-m", "agent.cli", *arguments])
