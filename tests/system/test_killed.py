"""The device is killed in the middle of a transfer: it goes on where it was, and never begins again."""

from __future__ import annotations

import os
import signal

import pytest

from tests.system.lab import DEVICE_EUI, Lab, Running

CHECKPOINT_OCTETS = 4096
MOMENTS = (0.2, 0.5, 0.85)  # of the file


def progress(hub: Running) -> int:
    """The octets that the device has asked for, as the hub saw it last."""
    seen = hub.said("transfer-progress")
    return int(str(seen[-1]["offset"])) if seen else 0


@pytest.mark.timeout(240)
def test_killed_three_times_it_resumes_at_a_checkpoint_each_time(lab: Lab) -> None:
    lab.prepare()
    lab.start_air()
    lab.configure()
    hub = lab.start_hub()
    device = lab.start_device()
    hub.wait_for("tunnel-opened")
    lab.update(lab.device.images.new)
    total = lab.device.images.new.stat().st_size
    for number, moment in enumerate(MOMENTS, start=1):
        device.until(lambda at=moment * total: progress(hub) >= at, f"{moment:.0%} of the transfer")
        reached = progress(hub)
        os.kill(device.child(), signal.SIGKILL)
        resumed = device.wait_for("download resumes", number)
        offset = int(str(resumed["offset_octets"]))
        assert offset >= reached - 2 * CHECKPOINT_OCTETS, "what was fetched before the kill is kept"
        assert 0 < offset < total
    final = hub.wait_for("report", cra="alert", message_code="0x012B")
    assert (final["verified"], final["version"], final["result"]) == (True, "1.1.0", "success")
    assert len(device.said("download starts")) == 1, "a restart of the transfer is no resume"
    starts = [(event["version"], event["slot"]) for event in device.said("running")]
    assert starts == [("1.0.0", "A")] * 4 + [("1.1.0", "B")]
    assert hub.said("transfer-ended")[-1]["device_eui"] == f"{DEVICE_EUI:016X}"
