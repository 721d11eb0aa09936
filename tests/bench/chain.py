"""The whole chain: device, hub and emulated air move a real image, against what the medium would let through."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stack_world import DEVICE_EUI, HUB_EUI, World, request

from agent.settings import OtaSettings
from agent.zigbee.ota_download import APS_ACK_FOR_BLOCKS
from boards.bench.demo.prepare import MARKER
from boards.bench.settings import ServerSettings
from boards.virtual.stack.interface import DataIndication
from tests.bench.measure import BenchError, Row
from tests.system.lab import Lab, Running

SPEEDS = (1.0, 20.0)  # times real air; 20 is the demo's
WINDOW_S = 15.0
FIRST_BLOCKS = 20  # let the transfer get going
MODEL_BLOCKS = 2000
ZCL_OCTETS = 3
FIXED_OCTETS = 14  # an Image Block Request, and a response without its data


def measure(base: Path, window_s: float = WINDOW_S) -> list[Row]:
    """Octets and blocks a second on the clock. ``base`` is the Python that the device runs on."""
    octets = OtaSettings().block_octets
    rows = []
    ceiling = ceiling_octets_per_s(octets)
    against = f"the air alone, {octets} octets a block"
    for speed in SPEEDS:
        octets_per_s, blocks_per_s = transfer(base, speed, window_s)
        part = f"transfer, air x {speed:g}"
        rows.append(Row(part, "octets a second", octets_per_s, "B/s", ceiling * speed, against))
        rows.append(Row(part, "blocks a second", blocks_per_s, "1/s", ceiling / octets * speed, against))
    return rows


def ceiling_octets_per_s(data_octets: int) -> float:
    """What two stacks on the virtual air reach when their hosts take no time: one hop, APS-secured, no APS ack.

    In virtual time, with the acknowledgements, back-offs and spacing of ``boards.virtual.air.medium``.
    """
    if APS_ACK_FOR_BLOCKS or ServerSettings().block_aps_ack:
        raise BenchError("the ceiling is that of blocks without APS acknowledgement, and these have it")
    world = World()
    device = world.pair()
    world.hub.stack.set_link_key(DEVICE_EUI, device.short, bytes(16))
    device.stack.set_link_key(HUB_EUI, 0, bytes(16))
    received = 0

    def ask() -> None:
        asked = request(0, bytes(ZCL_OCTETS + FIXED_OCTETS), aps_security=True, aps_ack=False)
        device.stack.data_request(received % 255 + 1, asked)

    def answer(_indication: DataIndication) -> None:
        payload = bytes(ZCL_OCTETS + FIXED_OCTETS + data_octets)
        block = request(device.short, payload, aps_security=True, aps_ack=False)
        world.hub.stack.data_request(received % 255 + 1, block)

    def take(_indication: DataIndication) -> None:
        nonlocal received
        received += 1
        ask()

    world.hub.data_indication = answer  # type: ignore[method-assign]
    device.data_indication = take  # type: ignore[method-assign]
    start = world.scheduler.now()
    ask()
    if not world.scheduler.run_while(lambda: received < MODEL_BLOCKS, 120.0):
        raise BenchError("the virtual air did not carry the blocks of the ceiling")
    return received * data_octets / (world.scheduler.now() - start)


def transfer(base: Path, speed: float, window_s: float) -> tuple[float, float]:
    """Octets and blocks a second, over at most ``window_s`` seconds on the clock of one transfer."""
    with running_lab(base, speed) as (lab, hub):
        lab.update(lab.device.images.new)
        hub.until(lambda: len(hub.said("transfer-progress")) >= FIRST_BLOCKS, "the first blocks")
        first, start = hub.said("transfer-progress")[-1], time.monotonic()
        end = start + window_s
        while time.monotonic() < end and not hub.said("transfer-ended"):
            time.sleep(0.05)  # a bench, not a test: this is the window
        last, seconds = hub.said("transfer-progress")[-1], time.monotonic() - start
    moved = {key: int(str(last[key])) - int(str(first[key])) for key in ("offset", "blocks")}
    return moved["offset"] / seconds, moved["blocks"] / seconds


@contextmanager
def running_lab(base: Path, speed: float, *device_changes: tuple[str, str]) -> Iterator[tuple[Lab, Running]]:
    """A lab whose hub has a tunnel to its device, and the hub. ``device_changes`` as ``Lab.configure`` takes them."""
    folder = Path(tempfile.mkdtemp(prefix="han-"))  # short: a control socket's path may have 107 octets only
    (folder / MARKER).touch()
    lab = Lab(folder, base, Path(__file__).parents[2], speed=speed)
    try:
        lab.prepare()
        lab.start_air()
        lab.configure(*device_changes)
        hub = lab.start_hub()
        lab.start_device()
        hub.wait_for("tunnel-opened")
        yield lab, hub
    finally:
        lab.close()
        shutil.rmtree(folder, ignore_errors=True)
