"""Who a machine talks to, and what it hands to the endpoint to send."""

from __future__ import annotations

from dataclasses import dataclass

UNKNOWN_EUI = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True, slots=True)
class Peer:
    """An endpoint on the network. ``eui`` is UNKNOWN_EUI until an IEEE_addr_rsp has told it."""

    short_address: int
    endpoint: int
    eui: int = UNKNOWN_EUI


@dataclass(frozen=True, slots=True)
class OutgoingZcl:
    """One ZCL frame to send. ``sequence`` None: the endpoint takes the next one (a response repeats its request's)."""

    peer: Peer
    cluster: int
    command: int
    payload: bytes
    to_client: bool = False
    cluster_specific: bool = True
    disable_default_response: bool = True
    sequence: int | None = None
    aps_ack: bool = True
