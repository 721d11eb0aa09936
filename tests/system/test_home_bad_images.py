"""Images that are not what they should be, offered by a hub that serves them all the same: in virtual time.

Each ends with its own reason in the log and its status on the wire, the running version untouched, and the next good
image is taken.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from agent.boot.state import Slot, SlotState
from agent.gbcs.use_cases import PpmidActivationAlert
from agent.image import mcuboot
from agent.image.refusal import ABORT, INVALID_IMAGE
from agent.image.version import Version
from boards.bench.faults import FaultPlan, Faults
from boards.bench.happenings import TransferEnded
from boards.bench.settings import ServerSettings
from tests.home import HUB_EUI, Home
from tests.image_factory import HEADER, craft, make_key, ota
from tests.update_rig import NEW, NEWER, OLD, PAYLOAD, image, ota_file

COUNTER, LOWER = ((mcuboot.SECURITY_COUNTER, number.to_bytes(4, "little")) for number in (7, 3))
TRIPLE = (NEW.major, NEW.minor, NEW.revision)
GOOD = ota_file(NEW)
HEAD = GOOD.index(image(NEW))  # octets before the Manufacturer Image
NEW_HEADER = replace(HEADER, file_version=NEW.file_version)


def crafted(**changes: object) -> bytes:
    """A file whose Manufacturer Image is wrong in this way."""
    usual: dict[str, object] = {"payload": PAYLOAD, "version": TRIPLE, "protected": (COUNTER,)}
    return ota(craft(**{**usual, **changes}), header=NEW_HEADER)  # type: ignore[arg-type]


def flipped(offset: int) -> bytes:
    """One octet of the good file is another."""
    octets = bytearray(GOOD)
    octets[offset] ^= 0x55
    return bytes(octets)


def updated(home: Home, version: Version) -> bool:
    found = [report.payload for report in home.reports if isinstance(report.payload, PpmidActivationAlert)]
    return any(payload.version == version.file_version and payload.succeeded for payload in found)


def check_untouched(home: Home) -> None:
    assert set(home.boots) == {"1.0.0"}
    assert home.rig.slot_state(Slot.A) is SlotState.CONFIRMED
    assert home.rig.slot_state(Slot.B) is not SlotState.TRIAL
    assert home.reports == []


def check_good_one_is_taken(home: Home) -> None:
    home.offer(NEWER)
    assert home.run_until(lambda: updated(home, NEWER), 90_000.0)
    assert home.boots[-1] == "1.2.0"


BAD = {
    "not an OTA file at all": (random.Random(1).randbytes(9_000), {"magic"}, INVALID_IMAGE),
    "nothing but zeros": (bytes(9_000), {"magic"}, INVALID_IMAGE),
    "cut off": (GOOD[:-700], {"format", "size"}, None),
    "octets behind its end": (GOOD + bytes(500), {"format", "size"}, None),
    "magic of the OTA header": (flipped(0), {"magic"}, INVALID_IMAGE),
    "magic of the image": (flipped(HEAD), {"magic"}, INVALID_IMAGE),
    "an octet of the payload": (flipped(HEAD + 5_000), {"hash"}, INVALID_IMAGE),
    "the last octet, of the signature": (flipped(len(GOOD) - 1), {"signature", "format"}, INVALID_IMAGE),
    "of another manufacturer": (
        ota(image(NEW), header=replace(NEW_HEADER, manufacturer_code=0x4321)), {"manufacturer"}, INVALID_IMAGE,
    ),
    "of another image type": (
        ota(image(NEW), header=replace(NEW_HEADER, image_type=0x0043)), {"image-type"}, INVALID_IMAGE,
    ),
    "for other hardware": (
        ota(image(NEW), header=replace(NEW_HEADER, hardware_versions=(7, 9))), {"hardware"}, INVALID_IMAGE,
    ),
    "signed by a stranger": (crafted(signer=make_key("stranger")), {"unknown-key"}, INVALID_IMAGE),
    "not signed": (crafted(leave_out=frozenset({mcuboot.ECDSA_SIGNATURE})), {"unsigned"}, INVALID_IMAGE),
    "with another version inside": (ota(image(NEWER), header=NEW_HEADER), {"version-mismatch"}, INVALID_IMAGE),
    "an older one under a newer name": (ota(image(OLD), header=NEW_HEADER), {"version-mismatch"}, INVALID_IMAGE),
    "with a lower security counter": (crafted(protected=(LOWER,)), {"security-counter"}, INVALID_IMAGE),
    "larger than the slot": (crafted(payload=bytes(70_000)), {"size"}, ABORT),
    "larger than any file may be": (crafted(payload=bytes(120_000)), {"size"}, ABORT),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_refused_with_its_reason_and_the_next_good_one_is_taken(name: str) -> None:
    octets, reasons, status = BAD[name]
    home = Home()
    home.offer(octets=octets)
    assert home.run_until(lambda: bool(home.logged("image refused")), 7_200.0), home.log
    home.run(60.0)
    first, *_ = home.logged("image refused")
    assert first["reason"] in reasons
    ended = [told for told in home.told if isinstance(told, TransferEnded)]
    assert ended, "the hub was told"
    assert first["wire_status"] == f"0x{ended[0].status:02X}"
    assert ended[0].status in ({status} if status else {ABORT, INVALID_IMAGE})
    check_untouched(home)
    check_good_one_is_taken(home)


def test_an_older_version_is_declined_before_a_single_block() -> None:
    home = Home()
    home.offer(OLD, also_older=True)
    home.run(3_600.0)
    assert home.logged("download starts") == []
    assert home.logged("offer declined")
    check_untouched(home)
    check_good_one_is_taken(home)


FAULTS = {
    "answers ABORT once": FaultPlan(abort_at=6_000),
    "lets the device wait": FaultPlan(wait_at=6_000, wait_s=40),
    "lets it wait without a clock": FaultPlan(wait_at=6_000, wait_s=40, wait_without_clock=True),
    "is silent for five minutes": FaultPlan(silent_at=6_000, silent_s=300.0),
    "forgets the session": FaultPlan(forget_at=6_000),
    "drops every third answer": FaultPlan(drop_every=3),
    "says everything three times": FaultPlan(repeat_responses=2),
    "is late every fifth time": FaultPlan(late_every=5, late_s=7.0),
    "cuts every fourth block": FaultPlan(short_every=4),
    "names another version once": FaultPlan(wrong_version_at=6_000),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_hub_that_behaves_badly_delays_the_update_and_nothing_else(name: str) -> None:
    home = Home(faults=Faults(FAULTS[name]), server=ServerSettings(notify_interval_s=600.0))
    home.offer()
    assert home.run_until(lambda: updated(home, NEW), 200_000.0), home.log[-20:]
    assert home.boots == ["1.0.0", "1.1.0"]
    assert len(home.reports) == 1


@pytest.mark.parametrize(
    "plan",
    [FaultPlan(foreign_from=5_000), FaultPlan(corrupt_at=HEAD + 5_000)],
    ids=["another file's octets", "a flipped bit"],
)
def test_octets_that_change_on_the_way_are_refused_by_the_hash(plan: FaultPlan) -> None:
    home = Home(faults=Faults(plan, ota_file(NEWER)))
    home.offer()
    assert home.run_until(lambda: bool(home.logged("image refused")), 7_200.0), home.log[-20:]
    assert home.logged("image refused")[0]["reason"] in ("hash", "format")
    check_untouched(home)


def test_a_hub_that_is_gone_for_an_hour_finds_the_device_where_it_was() -> None:
    """Off in mid-transfer, back with its network: the transfer goes on at the same octet."""
    home = Home()
    home.offer()
    assert home.run_until(lambda: home.device._endpoint.ota.progress().offset > 5_000)
    before = home.device._endpoint.ota.progress().offset
    home.world.blocked.add(HUB_EUI)
    home.run(3_600.0)
    assert home.device._endpoint.ota.progress().offset - before <= 100
    check_untouched(home)
    home.world.blocked.discard(HUB_EUI)
    assert home.run_until(lambda: updated(home, NEW), 90_000.0), home.log[-20:]
    assert len(home.logged("download starts")) == 1
