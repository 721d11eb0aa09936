"""What crosses the radio port: requests down, results and events up. Plain values, no behaviour.

An *EUI* is an int (IEEE 64-bit address), printed as 16 hex digits, most significant first; a *short address* is
the 16-bit NWK address. Everything here is immutable, so that a test can compare and replay it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

BROADCAST_ROUTERS = 0xFFFC
BROADCAST_AWAKE = 0xFFFD
COORDINATOR = 0x0000


def format_eui(eui: int) -> str:
    """An EUI as people write it: 16 hex digits, most significant octet first."""
    return f"{eui:016X}"


class LogicalType(Enum):
    """ZigBee logical device type, as in Z-Stack NV item 0x0087."""

    COORDINATOR = 0
    ROUTER = 1
    END_DEVICE = 2


@dataclass(frozen=True, slots=True)
class ApsRequest:
    """One APS payload to send. ``endpoint`` 0 with ``profile`` 0 is ZDO."""

    destination: int
    destination_endpoint: int
    source_endpoint: int
    profile: int
    cluster: int
    payload: bytes
    aps_ack: bool = True
    aps_security: bool = False


@dataclass(frozen=True, slots=True)
class ApsIndication:
    """One APS payload received (reassembled where it came in fragments)."""

    source: int
    source_endpoint: int
    destination_endpoint: int
    cluster: int
    payload: bytes
    aps_security: bool = False
    broadcast: bool = False
    link_quality: int = 255


@dataclass(frozen=True, slots=True)
class NetworkInfo:
    """The network that this radio is on."""

    eui: int
    short_address: int
    pan_id: int
    extended_pan_id: int
    channel: int
    logical_type: LogicalType


@dataclass(frozen=True, slots=True)
class FormNetwork:
    """Form a centralised network as coordinator and Trust Center. ``pan_id`` None lets the chip choose."""

    channel: int
    pan_id: int | None = None
    extended_pan_id: int | None = None


@dataclass(frozen=True, slots=True)
class JoinNetwork:
    """Join as a new member. ``install_code`` includes its CRC (8, 10, 14 or 18 octets).

    ``link_key``, 16 octets: the pre-shared key instead, as after a Trust Center swap-out.
    """

    install_code: bytes = field(repr=False)
    channels: tuple[int, ...]
    logical_type: LogicalType = LogicalType.ROUTER
    extended_pan_id: int | None = None
    link_key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class RestoreNetwork:
    """Come back to the network that the chip's NV remembers. NO_NETWORK when it remembers none."""


@dataclass(frozen=True, slots=True)
class DiscoverNetworks:
    """Active scan of these channels; the result has the beacons. Takes the chip off its network, which stays in NV:
    RestoreNetwork or MoveNetwork comes next.

    ``duration``: ScanDuration of IEEE 802.15.4; a channel is listened to for 15.36 ms * (2**duration + 1).
    """

    channels: tuple[int, ...]
    duration: int = 4


@dataclass(frozen=True, slots=True)
class MoveNetwork:
    """Go on with the network in NV on another channel or PAN id: same extended PAN id, keys, counters, address."""

    channel: int
    pan_id: int


@dataclass(frozen=True, slots=True)
class LeaveNetwork:
    """Leave and forget the network (NV start-up option 3)."""


@dataclass(frozen=True, slots=True)
class PermitJoin:
    """Coordinator: let devices join for ``duration_s`` seconds (0 closes)."""

    duration_s: int


@dataclass(frozen=True, slots=True)
class PermitInstallCode:
    """Coordinator: let this device join with the link key of its install code (with CRC)."""

    eui: int
    install_code: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PermitLinkKey:
    """Coordinator: let this device join with this pre-shared link key (16 octets)."""

    eui: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SetLinkKey:
    """Give the chip the link key that key establishment made."""

    eui: int
    short_address: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SetPollRate:
    """Sleepy end device: ask the parent for frames every ``period_s``, and ``answer_s`` after one went out or came in.

    It holds until the next one, over restarts too. REFUSED or TIMEOUT by a chip that has no such setting.
    """

    period_s: float
    answer_s: float


RadioRequest = (
    ApsRequest | FormNetwork | JoinNetwork | RestoreNetwork | DiscoverNetworks | MoveNetwork | LeaveNetwork
    | PermitJoin | PermitInstallCode | PermitLinkKey | SetLinkKey | SetPollRate
)  # fmt: skip


class RadioStatus(Enum):
    """How a request ended. OK for an ApsRequest with ``aps_ack`` means that the other side acknowledged it."""

    OK = "ok"
    NOT_ACKNOWLEDGED = "not acknowledged"  # MAC no ack (0xE9) or APS no ack (0xB7): may or may not have arrived
    NO_ROUTE = "no route"
    NO_NETWORK = "no network found"
    NOT_TAKEN_BACK = "the network does not take the device back"  # it is in NV; no parent answers the rejoin
    KEY_EXCHANGE_FAILED = "key exchange failed"
    REFUSED = "refused by the chip"
    TIMEOUT = "the chip did not answer"
    RADIO_LOST = "radio lost"


@dataclass(frozen=True, slots=True)
class Beacon:
    """One router or coordinator heard by DiscoverNetworks. ``sender``: its short address, 0 for the coordinator."""

    channel: int
    pan_id: int
    extended_pan_id: int
    sender: int
    permits_joining: bool
    link_quality: int
    stack_profile: int = 2  # ZigBee PRO
    update_id: int = 0


@dataclass(frozen=True, slots=True)
class RadioResult:
    """The outcome of one RadioRequest. ``network`` is set by Form, Join, Restore and Move when they succeed.

    With NOT_TAKEN_BACK it is the network in NV, which the device is not on.
    """

    status: RadioStatus
    network: NetworkInfo | None = None
    detail: str = ""
    beacons: tuple[Beacon, ...] = ()  # of DiscoverNetworks


@dataclass(frozen=True, slots=True)
class NetworkLost:
    """The chip reports that it is on no network any more (left, removed, orphaned)."""

    reason: str


@dataclass(frozen=True, slots=True)
class NetworkChanged:
    """Still on the network, but the chip has another short address, channel or PAN id now."""

    network: NetworkInfo


@dataclass(frozen=True, slots=True)
class RadioLost:
    """The radio went away or reset by itself; the shell reopens it, the node restores the network."""

    reason: str


@dataclass(frozen=True, slots=True)
class DeviceLeft:
    """Coordinator: this device said that it leaves, and will not rejoin by itself."""

    eui: int


RadioEvent = ApsIndication | NetworkLost | NetworkChanged | DeviceLeft | RadioLost
