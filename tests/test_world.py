"""Virtual time's radio: link keys, a device that sleeps, and what a chip keeps when the power goes."""

from __future__ import annotations

import pytest

from agent.events import (
    ApsIndication,
    ApsRequest,
    FormNetwork,
    JoinNetwork,
    LeaveNetwork,
    LogicalType,
    PermitInstallCode,
    PermitJoin,
    RadioEvent,
    RadioRequest,
    RadioResult,
    RadioStatus,
    RestoreNetwork,
    SetLinkKey,
    SetPollRate,
)
from boards.virtual.chip_memory import ChipMemory
from boards.virtual.disk import Cut, Disk, PowerCut, Survival
from boards.virtual.seat import COUNTER_STEP
from boards.virtual.world import World

HUB, DEVICE = 0x11, 0x22
CODE = bytes(18)
KEY = bytes(range(16))


class Plain:
    """A node that sends what the test says and keeps what comes."""

    def __init__(self) -> None:
        self.to_send: list[tuple[int, RadioRequest]] = []
        self.results: list[RadioResult] = []
        self.heard: list[ApsIndication] = []

    def start(self, now: float) -> None:
        del now

    def receive(self, event: RadioEvent, now: float) -> None:
        del now
        if isinstance(event, ApsIndication) and event.destination_endpoint:
            self.heard.append(event)

    def handle_timer(self, now: float) -> None:
        del now

    def next_deadline(self) -> float | None:
        return None

    def radio_requests(self, now: float) -> list[tuple[int, RadioRequest]]:
        del now
        requests, self.to_send = self.to_send, []
        return requests

    def radio_done(self, handle: int, result: RadioResult, now: float) -> None:
        del handle, now
        self.results.append(result)


class Lab:
    def __init__(
        self, kind: LogicalType = LogicalType.ROUTER, memory: ChipMemory | None = None, lag_s: float = 0.0
    ) -> None:
        self.world = World()
        self.world.put_chip(DEVICE, memory or ChipMemory(), lag_s)
        self.hub, self.device = Plain(), Plain()
        self.world.attach(HUB, self.hub)
        self.world.attach(DEVICE, self.device)
        self.ask(self.hub, FormNetwork(20))
        self.ask(self.hub, PermitInstallCode(DEVICE, CODE))
        self.ask(self.hub, PermitJoin(60))
        self.ask(self.device, JoinNetwork(CODE, (20,), kind))

    def ask(self, node: Plain, request: RadioRequest) -> RadioResult:
        node.to_send.append((1, request))
        done = len(node.results)
        assert self.world.run(lambda: len(node.results) > done, 1.0)
        self.world.run(lambda: False, 1.0)
        return node.results[-1]

    def give_keys(self) -> None:
        self.ask(self.hub, SetLinkKey(DEVICE, 1, KEY))
        self.ask(self.device, SetLinkKey(HUB, 0, KEY))

    def cut(self) -> RadioResult:
        """The device's machine loses its power, comes back, and asks its chip where it is."""
        self.world.cut_power(DEVICE)
        self.device = Plain()
        self.world.attach(DEVICE, self.device)
        return self.ask(self.device, RestoreNetwork())

    def send(self, *, secured: bool) -> RadioStatus:
        return self.ask(self.device, ApsRequest(0, 1, 1, 0x0109, 0x19, b"x", True, secured)).status


def test_a_secured_frame_needs_the_same_key_on_both_sides() -> None:
    lab = Lab()
    assert lab.send(secured=False) is RadioStatus.OK
    assert lab.send(secured=True) is RadioStatus.NOT_ACKNOWLEDGED
    lab.ask(lab.device, SetLinkKey(HUB, 0, KEY))
    assert lab.send(secured=True) is RadioStatus.NOT_ACKNOWLEDGED
    lab.ask(lab.hub, SetLinkKey(DEVICE, 1, bytes(16)))
    assert lab.send(secured=True) is RadioStatus.NOT_ACKNOWLEDGED
    assert [heard.aps_security for heard in lab.hub.heard] == [False]
    lab.ask(lab.hub, SetLinkKey(DEVICE, 1, KEY))
    assert lab.send(secured=True) is RadioStatus.OK
    assert [heard.aps_security for heard in lab.hub.heard] == [False, True]


def test_leaving_and_joining_anew_forget_the_key() -> None:
    lab = Lab()
    lab.ask(lab.device, SetLinkKey(HUB, 0, KEY))
    lab.ask(lab.hub, SetLinkKey(DEVICE, 1, KEY))
    assert lab.send(secured=True) is RadioStatus.OK
    lab.ask(lab.device, LeaveNetwork())
    lab.ask(lab.device, JoinNetwork(CODE, (20,)))
    assert lab.send(secured=True) is RadioStatus.NOT_ACKNOWLEDGED


def test_a_chip_comes_back_with_network_and_key_and_counts_on() -> None:
    lab = Lab()
    lab.give_keys()
    for _ in range(COUNTER_STEP + 10):
        assert lab.send(secured=True) is RadioStatus.OK
    seat = lab.world.seats[DEVICE]
    before = seat.nwk_counter.next_value
    assert lab.cut().status is RadioStatus.OK
    assert before <= seat.nwk_counter.next_value <= before + COUNTER_STEP
    assert lab.send(secured=True) is RadioStatus.OK
    assert lab.world.reused == []


def test_a_key_that_lags_is_lost_with_the_power_until_nv_has_it() -> None:
    for wait_s, status in ((0.0, RadioStatus.NOT_ACKNOWLEDGED), (10.0, RadioStatus.OK)):
        lab = Lab(lag_s=5.0)
        lab.give_keys()
        lab.world.run(lambda: False, wait_s)
        assert lab.cut().status is RadioStatus.OK
        assert lab.send(secured=True) is status


def test_what_a_chip_had_in_hand_is_not_done_without_power_and_is_done_without_its_host() -> None:
    for cut, status in ((World.cut_power, RadioStatus.OK), (World.detach, RadioStatus.NO_NETWORK)):
        lab = Lab()
        lab.device.to_send.append((1, LeaveNetwork()))
        lab.world._collect()
        cut(lab.world, DEVICE)
        lab.world.run(lambda: False, 1.0)
        lab.device = Plain()
        lab.world.attach(DEVICE, lab.device)
        assert lab.ask(lab.device, RestoreNetwork()).status is status


def test_a_counter_that_goes_back_is_told_and_its_frame_not_taken() -> None:
    lab = Lab()
    assert lab.send(secured=False) is RadioStatus.OK
    lab.world.seats[DEVICE].nwk_counter.next_value = 0
    assert lab.send(secured=False) is RadioStatus.NOT_ACKNOWLEDGED
    assert lab.world.reused == ["0000000000000022: NWK frame counter 0 after 1 with one key"]


@pytest.mark.parametrize(
    ("survival", "cut", "kept"),
    [(Survival.LOST, Cut.POWER, "old"), (Survival.KEPT, Cut.POWER, "new"), (Survival.LOST, Cut.KILL, "new")],
)
def test_an_item_of_nv_is_the_old_or_the_new_one(survival: Survival, cut: Cut, kept: str) -> None:
    disk = Disk()
    memory = ChipMemory(disk)
    memory.put("item", "old")
    disk.cut_at(1, survival, cut)
    with pytest.raises(PowerCut, match="chip keep item"):
        memory.put("item", "new")
    assert memory.get("item") == kept
    disk.power_on()
    memory.put("item", kept)
    assert disk.operations == [], "what NV holds already is not written"


def test_what_is_sent_to_a_sleeping_device_waits_for_its_poll_and_a_broadcast_passes_it_by() -> None:
    lab = Lab(LogicalType.END_DEVICE)
    lab.ask(lab.device, SetPollRate(7.5, 0.1))
    network = lab.world.seats[DEVICE].network
    assert network is not None

    def waited_s(destination: int) -> float | None:
        """Until the device heard it; None: within a minute it did not."""
        sent, before = lab.world.now, len(lab.device.heard)
        lab.hub.to_send.append((1, ApsRequest(destination, 1, 1, 0x0109, 0x19, b"x")))
        heard = lab.world.run(lambda: len(lab.device.heard) > before, 60.0)
        return lab.world.now - sent if heard else None

    lab.world.run(lambda: False, 100.0 - lab.world.now)
    assert waited_s(network.short_address) == pytest.approx(5.0 + lab.world.latency_s)  # the poll at 105 s
    assert waited_s(0xFFFD) is None
    lab.ask(lab.device, SetPollRate(0.1, 0.1))
    waited = waited_s(network.short_address)
    assert waited is not None
    assert waited <= 0.1 + lab.world.latency_s


def test_a_faster_poll_rate_fetches_what_waits_and_so_does_a_question_of_the_devices_own() -> None:
    for request in (SetPollRate(0.1, 0.1), ApsRequest(0, 1, 1, 0x0109, 0x19, b"?")):
        lab = Lab(LogicalType.END_DEVICE)
        lab.ask(lab.device, SetPollRate(7.5, 0.1))
        network = lab.world.seats[DEVICE].network
        assert network is not None
        lab.world.run(lambda: False, 100.0 - lab.world.now)
        lab.hub.to_send.append((1, ApsRequest(network.short_address, 1, 1, 0x0109, 0x19, b"x")))
        lab.world.run(lambda: False, 1.0)
        assert lab.device.heard == []
        lab.device.to_send.append((1, request))
        assert lab.world.run(lambda lab=lab: bool(lab.device.heard), 0.5)  # type: ignore[misc]
