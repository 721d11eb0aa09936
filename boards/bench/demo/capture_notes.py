"""The note beside a demo's capture: the keys and the line that make tshark and Wireshark read everything in it."""

from __future__ import annotations

import shlex
from pathlib import Path

from agent.events import format_eui
from boards.virtual.air.capture import key_option
from boards.virtual.ncp.network_image import read_network
from boards.virtual.ncp.nv import NvMemory
from boards.virtual.stack.keys import install_code_link_key

README = "README.txt"


def link_keys(install_codes: dict[str, str], hub_memory: Path | None, hub_eui: int) -> dict[str, bytes]:
    """Name -> link key: those of the install codes (hex with its CRC, as printed on the label), and those that key
    establishment has made since, out of the NV memory of the hub's emulated chip."""
    keys = {
        f"install code of {name}": install_code_link_key(bytes.fromhex(code)) for name, code in install_codes.items()
    }
    network = read_network(NvMemory(hub_memory), hub_eui) if hub_memory is not None else None
    for entry in network.link_keys if network is not None else ():
        if entry.established:
            keys[f"key establishment with {format_eui(entry.eui)}"] = entry.key
    return keys


def write_notes(capture: Path, keys: dict[str, bytes]) -> Path:
    """README.txt in the capture's folder. The network key is in the Transport-Key, under the first link key."""
    arguments = " ".join(shlex.quote(argument) for argument in key_option(keys))
    listed = "\n".join(f"  {key.hex().upper()}   link key: {name}" for name, key in keys.items())
    path = capture.parent / README
    path.write_text(
        f"""\
{capture.name} holds every frame on the virtual air. From the first Transport-Key on it decrypts with

{listed}

In this folder the last line of this file shows it; add -Y to pick frames, for example
  -Y "zbee_aps.cmd.id == 0x05"     the Transport-Key, which brings the network key
  -Y "zbee_aps.cluster == 0x0019" the OTA cluster
  -Y "zbee_aps.cluster == 0x0704" the tunnel
  -Y gbcs_message                  the GBCS messages in it, taken apart

In Wireshark: Edit, Preferences, Protocols, ZigBee, Pre-configured Keys; byte order Normal.
These keys were made for this demo and are worth nothing elsewhere.

tshark -r {shlex.quote(capture.name)} {arguments}
""",
        encoding="utf-8",
    )
    return path
