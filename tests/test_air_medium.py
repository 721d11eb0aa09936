"""The medium: air time, sharing, loss, retries, duplicates, range."""

from __future__ import annotations

import random

import pytest

from boards.virtual.air import mac
from boards.virtual.air.mac import MacFrame
from boards.virtual.air.medium import ACK_S, LONG_SPACING_S, TURNAROUND_S, Air, AirSettings
from boards.virtual.air.radio import MacStatus, Radio
from boards.virtual.air.scheduler import ManualScheduler

PAN = 0x1234


class Bench:
    """Two or more radios on one PAN, and what they received and confirmed."""

    def __init__(self, settings: AirSettings | None = None, count: int = 2, seed: int = 3) -> None:
        self.scheduler = ManualScheduler()
        self.air = Air(self.scheduler, settings or AirSettings(), random.Random(seed))
        self.received: list[tuple[int, bytes]] = []
        self.confirms: list[MacStatus] = []
        self.radios = [self._radio(number) for number in range(count)]

    def _radio(self, number: int) -> Radio:
        radio = Radio(self.air, 0x1000 + number, 0)
        radio.channel, radio.pan_id, radio.short = 15, PAN, number
        radio.on_frame = lambda frame, _lqi: self.received.append((number, frame.payload))
        radio.start()
        return radio

    def send(self, sender: int, destination: int, payload: bytes) -> None:
        radio = self.radios[sender]
        radio.send(radio.data_frame(destination, payload), self.confirms.append)


def test_air_time_of_one_acknowledged_frame() -> None:
    """127 octets: backoff 0..7 units + CCA, (6 + 127) x 32 us, turnaround and ack."""
    bench = Bench()
    bench.send(0, 1, bytes(116))
    while not bench.confirms:
        assert bench.scheduler.run_next()
    fixed = 133 * 32e-6 + TURNAROUND_S + ACK_S
    assert fixed + 0.000128 <= bench.scheduler.now() <= fixed + 0.000128 + 7 * 320e-6
    assert bench.received == [(1, bytes(116))]
    assert bench.confirms == [MacStatus.SUCCESS]


def test_mean_air_time_is_the_model_of_the_medium() -> None:
    bench = Bench()
    for _ in range(500):
        bench.send(0, 1, bytes(116))
    bench.scheduler.run_while(lambda: len(bench.confirms) < 500, 100.0)
    mean = bench.scheduler.now() / 500
    model = 0.00112 + 0.000128 + 133 * 32e-6 + TURNAROUND_S + ACK_S + LONG_SPACING_S
    assert mean == pytest.approx(model, rel=0.03)


def test_one_channel_carries_one_frame_at_a_time_and_two_channels_two() -> None:
    shared, apart = Bench(count=4), Bench(count=4)
    for radio in apart.radios[2:]:
        radio.channel = 16
    for bench in (shared, apart):
        for _ in range(100):
            bench.send(0, 1, bytes(100))
            bench.send(2, 3, bytes(100))
        assert bench.scheduler.run_while(lambda bench=bench: len(bench.confirms) < 200, 100.0)
    assert shared.scheduler.now() > 1.7 * apart.scheduler.now()


@pytest.mark.parametrize("loss", [0.1, 0.3])
def test_retries_make_good_what_is_lost_and_the_confirm_is_true(loss: float) -> None:
    bench = Bench(AirSettings(loss=loss))
    for number in range(2000):
        bench.send(0, 1, number.to_bytes(2, "big"))
    assert bench.scheduler.run_while(lambda: len(bench.confirms) < 2000, 1000.0)
    bench.scheduler.run_for(1.0)
    arrived = {payload for _, payload in bench.received}
    confirmed = {number.to_bytes(2, "big") for number, status in enumerate(bench.confirms) if status == 0}
    assert confirmed <= arrived
    failed = bench.confirms.count(MacStatus.NO_ACK)
    assert failed + bench.confirms.count(MacStatus.SUCCESS) == 2000
    assert failed / 2000 == pytest.approx(loss**4, abs=0.006)
    statistics = bench.air.statistics
    assert statistics.attempts == 2000 + statistics.retries
    assert statistics.retries / 2000 == pytest.approx(loss + loss**2 + loss**3, rel=0.15)
    assert statistics.not_acknowledged == failed


def test_nobody_there_is_four_attempts_and_no_ack() -> None:
    bench = Bench()
    bench.send(0, 9, b"x")
    bench.scheduler.run_for(1.0)
    assert bench.confirms == [MacStatus.NO_ACK]
    assert bench.air.statistics.attempts == 4


def test_a_busy_channel_ends_in_channel_access_failure() -> None:
    bench = Bench(AirSettings(busy=1.0))
    bench.send(0, 1, b"x")
    bench.scheduler.run_for(1.0)
    assert bench.confirms == [MacStatus.CHANNEL_ACCESS_FAILURE]
    assert bench.received == []


def test_out_of_range_hears_nothing() -> None:
    bench = Bench(count=3)
    bench.air.set_link(bench.radios[0].eui, bench.radios[2].eui, None)
    bench.send(0, mac.BROADCAST, b"all")
    bench.scheduler.run_for(1.0)
    assert bench.received == [(1, b"all")]


def test_another_pan_on_the_channel_is_not_heard() -> None:
    bench = Bench(count=3)
    bench.radios[2].pan_id = 0x4321
    bench.send(0, mac.BROADCAST, b"all")
    bench.send(0, 2, b"you")
    bench.scheduler.run_for(1.0)
    assert bench.received == [(1, b"all")]
    assert bench.confirms == [MacStatus.SUCCESS, MacStatus.NO_ACK]


def test_duplicates_come_as_often_as_asked_for() -> None:
    bench = Bench(AirSettings(duplicate=0.25))
    for _ in range(1000):
        bench.send(0, 1, b"x")
    bench.scheduler.run_for(60.0)
    assert len(bench.received) - 1000 == bench.air.statistics.duplicates
    assert bench.air.statistics.duplicates == pytest.approx(250, abs=60)


def test_delay_spreads_the_start_of_an_attempt() -> None:
    bench = Bench(AirSettings(delay_s=1.0))
    times: list[float] = []
    for _ in range(50):
        before = bench.scheduler.now()
        bench.send(0, 1, b"x")
        count = len(bench.confirms)
        bench.scheduler.run_while(lambda count=count: len(bench.confirms) == count, 10.0)
        times.append(bench.scheduler.now() - before)
    assert min(times) < 0.2
    assert 0.8 < max(times) < 1.1


def test_the_same_seed_gives_the_same_air() -> None:
    def run(seed: int) -> tuple[list[MacStatus], float]:
        bench = Bench(AirSettings(loss=0.4, duplicate=0.1, delay_s=0.01), seed=seed)
        for number in range(100):
            bench.send(0, 1, bytes((number,)))
        bench.scheduler.run_while(lambda: len(bench.confirms) < 100, 100.0)
        return bench.confirms, bench.scheduler.now()

    assert run(5) == run(5)
    assert run(5) != run(6)


def test_a_radio_that_was_switched_off_neither_hears_nor_confirms() -> None:
    bench = Bench()
    bench.send(0, 1, b"x")
    bench.radios[0].stop()
    bench.scheduler.run_for(1.0)
    assert bench.confirms == []
    assert bench.received == []


def data_request(child: Radio, parent: Radio) -> MacFrame:
    return MacFrame(
        mac.FrameType.COMMAND,
        child.next_sequence(),
        PAN,
        parent.short,
        mac.Mode.SHORT,
        PAN,
        child.short,
        mac.Mode.SHORT,
        bytes((mac.MacCommand.DATA_REQUEST,)),
        ack_request=True,
    )


def test_a_sleepy_child_fetches_what_is_held_for_it() -> None:
    bench = Bench()
    parent, child = bench.radios
    child.receiver_on = False
    for payload in (b"one", b"two"):
        parent.hold(parent.data_frame(child.short, payload), bench.confirms.append)
    polls: list[MacStatus] = []

    def poll() -> None:
        child.poll(data_request(child, parent), polls.append)
        bench.scheduler.run_for(0.5)

    bench.scheduler.run_for(1.0)
    assert bench.received == []
    poll()
    assert bench.received == [(1, b"one")]
    poll()
    poll()
    assert bench.received == [(1, b"one"), (1, b"two")]
    assert polls == [MacStatus.SUCCESS, MacStatus.SUCCESS, MacStatus.NO_DATA]
    assert bench.confirms == [MacStatus.SUCCESS, MacStatus.SUCCESS]


def test_what_nobody_fetches_expires() -> None:
    bench = Bench()
    parent = bench.radios[0]
    parent.hold(parent.data_frame(1, b"x"), bench.confirms.append)
    bench.scheduler.run_for(10.0)
    assert bench.confirms == [MacStatus.TRANSACTION_EXPIRED]


@pytest.mark.parametrize("seed", range(20))
def test_a_lost_poll_or_frame_costs_a_poll_and_never_the_frame(seed: int) -> None:
    """A held frame is tried once a poll and stays until it is acknowledged; a lost ack makes a copy of that number."""
    bench = Bench(AirSettings(loss=0.4), seed=seed)
    parent, child = bench.radios
    child.receiver_on = False
    numbers: list[int] = []
    child.on_frame = lambda frame, _lqi: numbers.append(frame.sequence)
    frames = [parent.data_frame(child.short, bytes((number,))) for number in range(3)]
    for frame in frames:
        parent.hold(frame, bench.confirms.append)
    for _ in range(40):
        child.poll(data_request(child, parent), lambda _status: None)
        bench.scheduler.run_for(0.15)
    assert bench.confirms == [MacStatus.SUCCESS] * 3
    assert list(dict.fromkeys(numbers)) == [frame.sequence for frame in frames]


def test_what_is_on_its_way_when_its_time_is_over_is_told_once() -> None:
    bench = Bench(AirSettings(loss=1.0))
    parent, child = bench.radios
    parent.hold(parent.data_frame(child.short, b"x"), bench.confirms.append)
    bench.scheduler.run_for(7.679)
    bench.air.settings = AirSettings()
    child.poll(data_request(child, parent), lambda _status: None)
    bench.scheduler.run_for(0.0008)  # the poll is out, the frame not yet
    bench.air.settings = AirSettings(loss=1.0)
    bench.scheduler.run_for(5.0)
    assert bench.confirms == [MacStatus.TRANSACTION_EXPIRED]


def test_awake_time_is_the_receivers_and_of_a_sleeping_radio_what_a_poll_needs() -> None:
    bench = Bench()
    parent, child = bench.radios
    bench.scheduler.run_for(10.0)
    assert bench.air.meter(child.eui).use().awake_s == pytest.approx(10.0)
    child.receiver_on = False
    asleep = bench.air.meter(child.eui).use()
    bench.scheduler.run_for(10.0)
    assert bench.air.meter(child.eui).use().since(asleep).awake_s == 0.0
    child.poll(data_request(child, parent), lambda _status: None)
    bench.scheduler.run_for(5.0)
    poll = bench.air.meter(child.eui).use().since(asleep)
    octets = len(mac.encode(data_request(child, parent)))
    assert (poll.polls, poll.seconds) == (1, pytest.approx(15.0))
    assert poll.awake_s == pytest.approx(128e-6 + (6 + octets) * 32e-6 + 864e-6)
    parent.hold(parent.data_frame(child.short, bytes(100)), lambda _status: None)
    child.poll(data_request(child, parent), lambda _status: None)
    bench.scheduler.run_for(5.0)
    fetched_s = bench.air.meter(child.eui).use().since(asleep).awake_s - 2 * poll.awake_s
    assert (6 + 100) * 32e-6 < fetched_s < 0.01  # until the frame is in, and no longer
    assert bench.air.meter(parent.eui).use().share == 1.0


def test_awake_time_outlives_a_reset_and_stands_still_without_power() -> None:
    bench = Bench()
    bench.scheduler.run_for(3.0)
    bench.radios[1].stop()
    bench.scheduler.run_for(3.0)
    again = Radio(bench.air, 0x1001, 0)
    again.start()
    bench.scheduler.run_for(3.0)
    use = bench.air.meter(0x1001).use()
    assert (use.awake_s, use.seconds) == (pytest.approx(6.0), pytest.approx(9.0))
