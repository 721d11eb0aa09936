"""The device's configuration file: strict types, defaults with units in their names, errors that name the key.

Every limit of the agent is a setting here; a value marked *our choice* has no published source.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec

from agent.errors import SettingsError

ROLES = ("ppmid", "hcalcs")
KEY_ESTABLISHMENT = ("suite-2", "suite-1", "both", "off")
PERSISTENCE_S = 7.68  # macTransactionPersistenceTime of ZigBee PRO
SECTION_OF = {"storage": "a device (device.toml)", "devices": "a hub (hub.toml)"}
IMAGE_FORMS = ("gb-ppmid", "gb-hcalcs", "generic")


class RadioSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the radio is and how to join."""

    path: str  # /dev/serial/by-id/..., a pty, or socket://host:port
    install_code: str = ""  # hex with its CRC, as printed on the label; only needed until the device has joined
    channels: list[int] = msgspec.field(default_factory=lambda: list(range(11, 27)))
    profile: int = 0x0109  # 0x0104 for a generic gateway
    endpoint: int = 1
    logical_type: str = "router"  # or "end-device": its receiver sleeps, and it asks its parent for what is there
    poll_rate_s: float = 7.5  # end device at rest; Smart Energy wants no less, and its parent keeps a frame for 7.68 s
    fast_poll_rate_s: float = 0.1  # end device while an answer may be on its way: a key, a transfer; TI's own value
    baudrate: int = 115200
    key_establishment: str = "suite-2"  # GB's; or "suite-1", "both", "off": Smart Energy only
    certificates: Path | None = None  # folder of <eui>-cbke-1.txt and -2.txt; without it storage.keys


class ImageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What this device is to the OTA server, and which images fit it."""

    manufacturer_code: int
    image_type: int
    hardware_version: int
    form: str = "gb-ppmid"  # one of IMAGE_FORMS; never guessed from the file
    device_specific: bool = False  # ask Query Device Specific File
    maximum_octets: int = 10_240_000  # the DUIS schema's bound


class StorageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Slots, boot state and data: files on the virtual board, partitions on a Pi. Relative to the file's folder."""

    slot_a: Path
    slot_b: Path
    boot_state: Path
    database: Path
    keys: Path


class OtaSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The OTA client's times and bounds. Our choices within ZCL 11.13 unless said otherwise."""

    block_octets: int = 50  # 50 fits an APS-secured frame with one IEEE address; servers cap at it
    query_interval_s: float = 86_400.0
    query_jitter_s: float = 3_600.0
    response_timeout_s: float = 5.0  # then the same offset again
    maximum_retries: int = 30  # of one offset, before the transfer waits for the server to come back
    pause_after_retries_s: float = 300.0
    checkpoint_octets: int = 4096
    end_request_tries: int = 3
    hold_query_interval_s: float = 3_600.0  # Upgrade End while told to wait: at least every 60 minutes
    block_period_unit_ms: int = 1  # 1000 for servers at cluster revision 2


class TunnelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The GB tunnel (clause 8 of the facts): the hub opens it, the device is its server."""

    protocol: int = 6
    manufacturer_code: int = 0xFFFF
    maximum_incoming_octets: int = 1500
    alert_retry_s: float = 30.0


class HealthSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a trial counts as good: see ``agent.update.trial``. Our choices."""

    minimum_uptime_s: float = 5.0
    limit_s: float = 180.0  # without the hub's answer by then, the trial has failed
    max_silence_s: float = 21_600.0  # the clock of limit_s stands so long at most while the hub sends no beacon
    tries: int = 3  # starts that a trial may use


class BootSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who selects the slot. Read, and checked, by `agent.boot.places`, which has the defaults."""

    backend: str = "slots"  # or "tryboot", "uboot": a boot loader does; untested on metal
    autoboot: Path | None = None
    partition_a: int | None = None
    partition_b: int | None = None
    fw_env_config: Path | None = None


class BoardSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the agent's pins are: a relay (HCALCS), a status LED. Without a profile it touches no pin."""

    profile: str = ""  # a name of boards/profiles (han-agent board list), or the path of a TOML file of your own
    pins: Path = Path("pins")  # folder where the levels that were driven last are kept; relative to the file's folder


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """device.toml"""

    role: str
    eui: str
    base_abi: str = ""  # what the base system provides; an image that names another is refused
    radio: RadioSettings
    image: ImageSettings
    storage: StorageSettings
    ota: OtaSettings = OtaSettings()
    tunnel: TunnelSettings = TunnelSettings()
    health: HealthSettings = HealthSettings()
    board: BoardSettings = BoardSettings()
    boot: BootSettings = BootSettings()


T = TypeVar("T")


def load(path: Path, kind: type[T]) -> T:
    """Read a TOML file into ``kind``. Raises SettingsError naming the file, the key and the remedy."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such configuration file; name one with --config FILE") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from None
    try:
        return msgspec.convert(table, kind, dec_hook=_decode_path)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{path}: {_other_kind(table, kind) or _explain(str(error), kind)}") from None


def load_device(path: Path) -> Settings:
    """device.toml with its storage paths made absolute, and what types cannot say checked."""
    settings = load(path, Settings)
    check_role(settings.role, f"{path}: role")
    if not re.fullmatch(r"[0-9A-Fa-f]{16}", settings.eui):
        raise SettingsError(f"{path}: eui: {settings.eui!r} is not 16 hex digits")
    if settings.image.form not in IMAGE_FORMS:
        raise SettingsError(f"{path}: image.form: {settings.image.form!r} is not one of {', '.join(IMAGE_FORMS)}")
    if (settings.role == "hcalcs") != (settings.image.form == "gb-hcalcs"):
        raise SettingsError(
            f"{path}: image.form: {settings.image.form!r} does not go with role {settings.role!r}: an HCALCS takes "
            "gb-hcalcs, which carries its supplier's signature, and nothing else does"
        )
    if settings.ota.checkpoint_octets <= 0 or settings.ota.checkpoint_octets % 4096:
        raise SettingsError(
            f"{path}: ota.checkpoint_octets: {settings.ota.checkpoint_octets} is not a multiple of 4096"
        )
    check_logical_type(settings.radio.logical_type, f"{path}: radio.logical_type:")
    _check_polling(settings.radio, path)
    storage = settings.storage
    folder = path.resolve().parent
    _check_install_code(settings.radio.install_code, path)
    check_key_establishment(settings.radio.key_establishment, str(path))
    if settings.radio.certificates is not None:
        radio = msgspec.structs.replace(settings.radio, certificates=folder / settings.radio.certificates)
        settings = msgspec.structs.replace(settings, radio=radio)
    absolute = {name: folder / getattr(storage, name) for name in storage.__struct_fields__}
    board = settings.board
    if board.profile.endswith(".toml"):
        board = msgspec.structs.replace(board, profile=str(folder / board.profile))
    board = msgspec.structs.replace(board, pins=folder / board.pins)
    return msgspec.structs.replace(settings, storage=StorageSettings(**absolute), board=board)


def _check_polling(radio: RadioSettings, path: Path) -> None:
    if not 0.0 < radio.poll_rate_s <= PERSISTENCE_S:
        raise SettingsError(
            f"{path}: radio.poll_rate_s: {radio.poll_rate_s:g} must lie above 0 and at most {PERSISTENCE_S:g}: "
            "a parent drops what waited longer for the device"
        )
    if not 0.001 <= radio.fast_poll_rate_s <= radio.poll_rate_s:
        raise SettingsError(
            f"{path}: radio.fast_poll_rate_s: {radio.fast_poll_rate_s:g} must lie between 0.001 and "
            f"radio.poll_rate_s ({radio.poll_rate_s:g})"
        )


def _check_install_code(text: str, path: Path) -> None:
    """Told before the radio is touched; the CRC itself is checked by ``agent.zigbee``."""
    if text and (not re.fullmatch(r"(?:[0-9A-Fa-f]{2})+", text) or len(text) not in (16, 20, 28, 36)):
        raise SettingsError(
            f"{path}: radio.install_code: {text!r} is not 8, 10, 14 or 18 octets of hex, as printed on the label"
        )


def check_key_establishment(value: str, where: str) -> None:
    """Refuse what is not in KEY_ESTABLISHMENT."""
    if value not in KEY_ESTABLISHMENT:
        known = ", ".join(KEY_ESTABLISHMENT)
        raise SettingsError(f"{where}: radio.key_establishment: {value!r} is not one of {known}")


def check_logical_type(value: str, where: str) -> str:
    """``value``; refused when a device cannot be that."""
    if value not in ("router", "end-device"):
        raise SettingsError(f"{where} {value!r} is not router or end-device")
    return value


def check_role(role: str, where: str, known: tuple[str, ...] = ROLES) -> None:
    """Refuse what is not a role of SECMP0007, an IHD with the reason."""
    if role == "ihd":
        raise SettingsError(f"{where}: ihd was taken out of the scope of SECMP0007; use one of {', '.join(known)}")
    if role not in known:
        raise SettingsError(f"{where}: {role!r} is not one of {', '.join(known)}")


def _decode_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"no conversion to {kind}")


def _other_kind(table: dict[str, object], kind: type) -> str:
    """That this is the other side's file, by the section that only one of both has; empty where it is not."""
    for section, whose in SECTION_OF.items():
        if section in table and section not in kind.__struct_fields__:  # type: ignore[attr-defined]  # a msgspec Struct has it
            return f"this is the configuration of {whose}; name another file"
    return ""


def _explain(message: str, kind: type) -> str:
    """msgspec's message, with its JSON path as a TOML key and the nearest known key beside an unknown one."""
    message = re.sub(r" - at `\$\.?(.*)`$", lambda at: f" (in {at.group(1) or 'the top level'})", message)
    unknown = re.search(r"unknown field `(.*?)`", message)
    if unknown:
        known = _all_keys(kind)
        near = difflib.get_close_matches(unknown.group(1), sorted(known), n=1)
        message = message.replace("Object contains unknown field", "unknown key")
        if unknown.group(1) in known:
            message += f"; it belongs into {known[unknown.group(1)] or 'the top level'}"
        else:
            message += f"; did you mean {near[0]}?" if near else ""
    return message.replace("Object missing required field", "missing key")


def _all_keys(kind: type, section: str = "") -> dict[str, str]:
    """Each key's section, empty for the top level."""
    keys: dict[str, str] = {}
    for item in msgspec.structs.fields(kind):
        if isinstance(item.type, type) and issubclass(item.type, msgspec.Struct):
            keys |= _all_keys(item.type, f"[{item.name}]")
        keys[item.name] = section
    return keys
