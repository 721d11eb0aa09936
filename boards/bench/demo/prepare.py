"""What a demo needs on disk before anything runs: identities, two firmware images, a provisioned device, hub.toml."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agent.boot.places import Places
from agent.boot.provision import provision
from agent.errors import SettingsError
from agent.image.ota_form import Form
from agent.image.signature import load_trusted_keys
from agent.image.verdict import Requirements
from agent.image.version import Version
from agent.presence import check_at_rest
from flash.identity import SUPPLIER, Identities, new_hub, new_identities
from flash.image_build import base_abi, build_payload
from flash.image_sign import ImageFacts, sign_image, wrap_image

MARKER = ".han-agent-demo"  # only a folder that bears it is ever emptied
HUB_EUI = 0x02DB_0000_0000_0C4F
DEVICE_EUIS = {"ppmid": 0x02DB_0000_0000_0001, "hcalcs": 0x02DB_0000_0000_0002}
FORMS = {"ppmid": Form.GB_PPMID, "hcalcs": Form.GB_HCALCS}
MANUFACTURER_CODE = 0x1234
IMAGE_TYPES = {"ppmid": 0x0001, "hcalcs": 0x0002}
HARDWARE_VERSION = 1
OLD, NEW = Version(1, 0, 0), Version(1, 1, 0)
CHANNEL = 20
CAPTURE = "air.pcapng"


@dataclass(frozen=True, slots=True)
class Images:
    """The OTA files of one role."""

    old: Path
    new: Path


@dataclass(frozen=True, slots=True)
class PreparedDevice:
    """One device, provisioned with the old version."""

    role: str
    eui: int
    config: Path
    images: Images


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything on disk."""

    workdir: Path
    devices: tuple[PreparedDevice, ...]
    keys: Path
    hub_folder: Path
    air_folder: Path


def empty_workdir(workdir: Path) -> None:
    """Make it, or empty the one of an earlier demo. Raises SettingsError for a folder with other things in it.

    Raises StorageError while a device of that demo runs.
    """
    if workdir.exists() and not workdir.is_dir():
        raise SettingsError(f"--workdir {workdir}: is a file; name a folder")
    if workdir.is_dir() and any(workdir.iterdir()):
        if not (workdir / MARKER).exists():
            raise SettingsError(f"--workdir {workdir}: is not empty and no demo's; name a new or an empty folder")
        for lock in workdir.glob("*/*.lock"):
            check_at_rest(lock.with_suffix(""))
        shutil.rmtree(workdir)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / MARKER).touch()
    except OSError as error:
        raise SettingsError(f"--workdir {workdir}: cannot be written: {error.strerror}; name another folder") from None


def prepare(workdir: Path, roles: tuple[str, ...], source: Path | None = None) -> Prepared:
    """Identities, images, devices. The air's addresses are not known yet: see ``write_configs``.

    ``source`` holds the code of the images; None: the code that runs.
    """
    keys = workdir / "keys"
    now = datetime.now(UTC)
    identities = {role: new_identities(keys, DEVICE_EUIS[role], role, now) for role in roles}
    new_hub(keys, HUB_EUI, now)
    payloads = {version: build_payload(version, source=source, base_abi=base_abi()) for version in (OLD, NEW)}
    devices = tuple(_device(workdir, role, identities[role], payloads) for role in roles)
    for folder in ("hub", "air"):
        (workdir / folder).mkdir()
    return Prepared(workdir, devices, keys, workdir / "hub", workdir / "air")


def _device(workdir: Path, role: str, identity: Identities, payloads: dict[Version, bytes]) -> PreparedDevice:
    folder = workdir / role
    folder.mkdir()
    images = Images(*(_image(workdir, role, identity, version, payloads[version]) for version in (OLD, NEW)))
    return PreparedDevice(role, identity.device_eui, folder / "device.toml", images)


def _image(workdir: Path, role: str, identity: Identities, version: Version, payload: bytes) -> Path:
    facts = ImageFacts(version=version, base_abi=base_abi(), security_counter=version.minor + 1, upgrade_from=None)
    signed = sign_image(payload, identity.manufacturer_key, facts)
    supplier_key = identity.head_end_keys / f"{SUPPLIER:016x}-ds.key" if role == "hcalcs" else None
    file = wrap_image(
        signed,
        FORMS[role],
        manufacturer_code=MANUFACTURER_CODE,
        image_type=IMAGE_TYPES[role],
        hardware_versions=(HARDWARE_VERSION, HARDWARE_VERSION),
        supplier_key=supplier_key,
        header_string=f"HAN agent {version}",
    )
    path = workdir / "images" / f"{role}-{version}.ota"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(file)
    return path


def write_configs(
    prepared: Prepared, hub_address: str, device_addresses: dict[str, str], logical_type: str = "router"
) -> Path:
    """device.toml of every device, hub.toml; then provision the devices. Returns the path of hub.toml."""
    for device in prepared.devices:
        text = _device_toml(prepared, device, device_addresses[device.role], logical_type)
        device.config.write_text(text, encoding="utf-8")
        _provision(device)
    path = prepared.hub_folder / "hub.toml"
    path.write_text(_hub_toml(prepared, hub_address), encoding="utf-8")
    return path


def _provision(device: PreparedDevice) -> None:
    places = Places.load(device.config)
    requirements = Requirements(
        manufacturer_code=MANUFACTURER_CODE,
        image_type=IMAGE_TYPES[device.role],
        hardware_version=HARDWARE_VERSION,
        trusted_keys=load_trusted_keys(places.trust),
        maximum_octets=10_240_000,
        slot_octets=10_240_000,
        base_abi=base_abi(),
    )
    provision(places, device.images.old.read_bytes(), FORMS[device.role], requirements, again=False)


def _install_code(prepared: Prepared, eui: int) -> str:
    return (prepared.keys / "install-codes" / f"{eui:016x}.txt").read_text(encoding="ascii").strip()


def _device_toml(prepared: Prepared, device: PreparedDevice, address: str, logical_type: str) -> str:
    keys = prepared.keys.resolve() / "devices" / f"{device.eui:016x}"
    return f"""\
# The device of this demo; start it alone with: han-agent run --config {device.config.name}
role = "{device.role}"
eui = "{device.eui:016X}"
base_abi = "{base_abi()}"

[radio]
path = {json.dumps(address)}
install_code = "{_install_code(prepared, device.eui)}"
channels = [{CHANNEL}]
logical_type = "{logical_type}"

[image]
manufacturer_code = 0x{MANUFACTURER_CODE:04X}
image_type = 0x{IMAGE_TYPES[device.role]:04X}
hardware_version = {HARDWARE_VERSION}
form = "{FORMS[device.role].value}"

[storage]
slot_a = "slot-a.bin"
slot_b = "slot-b.bin"
boot_state = "boot-state.bin"
database = "agent.db"
keys = {json.dumps(str(keys))}

[health]
minimum_uptime_s = 1.0
"""


def _hub_toml(prepared: Prepared, address: str) -> str:
    head = f"""\
# The Communications Hub and head end of this demo; start it alone with: han-agent hub --config hub.toml
keys = {json.dumps(str(prepared.keys.resolve() / "head-end"))}
state = "state"

[radio]
path = {json.dumps(address)}
channel = {CHANNEL}

"""
    devices = [
        f'[[devices]]\neui = "{device.eui:016X}"\nrole = "{device.role}"\n'
        f'install_code = "{_install_code(prepared, device.eui)}"\n'
        for device in prepared.devices
    ]
    return head + "\n".join(devices)
