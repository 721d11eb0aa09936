"""How fast an image crosses the virtual air, against the model of the medium."""

from __future__ import annotations

import pytest
from stack_world import DEVICE_EUI, HUB_EUI, World, request

from boards.virtual.stack.interface import DataIndication

BLOCKS = 300
DATA_OCTETS = 50


def test_blocks_with_aps_security_and_acks_run_at_the_speed_of_the_medium() -> None:
    """One hop, 50 octets a block, everything secured and acknowledged: the model says 2,851 octets a second.

    It leaves the interframe spacing out, which the air does not: each side sends two frames in a row.
    """
    world = World()
    device = world.pair()
    world.hub.stack.set_link_key(DEVICE_EUI, device.short, bytes(16))
    device.stack.set_link_key(HUB_EUI, 0, bytes(16))
    received: list[int] = []

    def ask() -> None:
        device.stack.data_request(len(received) + 1, request(0, bytes(3 + 14), aps_security=True))

    def answer(_indication: DataIndication) -> None:
        block = request(device.short, bytes(3 + 14 + DATA_OCTETS), aps_security=True)
        world.hub.stack.data_request(len(received) + 1, block)

    def take(indication: DataIndication) -> None:
        received.append(len(indication.payload))
        if len(received) < BLOCKS:
            ask()

    world.hub.data_indication = answer  # type: ignore[method-assign]
    device.data_indication = take  # type: ignore[method-assign]
    start = world.scheduler.now()
    ask()
    assert world.scheduler.run_while(lambda: len(received) < BLOCKS, 60.0)
    octets_per_s = BLOCKS * DATA_OCTETS / (world.scheduler.now() - start)
    assert octets_per_s == pytest.approx(2851, rel=0.1)
