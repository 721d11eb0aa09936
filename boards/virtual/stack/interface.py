"""What the MT side of the emulated chip (the NCP) and the ZigBee stack say to each other.

The stack does MAC, NWK, APS and the Trust Center. ZDO is the NCP's work, on endpoint 0 with profile 0: it announces
the device after ``network_started`` (Device_annce, broadcast 0xFFFD), answers descriptors, and so on; the stack only
listens to Device_annce to learn addresses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Protocol

from agent.events import LogicalType
from boards.virtual.air.scheduler import Cancel, ManualScheduler, Scheduler

__all__ = [
    "BROADCAST_ALL",
    "BROADCAST_AWAKE",
    "BROADCAST_ROUTERS",
    "DEFAULT_CENTRALIZED_KEY",
    "Cancel",
    "DataIndication",
    "DataRequest",
    "FoundNetwork",
    "JoinFailure",
    "LinkKeyEntry",
    "LogicalType",
    "ManualScheduler",
    "Neighbour",
    "NetworkState",
    "PollRates",
    "Scheduler",
    "StackSink",
    "Status",
    "ZigbeeStack",
]

DEFAULT_CENTRALIZED_KEY = b"ZigBeeAlliance09"
BROADCAST_ALL = 0xFFFF
BROADCAST_AWAKE = 0xFFFD
BROADCAST_ROUTERS = 0xFFFC


class Status(IntEnum):
    """Z-Stack's ZStatus values that a data confirm of ours carries."""

    SUCCESS = 0x00
    INVALID_PARAMETER = 0x02
    MEMORY = 0x10  # too many requests under way
    NO_LINK_KEY = 0xA1  # ZSecNoKey: APS security asked for, and no link key for that partner
    APS_FAIL = 0xB1  # not on a network
    APS_NO_ACK = 0xB7
    NO_ROUTE = 0xCD
    MAC_CHANNEL_ACCESS_FAILURE = 0xE1
    MAC_NO_ACK = 0xE9
    MAC_TRANSACTION_EXPIRED = 0xF0  # a sleepy child did not fetch its frame


class JoinFailure(Enum):
    """Why ``Stack.join`` or an end device's ``Stack.restore`` failed."""

    NO_NETWORK = "no network"
    NOT_PERMITTED = "no network permits joining"
    KEY_EXCHANGE = "no Transport-Key that the link key opens"
    NO_PARENT = "the parent did not answer the rejoin request"


@dataclass(frozen=True, slots=True)
class DataRequest:
    """One APSDE-DATA.request. ``destination`` is a short address, a broadcast address, or a group when ``group``.

    ``payload`` up to about 1500 octets; what does not fit one frame is fragmented, which implies an APS ack.
    """

    destination: int
    destination_endpoint: int
    source_endpoint: int
    cluster: int
    profile: int
    payload: bytes
    aps_ack: bool = False
    aps_security: bool = False
    radius: int = 30
    group: bool = False


@dataclass(frozen=True, slots=True)
class DataIndication:
    """One APSDE-DATA.indication. ``source_eui`` and ``group`` are None where not known or not a group message."""

    source: int
    source_eui: int | None
    source_endpoint: int
    destination_endpoint: int
    cluster: int
    profile: int
    payload: bytes
    group: int | None
    broadcast: bool
    aps_security: bool
    lqi: int
    aps_counter: int
    radius: int


@dataclass(frozen=True, slots=True)
class FoundNetwork:
    """One beacon heard."""

    channel: int
    pan_id: int
    extended_pan_id: int
    sender: int
    permits_joining: bool
    router_capacity: bool
    end_device_capacity: bool
    depth: int
    lqi: int
    update_id: int


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A device in range. ``relation`` as in Mgmt_Lqi: 0 parent, 1 child, 2 sibling, 3 none of these.

    ``authenticated`` is False for a child that has not yet sent anything under the network key.
    """

    eui: int
    short: int
    logical_type: LogicalType | None
    relation: int
    receiver_on_when_idle: bool
    lqi: int = 255
    authenticated: bool = True


@dataclass(frozen=True, slots=True)
class PollRates:
    """When a sleepy end device asks its parent for frames, in seconds; infinite: it does not. Z-Stack's defaults."""

    default_s: float = 1.0  # POLL_RATE: after a poll that fetched nothing
    response_s: float = 0.1  # RESPONSE_POLL_RATE: after something was sent
    queued_s: float = 0.1  # QUEUED_POLL_RATE: after something was fetched


@dataclass(frozen=True, slots=True)
class LinkKeyEntry:
    """A link key shared with one partner, and its APS frame counters."""

    eui: int
    key: bytes = field(repr=False)
    established: bool = False  # set by set_link_key (key establishment): used for APS data security
    outgoing_counter: int = 0
    incoming_counter: int = 0  # the lowest counter still acceptable


@dataclass(frozen=True, slots=True)
class NetworkState:
    """Everything that a chip keeps of its network in NV.

    The outgoing counters are a *reserve*: higher than any value used so far, so that a restart never repeats one.
    """

    logical_type: LogicalType
    short: int
    channel: int
    pan_id: int
    extended_pan_id: int
    network_key: bytes = field(repr=False)
    trust_center: int  # EUI
    network_key_sequence: int = 0
    outgoing_counter: int = 0
    update_id: int = 0
    parent_short: int = 0xFFFF
    parent_eui: int = 0
    depth: int = 0
    neighbours: tuple[Neighbour, ...] = ()
    addresses: tuple[tuple[int, int], ...] = ()  # (EUI, short) pairs known
    link_keys: tuple[LinkKeyEntry, ...] = ()
    require_install_code: bool = False
    default_link_key: bytes = field(default=DEFAULT_CENTRALIZED_KEY, repr=False)


class StackSink(Protocol):
    """What the NCP implements. Called from the scheduler's callbacks, never from inside a Stack method.

    ``state_changed`` is the exception: it may come from inside any call, before the frame that needs it goes out.
    """

    def data_confirm(self, handle: int, status: int) -> None:
        """The end of ``data_request(handle, ...)``; ``status`` is a Z-Stack status (see Status)."""

    def data_indication(self, indication: DataIndication) -> None:
        """A payload for an endpoint (0 is ZDO) arrived."""

    def network_started(self, state: NetworkState) -> None:
        """Formed, joined or restored. The NCP announces the device now."""

    def join_failed(self, reason: JoinFailure) -> None:
        """``join`` (or an end device's ``restore``) ended without a network."""

    def device_joined(self, eui: int, short: int, parent: int) -> None:
        """Coordinator: a device was authenticated (its first frame under the network key), or rejoined."""

    def device_left(self, eui: int, short: int) -> None:
        """A child or a member said that it leaves."""

    def left_network(self, rejoin: bool) -> None:
        """This device is on no network any more (own ``leave`` or told so)."""

    def address_changed(self, short: int) -> None:
        """This device has another short address (address conflict or rejoin)."""

    def state_changed(self) -> None:
        """``export_state()`` differs in something that must be persisted (keys, reserves, children): do it now.

        A frame counter beyond the persisted reserve is used only after this returned.
        """


class ZigbeeStack(Protocol):
    """What ``boards.virtual.stack.stack.Stack(air, eui, sink, random)`` offers. Calls return at once.

    Results come through the sink. A call that makes no sense in the present state (join while on a network) raises
    RuntimeError: that is a defect of the caller.
    """

    eui: int

    def form(
        self,
        channels: tuple[int, ...],
        pan_id: int | None = None,
        extended_pan_id: int | None = None,
        network_key: bytes | None = None,
    ) -> None:
        """Form a centralised network on the quietest of ``channels``; what is None is drawn. -> network_started"""

    def join(
        self,
        channels: tuple[int, ...],
        link_key: bytes,
        logical_type: LogicalType,
        extended_pan_id: int | None = None,
        receiver_on_when_idle: bool = True,
        first_counter: int = 0,
    ) -> None:
        """Scan, associate, wait for the network key under ``link_key``. -> network_started or join_failed

        ``first_counter``: the first NWK frame counter to use, for a chip that was on this network before and forgot it.
        """

    def restore(self, state: NetworkState, receiver_on_when_idle: bool = True) -> None:
        """Come back with a stored (or given) state; an end device rejoins its parent. -> network_started/join_failed"""

    def export_state(self) -> NetworkState | None:
        """What to persist, or None when on no network."""

    def stop(self) -> None:
        """Power off: forget everything that is not in ``export_state``, without a word on the air."""

    def leave(self, rejoin: bool = False) -> None:
        """Send a NWK leave and forget the network. -> left_network"""

    def data_request(self, handle: int, request: DataRequest) -> None:
        """Send; exactly one data_confirm with ``handle`` follows, unless ``stop`` or a leave comes first."""

    def permit_join(self, duration_s: int) -> None:
        """Router or coordinator: 0 closes, 255 is for ever."""

    def require_install_code(self, required: bool) -> None:
        """Trust Center: refuse a device without an entry from ``allow_link_key``."""

    def allow_link_key(self, eui: int, key: bytes) -> None:
        """Trust Center: ``eui`` may join with this key (16 octets, derived from its install code)."""

    def set_default_link_key(self, key: bytes) -> None:
        """Trust Center: the key for devices without an entry."""

    def set_link_key(self, eui: int, short: int, key: bytes) -> None:
        """A link key that key establishment made; from now on the data key for ``eui``. Its counter never goes back."""

    def set_poll_rates(self, rates: PollRates) -> None:
        """Sleepy end device: how often to ask the parent for frames, from now on."""

    def active_scan(self, channels: tuple[int, ...], done: Callable[[list[FoundNetwork]], None]) -> None:
        """Beacon requests on each channel in turn; ``done`` gets every beacon heard."""

    def energy_scan(self, channels: tuple[int, ...]) -> dict[int, int]:
        """Energy 0..255 per channel, from the share of time it was in use lately."""

    def neighbours(self) -> list[Neighbour]:
        """Every device heard directly, children and parent among them."""

    def address_of(self, eui: int) -> int | None:
        """The short address of ``eui``, or None when not known."""

    def eui_of(self, short: int) -> int | None:
        """The EUI behind a short address, or None when not known."""
