"""The real process killed by strace at its own calls, and told that they failed: the update ends well nevertheless."""

from __future__ import annotations

import pytest

from tests.system.knife import Cut, Plan, Start, absent
from tests.system.knife_lab import KnifeLab
from tests.system.lab import Lab

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(absent()), reason=f"{absent()}: nobody kills the device at its own system calls"),
]


def test_killed_all_over_an_update_it_ends_in_the_new_version_with_one_report(lab: Lab) -> None:
    plan = Plan(
        download=[
            Start((Cut("pwrite64", 8),)),  # the journal is being made
            Start((Cut("pwrite64", 40),)),
            Start((Cut("fdatasync", 14),)),
            Start((Cut("fsync", 9),)),
            Start((Cut("fallocate", 1),)),  # the last block is in the slot, its tail is not yet cleared
        ],
        trial=[
            Start((Cut("fsync", 2),)),  # of the first stage, which counts a try
            Start((Cut("pwrite64", 5),)),
        ],
        confirmed=[Start((Cut("fdatasync", 1),))],  # between the confirm and the report
    )
    knife = KnifeLab(lab, plan)
    knife.start()
    knife.update()
    knife.wait_for_report(120.0)
    knife.judge()
    assert knife.reports[0]["result"] == "success"
    assert knife.cuts_made >= 7
    assert len(knife.device.said("download starts")) == 1, "a restart of the transfer is no resume"


def test_a_medium_that_fails_ends_the_program_which_goes_on_at_the_checkpoint(lab: Lab) -> None:
    knife = KnifeLab(lab, Plan())
    knife.plan.download += [
        Start((Cut("pwrite64", 3, "error=EIO"),), knife.slot_b),
        Start((Cut("fsync", 4, "error=EIO"),), knife.slot_b),
        # Lasting: a single fault may fall on a log line, which ends no program.
        Start((Cut("fdatasync", 4, "error=EIO", lasting=True),), knife.journal_log),
        Start((Cut("pwrite64", 24, "error=ENOSPC", lasting=True),), knife.journal_log),
        Start((Cut("pwrite64", 3, "retval=0"),), knife.slot_b),  # nothing was taken, and said so: asked again
    ]
    knife.plan.trial += [Start((Cut("pwrite64", 2, "error=EIO"),), knife.boot_state)]
    knife.start()
    knife.update()
    knife.wait_for_report(120.0)
    knife.judge_fault()
    assert knife.reports[0]["result"] == "success"
    words = " ".join(knife.stops)
    assert len(knife.stops) >= 4, words
    for file in (knife.slot_b, "agent.db", knife.boot_state):
        assert file in words
    assert "is full" in words
    assert "I/O error" in words
    assert len(knife.device.said("download resumes")) >= 2


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (20, "retval=4096"),
        pytest.param(2, "retval=512", marks=pytest.mark.whole_knife),
        pytest.param(38, "retval=512", marks=pytest.mark.whole_knife),
    ],
)
def test_a_medium_that_lies_is_found_by_reading_back(lab: Lab, number: int, what: str) -> None:
    """It claims to have stored what it did not: that is of no use, so the transfer ends and the hub is told."""
    knife = KnifeLab(lab, Plan())
    knife.plan.download.append(Start((Cut("pwrite64", number, what),), knife.slot_b))
    knife.start()
    knife.update()
    knife.refused(1)
    assert "reads back other octets" in str(knife.device.said("image refused")[0]["message"])
    assert knife.device.said("running")[-1]["version"] == "1.0.0"
    knife.update()
    knife.wait_for_report(120.0)
    knife.judge()
    assert knife.reports[0]["result"] == "success"


STRIDE = 12  # runs for each call, and starts in each: together they kill at every number up to its square


@pytest.mark.whole_knife
@pytest.mark.parametrize("first", range(1, STRIDE + 1))
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync", "fsync"])
def test_killed_at_every_number(lab: Lab, call: str, first: int) -> None:
    plan = Plan(
        download=[Start((Cut(call, number),)) for number in range(first, STRIDE**2 + 1, STRIDE)],
        trial=[Start((Cut(call, number),)) for number in (2 * first - 1, 2 * first)],
        confirmed=[Start((Cut(call, first),))],
    )
    knife = KnifeLab(lab, plan)
    knife.start()
    knife.update()
    knife.wait_for_report(200.0)
    knife.judge()
    assert knife.cuts_made


FAULTS = ("error=EIO", "error=ENOSPC")


@pytest.mark.whole_knife
@pytest.mark.parametrize("what", FAULTS)
@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize("call", ["pwrite64", "fsync"])
def test_a_failing_slot_at_every_height(lab: Lab, call: str, number: int, what: str) -> None:
    knife = KnifeLab(lab, Plan())
    knife.plan.download += [Start((Cut(call, number + 6 * n, what),), knife.slot_b) for n in range(6)]
    whole_update(knife)


@pytest.mark.whole_knife
@pytest.mark.parametrize("what", FAULTS)
@pytest.mark.parametrize("first", range(1, 9))
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
def test_a_failing_journal_at_every_height(lab: Lab, call: str, first: int, what: str) -> None:
    knife = KnifeLab(lab, Plan())
    step = 8 if call == "pwrite64" else 4
    knife.plan.download += [Start((Cut(call, first + step * n, what),), knife.journal_log) for n in range(8)]
    knife.plan.trial.append(Start((Cut(call, first, what),), knife.journal_log))
    knife.plan.confirmed.append(Start((Cut(call, first, what),), knife.journal_log))
    whole_update(knife)


@pytest.mark.whole_knife
@pytest.mark.parametrize("what", FAULTS)
@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("call", ["pwrite64", "fsync"])
def test_a_failing_boot_state_at_every_height(lab: Lab, call: str, number: int, what: str) -> None:
    knife = KnifeLab(lab, Plan())
    for starts in (knife.plan.download, knife.plan.trial, knife.plan.confirmed):
        starts.append(Start((Cut(call, number, what),), knife.boot_state))
    whole_update(knife)


def whole_update(knife: KnifeLab) -> None:
    """From the offer to its one report, through the planned faults: a full slot and a lost log line end no program."""
    knife.start()
    knife.update()
    knife.wait_for_report(200.0)
    knife.judge_fault()
    assert knife.faults_made
