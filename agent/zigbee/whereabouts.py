"""What the beacons of a network discovery say of our own network: where it is, and whether the hub itself is heard.

Z-Stack brings a router back as its NV says, without a word on the air and without a look at where its network is now.
So a silent hub is looked for here, and its network followed, never joined anew: that would cost the keys in NV.
Source: ZigBee specification (05-3474) 3.6.1.4.2: a network that changed its channel or PAN id is known by its extended
PAN id. Which of several places is the right one is *our choice*: one with the hub's own beacon, then the one where we
were in vain least lately (beacons bear no security, so that anybody can send ours), then the strongest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from agent.events import (
    COORDINATOR,
    Beacon,
    DiscoverNetworks,
    MoveNetwork,
    NetworkInfo,
    RadioResult,
    RadioStatus,
    format_eui,
)

CHANNELS = tuple(range(11, 27))  # all, whatever radio.channels says of joining: it is our network that we look for
UNDELIVERED = 5  # our choice: so many frames in a row, before the hub is asked for its time
SEARCHES_BEFORE_DISCOVERY = 2  # our choice: without any answer of the hub


class Sight(Enum):
    """What a discovery showed of our network."""

    ABSENT = "absent"  # no beacon of it
    HUB_ABSENT = "hub absent"  # other members are heard, the hub is not
    HERE = "here"  # the hub is heard where we are, and does not answer us
    MOVED = "moved"  # heard on another channel or PAN id
    UNKNOWN = "unknown"  # the discovery did not come to its end


@dataclass(frozen=True, slots=True)
class NetworkSought:
    """A network discovery ended. ``detail``: what it showed, in words. ``hub_heard``: the coordinator's own beacon."""

    sight: Sight
    detail: str
    hub_heard: bool = False

    @property
    def hub_is_off(self) -> bool:
        """Whether it shows that no answer can be expected: completed, and without a beacon of the hub's own."""
        return self.sight is not Sight.UNKNOWN and not self.hub_heard


@dataclass(frozen=True, slots=True)
class AddressChanged:
    """The chip has another short address, channel or PAN id than before, without our doing; it is announced."""

    network: NetworkInfo
    reason: str


Place = tuple[int, int]  # channel and PAN id


def judge(
    result: RadioResult, network: NetworkInfo, in_vain: Mapping[Place, int], refused: str = ""
) -> tuple[NetworkSought, MoveNetwork | None]:
    """What a discovery on CHANNELS says of ``network``, and where to go when it is elsewhere now.

    ``in_vain``: where the hub was silent, and when, in growing numbers. ``refused``: why the network did not
    take the device back just before, empty where it is only silent.
    """
    if result.status is not RadioStatus.OK:
        return NetworkSought(Sight.UNKNOWN, f"network discovery failed: {result.detail or result.status.value}"), None
    name = format_eui(network.extended_pan_id)
    ours = [beacon for beacon in result.beacons if beacon.extended_pan_id == network.extended_pan_id]
    if not ours:
        return NetworkSought(Sight.ABSENT, f"no beacon of our network {name} on channels {ranges(CHANNELS)}"), None
    best = max(ours, key=lambda one: (one.sender == COORDINATOR, -in_vain.get(_place(one), -1), one.link_quality))
    hub_heard = best.sender == COORDINATOR
    if _place(best) != _place(network):
        words = f"our network {name} is heard on {describe(best)}: it was on {describe(network)}"
        return NetworkSought(Sight.MOVED, words, hub_heard), MoveNetwork(best.channel, best.pan_id)
    if hub_heard:
        ending = f"does not take us: {refused}" if refused else "the hub does not answer"
        return NetworkSought(Sight.HERE, f"our network {name} is heard on {describe(best)}, but {ending}", True), None
    words = f"of our network {name} other members are heard on {describe(best)}, but not the hub"
    return NetworkSought(Sight.HUB_ABSENT, words), None


def describe(place: Beacon | NetworkInfo) -> str:
    """Channel and PAN id in words."""
    return f"channel {place.channel}, PAN 0x{place.pan_id:04X}"


def ranges(channels: Iterable[int]) -> str:
    """``11-14, 20``."""
    runs: list[list[int]] = []
    for channel in sorted(channels):
        if runs and channel == runs[-1][-1] + 1:
            runs[-1].append(channel)
        else:
            runs.append([channel])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _place(where: Beacon | NetworkInfo) -> Place:
    return where.channel, where.pan_id


class Whereabouts:
    """What is known of where our network is, from one sign of life of the hub to the next."""

    def __init__(self) -> None:
        self._undelivered = 0  # frames to the hub in a row
        self._unanswered = 0  # searches since the hub last said anything
        self._discoveries = 0
        self._in_vain: dict[Place, int] = {}  # where the hub was silent -> the discovery that followed
        self._rival: int | None = None  # EUI that announced our own short address
        self.sought: NetworkSought | None = None  # what the discovery that led to the present step showed
        self.refused = ""  # why the network in NV did not take us back before it

    def forget(self) -> None:
        """The next step begins anew: a radio just opened, or a pause is over."""
        self.sought, self.refused = None, ""
        self.arrived()

    def delivered(self, *, ok: bool) -> bool:
        """A frame to the hub was acknowledged or not; True when that speaks against its being there."""
        self._undelivered = 0 if ok else self._undelivered + 1
        return self._undelivered == UNDELIVERED

    def hub_heard(self) -> None:
        """Anything from it."""
        self.arrived()
        self._in_vain.clear()

    def arrived(self) -> None:
        """On a network: the searches count from here."""
        self._unanswered = self._undelivered = 0

    def searched(self) -> None:
        """It was asked where its endpoint is."""
        self._unanswered += 1

    def in_vain(self) -> bool:
        """A key establishment came to nothing; True when the hub has been silent for too long."""
        self._unanswered += 1
        return self.is_in_doubt

    @property
    def is_in_doubt(self) -> bool:
        """Whether the next search wants a discovery before it."""
        return self._unanswered >= SEARCHES_BEFORE_DISCOVERY

    def discover(self, refused: str = "") -> DiscoverNetworks:
        """The request. ``refused``: as for ``judge``."""
        self.sought, self.refused = None, refused
        return DiscoverNetworks(CHANNELS)

    def discovered(self, result: RadioResult, network: NetworkInfo) -> tuple[NetworkSought, MoveNetwork | None]:
        """What it showed, and where to go."""
        self._in_vain[_place(network)] = self._discoveries
        self._discoveries += 1
        self.sought, place = judge(result, network, self._in_vain, self.refused)
        return self.sought, place

    def announced(self, eui: int, short_address: int, own: NetworkInfo) -> None:
        """A Device_annce. What to do about our own address in it is the chip's: 05-3474 3.6.1.9."""
        if short_address == own.short_address and eui != own.eui:
            self._rival = eui

    def changed(self, before: NetworkInfo, network: NetworkInfo) -> AddressChanged:
        """In words why the chip is elsewhere, or is called otherwise, than before."""
        rival, self._rival = self._rival, None
        if before.short_address == network.short_address:
            return AddressChanged(network, f"the network went to {describe(network)}")
        if rival is None:
            return AddressChanged(network, "the chip took another short address")
        return AddressChanged(network, f"short address conflict with {format_eui(rival)}")
