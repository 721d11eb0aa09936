"""hub.toml: the Communications Hub and head end of a bench. Every limit is named here with its unit.

Values are *our choice* unless a source is named beside them. Paths are relative to the file's own folder.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

import msgspec

from agent.errors import FormatError, SettingsError
from agent.settings import IMAGE_FORMS, check_key_establishment, check_role, load
from agent.zigbee.cbke.install_code import parse_install_code
from boards.bench.faults import FaultPlan

ZIGBEE_EPOCH = 946_684_800  # 2000-01-01T00:00:00Z as a POSIX time; ZigBee UTCTime counts from here
UTC_UNKNOWN = 0xFFFFFFFF


class ActivationKind(Enum):
    """How the Upgrade End Response answers a device that has the whole image (ZCL 11.13.9.4)."""

    NOW = "now"
    AT = "at"  # a UTCTime
    AFTER = "after"  # seconds from the device's request
    WAIT = "wait"  # upgrade time 0xFFFFFFFF: an HCALCS holds the image for a CS06 command


class Activation(msgspec.Struct, frozen=True):
    """``value`` is a UTCTime (AT) or seconds (AFTER), else 0."""

    kind: ActivationKind
    value: int = 0

    def __str__(self) -> str:
        if self.kind is ActivationKind.AT:
            return datetime.fromtimestamp(self.value + ZIGBEE_EPOCH, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return f"+{self.value}" if self.kind is ActivationKind.AFTER else self.kind.value


class HubRadioSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the coordinator's radio is and the network that it forms."""

    path: str
    channel: int = 20
    pan_id: int | None = None
    endpoint: int = 1
    profile: int = 0x0109
    baudrate: int = 115200
    key_establishment: str = "suite-2"  # "suite-1", "both"; "off": no keys, and no APS security


class DeviceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A device that may join. ``install_code`` is hex with its CRC."""

    eui: str
    install_code: str = msgspec.field(default="")
    role: str = "ppmid"
    tunnel: bool = True
    authorised: bool = True  # False: the OTA server answers NOT_AUTHORIZED


class ImageOffer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An OTA file to serve. ``activate``: "" (by form), "now", "wait", "+SECONDS" or 2026-01-31T02:00:00Z."""

    path: Path
    form: str = "gb-ppmid"
    activate: str = ""
    devices: list[str] = msgspec.field(default_factory=list)  # empty: every device that it fits
    also_older: bool = False  # offer it to a device that runs this version or a later one
    as_is: bool = False  # offer it though its body is not in its form: to see how a device takes that


class ServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The OTA server's pace and bounds."""

    block_octets: int = 64  # the most one response carries; the device asks for less
    minimum_block_period_ms: int = (
        0  # above 0: devices that can are told to keep this distance, the others are held to it
    )
    page_requests: bool = True
    block_aps_ack: bool = False  # an acknowledged block takes about half as long again; the device asks again anyway
    notify: bool = True  # send an Image Notify when an image is offered and when a device comes
    notify_interval_s: float = 0.0  # above 0: repeat it to devices that have not asked


class TunnelClientSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The GB tunnel as the hub opens it (clause 8 of the facts: protocol, manufacturer, sizes and the 3 minutes)."""

    protocol: int = 6
    manufacturer_code: int = 0xFFFF
    maximum_incoming_octets: int = 1500
    busy_retry_s: float = 180.0
    response_timeout_s: float = 10.0
    retry_s: float = 30.0  # after silence or an undelivered message
    partial_message_s: float = 60.0  # a message whose rest does not come is dropped


class HeadEndSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who the head end plays. An empty EUI takes the only party with that role in the keys folder."""

    acb: str = ""
    supplier: str = ""
    hub: str = ""  # the EUI under which the hub signs its CCS08; empty: that of its radio


class HubSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """hub.toml"""

    radio: HubRadioSettings
    state: Path = Path("hub-state")  # log, control socket, network.json (a secret: see boards/bench/memory.py)
    keys: Path = Path("keys")
    devices: list[DeviceSettings] = msgspec.field(default_factory=list)
    images: list[ImageOffer] = msgspec.field(default_factory=list)
    ota: ServerSettings = ServerSettings()
    tunnel: TunnelClientSettings = TunnelClientSettings()
    head_end: HeadEndSettings = HeadEndSettings()
    faults: FaultPlan = FaultPlan()

    @property
    def control_socket(self) -> Path:
        """Where ``han-agent head-end`` finds the running hub."""
        return self.state / "control.sock"

    @property
    def memory(self) -> Path:
        """What the hub remembers of its network; a copy of it is the Trust Center's backup."""
        return self.state / "network.json"


def load_hub(path: Path) -> HubSettings:
    """hub.toml with absolute paths and what types cannot say checked. Raises SettingsError."""
    settings = load(path, HubSettings)
    _check_radio(settings, path)
    for number, device in enumerate(settings.devices):
        _check_device(device, f"{path}: devices[{number}]")
    euis = [device.eui.upper() for device in settings.devices]
    for eui in euis:
        if euis.count(eui) > 1:
            raise SettingsError(f"{path}: devices: {eui} is there twice; keep one")
    for party in (settings.head_end.acb, settings.head_end.supplier, settings.head_end.hub):
        if party:
            parse_eui(party, f"{path}: head_end")
    folder = path.resolve().parent
    images = [_check_image(image, folder, f"{path}: images[{n}]") for n, image in enumerate(settings.images)]
    faults = settings.faults
    if faults.foreign_file is not None:
        faults = msgspec.structs.replace(faults, foreign_file=folder / faults.foreign_file)
    folders = {"state": folder / settings.state, "keys": folder / settings.keys}
    return msgspec.structs.replace(settings, images=images, faults=faults, **folders)


def parse_eui(text: str, where: str) -> int:
    """16 hex digits, colons or hyphens allowed between octets. Raises SettingsError."""
    digits = text.replace(":", "").replace("-", "")
    if not re.fullmatch(r"[0-9A-Fa-f]{16}", digits):
        raise SettingsError(f"{where}: {text!r} is not an EUI of 16 hex digits")
    return int(digits, 16)


def install_code(text: str, where: str) -> bytes:
    """Hex with its CRC, as printed on the label. Raises SettingsError."""
    try:
        return parse_install_code(text)
    except FormatError as error:
        raise SettingsError(f"{where}: install_code: {error.reason}; compare it with the label") from None


def parse_activation(text: str, form: str, where: str) -> Activation:
    """See ImageOffer. The default is what a hub does: an HCALCS waits for CS06, every other device upgrades now."""
    if text in ("now", "wait"):
        return Activation(ActivationKind(text))
    if not text:
        return Activation(ActivationKind.WAIT if form == "gb-hcalcs" else ActivationKind.NOW)
    if re.fullmatch(r"\+\d{1,9}", text):
        return Activation(ActivationKind.AFTER, int(text))
    return Activation(ActivationKind.AT, parse_utc(text, where))


def parse_utc(text: str, where: str) -> int:
    """An ISO 8601 time with its zone as ZigBee UTCTime. Raises SettingsError."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"{where}: {text!r} is not now, wait, +SECONDS or a time like 2026-01-31T02:00:00Z"
        ) from None
    if when.tzinfo is None:
        raise SettingsError(f"{where}: {text!r} has no time zone; end it with Z for UTC")
    seconds = int(when.timestamp()) - ZIGBEE_EPOCH
    if not 0 < seconds < UTC_UNKNOWN:
        raise SettingsError(f"{where}: {text!r} is outside of what ZigBee UTCTime holds (2000 to 2136)")
    return seconds


def _check_radio(settings: HubSettings, path: Path) -> None:
    radio = settings.radio
    if not 11 <= radio.channel <= 26:
        raise SettingsError(f"{path}: radio.channel: {radio.channel} is not a 2.4 GHz channel (11 to 26)")
    if radio.pan_id is not None and not 0 <= radio.pan_id <= 0xFFFE:
        raise SettingsError(
            f"{path}: radio.pan_id: {radio.pan_id:#x} is not 0x0000 to 0xFFFE; leave it out to let the chip choose"
        )
    if not 1 <= radio.endpoint <= 240:
        raise SettingsError(f"{path}: radio.endpoint: {radio.endpoint} is not an application endpoint (1 to 240)")
    check_key_establishment(radio.key_establishment, str(path))
    if not 1 <= settings.ota.block_octets <= 255:
        raise SettingsError(f"{path}: ota.block_octets: {settings.ota.block_octets} is not 1 to 255")


def _check_device(device: DeviceSettings, where: str) -> None:
    parse_eui(device.eui, f"{where}.eui")
    check_role(device.role, f"{where}: role")
    if device.install_code:
        install_code(device.install_code, where)


def _check_image(image: ImageOffer, folder: Path, where: str) -> ImageOffer:
    if image.form not in IMAGE_FORMS:
        raise SettingsError(f"{where}.form: {image.form!r} is not one of {', '.join(IMAGE_FORMS)}")
    parse_activation(image.activate, image.form, f"{where}.activate")
    for eui in image.devices:
        parse_eui(eui, f"{where}.devices")
    return msgspec.structs.replace(image, path=folder / image.path)
