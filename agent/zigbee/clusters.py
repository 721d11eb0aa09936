"""Cluster, profile and device ids, and what each role's endpoint looks like.

Ids from ZCL and ZigBee Smart Energy 1.4. What SECMP0007 and GBCS leave open is *our choice* and marked so.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from agent.zigbee.servers import BasicInfo
from agent.zigbee.zdo import SimpleDescriptor

SMART_ENERGY_PROFILE = 0x0109
HOME_AUTOMATION_PROFILE = 0x0104


class Cluster(IntEnum):
    """Cluster ids."""

    BASIC = 0x0000
    IDENTIFY = 0x0003
    TIME = 0x000A
    OTA = 0x0019
    PRICE = 0x0700
    DEMAND_RESPONSE_LOAD_CONTROL = 0x0701
    METERING = 0x0702
    MESSAGING = 0x0703
    TUNNELING = 0x0704
    PREPAYMENT = 0x0705
    CALENDAR = 0x0707
    DEVICE_MANAGEMENT = 0x0708
    EVENTS = 0x0709
    KEY_ESTABLISHMENT = 0x0800


class DeviceId(IntEnum):
    """Device ids of ZigBee Smart Energy 1.4 (a range extender has the same id in Home Automation)."""

    ENERGY_SERVICE_INTERFACE = 0x0500
    METERING_DEVICE = 0x0501
    IN_HOME_DISPLAY = 0x0502
    LOAD_CONTROL_DEVICE = 0x0504
    PREPAYMENT_TERMINAL = 0x0506
    RANGE_EXTENDER = 0x0008


# SE 5.4: every cluster travels under APS link-key security but these.
WITHOUT_APS_SECURITY = frozenset({Cluster.BASIC, Cluster.IDENTIFY, Cluster.TIME, Cluster.KEY_ESTABLISHMENT})


@dataclass(frozen=True, slots=True)
class EndpointDescription:
    """What the device registers at the chip and tells in its simple descriptor."""

    endpoint: int
    profile: int
    device: int
    input_clusters: tuple[int, ...]
    output_clusters: tuple[int, ...]
    device_version: int = 0

    def simple_descriptor(self) -> SimpleDescriptor:
        """The same as ZDO sends it."""
        return SimpleDescriptor(
            self.endpoint,
            self.profile,
            self.device,
            self.device_version,
            self.input_clusters,
            self.output_clusters,
        )


@dataclass(frozen=True, slots=True)
class _Role:
    device: DeviceId
    input_clusters: tuple[int, ...]
    output_clusters: tuple[int, ...]
    model: str  # Basic cluster, attribute 0x0005
    our_choices: tuple[str, ...]  # what no source settles, in words: ``han-agent status`` prints them


MANUFACTURER_NAME = "HAN agent"  # Basic cluster, attribute 0x0004
_CHOSEN_FOR_ALL = (
    "clusters: those that joining and firmware update need; a product's own come on top",
    "Basic: manufacturer name and model are this program's",
)

# The servers and clients that firmware update needs. A product's display or load-control clusters come on top of these.
_ROLES = {
    "ppmid": _Role(
        DeviceId.PREPAYMENT_TERMINAL,
        (Cluster.BASIC, Cluster.IDENTIFY, Cluster.TUNNELING, Cluster.KEY_ESTABLISHMENT),
        (Cluster.TIME, Cluster.OTA, Cluster.KEY_ESTABLISHMENT),
        "PPMID",
        ("device id: a PPMID is known by its GB device type; a prepayment terminal is the nearest", *_CHOSEN_FOR_ALL),
    ),
    "hcalcs": _Role(
        DeviceId.LOAD_CONTROL_DEVICE,
        (Cluster.BASIC, Cluster.IDENTIFY, Cluster.TUNNELING, Cluster.KEY_ESTABLISHMENT),
        (Cluster.TIME, Cluster.OTA, Cluster.KEY_ESTABLISHMENT),
        "HCALCS",
        ("device id: no source names an HCALCS's; a load control device is the nearest", *_CHOSEN_FOR_ALL),
    ),
}
_CHOSEN_FOR_GATEWAYS = ("generic profile: a range extender without Smart Energy clusters", _CHOSEN_FOR_ALL[1])


def describe_endpoint(role: str, endpoint: int, profile: int = SMART_ENERGY_PROFILE) -> EndpointDescription:
    """The endpoint of a role (``ppmid`` or ``hcalcs``) on a profile.

    On any other profile than Smart Energy (a generic gateway) the Smart Energy clusters are left out: our choice, for
    a gateway's interview to see nothing that it would try to configure.
    """
    shape = _ROLES[role]
    if profile == SMART_ENERGY_PROFILE:
        return EndpointDescription(endpoint, profile, shape.device, shape.input_clusters, shape.output_clusters)
    device = DeviceId.RANGE_EXTENDER
    return EndpointDescription(
        endpoint, profile, device, (Cluster.BASIC, Cluster.IDENTIFY), (Cluster.TIME, Cluster.OTA)
    )


def describe_basic(role: str, hardware_version: int, running_version: str) -> BasicInfo:
    """What the Basic cluster of a role tells."""
    return BasicInfo(MANUFACTURER_NAME, _ROLES[role].model, hardware_version, running_version)


def our_choices(role: str, profile: int = SMART_ENERGY_PROFILE) -> tuple[str, ...]:
    """What of a role's descriptor and Basic attributes no source settles, in words."""
    return _ROLES[role].our_choices if profile == SMART_ENERGY_PROFILE else _CHOSEN_FOR_GATEWAYS


def is_secured(cluster: int, profile: int) -> bool:
    """True when frames of this cluster carry APS link-key security (ZDO and generic profiles never do)."""
    return profile == SMART_ENERGY_PROFILE and cluster not in WITHOUT_APS_SECURITY
