"""The note beside a capture: the keys and the line that make tshark and Wireshark read everything in it."""

from __future__ import annotations

import shlex
from pathlib import Path

from agent.errors import StorageError
from boards.virtual.air.capture import key_option


def notes_path(capture: Path) -> Path:
    """``air.txt`` beside ``air.pcapng``."""
    return capture.with_suffix(".txt")


def write_notes(capture: Path, keys: dict[str, bytes]) -> None:
    """``keys``: what each key is -> its 16 octets. The last line is tshark's. Raises StorageError."""
    arguments = " ".join(shlex.quote(argument) for argument in key_option(keys))
    listed = "\n".join(f"  {key.hex().upper()}   {label}" for label, key in keys.items())
    path = notes_path(capture)
    try:
        path.write_text(_text(shlex.quote(capture.name), listed, arguments), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path}: cannot write the capture's keys: {error.strerror}") from None


def _text(name: str, listed: str, arguments: str) -> str:
    return f"""\
{name} holds every frame on the virtual air. It decrypts with

{listed}

In this folder the last line of this file shows it; add -Y to pick frames, for example
  -Y "zbee_aps.cmd.id == 0x05"     the Transport-Key, which brings the network key
  -Y "zbee_aps.cluster == 0x0019"  the OTA cluster
  -Y "zbee_aps.cluster == 0x0704"  the tunnel
  -Y gbcs_message                  the GBCS messages in it, taken apart

In Wireshark: Edit, Preferences, Protocols, ZigBee, Pre-configured Keys; byte order Normal.
These keys belong to the emulated network and are worth nothing elsewhere.

tshark -r {name} {arguments}
"""
