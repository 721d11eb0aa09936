"""The OTA client, state by input, and against a model server on a bad medium: always in virtual time."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ota_lab import FILE_ID, FOUND, HUB, IMAGE, OCTETS, QUERY, Lab, block, end_response

from agent.settings import OtaSettings
from agent.zigbee import ota_messages as ota
from agent.zigbee.clusters import Cluster
from agent.zigbee.ota_client import OtaClient
from agent.zigbee.ota_events import (
    ActivateNow,
    BlockReceived,
    DownloadResume,
    ImageOffered,
    OtaEvent,
    OtaIdentity,
    TransferAborted,
    TransferComplete,
)
from agent.zigbee.ota_states import TABLE, UPGRADE_STATUS, Input, State, next_state
from agent.zigbee.time_cluster import HubClock
from agent.zigbee.zcl import ZclFrame, ZclStatus


def test_the_table_is_whole() -> None:
    assert set(TABLE) == set(State) == set(UPGRADE_STATUS)
    reached = {target for row in TABLE.values() for target in row.values()}
    assert reached == set(State)
    used = {happened for row in TABLE.values() for happened in row}
    assert used == set(Input)


def test_illegal_input_has_no_next_state() -> None:
    assert next_state(State.NORMAL, Input.VERIFIED) is None
    assert next_state(State.ACTIVATING, Input.BEGIN) is None


ANY_U32 = st.sampled_from([0, 1, 50, 60, 100, 120, 1000, 700_000_000, 0xFFFFFFFF])
MESSAGES: st.SearchStrategy[ota.OtaToClient] = st.one_of(
    st.builds(ota.ImageNotify, st.integers(0, 255)),
    st.just(FOUND),
    st.builds(ota.QueryNextImageResponse, st.sampled_from([0x98, 0x7E, 0x80, 0x97])),
    st.just(ota.QueryNextImageResponse(0, ota.ImageFound(0x1234, 0x5678, 0x01020000, 60))),
    st.builds(block, st.sampled_from([0, 25, 50, 75, 100]), st.sampled_from([0, 25, 50])),
    st.just(ota.ImageBlock(0x1234, 0x5678, 0x01020000, 0, OCTETS[:50])),
    st.builds(ota.WaitForData, ANY_U32, ANY_U32, st.none() | st.sampled_from([0, 250, 0xFFFF])),
    st.builds(ota.BlockRefused, st.sampled_from([0x95, 0x7E, 0x80, 0x81, 0x98, 0x01])),
    st.builds(end_response, ANY_U32, ANY_U32),
    st.just(ota.UpgradeEndResponse(0x1234, 0x5678, 0x01020000, 0, 0)),
)
Step = Callable[[Lab], object]


def _deliver(message: ota.OtaToClient, broadcast: bool) -> Step:
    return lambda lab: lab.server(message, broadcast)


def _raw(octets: bytes, command: int, specific: bool) -> Step:
    frame = ZclFrame(Cluster.OTA, command, octets, 1, cluster_specific=specific, to_client=True)
    return lambda lab: lab.client.receive(frame, 0, False, lab.now)


def _pass(seconds: float) -> Step:
    return lambda lab: lab.run_for(seconds)


STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(_deliver, MESSAGES, st.just(False)),
    st.builds(_deliver, MESSAGES, st.booleans()),
    st.builds(_raw, st.binary(max_size=20), st.integers(0, 10), st.booleans()),
    st.builds(_pass, st.sampled_from([0.0, 1.0, 6.0, 400.0, 4000.0])),
    st.just(lambda lab: lab.client.begin_download(0, lab.now)),
    st.just(lambda lab: lab.client.begin_download(50, lab.now)),
    st.just(lambda lab: lab.client.begin_download(120, lab.now)),
    st.just(lambda lab: lab.client.begin_download(121, lab.now)),
    st.just(lambda lab: lab.client.decline()),
    st.builds(lambda status: lambda lab: lab.client.end_upgrade(status, lab.now), st.sampled_from(ZclStatus)),
    st.just(lambda lab: lab.client.cancel(lab.now)),
    st.just(lambda lab: lab.client.query_now(lab.now)),
    st.just(lambda lab: lab.client.server_lost()),
    st.just(lambda lab: lab.client.server_found(HUB, lab.now)),
    st.just(lambda lab: lab.default_response(0x03, 0x81)),
    st.just(lambda lab: lab.default_response(0x01, 0x81)),
    st.just(lambda lab: lab.client.frame_sent(1, False, lab.now)),
)


def _hourly_bound(lab: Lab) -> int:
    """What an hour of silence may cost: the retries of one offset, then probes; queries; Upgrade Ends."""
    pauses = 3600 / lab.settings.pause_after_retries_s
    return int(lab.settings.maximum_retries + 2 * pauses + 20)


STARTS: dict[str, Callable[[], Lab]] = {
    "fresh": Lab,
    "resumed": lambda: Lab(resume=DownloadResume(IMAGE, 50)),
    "downloading": lambda: Lab().downloading(),
    "complete": lambda: Lab().complete(),
    "ending": lambda: Lab().ending(),
}


@settings(max_examples=400, deadline=None)
@given(st.lists(STEPS, max_size=30), st.sampled_from(sorted(STARTS)))
def test_any_sequence(steps: list[Step], start: str) -> None:
    """Never raises, octets only in order from where the owner began, and traffic within bounds."""
    lab = STARTS[start]()
    begin = lab.client.begin_download
    expected = lab.client.progress().offset

    def begin_download(offset: int, now: float) -> bool:
        nonlocal expected
        check_events()
        begun = begin(offset, now)
        expected = offset if begun else expected
        return begun

    def check_events() -> None:
        nonlocal expected
        for event in lab.events():
            if isinstance(event, BlockReceived):
                assert event.offset == expected
                expected += len(event.data)

    lab.client.begin_download = begin_download  # type: ignore[method-assign]
    for step in steps:
        frames_before = lab.frames_out
        step(lab)
        lab.sent()
        check_events()
        assert lab.frames_out - frames_before <= 2 * _hourly_bound(lab)
    frames_before = lab.frames_out
    lab.run_for(3600)
    assert lab.frames_out - frames_before <= _hourly_bound(lab)


@given(MESSAGES, st.sampled_from([State.NORMAL, State.COMPLETE, State.ACTIVATING]))
def test_illegal_messages_change_nothing(message: ota.OtaToClient, state: State) -> None:
    lab = Lab()
    if state is State.NORMAL:
        lab.sent()
        lab.server(ota.QueryNextImageResponse(ZclStatus.NO_IMAGE_AVAILABLE))
    elif state is State.COMPLETE:
        lab.complete()
    else:
        lab.ending()
        lab.server(end_response(0, 0))
    lab.events()
    before = (lab.client.state, lab.client.image, lab.client.progress(), lab.client.next_deadline())
    lab.server(message)
    if isinstance(message, ota.ImageNotify):
        assert lab.sent() == [QUERY]
        return
    assert lab.sent() == []
    assert lab.events() == []
    assert before == (lab.client.state, lab.client.image, lab.client.progress(), lab.client.next_deadline())


class Medium:
    """A model server behind a medium that loses, delays, repeats and reorders; all in virtual time.

    Faults: ``short`` blocks, ``forgets`` the session now and then (answers ABORT until queried), ``deaf`` to block
    requests that come within 20 ms of its last response, ``waits`` with WAIT_FOR_DATA, ``silent`` for minutes.
    """

    def __init__(self, octets: bytes, seed: int, loss: float, faults: frozenset[str]) -> None:
        self.random = Random(seed)
        self.loss, self.faults, self.octets = loss, faults, octets
        self.image = ota.ImageFound(*FILE_ID, len(octets))
        self.now = 0.0
        self.events: list[tuple[float, int, str, Any]] = []
        self.order = count()
        self.session = False
        self.deaf_until = self.silent_until = 0.0
        who = OtaIdentity(FILE_ID[0], FILE_ID[1], 3, 0x01000000, 1)
        self.client = OtaClient(who, OtaSettings(pause_after_retries_s=60), Random(seed), HubClock())
        self.got = bytearray()
        self.done: OtaEvent | None = None
        self.frames = 0

    def push(self, kind: str, what: Any, delay_s: float) -> None:
        heapq.heappush(self.events, (self.now + delay_s, next(self.order), kind, what))

    def across(self, kind: str, what: Any) -> None:
        """Over the air, perhaps: lost, late, twice."""
        for _copy in range(2 if self.random.random() < 0.05 else 1):
            if self.random.random() >= self.loss:
                late = self.random.random() < 0.03
                self.push(kind, what, self.random.uniform(3.0, 12.0) if late else self.random.uniform(0.005, 0.03))

    def answer(self, message: ota.OtaToClient) -> None:
        self.deaf_until = self.now + 0.02
        self.across("client", message)

    def server(self, message: Any) -> None:
        """The model: not the bench's server, only what the standard asks of one."""
        if self.now < self.silent_until:
            return
        if "silent" in self.faults and self.random.random() < 0.005:
            self.silent_until = self.now + 400
        elif isinstance(message, ota.QueryNextImageRequest):
            self.session = True
            self.answer(ota.QueryNextImageResponse(0, self.image))
        elif isinstance(message, ota.ImageBlockRequest):
            self.serve(message)
        elif isinstance(message, ota.UpgradeEndRequest):
            self.answer(ota.UpgradeEndResponse(*FILE_ID, 0, 0))

    def serve(self, message: ota.ImageBlockRequest) -> None:
        if "deaf" in self.faults and self.now < self.deaf_until:
            return None
        if "forgets" in self.faults and self.random.random() < 0.01:
            self.session = False
        if not self.session:
            return self.answer(ota.BlockRefused(ZclStatus.ABORT))
        if "waits" in self.faults and self.random.random() < 0.02:
            return self.answer(ota.WaitForData(0, self.random.randrange(5)))
        octets = self.random.randint(1, message.maximum_octets) if "short" in self.faults else message.maximum_octets
        data = self.octets[message.offset : message.offset + octets]
        return self.answer(ota.ImageBlock(*FILE_ID, message.offset, data))

    def owner(self) -> None:
        """Downloads what is offered, from where it stands; after an abort it asks again a minute later."""
        while (event := self.client.next_event()) is not None:
            if isinstance(event, ImageOffered):
                self.client.begin_download(len(self.got), self.now)
            elif isinstance(event, BlockReceived):
                assert event.offset == len(self.got)
                self.got += event.data
            elif isinstance(event, TransferAborted):
                self.push("ask", None, 60.0)
            elif isinstance(event, TransferComplete):
                self.client.end_upgrade(ZclStatus.SUCCESS, self.now)
            elif isinstance(event, ActivateNow):
                self.done = event

    def flush(self) -> None:
        self.owner()
        for handle, frame in self.client.frames_to_send():
            self.frames += 1
            self.across("server", ota.decode_to_server(frame.command, frame.payload))
            self.push("sent", handle, 0.004)

    def step(self) -> None:
        deadline = self.client.next_deadline()
        if self.events and (deadline is None or self.events[0][0] <= deadline):
            self.now, _order, kind, what = heapq.heappop(self.events)
            if kind == "server":
                self.server(what)
            elif kind == "client":
                frame = ZclFrame(Cluster.OTA, what.COMMAND, what.encode(), 0, to_client=True)
                self.client.receive(frame, 0, False, self.now)
            elif kind == "sent":
                self.client.frame_sent(what, True, self.now)
            else:
                self.client.query_now(self.now)
        else:
            assert deadline is not None, "nothing will ever happen again"
            self.now = max(self.now, deadline)
            self.client.handle_timer(self.now)
        self.flush()

    def run(self, limit_s: float) -> None:
        self.client.server_found(HUB, self.now)
        self.flush()
        while self.done is None:
            self.step()
            assert self.now < limit_s, f"no end: {self.client.state}, {self.client.progress()}"


FAULTS = ["short", "forgets", "deaf", "waits", "silent"]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 4000),
    st.sampled_from([0.0, 0.05, 0.2, 0.4]),
    st.frozensets(st.sampled_from(FAULTS)),
)
def test_always_complete_with_identical_octets(seed: int, size: int, loss: float, faults: frozenset[str]) -> None:
    octets = Random(seed).randbytes(size)
    medium = Medium(octets, seed, loss, faults)
    medium.run(limit_s=7 * 86_400.0)
    assert bytes(medium.got) == octets


@pytest.mark.parametrize("size", [1, 49, 50, 51, 65_536])
def test_a_good_medium_needs_one_request_a_block(size: int) -> None:
    medium = Medium(bytes(size), 1, 0.0, frozenset())
    medium.across = lambda kind, what: medium.push(kind, what, 0.01)  # type: ignore[method-assign]
    medium.run(limit_s=3600)
    assert medium.frames == -(-size // 50) + 2  # a query and an Upgrade End beside the blocks
    assert medium.client.progress().retries == 0


def test_a_deaf_server_costs_a_few_time_outs_only() -> None:
    """The stall of a server that loses what comes before it has confirmed its last response."""
    octets = Random(1).randbytes(50 * 400)
    medium = Medium(octets, 1, 0.0, frozenset({"deaf"}))
    medium.across = lambda kind, what: medium.push(kind, what, 0.006)  # type: ignore[method-assign]
    medium.run(limit_s=3600)
    assert bytes(medium.got) == octets
    assert medium.client.progress().retries <= 3


def test_a_lossy_medium_teaches_no_long_gap() -> None:
    medium = Medium(Random(1).randbytes(50 * 400), 1, 0.05, frozenset())
    medium.run(limit_s=7 * 86_400.0)
    assert medium.client._download.pace.gap_s <= 0.05
