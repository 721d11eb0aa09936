"""Life with the Trust Center in virtual time: kicked out, let in again, and an update in flight that goes on."""

from __future__ import annotations

from agent.boot.state import Slot, SlotState
from agent.gbcs.use_cases import PpmidActivationAlert
from agent.update.states import State
from agent.zigbee.joining import JoinState
from boards.bench.happenings import DeviceGone
from boards.bench.trust_center import KeyEstablished
from tests.home import DEVICE_EUI, Home
from tests.update_rig import NEW

CHECKPOINT_OCTETS = 4096


def alerted(home: Home) -> bool:
    return any(isinstance(report.payload, PpmidActivationAlert) for report in home.reports)


def keys_made(home: Home) -> int:
    return sum(isinstance(one, KeyEstablished) for one in home.told)


def in_mid_transfer() -> Home:
    """A third of the image is here."""
    home = Home(keys="suite-2")
    home.offer()
    assert home.run_until(lambda: home.device._update.state is State.DOWNLOADING, 120.0)
    record = home.device._update
    assert home.run_until(lambda: record.record.offset_octets >= record.record.total_octets // 3, 600.0)
    return home


def ends_well(home: Home, limit_s: float = 3_600.0) -> None:
    """The update ends, and no octet of what was here was fetched a second time but those behind the checkpoint."""
    assert home.run_until(lambda: alerted(home), limit_s)
    assert home.rig.slot_state(Slot.B) is SlotState.CONFIRMED
    assert len(home.logged("download starts")) == 1
    assert len(home.logged("transfer complete")) == 1
    session = home.hub.ota.sessions[DEVICE_EUI]
    size = home.device._update.record.total_octets or len(home.file(NEW))
    assert session.octets <= size + 2 * CHECKPOINT_OCTETS


def test_told_to_leave_in_mid_transfer_it_says_so_waits_rejoins_and_goes_on() -> None:
    home = in_mid_transfer()
    left_at = home.world.now
    assert home.hub.remove(DEVICE_EUI, rejoin=False, keep_out=False)
    assert home.run_until(lambda: bool(home.logged("left network")), 10.0)
    (left,) = home.logged("left network")
    assert (left["reason"], left["retry_s"]) == ("the hub told the device to leave", 5.0)
    assert home.journal.hub_key() == "", "the chip has forgotten it"
    assert home.run_until(lambda: home.device._endpoint.joining.state is JoinState.ONLINE, 120.0)
    assert home.world.now >= left_at + 5.0
    assert [one.device_eui for one in home.told if isinstance(one, DeviceGone)] == [DEVICE_EUI]
    ends_well(home)
    assert keys_made(home) == 2


def test_told_to_leave_and_come_back_it_keeps_network_and_key() -> None:
    home = in_mid_transfer()
    assert home.hub.remove(DEVICE_EUI, rejoin=True, keep_out=False)
    ends_well(home)
    assert home.logged("left network") == []
    assert keys_made(home) == 1


def test_kept_out_it_says_why_backs_off_to_an_hour_and_is_back_when_it_is_permitted() -> None:
    home = in_mid_transfer()
    assert home.hub.remove(DEVICE_EUI, rejoin=False, keep_out=True)
    home.run(12 * 3_600.0)
    failures = home.logged("join failed")
    assert {failure["status"] for failure in failures} <= {"key exchange failed", "no network found"}
    pauses = [failure["retry_s"] for failure in failures]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 3_600.0
    offset = home.device._update.record.offset_octets
    assert home.device._update.state is State.DOWNLOADING
    assert home.hub.permit(DEVICE_EUI, home.world.now)
    assert home.run_until(lambda: home.device._endpoint.joining.state is JoinState.ONLINE, 2 * 3_600.0)
    assert home.device._update.record.offset_octets >= offset
    ends_well(home)


def test_a_device_that_nobody_knows_is_not_removed() -> None:
    home = Home(keys="suite-2")
    assert not home.hub.remove(0x99, rejoin=False, keep_out=False)
    assert not home.hub.permit(0x99, 0.0)
