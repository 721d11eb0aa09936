"""The emulated chip loses its power at every write of its NV memory, and no frame counter is ever used twice."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import pytest

from agent.events import LogicalType
from boards.virtual.air.medium import Air
from boards.virtual.air.scheduler import ManualScheduler
from boards.virtual.disk import PowerCut
from boards.virtual.ncp import items
from boards.virtual.ncp.chip import Chip
from boards.virtual.ncp.commissioning import MODE_FORMATION, MODE_STEERING
from boards.virtual.ncp.nv import NvMemory, old_item
from boards.virtual.stack import aps_security, nwk, security
from boards.virtual.stack.core import StackSettings
from boards.virtual.stack.interface import DataRequest
from boards.virtual.stack.key_store import ReservedCounter
from boards.virtual.stack.keys import install_code_link_key
from boards.virtual.stack.security import Auxiliary
from boards.virtual.stack.stack import Stack

HUB, DEVICE = 0x00124B0000000001, 0x00124B0000000002
LINK_KEY = install_code_link_key(bytes.fromhex("83FED3407A939723A5C639B26916D505C3B5"))
CHANNELS = 1 << 15
RESERVE = 8  # instead of a thousand: the walk comes by many reserves
FRAMES = 9
FIRST_HANDLE = 100_000  # beyond those of the chip's own


class Supply:
    """Counts the writes of one chip's NV, and cuts at one of them; ``kept``: that one was still made."""

    def __init__(self, cut_at: int = 0, *, kept: bool = False) -> None:
        self.cut_at = cut_at
        self.kept = kept
        self.writes = 0


class CutNv(NvMemory):
    """The real file, behind a power supply."""

    def __init__(self, path: Path, supply: Supply) -> None:
        super().__init__(path)
        self._supply = supply

    def commit(self) -> None:
        if not self._changed:
            return
        self._supply.writes += 1
        cut = self._supply.writes == self._supply.cut_at
        if not cut or self._supply.kept:
            super().commit()
        if cut:
            raise PowerCut(f"NV write {self._supply.writes}")


class TestChip(Chip):
    """Keeps what was confirmed of the test's own frames."""

    __test__ = False
    confirmed: set[int]

    def data_confirm(self, handle: int, status: int) -> None:
        if handle < FIRST_HANDLE:
            super().data_confirm(handle, status)
        else:
            self.confirmed.add(handle)


class Counters:
    """Everything that was ever encrypted: the octets by key, sender and counter."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.seen: defaultdict[tuple[bytes, int, int], set[bytes]] = defaultdict(set)
        for module in (nwk, aps_security):
            patch.setattr(module, "protect", self._protect)

    def _protect(self, key: bytes, header: bytes, auxiliary: Auxiliary, sender: int, plain: bytes) -> bytes:
        octets = security.protect(key, header, auxiliary, sender, plain)
        self.seen[key, sender, auxiliary.counter].add(octets)
        return octets

    @property
    def reused(self) -> int:
        return sum(len(octets) > 1 for octets in self.seen.values())


class Lab:
    """Two chips with NV files, and hosts that know what to do after a start."""

    def __init__(self, folder: Path, cut: int, supply: Supply) -> None:
        self.folder, self.cut, self.supply = folder, cut, supply
        self.scheduler = ManualScheduler()
        self.air = Air(self.scheduler)
        self.lives = 0
        self.handle = FIRST_HANDLE
        self.cuts = 0
        self.chips = {eui: self._power_up(eui) for eui in (HUB, DEVICE)}

    def _power_up(self, eui: int) -> TestChip:
        while True:
            self.lives += 1
            path = self.folder / f"{eui:016x}.json"
            try:
                return self._make(eui, CutNv(path, self.supply) if eui == self.cut else NvMemory(path))
            except PowerCut:
                self.cuts += 1

    def _make(self, eui: int, nv: NvMemory) -> TestChip:
        generator = random.Random(f"{eui} {self.lives}")
        settings = StackSettings(counter_reserve=RESERVE)
        chip = TestChip(
            self.scheduler, lambda own, sink: Stack(self.air, own, sink, generator, settings), nv, eui, generator
        )
        chip.confirmed = set()
        return chip

    def walk(self) -> None:
        """The whole walk; from its beginning again after the cut."""
        while True:
            try:
                self._walk()
            except PowerCut:
                self.cuts += 1
                chip = self.chips[self.cut]
                chip._generation += 1  # power_off would write NV
                chip.timers.stop_all()
                chip.stack.stop()
                self.chips[self.cut] = self._power_up(self.cut)
            else:
                return

    def _walk(self) -> None:
        self._hub_up()
        self._device_up()
        self._talk()
        self._give_keys()
        self._talk()
        self._rejoin_anew()
        self._talk()
        self._restart_hosts()
        self._talk()

    def _restart_hosts(self) -> None:
        """Both chips are reset; the hub's host permits the install code again, as it does after its start."""
        for chip in self.chips.values():
            chip.reset()
        self._hub_up()
        self._device_up()
        self._rejoin_anew()

    def _hub_up(self) -> None:
        hub = self.chips[HUB]
        if hub.network is None:
            hub.nv.put(old_item(items.LOGICAL_TYPE), bytes((LogicalType.COORDINATOR.value,)))
            hub.bdb.channels = CHANNELS
            hub.bdb.start(MODE_FORMATION)
            self.scheduler.run_while(lambda: hub.bdb._busy is not None, 60.0)
        hub.stack.allow_link_key(DEVICE, LINK_KEY)
        hub.stack.permit_join(255)

    def _device_up(self) -> None:
        """Restored, or joined; a network that is gone is given up."""
        device = self.chips[DEVICE]
        for _ in range(3):
            if device.network is None:
                device.nv.put(old_item(items.LOGICAL_TYPE), bytes((LogicalType.ROUTER.value,)))
                device.bdb.channels, device.bdb.link_keys = CHANNELS, [LINK_KEY]
                device.bdb.start(MODE_STEERING)
                self.scheduler.run_while(lambda: device.bdb._busy is not None, 60.0)
            self.scheduler.run_for(3.0)
            hub = self.chips[HUB]
            if device.network and hub.network and device.network.extended_pan_id == hub.network.extended_pan_id:
                return
            self._leave()

    def _leave(self) -> None:
        device = self.chips[DEVICE]
        if device.network is not None:
            device.stack.leave()
            self.scheduler.run_while(lambda: device.network is not None, 10.0)
            self.scheduler.run_for(1.0)

    def _rejoin_anew(self) -> None:
        """The device leaves and joins again with the same install code, which the hub permits again."""
        self._leave()
        self.chips[HUB].stack.allow_link_key(DEVICE, LINK_KEY)
        self._device_up()

    def _give_keys(self) -> None:
        """Key establishment has ended: hub first, then device."""
        key = random.Random(self.lives).randbytes(16)
        self.chips[HUB].stack.set_link_key(DEVICE, self.chips[DEVICE].short, key)
        self.chips[DEVICE].stack.set_link_key(HUB, 0, key)

    def _talk(self) -> None:
        hub, device = self.chips[HUB], self.chips[DEVICE]
        for number in range(FRAMES):
            for chip, destination in ((device, 0), (hub, device.short)):
                self.handle += 1
                handle = self.handle
                request = DataRequest(destination, 1, 1, 0x0019, 0x0109, bytes((number,)), True, aps_security=True)
                chip.stack.data_request(handle, request)
                self.scheduler.run_while(lambda chip=chip, handle=handle: handle not in chip.confirmed, 20.0)


def walk(folder: Path, cut: int, supply: Supply, counters: Counters) -> Lab:
    folder.mkdir()
    lab = Lab(folder, cut, supply)
    lab.walk()
    assert counters.reused == 0, f"cut at {supply.cut_at}, kept {supply.kept}"
    return lab


def walk_all(folder: Path, cut: int, writes: int, counters: Counters) -> None:
    """One walk for each write of the chip's NV, which is made and is not made in turn."""
    for number in range(1, writes + 1):
        counters.seen.clear()
        lab = walk(folder / str(number), cut, Supply(number, kept=bool(number % 2)), counters)
        assert lab.cuts == 1


@pytest.mark.parametrize("cut", [HUB, DEVICE], ids=["hub", "device"])
def test_no_counter_is_used_twice_wherever_the_power_goes(
    cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = Counters(monkeypatch)
    whole = Supply()
    walk(tmp_path / "whole", cut, whole, counters)
    assert whole.writes > 30
    walk_all(tmp_path, cut, whole.writes, counters)


def test_a_counter_that_is_not_reserved_ahead_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def take(self: ReservedCounter) -> int:
        """NV is written after the last number of a reserve was used, not before the first."""
        value = self.next_value
        self.next_value = value + 1
        if self.next_value > self.reserve + RESERVE:
            self.reserve = self.next_value
            self._on_reserve()
        return value

    monkeypatch.setattr(ReservedCounter, "take", take)
    counters = Counters(monkeypatch)
    with pytest.raises(AssertionError, match="cut at"):
        walk_all(tmp_path, DEVICE, 40, counters)
