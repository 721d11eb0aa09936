"""One run of a scenario with planned cuts, and the judgement of its end."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import traceback
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import imgtool.image
import imgtool.keys

from agent.boot.mark import read_mark
from agent.boot.state import Slot, SlotState
from agent.boot.store import Finding
from agent.image.version import Version
from agent.settings import OtaSettings
from agent.update.states import State
from agent.zigbee.cbke.mmo import mmo
from agent.zigbee.ota_states import State as ClientState
from boards.bench.settings import ServerSettings
from boards.virtual.disk import PowerCut
from tests.home import DEVICE_EUI, HUB_EUI
from tests.image_factory import make_key
from tests.powercut.cuts import Task
from tests.powercut.downloads import Download, watch
from tests.powercut.home import CutHome, Fork, WatchedDisk
from tests.powercut.remembered import starts_made_cheap
from tests.powercut.scenarios import BY_NAME, HOUR_S, TRIES, Scenario, expect
from tests.update_rig import NEW, NEWER, image

BLOCK_OCTETS = 200  # fewer rounds than with 50, and as little a divisor of a checkpoint's 4096


@dataclass
class Result:
    """What a run came to. ``failure`` is empty when the end is an allowed one."""

    task: Task
    operations: int = 0
    cuts_made: int = 0
    whole_starts: int = 0
    finished: bool = False
    octets_twice: int = 0
    outcomes: int = 0
    repeats: int = 0
    failure: str = ""
    where: list[str] = field(default_factory=list)


def run(task: Task) -> Result:
    """Never raises for what the device does: an assertion, an error of ours and a bug alike are the failure."""
    scenario = BY_NAME[task.scenario]
    return finish(scenario, make_home(scenario, task), Result(task))


def make_home(scenario: Scenario, task: Task, fork: Fork | None = None) -> CutHome:
    """The device is off."""
    return CutHome(
        scenario.role,
        ota=OtaSettings(block_octets=BLOCK_OCTETS),
        server=ServerSettings(block_octets=BLOCK_OCTETS),
        disk=WatchedDisk(task.seed),
        deaf=scenario.deaf,
        stillborn=scenario.stillborn,
        cuts=list(task.cuts),
        fork=fork,
        keys=scenario.keys,
        chip_lag_s=scenario.chip_lag_s,
    )


def finish(scenario: Scenario, home: CutHome, result: Result) -> Result:
    """The walk, and the judgement of where it ended."""
    with redirect_stderr(io.StringIO()), starts_made_cheap():  # the first stage's log
        try:
            _walk(scenario, home, result)
        except (Exception, PowerCut) as error:  # noqa: BLE001  # whatever it is, it is what the sweep looks for
            last = traceback.extract_tb(error.__traceback__)[-1]
            result.failure = f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
        with suppress(PowerCut):
            home.rig.close_database()
    return result


def _walk(scenario: Scenario, home: CutHome, result: Result) -> None:
    try:
        scenario.prepare(home)
        home.arm()
        scenario.drive(home)
        result.finished = True
        home.run(HOUR_S)  # nothing more may come
        home.disk.watch = None
        result.operations = len(home.disk.operations)
        _judge_reports(scenario, home)
        _judge_downloads(scenario, home, result)
        _judge_keys(home)
        _judge_rest(scenario, home)
    finally:
        result.where = home.cuts_made
        result.cuts_made = len(home.cuts_made)
        result.whole_starts = len(home.starts)
        result.outcomes, result.repeats = len(home.outcomes), home.repeats


def _with_tries_spent(scenario: Scenario) -> tuple[bool, ...]:
    """The other allowed end of a scenario that succeeds."""
    return (*scenario.outcomes[:-1], False) if scenario.outcomes[-1:] == (True,) else scenario.outcomes


def _spent_every_try(scenario: Scenario, home: CutHome) -> bool:
    cut_short = home.first_stages - len(home.starts)
    return sum(trial for _, trial in home.starts) + cut_short >= TRIES * scenario.attempts


def _judge_reports(scenario: Scenario, home: CutHome) -> None:
    problems = [report.problem for report in home.reports if report.problem]
    assert not problems, f"the head end refuses a message: {problems}"
    successes = tuple(success for success, _ in home.outcomes)
    spent = successes == _with_tries_spent(scenario) and _spent_every_try(scenario, home)
    assert successes == scenario.outcomes or spent, f"the head end was told {successes}, not {scenario.outcomes}"
    assert home.receipts == [True] * scenario.receipts, f"receipts: {home.receipts}"
    assert not home.journal.undelivered(), "a report is still on its way"
    for success, version in home.outcomes[-1:]:
        assert success == (version == scenario.version) or not scenario.outcomes[-1], f"told {success} of {version}"
        assert version == home.rig.running.version, f"told that {version} runs"


def _judge_downloads(scenario: Scenario, home: CutHome, result: Result) -> None:
    downloads = {}
    for version in (NEW, NEWER):
        file = home.file(version)
        header_octets = file.index(image(version)[:32])
        downloads[version.file_version] = Download(header_octets, home.ota.checkpoint_octets, len(file))
    watch(home.world.seats[DEVICE_EUI].traffic[home.first_request if scenario.attempts > 1 else 0 :], downloads)
    result.octets_twice = sum(one.twice for one in downloads.values())
    for version, one in downloads.items():
        assert not one.below_floor, f"0x{version:08X}: asked again for octets {one.below_floor[:3]} below {one.floor}"
        most = (result_cuts := len(home.cuts_made)) * (home.ota.checkpoint_octets + home.ota.block_octets)
        assert one.twice <= most, f"{one.twice} octets twice after {result_cuts} cuts"


def _judge_rest(scenario: Scenario, home: CutHome) -> None:
    """The medium as it is now, a last loss of power, and the start after it."""
    expected = scenario.version
    if scenario.outcomes[-1:] == (True,) and not home.outcomes[-1][0]:
        expected = next(version for version, trial in home.starts if not trial)
    assert home.rig.running.version == expected, f"{home.rig.running.version} runs, not {expected}"
    _judge_slot(home, expected)
    _judge_client(home)
    told, starts = len(home.reports), len(home.starts)
    home.disarm()
    home.lose_power()
    home.run(HOUR_S)
    assert home.starts[starts:] == [(expected, False)], f"the next start ran {home.starts[starts:]}"
    assert len(home.reports) == told, "reported again after one more start"
    _judge_slot(home, expected)
    _judge_keys(home)


def _judge_client(home: CutHome) -> None:
    """An OTA client that waits for the end of an image which the update machine has dropped asks for no other one."""
    update, client = home.device._update.state, home.device._endpoint.ota.state
    assert update is not State.IDLE or client is ClientState.NORMAL, f"the update is idle, the OTA client {client.name}"


def _judge_keys(home: CutHome) -> None:
    """On the HAN, one key on both sides, in the chip's NV and, as a hash, in the journal; counters went forward."""
    expect(home.run_until(lambda: home.is_member, HOUR_S), "no secured frame goes through")
    ours, theirs = home.seat.keys.get(HUB_EUI), home.world.seats[HUB_EUI].keys.get(DEVICE_EUI)
    assert ours is not None
    assert theirs is not None
    assert ours.key == theirs.key, "device and hub hold different keys"
    assert [entry.key for entry in home.seat.memory.get("link keys")] == [ours.key], "the chip's NV holds another key"
    assert json.loads(home.journal.hub_key() or "{}").get("key_hash") == mmo(ours.key).hex(), (
        "the journal knows another key"
    )
    most = home.keys_before or 1 + len(home.cuts_made)
    assert home.keys_made <= most, f"{home.keys_made} keys were made, at most {most} were due"
    assert not home.world.reused, home.world.reused[0]
    home.ledger.read(home.seat.traffic)
    home.ledger.compare(home.journal)


def _judge_slot(home: CutHome, expected: Version) -> None:
    loaded = home.rig.store.load()
    assert loaded.state is not None
    assert loaded.finding is Finding.WHOLE, loaded.finding
    if home.rig.running.is_factory:
        assert not {SlotState.TRIAL, SlotState.CONFIRMED} & {loaded.state[slot].state for slot in Slot}
        return
    slot = Slot[home.rig.running.slot]
    record = loaded.state[slot]
    assert (record.state, loaded.state.active) == (SlotState.CONFIRMED, slot), f"{slot} is {record.state.name}"
    octets = home.rig.areas[slot].read_medium(0, record.image_octets)
    assert octets == image(expected), "the slot holds other octets than were signed"
    verdict = judge(octets)
    assert verdict == "OK", f"imgtool says {verdict}"
    mark = read_mark(home.rig.areas[slot])
    assert mark is not None, "no confirmed mark"
    assert mark.image_hash == hashlib.sha256(octets).digest()


@cache
def judge(octets: bytes) -> str:
    """imgtool's own verdict on a slot's octets. Asked once for each content."""
    with tempfile.TemporaryDirectory() as folder:
        key, file = Path(folder) / "key.pem", Path(folder) / "image.bin"
        key.write_text(make_key().export_key(format="PEM"))
        file.write_bytes(octets)
        verdict, *_ = imgtool.image.Image.verify(str(file), imgtool.keys.load(str(key)))
    return str(verdict.name)
