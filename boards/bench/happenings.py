"""What the hub tells: plain values, each with the line that a person reads and the object that a script reads.

``line(happening)`` is one short sentence; ``as_object(happening)`` a JSON-ready dict whose ``event`` is the class name
in kebab-case and whose EUIs, codes and octets are strings.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from enum import Enum

from agent.events import format_eui


@dataclass(frozen=True, slots=True)
class NetworkUp:
    """The hub's network is on the air."""

    hub_eui: int
    pan_id: int
    channel: int
    restored: bool

    def line(self) -> str:
        verb = "restored" if self.restored else "formed"
        return f"hub {format_eui(self.hub_eui)} {verb} its network: channel {self.channel}, PAN 0x{self.pan_id:04X}"


@dataclass(frozen=True, slots=True)
class NetworkDown:
    """No network, or no radio. ``reason`` names it."""

    reason: str

    def line(self) -> str:
        return f"hub has no network: {self.reason}"


@dataclass(frozen=True, slots=True)
class JoinPermitted:
    """This device may join with its install code."""

    device_eui: int

    def line(self) -> str:
        return f"hub lets {format_eui(self.device_eui)} join with its install code"


@dataclass(frozen=True, slots=True)
class SwapPermitted:
    """The hub has taken another's place: this device may come with the hash of the link key that it had there."""

    device_eui: int

    def line(self) -> str:
        return f"hub lets {format_eui(self.device_eui)} come back with the hash of its old link key"


@dataclass(frozen=True, slots=True)
class DeviceSeen:
    """A device announced itself (joined, rejoined, restarted) or answered for the first time."""

    device_eui: int
    short_address: int
    known: bool  # stands in the hub's list
    sleeps: bool = False  # its receiver is off when idle

    def line(self) -> str:
        note = "" if self.known else ", which is not in the hub's list"
        sleeps = ", asleep between its polls" if self.sleeps else ""
        return f"device {format_eui(self.device_eui)} is on the network as 0x{self.short_address:04X}{sleeps}{note}"


@dataclass(frozen=True, slots=True)
class DeviceGone:
    """A device said that it leaves the network."""

    device_eui: int

    def line(self) -> str:
        return f"device {format_eui(self.device_eui)} has left the network"


@dataclass(frozen=True, slots=True)
class TimeAsked:
    """The device read the hub's clock: its proof of a live network."""

    device_eui: int

    def line(self) -> str:
        return f"device {format_eui(self.device_eui)} asked for the time"


@dataclass(frozen=True, slots=True)
class ImageOnOffer:
    """An image stands in the OTA server's table."""

    path: str
    manufacturer_code: int
    image_type: int
    file_version: int
    size_octets: int
    activation: str

    def line(self) -> str:
        return (
            f"hub offers version 0x{self.file_version:08X} ({self.size_octets} octets, manufacturer "
            f"0x{self.manufacturer_code:04X}, type 0x{self.image_type:04X}), activation {self.activation}"
        )


@dataclass(frozen=True, slots=True)
class DeviceNotified:
    """An Image Notify left for this device."""

    device_eui: int

    def line(self) -> str:
        return f"hub tells {format_eui(self.device_eui)} that there is an image"


@dataclass(frozen=True, slots=True)
class DeviceAwaited:
    """A request for a device that the hub cannot tell now; it hears of the image once it asks."""

    device_eui: int
    known: bool  # where it is

    def line(self) -> str:
        why = "has not made its key or told its endpoint" if self.known else "is nowhere that the hub knows of"
        return f"device {format_eui(self.device_eui)} {why}: the request waits for it"


@dataclass(frozen=True, slots=True)
class ImageQueried:
    """Query Next Image (or Device Specific File) and the status that it got."""

    device_eui: int
    running_version: int
    hardware_version: int | None
    status: int
    offered_version: int | None
    reason: str
    mismatched_version: int | None = None  # on offer for this device, but not for its hardware

    def line(self) -> str:
        answer = f"version 0x{self.offered_version:08X}" if self.offered_version is not None else self.reason
        return f"device {format_eui(self.device_eui)} runs 0x{self.running_version:08X} and asks for an image: {answer}"


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """Octets up to ``offset`` of ``size`` have been sent. ``resumed``: the session's first block was above 0."""

    device_eui: int
    offset: int
    size: int
    blocks: int
    repeats: int
    resumed: bool = False

    def line(self) -> str:
        percent = 100 * self.offset // self.size if self.size else 100
        note = " (resumed)" if self.resumed else ""
        return f"device {format_eui(self.device_eui)} has {self.offset} of {self.size} octets ({percent} %){note}"


@dataclass(frozen=True, slots=True)
class TransferEnded:
    """The device's Upgrade End Request and the hub's answer. ``upgrade_time`` None: a Default Response answered."""

    device_eui: int
    file_version: int
    status: int
    current_time: int | None
    upgrade_time: int | None
    blocks: int
    repeats: int
    seconds: float

    def line(self) -> str:
        who = f"device {format_eui(self.device_eui)}"
        if self.upgrade_time is None:
            return f"{who} gives version 0x{self.file_version:08X} back with status 0x{self.status:02X}"
        when = {0: "upgrade now", 0xFFFFFFFF: "wait for the command"}.get(self.upgrade_time)
        when = when or f"upgrade at UTCTime {self.upgrade_time}"
        return (
            f"{who} holds version 0x{self.file_version:08X}, {self.blocks} blocks in {self.seconds:.1f} s; hub: {when}"
        )


@dataclass(frozen=True, slots=True)
class TunnelOpened:
    """The device accepted a tunnel."""

    device_eui: int
    tunnel_id: int
    maximum_octets: int

    def line(self) -> str:
        size = f"at most {self.maximum_octets} octets a transfer"
        return f"tunnel {self.tunnel_id} to {format_eui(self.device_eui)} is open ({size})"


@dataclass(frozen=True, slots=True)
class TunnelNotOpened:
    """It did not; ``retry_in_s`` None when asking again is pointless."""

    device_eui: int
    reason: str
    retry_in_s: float | None

    def line(self) -> str:
        again = "" if self.retry_in_s is None else f"; again in {self.retry_in_s:g} s"
        return f"no tunnel to {format_eui(self.device_eui)}: {self.reason}{again}"


@dataclass(frozen=True, slots=True)
class TunnelClosed:
    """The tunnel is gone."""

    device_eui: int
    reason: str

    def line(self) -> str:
        return f"tunnel to {format_eui(self.device_eui)} is closed: {self.reason}"


@dataclass(frozen=True, slots=True)
class MessageUp:
    """A whole message came up the tunnel."""

    device_eui: int
    octets: bytes

    def line(self) -> str:
        return f"device {format_eui(self.device_eui)} sent a message of {len(self.octets)} octets"


@dataclass(frozen=True, slots=True)
class MessageDown:
    """A message for the device ended: every octet acknowledged, or not."""

    device_eui: int
    octets: bytes
    delivered: bool
    reason: str = ""

    def line(self) -> str:
        outcome = "has" if self.delivered else "has not got"
        note = f" ({self.reason})" if self.reason else ""
        return f"device {format_eui(self.device_eui)} {outcome} the message of {len(self.octets)} octets{note}"


@dataclass(frozen=True, slots=True)
class BadFrame:
    """Something from the air that makes no sense here; it changed nothing."""

    source_short: int
    cluster: int
    reason: str

    def line(self) -> str:
        return f"frame from 0x{self.source_short:04X} on cluster 0x{self.cluster:04X} dropped: {self.reason}"


def line(happening: object) -> str:
    """The sentence for a person."""
    return str(happening.line()) if hasattr(happening, "line") else str(happening)


def as_object(happening: object) -> dict[str, object]:
    """The dict for a script."""
    own = getattr(happening, "as_object", None)
    if own is not None:
        return dict(own())
    if not dataclasses.is_dataclass(happening) or isinstance(happening, type):
        raise TypeError(f"{happening!r} is not a happening")
    name = re.sub(r"(?<!^)(?=[A-Z])", "-", type(happening).__name__).lower()
    fields = {item.name: _plain(item.name, getattr(happening, item.name)) for item in dataclasses.fields(happening)}
    return {"event": name, **fields}


def _plain(name: str, value: object) -> object:
    """JSON-ready: EUIs as 16 digits, version, status and codes as 0x strings, octets as hex."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return _number(name, value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(key): _plain(str(key), item) for key, item in value.items()}
    return value


def _number(name: str, value: int) -> object:
    if name.endswith("eui"):
        return format_eui(value)
    if name.endswith("version") and "hardware" not in name:
        return f"0x{value:08X}"
    if name in ("status",):
        return f"0x{value:02X}"
    if name.endswith("_code") or name in ("pan_id", "short_address", "source_short", "cluster", "image_type"):
        return f"0x{value:04X}"
    return value
