"""Life with the Trust Center in virtual time: kicked out, let in again, and an update in flight that goes on."""

from __future__ import annotations

import json
from dataclasses import replace

from agent.boot.state import Slot, SlotState
from agent.gbcs.use_cases import PpmidActivationAlert
from agent.update.states import State
from agent.zigbee.cbke.mmo import mmo
from agent.zigbee.joining import JoinState
from boards.bench.happenings import DeviceGone
from boards.bench.trust_center import KeyEstablished
from boards.bench.tunnel_client import State as TunnelState
from boards.virtual.seat import Seat
from tests.home import DEVICE_EUI, HUB_EUI, Home
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


def test_permitted_while_it_is_here_the_hub_finds_it_again_and_it_gets_a_new_key() -> None:
    home = in_mid_transfer()
    member = home.hub.members.by_eui[DEVICE_EUI]
    assert home.hub.permit(DEVICE_EUI, home.world.now)
    assert member.short is None
    assert home.run_until(lambda: member.short is not None, 5.0)
    assert home.hub.tunnels[DEVICE_EUI].state is not TunnelState.OPEN
    ends_well(home)
    assert keys_made(home) == 2


# --- Trust Center swap-out --------------------------------------------------------------------------------------------

NEW_HUB = 0x02DB_0000_0000_0C50


def is_with(home: Home, hub_eui: int, limit_s: float = 6 * 3_600.0) -> bool:
    """Until the device is online with a key for this hub."""

    def holds() -> bool:
        text = home.journal.hub_key()
        online = home.device._endpoint.joining.state is JoinState.ONLINE
        return online and bool(text) and json.loads(text)["hub_eui"] == hub_eui

    return home.run_until(holds, limit_s)


def link_key(home: Home, hub_eui: int) -> bytes:
    entry = home.world.seats[DEVICE_EUI].keys.get(hub_eui)
    assert entry is not None
    return entry.key


def test_the_hub_is_replaced_and_the_device_comes_back_without_a_visit() -> None:
    """Another EUI, PAN id and network key; the same extended PAN id, and a backup with hashes of the keys."""
    home = in_mid_transfer()
    network = home.world.seats[DEVICE_EUI].network
    old_key = link_key(home, HUB_EUI)
    home.replace_hub(NEW_HUB)
    home.offer()
    assert is_with(home, NEW_HUB, 3_600.0)
    there = home.world.seats[DEVICE_EUI].network
    assert network is not None
    assert there is not None
    assert there.extended_pan_id == network.extended_pan_id
    assert there.pan_id != network.pan_id
    (tried,) = home.logged("swap out tried")
    assert str(tried["network"]).startswith("channel 20, PAN 0x")
    assert home.logged("link key forgotten")[-1]["reason"] == "Trust Center swap-out"
    held = json.loads(home.journal.hub_key())
    assert held["hub_eui"] == NEW_HUB
    new_key = link_key(home, NEW_HUB)
    assert new_key not in (old_key, mmo(old_key)), "a key of its own at once"
    assert held["key_hash"] == mmo(new_key).hex()
    assert home.hub_memory.devices[DEVICE_EUI].key_hash == mmo(new_key)
    ends_well(home)


def test_a_hub_that_is_replaced_and_restarts_before_the_device_is_back() -> None:
    home = in_mid_transfer()
    home.world.blocked.add(DEVICE_EUI)
    home.replace_hub(NEW_HUB)
    home.run(600.0)
    home.restart_hub()
    home.run(60.0)
    home.world.blocked.clear()
    assert is_with(home, NEW_HUB)


def test_the_hash_is_no_key_to_a_hub_without_the_backup_but_the_install_code_is() -> None:
    """The new hub took the extended PAN id, and nothing else: the device falls back to what its label says."""
    home = in_mid_transfer()
    home.replace_hub(NEW_HUB)
    home.hub_memory.devices.clear()
    home.run(5.0)
    home.hub.memory.devices.clear()
    assert home.hub.permit(DEVICE_EUI, home.world.now), "as the installer does by hand"
    assert is_with(home, NEW_HUB)
    assert home.logged("swap out tried")
    assert [one["status"] for one in home.logged("join failed")][1:] == ["key exchange failed"]


def test_a_hub_that_is_only_silent_costs_no_network() -> None:
    """Its beacon is heard and closed, or nothing at all: nothing is joined anew, for a day."""
    home = in_mid_transfer()
    before = home.world.seats[DEVICE_EUI].network
    home.world.detach(HUB_EUI)  # its program; the chip beacons, and the time for joining runs out
    home.world.seats[HUB_EUI].permit_until = 0.0
    home.run(86_400.0)
    assert home.world.seats[DEVICE_EUI].network == before
    assert home.logged("swap out tried") == []
    home._start_hub()
    assert home.run_until(lambda: home.device._endpoint.joining.state is JoinState.ONLINE, 3 * 3_600.0)
    assert len(home.logged("link key made")) == 1


def test_the_same_network_key_and_another_eui_needs_only_a_new_key() -> None:
    """A hub restored from an image of the old chip's memory, with its own EUI: no join at all."""
    home = in_mid_transfer()
    old = home.world.seats[HUB_EUI]
    assert old.network is not None
    new = home.world.seats[NEW_HUB] = Seat(NEW_HUB)
    new.network_key, new.network = old.network_key, replace(old.network, eui=NEW_HUB)
    home.replace_hub(NEW_HUB)
    assert is_with(home, NEW_HUB), home.log[-20:]
    assert home.logged("swap out tried") == []
    assert json.loads(home.journal.hub_key())["hub_eui"] == NEW_HUB


def test_a_device_that_nobody_knows_is_not_removed() -> None:
    home = Home(keys="suite-2")
    assert not home.hub.remove(0x99, rejoin=False, keep_out=False)
    assert not home.hub.permit(0x99, 0.0)
