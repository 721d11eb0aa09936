"""The OTA client's attributes (ZCL 11.10), which a server reads from the client side of the cluster."""

from __future__ import annotations

from agent.zigbee.foundation import Typed, ZclType
from agent.zigbee.ota_client import OtaClient
from agent.zigbee.ota_events import ActivationPolicy
from agent.zigbee.ota_rules import STACK_VERSION
from agent.zigbee.ota_states import UPGRADE_STATUS, WAITING_FOR_EXTERNAL_EVENT, State
from agent.zigbee.peer import UNKNOWN_EUI

NO_VERSION = 0xFFFFFFFF
NO_STACK_VERSION = 0xFFFF
_DOWNLOADED = frozenset({State.COMPLETE, State.ENDING, State.HOLDING, State.COUNTDOWN, State.ACTIVATING})
_SECONDS_REVISION = 2  # up to here attribute 0x0009 counts seconds, afterwards milliseconds
_MILLISECONDS_REVISION = 3


def image_upgrade_status(client: OtaClient) -> int:
    """Attribute 0x0006. Holding is an external event where activation is out of band."""
    out_of_band = client.identity.activation_policy is ActivationPolicy.OUT_OF_BAND
    if client.state is State.HOLDING and out_of_band:
        return WAITING_FOR_EXTERNAL_EVENT
    return UPGRADE_STATUS[client.state]


def read_attributes(client: OtaClient) -> dict[int, Typed]:
    """All of them, as they are now. Image Stamp (0x000A, optional) is not among them."""
    who, downloaded = client.identity, client.image if client.state in _DOWNLOADED else None
    seconds = client.settings.block_period_unit_ms == 1000
    return {
        0x0000: Typed(ZclType.EUI64, client.server.eui if client.server else UNKNOWN_EUI),
        0x0001: Typed(ZclType.UINT32, client.progress().offset),
        0x0002: Typed(ZclType.UINT32, who.running_file_version),
        0x0003: Typed(ZclType.UINT16, STACK_VERSION),
        0x0004: Typed(ZclType.UINT32, downloaded.file_version if downloaded else NO_VERSION),
        0x0005: Typed(ZclType.UINT16, STACK_VERSION if downloaded else NO_STACK_VERSION),
        0x0006: Typed(ZclType.ENUM8, image_upgrade_status(client)),
        0x0007: Typed(ZclType.UINT16, who.manufacturer),
        0x0008: Typed(ZclType.UINT16, who.image_type),
        0x0009: Typed(ZclType.UINT16, client.block_period),
        0x000B: Typed(ZclType.ENUM8, who.activation_policy),
        0x000C: Typed(ZclType.ENUM8, who.timeout_policy),
        0xFFFD: Typed(ZclType.UINT16, _SECONDS_REVISION if seconds else _MILLISECONDS_REVISION),
    }
