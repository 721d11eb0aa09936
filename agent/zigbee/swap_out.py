"""Trust Center swap-out: a hub that was replaced by another, with another EUI, and a device that comes back by itself.

ZigBee PRO R23 4.7.4.1.2 and ZigBee Smart Energy: the new Trust Center restores the extended PAN id and, for each
device, the AES-MMO hash of the link key that it had with the old one; network key, PAN id and channel are new. A device
that finds its network but no answer takes the hash of its key as the key under which the network key comes, and
establishes a new link key at once.

There the device rejoins unsecured (Trust Center rejoin). A ZNP host cannot ask a chip for that, so *our choice* is a
join with the hash as its pre-shared key, on the network of that extended PAN id alone: the new hub must be open for
joining, as one is that waits for its devices. Joining costs the network in the chip's memory, so it is tried only where
the hub's own beacon is heard, is open, and nothing else of the hub is: its network key must be another.
"""

from __future__ import annotations

from agent.events import COORDINATOR, JoinNetwork, LogicalType, NetworkInfo, RadioResult
from agent.zigbee.cbke.hub_key import HubKey
from agent.zigbee.whereabouts import CHANNELS


def swap_request(key: HubKey | None, network: NetworkInfo | None, logical_type: LogicalType) -> JoinNetwork | None:
    """The join by hash; None where there is no key to hash. ``network`` None: any that takes it."""
    if key is None or not key.swap_key:
        return None
    if network is None:
        return JoinNetwork(b"", CHANNELS, logical_type, link_key=key.swap_key)
    return JoinNetwork(b"", (network.channel,), logical_type, network.extended_pan_id, key.swap_key)


def hub_is_open_here(result: RadioResult, network: NetworkInfo) -> bool:
    """Whether a discovery heard the hub itself where our network is, and it lets devices join."""
    here = (network.extended_pan_id, network.channel, network.pan_id)
    return any(
        beacon.permits_joining
        and beacon.sender == COORDINATOR
        and (beacon.extended_pan_id, beacon.channel, beacon.pan_id) == here
        for beacon in result.beacons
    )
