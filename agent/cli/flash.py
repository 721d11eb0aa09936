"""``han-agent flash``: one module a command."""

from __future__ import annotations

COMMANDS: dict[str, tuple[str, str]] = {
    "radio": ("agent.cli.flash_radio", "Program the CC2652 over its ROM serial bootloader."),
    "sd": ("agent.cli.flash_sd", "Make an SD card out of a Raspberry Pi OS image: slots, agent, identity, firmware."),
    "provision": ("agent.cli.flash_provision", "Identity, device.toml and label of one device, or of a list."),
    "wheelhouse": ("agent.cli.flash_wheelhouse", "Fetch the wheels that a card's agent is installed from."),
}
