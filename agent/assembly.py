"""One device put together from its settings, its keys, its slots and its journal; nothing of a radio or a clock here.

``agent.main`` builds the device that runs on a chip with it; tests build the one that runs in virtual time.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from Crypto.PublicKey.ECC import EccKey

from agent.device import Device, Log, Parts, interrupted_download
from agent.errors import FormatError, SettingsError, StorageError
from agent.events import JoinNetwork, LogicalType
from agent.gbcs.certificate import KeyUse
from agent.gbcs.keystore import KeyStore
from agent.gbcs.receiver import Authority, GbcsReceiver
from agent.image.mcuboot import ManufacturerImage
from agent.image.ota_form import Form, Trailer
from agent.image.refusal import Refusal
from agent.image.verdict import Requirements, check_supplier
from agent.ports import Relay
from agent.settings import Settings
from agent.update.commands import Policy, Running, Slots
from agent.update.journal import Journal
from agent.update.machine import UpdateMachine
from agent.update.orders import Orders
from agent.update.outbox import Outbox
from agent.update.reports import Parties, Reports
from agent.update.staging import SupplierCheck
from agent.zigbee.cbke.ecqv import Credentials
from agent.zigbee.cbke.hub_key import HeldKey, HubKey
from agent.zigbee.cbke.install_code import parse_install_code
from agent.zigbee.cbke.key_files import SUITES, load_credentials
from agent.zigbee.cbke.machine import KeyEstablishment
from agent.zigbee.clusters import SMART_ENERGY_PROFILE, describe_basic, describe_endpoint
from agent.zigbee.endpoint import DeviceEndpoint, EndpointOptions
from agent.zigbee.joining import Joining
from agent.zigbee.ota_client import OtaClient
from agent.zigbee.ota_events import ActivationPolicy, DownloadResume, OtaIdentity, TimeoutPolicy
from agent.zigbee.polling import PollRates
from agent.zigbee.time_cluster import HubClock
from agent.zigbee.tunnel_server import TunnelServer, TunnelState

LOGICAL_TYPES = {"router": LogicalType.ROUTER, "end-device": LogicalType.END_DEVICE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What a device stands on."""

    settings: Settings
    running: Running
    slots: Slots
    slot_octets: int
    security_counter: int
    trusted_keys: Mapping[bytes, EccKey]
    journal: Journal
    rng: random.Random
    log: Log
    options: EndpointOptions = field(default_factory=EndpointOptions)
    relay: Relay | None = None


def build_device(base: Base) -> Device:
    """The device. Raises SettingsError or StorageError naming what is missing."""
    settings, journal = base.settings, base.journal
    is_hcalcs = settings.role == "hcalcs"
    keys = KeyStore.load(settings.storage.keys)
    eui = int(settings.eui, 16)
    authority = _authority(settings, keys)
    parties = Parties(eui, authority.acb if authority else 0, (authority and authority.supplier) or 0)
    reports = Reports(journal, keys, parties, is_hcalcs=is_hcalcs)
    update = UpdateMachine(journal, base.slots, reports, base.running, _policy(base, keys, parties), base.rng)
    parts = Parts(
        endpoint=_endpoint(base, update),
        update=update,
        orders=Orders(journal, reports, update, base.running.version),
        outbox=Outbox(journal, settings.tunnel.alert_retry_s),
        journal=journal,
        receiver=GbcsReceiver(eui, keys, authority, journal) if authority else None,
        relay=base.relay,
    )
    return Device(parts, base.log)


def _authority(settings: Settings, keys: KeyStore) -> Authority | None:
    """None on another profile than Smart Energy: a generic gateway has no tunnel, and nobody to report to."""
    if settings.radio.profile != SMART_ENERGY_PROFILE:
        return None
    authority = Authority.from_keys(keys)
    if keys.private_key(int(settings.eui, 16), KeyUse.DIGITAL_SIGNING) is None:
        raise StorageError(
            f"{settings.storage.keys}: no {settings.eui.lower()}-ds.key: the device cannot sign its reports; "
            "make an identity with han-agent keys new"
        )
    return authority


def _policy(base: Base, keys: KeyStore, parties: Parties) -> Policy:
    settings = base.settings
    is_hcalcs = settings.role == "hcalcs"
    requirements = Requirements(
        manufacturer_code=settings.image.manufacturer_code,
        image_type=settings.image.image_type,
        hardware_version=settings.image.hardware_version,
        trusted_keys=base.trusted_keys,
        maximum_octets=settings.image.maximum_octets,
        slot_octets=base.slot_octets,
        minimum_security_counter=base.security_counter,
        running_version=None if base.running.is_factory else base.running.version,
        base_abi=settings.base_abi or None,
        eui=parties.device,
    )
    return Policy(
        form=Form(settings.image.form),
        requirements=requirements,
        checkpoint_octets=settings.ota.checkpoint_octets,
        by_command_only=is_hcalcs,
        minimum_uptime_s=settings.health.minimum_uptime_s,
        trial_limit_s=settings.health.limit_s,
        supplier_check=_supplier_check(settings, keys, parties.supplier) if is_hcalcs else None,
    )


def _supplier_check(settings: Settings, keys: KeyStore, supplier: int) -> SupplierCheck:
    key = keys.public_key(supplier, KeyUse.DIGITAL_SIGNING)
    if key is None:
        raise StorageError(
            f"{settings.storage.keys}: no supplier's <eui>-ds.pem: an HCALCS holds an image only when its supplier "
            "signed it; make an identity with han-agent keys new --role hcalcs"
        )

    def check(image: ManufacturerImage, trailer: Trailer) -> Refusal | None:
        return check_supplier(trailer, image.manufacturer_image_hash, key)

    return check


def _endpoint(base: Base, update: UpdateMachine) -> DeviceEndpoint:
    settings = base.settings
    clock = HubClock()
    description = describe_endpoint(settings.role, settings.radio.endpoint, settings.radio.profile)
    basic = describe_basic(settings.role, settings.image.hardware_version, str(base.running.version))
    logical_type = LOGICAL_TYPES[settings.radio.logical_type]
    key = _hub_key(base)
    joining = Joining(_join_request(settings), settings.radio.profile, logical_type, clock, key)
    tunnel = TunnelServer(settings.tunnel, _journalled_tunnel(base.journal))
    ota = _ota_client(base, update, clock)
    options = replace(
        base.options,
        require_security=base.options.require_security or key is not None,
        poll_rates=_poll_rates(settings) if logical_type is LogicalType.END_DEVICE else None,
    )
    return DeviceEndpoint(description, basic, joining, ota, tunnel, base.rng, options)


def _poll_rates(settings: Settings) -> PollRates:
    return PollRates(settings.radio.poll_rate_s, settings.radio.fast_poll_rate_s)


def _hub_key(base: Base) -> HubKey | None:
    """None without key establishment: where it is off, and on another profile than Smart Energy."""
    eui = int(base.settings.eui, 16)
    credentials = key_credentials(base.settings)
    if not credentials:
        return None
    return HubKey(KeyEstablishment(eui, credentials, base.rng), _journalled_key(base.journal))


def _journalled_key(journal: Journal) -> HeldKey | None:
    """What a newer program added to it is nothing to us; what cannot be read is no key, and a new one is made."""
    text = journal.hub_key()
    try:
        told = json.loads(text) if text else {}
        return HeldKey(int(told["hub_eui"]), int(told["suite"]), str(told["key_hash"])) if told else None
    except (KeyError, TypeError, ValueError):
        return None


def check_identity(settings: Settings) -> None:
    """What makes a device fail on the air, told before a radio is touched: install code, certificate sets.

    Raises SettingsError or StorageError.
    """
    _join_request(settings)
    key_credentials(settings)


def key_credentials(settings: Settings) -> dict[int, Credentials]:
    """The certificate sets that the settings ask for, none where they ask for no key. Raises StorageError."""
    radio = settings.radio
    suites = SUITES[radio.key_establishment] if radio.profile == SMART_ENERGY_PROFILE else ()
    folder = radio.certificates or settings.storage.keys
    return load_credentials(folder, int(settings.eui, 16), suites)


def _ota_client(base: Base, update: UpdateMachine, clock: HubClock) -> OtaClient:
    image = base.settings.image
    is_hcalcs = base.settings.role == "hcalcs"
    identity = OtaIdentity(
        image.manufacturer_code,
        image.image_type,
        image.hardware_version,
        base.running.version.file_version,
        int(base.settings.eui, 16),
        image.device_specific,
        ActivationPolicy.OUT_OF_BAND if is_hcalcs else ActivationPolicy.SERVER,
        TimeoutPolicy.DO_NOT_APPLY if is_hcalcs else TimeoutPolicy.APPLY,
    )
    interrupted = interrupted_download(update, image.manufacturer_code, image.image_type)
    resume = DownloadResume(*interrupted) if interrupted else None
    return OtaClient(identity, base.settings.ota, base.rng, clock, resume)


def _join_request(settings: Settings) -> JoinNetwork | None:
    radio = settings.radio
    if not radio.install_code:
        return None
    try:
        code = parse_install_code(radio.install_code)
    except FormatError as error:
        raise SettingsError(f"radio.install_code: {error.reason}; compare it with the label") from None
    return JoinNetwork(code, tuple(radio.channels), LOGICAL_TYPES[radio.logical_type])


def _journalled_tunnel(journal: Journal) -> TunnelState | None:
    """None too for what another version of this program wrote: the hub opens a new tunnel."""
    text = journal.tunnel()
    try:
        return TunnelState(**json.loads(text)) if text else None
    except (TypeError, ValueError):
        return None
