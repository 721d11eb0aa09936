"""The note beside a demo's capture: the keys and the line that make tshark and Wireshark read everything in it."""

from __future__ import annotations

import shlex
from pathlib import Path

from boards.virtual.air.capture import key_option
from boards.virtual.stack.keys import install_code_link_key

README = "README.txt"


def link_keys(install_codes: dict[str, str]) -> dict[str, bytes]:
    """Name -> link key, of name -> install code (hex with its CRC, as printed on the label)."""
    return {name: install_code_link_key(bytes.fromhex(code)) for name, code in install_codes.items()}


def write_notes(capture: Path, install_codes: dict[str, str]) -> Path:
    """README.txt in the capture's folder. The network key is in the Transport-Key, under the link key."""
    keys = link_keys(install_codes)
    arguments = " ".join(shlex.quote(argument) for argument in key_option(keys))
    listed = "\n".join(f"  {key.hex().upper()}   link key of the install code of {name}" for name, key in keys.items())
    path = capture.parent / README
    path.write_text(
        f"""\
{capture.name} holds every frame on the virtual air. From the first Transport-Key on it decrypts with

{listed}

In this folder the last line of this file shows it; add -Y to pick frames, for example
  -Y "zbee_aps.cmd.id == 0x05"     the Transport-Key, which brings the network key
  -Y zbee_zcl_general.ota          the OTA cluster
  -Y "zbee_aps.cluster == 0x0704" the tunnel
  -Y gbcs_message                  the GBCS messages in it, taken apart

In Wireshark: Edit, Preferences, Protocols, ZigBee, Pre-configured Keys; byte order Normal.
These keys were made for this demo and are worth nothing elsewhere.

tshark -r {shlex.quote(capture.name)} {arguments}
""",
        encoding="utf-8",
    )
    return path
