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


def test_a_medium_that_fails_ends_the_transfer_and_a_later_one_succeeds(lab: Lab) -> None:
    knife = KnifeLab(lab, Plan())
    knife.plan.download += [
        Start((Cut("pwrite64", 3, "error=ENOSPC"), Cut("fsync", 7, "error=EIO")), knife.slot_b),
        Start((Cut("pwrite64", 3, "retval=0"), Cut("fsync", 6)), knife.slot_b),
    ]
    knife.start()
    for times in (1, 2):
        knife.update()
        knife.refused(times)
        assert knife.device.said("running")[-1]["version"] == "1.0.0"
    knife.kill()
    knife.hub.wait_for("tunnel-opened", 2, 60.0)
    knife.update()
    knife.wait_for_report(120.0)
    knife.judge()
    assert knife.reports[0]["result"] == "success"
    assert knife.cuts_made >= 1
    messages = " ".join(str(one["message"]) for one in knife.device.said("image refused"))
    assert "is full" in messages
    assert "I/O error" in messages
