"""What the layers of one stack share: the radio, the clock, the sink, the keys, and the network when there is one."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from boards.virtual.air.medium import Air
from boards.virtual.air.radio import Radio
from boards.virtual.air.scheduler import Cancel
from boards.virtual.stack.interface import StackSink
from boards.virtual.stack.key_store import RESERVE_STEP, KeyStore
from boards.virtual.stack.network import Network


@dataclass(frozen=True, slots=True)
class StackSettings:
    """Constants of the stack, with the ZigBee specification's names beside them. Times in virtual seconds."""

    aps_ack_wait_s: float = 1.6  # apscAckWaitDuration
    aps_retries: int = 3  # apscMaxFrameRetries
    aps_window: int = 1  # apscMaxWindowSize: the same in every device of a network; 1 is TI's default
    maximum_transfer_octets: int = 1500  # largest payload taken in or sent; real chips say as little as 160
    scan_duration_s: float = 0.138  # beacon wait per channel, scan duration 3
    scan_attempts: int = 3
    join_attempts: int = 3
    association_wait_s: float = 0.49  # macResponseWaitTime
    key_wait_s: float = 3.0  # how long a joiner waits for the network key
    passive_ack_s: float = 0.5  # nwkPassiveAckTimeout
    broadcast_retries: int = 2  # nwkMaxBroadcastRetries
    broadcast_jitter_s: float = 0.064  # nwkcMaxBroadcastJitter
    broadcast_lifetime_s: float = 9.0  # nwkBroadcastDeliveryTime
    route_wait_s: float = 1.5  # our choice below nwkcRouteDiscoveryTime: homes are at most a few hops deep
    route_attempts: int = 2
    counter_reserve: int = RESERVE_STEP  # frames that a counter kept in NV is ahead


@dataclass(slots=True)
class StackStatistics:
    """Frames that the stack refused, by reason."""

    malformed: int = 0
    mic_failures: int = 0  # wrong key or a changed frame, NWK and APS
    replays: int = 0  # frame counter already seen, NWK and APS
    unsecured: int = 0  # NWK frames without security where it is needed
    no_key: int = 0  # APS-secured frames from a partner without a link key
    duplicates: int = 0  # APS counter already seen


class Core:
    """Shared state of one stack. ``generation`` changes when the chip stops, and makes its timers stale."""

    def __init__(
        self, air: Air, eui: int, sink: StackSink, generator: random.Random, settings: StackSettings | None
    ) -> None:
        self.eui = eui
        self.air = air
        self.scheduler = air.scheduler
        self.random = generator
        self.sink = sink
        self.settings = settings or StackSettings()
        self.statistics = StackStatistics()
        self.network: Network | None = None
        self.keys = KeyStore(self.changed, self.settings.counter_reserve)
        self.radio = Radio(air, eui, generator.randrange(256))
        self._generation = 0
        self._nwk_sequence = generator.randrange(256)
        self._aps_counter = generator.randrange(256)

    def later(self, delay_s: float, callback: Callable[[], None]) -> Cancel:
        """Run ``callback`` then, unless the chip was stopped."""
        generation = self._generation

        def run() -> None:
            if generation == self._generation:
                callback()

        return self.scheduler.call_later(delay_s, run)

    def changed(self) -> None:
        """Something that must be persisted has changed (nothing is while on no network)."""
        if self.network is not None:
            self.sink.state_changed()

    def next_nwk_sequence(self) -> int:
        self._nwk_sequence = (self._nwk_sequence + 1) & 0xFF
        return self._nwk_sequence

    def next_aps_counter(self) -> int:
        self._aps_counter = (self._aps_counter + 1) & 0xFF
        return self._aps_counter

    def power_off(self) -> None:
        """Every timer is stale, nothing is sent or heard, the network is forgotten."""
        self._generation += 1
        self.radio.stop()
        self.network = None
