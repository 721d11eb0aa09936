"""The hub's ``status`` for a person: the network, each device with its transfer, what is on offer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Values = Mapping[str, Any]


def render(status: Values) -> str:
    """Of the answer to the control socket's ``status``."""
    octets = {image["file_version"]: image["octets"] for image in status["images"]}
    lines = [_network(status["network"])]
    for device in status["devices"]:
        lines += ["", *_device(device, octets)]
    for image in status["images"]:
        lines += ["", *_image(image)]
    return "\n".join(lines)


def _network(network: Values | None) -> str:
    if network is None:
        return "hub     has no network: its log says why (the radio, or it is about to form one)"
    return f"hub     {network['hub_eui']}: channel {network['channel']}, PAN {network['pan_id']}"


def _device(device: Values, octets: Mapping[str, int]) -> list[str]:
    words = [device["role"].upper() if device["listed"] else "not in hub.toml", _place(device)]
    if device["sleeps"]:
        words.append("sleepy")
    if device["kept_out"]:
        words.append("kept out until permit-device")
    lines = [f"device  {device['eui']}  {', '.join(words)}", f"        tunnel {device['tunnel']}"]
    transfer = device["transfer"]
    return lines if transfer is None else [*lines, f"        {_transfer(transfer, octets)}"]


def _place(device: Values) -> str:
    return "not on the network" if device["short_address"] is None else f"at {device['short_address']}"


def _transfer(transfer: Values, octets: Mapping[str, int]) -> str:
    whole, version = octets.get(transfer["file_version"]), transfer["file_version"]
    of = f" of {whole}" if whole else ""
    words = [f"{transfer['blocks']} blocks", f"{transfer['repeats']} repeated"]
    if transfer["waits"]:
        words.append(f"{transfer['waits']} times told to wait")
    if transfer["resumed"]:
        words.append("resumed")
    state = "ended" if transfer["ended"] else "under way"
    return f"transfer of version {version} {state}: {transfer['reached']}{of} octets, {', '.join(words)}"


def _image(image: Values) -> list[str]:
    whom = ", ".join(image["devices"]) or "every device"
    kind = f"version {image['file_version']}, {image['octets']} octets, activation {image['activation']}"
    return [f"image   {image['name']}", f"        {kind}, for {whom}"]
