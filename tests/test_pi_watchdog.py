"""The watchdog is fed while the machines answer, and only then; the driver's time goes on without a radio."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.errors import RadioError, StorageError
from agent.events import RadioEvent, RadioLost, RadioRequest, RadioResult, RadioStatus, RestoreNetwork
from agent.notify import Pulse, ServiceManager
from agent.runtime import Runtime
from agent.shell import Driver
from agent.telling import News
from agent.update.states import State
from boards.raspberry_pi.led import Light


@contextmanager
def manager_socket(address: str | None = None) -> Iterator[tuple[str, Callable[[], list[str]]]]:
    """A service manager's socket: its address, and what has been said to it since the last look."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        name = address or str(Path(folder) / "notify")
        line.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        line.setblocking(False)

        def said() -> list[str]:
            words = []
            while True:
                try:
                    words.append(line.recv(4096).decode())
                except BlockingIOError:
                    return words

        yield name, said


# --- the protocol -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [None, "@han-agent-test-notify"])
def test_the_words_are_systemd_s(address: str | None) -> None:
    with manager_socket(address) as (name, said):
        manager = ServiceManager(name, 60.0)
        manager.ready("on channel 20")
        manager.alive()
        manager.stopping()
        assert said() == ["READY=1\nSTATUS=on channel 20", "WATCHDOG=1", "STOPPING=1"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, None),  # nobody to tell
        ({"NOTIFY_SOCKET": "/x"}, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "60000000"}, 60.0),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "77"}, 60.0),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "78"}, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "0"}, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "-1"}, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "soon"}, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "me"}, None),
    ],
)
def test_the_environment_is_understood(environment: dict[str, str], expected: float | None) -> None:
    assert ServiceManager.from_environment(environment, 77).watchdog_s == expected


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "@nobody-listens-here", "/" + "x" * 200])
def test_a_manager_that_is_not_there_disturbs_nobody(address: str) -> None:
    ServiceManager(address, 60.0).ready("")


# --- when a sign of life goes out -------------------------------------------------------------------------------------


def test_a_sign_of_life_four_times_an_interval_and_not_more() -> None:
    with manager_socket() as (name, said):
        pulse = Pulse(ServiceManager(name, 40.0))
        assert pulse.interval_s == 10.0
        assert [now for now in range(40) if pulse.beat(None, float(now))] == [0, 10, 20, 30]
        assert said() == ["WATCHDOG=1"] * 4


def test_a_machine_that_is_overdue_silences_it() -> None:
    pulse = Pulse(ServiceManager("/nowhere", 40.0), overdue_s=10.0)
    assert pulse.beat(100.0, 110.0)
    assert not pulse.beat(100.0, 125.0), "called at 100 and still asking for it at 125: it does not answer"
    assert pulse.beat(130.0, 135.0)


def test_without_a_watchdog_nothing_is_said() -> None:
    with manager_socket() as (name, said):
        pulse = Pulse(ServiceManager(name, None))
        assert pulse.interval_s is None
        assert not pulse.beat(None, 0.0)
        assert said() == []


class FakeDevice:
    """What the watcher and the LED look at."""

    def __init__(self) -> None:
        self.restart = ""
        self.deadline: float | None = None
        self.update_state = State.IDLE
        self.hub_answers = False
        self.is_factory = False

    def next_deadline(self) -> float | None:
        return self.deadline


def running(device: FakeDevice, manager: ServiceManager) -> Runtime:
    """A runtime whose driver is never started."""
    return Runtime(device, None, Path("/nowhere/control"), None, News(lambda *_: None), manager)  # type: ignore[arg-type]


def test_ready_once_then_signs_of_life_then_the_end() -> None:
    with manager_socket() as (name, said):
        device = FakeDevice()
        runtime = running(device, ServiceManager(name, 60.0))
        runtime.look()
        runtime.look()
        assert said() == ["READY=1\nSTATUS=the device runs", "WATCHDOG=1"]
        assert not runtime.stop.is_set()
        device.restart = "the trial failed"
        runtime.look()
        assert runtime.stop.is_set()


def test_the_led_says_what_goes_on() -> None:
    device = FakeDevice()
    runtime = running(device, ServiceManager("", None))
    assert runtime.light() is Light.SLOW
    device.hub_answers = True
    for state, light in (
        (State.IDLE, Light.STEADY),
        (State.DOWNLOADING, Light.QUICK),
        (State.HELD, Light.STEADY),
        (State.ACTIVATING, Light.FLASH),
        (State.TRIAL, Light.FLASH),
    ):
        device.update_state = state
        assert runtime.light() is light


def test_the_factory_agent_says_what_it_is() -> None:
    with manager_socket() as (name, said):
        device = FakeDevice()
        device.is_factory = True
        runtime = running(device, ServiceManager(name, None))
        runtime.look()
        assert said() == ["READY=1\nSTATUS=factory agent: no slot verifies, an image is fetched from the hub"]
        for state, light in (
            (State.IDLE, Light.WINK),
            (State.DOWNLOADING, Light.QUICK),
            (State.ACTIVATING, Light.FLASH),
        ):
            device.update_state = state
            assert runtime.light() is light


# --- the driver -------------------------------------------------------------------------------------------------------


class Patient:
    """A node that wants to be called every ``period_s`` and asks the radio for one thing each time."""

    def __init__(self, period_s: float) -> None:
        self.period_s = period_s
        self.calls = 0
        self.starts = 0
        self.results: list[RadioStatus] = []
        self._deadline: float | None = None
        self._requests: list[tuple[int, RadioRequest]] = []

    def start(self, now: float) -> None:
        self.starts += 1
        self._deadline = now

    def receive(self, event: RadioEvent, now: float) -> None:
        self._deadline = now

    def handle_timer(self, now: float) -> None:
        self.calls += 1
        self._deadline = now + self.period_s
        self._requests.append((self.calls, RestoreNetwork()))

    def next_deadline(self) -> float | None:
        return self._deadline

    def radio_requests(self, now: float) -> list[tuple[int, RadioRequest]]:
        requests, self._requests = self._requests, []
        return requests

    def radio_done(self, handle: int, result: RadioResult, now: float) -> None:
        self.results.append(result.status)


class Pulled:
    """A stick that is pulled right after the first opening and found again at the ``found_at``-th."""

    def __init__(self, found_at: int) -> None:
        self.openings = 0
        self._found_at = found_at

    async def open(self, on_event: Callable[[RadioEvent], None]) -> None:
        self.openings += 1
        if self.openings == 1:
            on_event(RadioLost("unplugged"))
        elif self.openings < self._found_at:
            raise RadioError("no such port")

    async def execute(self, request: RadioRequest) -> RadioResult:
        return RadioResult(RadioStatus.OK)

    async def close(self) -> None:
        """Nothing to let go of."""


def test_without_a_radio_the_node_s_time_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial whose program cannot reach its radio must come to its limit, and the watchdog must not fire meanwhile."""
    monkeypatch.setattr("agent.shell.REOPEN_FIRST_S", 0.02)
    monkeypatch.setattr("agent.shell.REOPEN_TURN_S", 0.001)

    async def go() -> tuple[Patient, Pulled, int]:
        node, radio, stop, turns = Patient(0.002), Pulled(found_at=4), asyncio.Event(), 0

        def look() -> None:
            nonlocal turns
            turns += 1
            if node.starts == 2:
                stop.set()

        await asyncio.wait_for(Driver(node, radio, asyncio.get_running_loop().time, look).run(stop), 60)
        return node, radio, turns

    node, radio, turns = asyncio.run(go())
    assert radio.openings == 4
    assert node.results.count(RadioStatus.RADIO_LOST) > 1
    assert turns > 3


class Broken(Patient):
    """A node whose medium fails when it is told a result."""

    def radio_done(self, handle: int, result: RadioResult, now: float) -> None:
        raise StorageError("agent.db: the journal cannot be written; replace the card")


def test_what_a_node_raises_on_a_result_ends_the_driver() -> None:
    """A result comes in a task of its own: nobody would look at what is raised there, and the node would go on."""

    async def go() -> None:
        radio = Pulled(found_at=2)
        await asyncio.wait_for(Driver(Broken(0.002), radio, asyncio.get_running_loop().time).run(asyncio.Event()), 60)

    with pytest.raises(StorageError, match="replace the card"):
        asyncio.run(go())


def test_the_owner_can_end_it_while_the_radio_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.shell.REOPEN_TURN_S", 0.001)

    async def go() -> Patient:
        node, stop = Patient(0.001), asyncio.Event()

        def look() -> None:
            if node.results.count(RadioStatus.RADIO_LOST) > 2:
                stop.set()

        loop = asyncio.get_running_loop()
        await asyncio.wait_for(Driver(node, Pulled(found_at=1_000), loop.time, look).run(stop), 60)
        return node

    assert asyncio.run(go()).starts == 1


def test_an_idle_node_still_gives_turns() -> None:
    class Idle(Patient):
        def start(self, now: float) -> None:
            self.starts += 1

    class There(Pulled):
        async def open(self, on_event: Callable[[RadioEvent], None]) -> None:
            self.openings += 1

    async def go() -> int:
        stop, turns = asyncio.Event(), 0

        def look() -> None:
            nonlocal turns
            turns += 1
            if turns == 5:
                stop.set()

        loop = asyncio.get_running_loop()
        await asyncio.wait_for(Driver(Idle(0), There(0), loop.time, look, turn_s=0.001).run(stop), 60)
        return turns

    assert asyncio.run(go()) == 5
