"""The whole HAN with key establishment: real device, real hub, and a radio that delivers only what keys allow."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest

from agent.boot.state import Slot, SlotState
from agent.events import ApsRequest
from agent.gbcs.use_cases import PpmidActivationAlert
from agent.update.states import State
from agent.zigbee.cbke.certificates import SUITE_1, SUITE_2
from agent.zigbee.cbke.ecqv import issue, make_authority
from agent.zigbee.clusters import is_secured
from agent.zigbee.joining import JoinState
from boards.bench.trust_center import KeyEstablished, KeyNotEstablished, SecurityRefused
from tests.home import DEVICE_EUI, HUB_EUI, Home, hub_credentials


def alerted(home: Home) -> bool:
    return any(isinstance(report.payload, PpmidActivationAlert) for report in home.reports)


def told(home: Home, kind: type) -> list[object]:
    return [one for one in home.told if isinstance(one, kind)]


def suites(home: Home) -> list[int]:
    return [one.suite for one in home.told if isinstance(one, KeyEstablished)]


def unsecured(home: Home) -> list[int]:
    """Clusters that needed APS security and travelled without, either way (refusals apart)."""
    sent = [request for seat in home.world.seats.values() for request in seat.traffic]
    return [
        request.cluster
        for request in sent
        if request.source_endpoint and is_secured(request.cluster, request.profile) and not request.aps_security
    ]


def secured(home: Home) -> list[ApsRequest]:
    return [one for seat in home.world.seats.values() for one in seat.traffic if one.aps_security]


@pytest.mark.parametrize(("keys", "suite"), [("suite-2", SUITE_2), ("suite-1", SUITE_1), ("both", SUITE_2)])
def test_an_update_travels_secured_from_the_first_octet(keys: str, suite: int) -> None:
    home = Home(keys=keys)
    home.offer()
    assert home.run_until(lambda: alerted(home), 600.0)
    assert home.rig.slot_state(Slot.B) is SlotState.CONFIRMED
    assert home.boots == ["1.0.0", "1.1.0"]
    assert suites(home) == [suite], "one key for both programs"
    assert told(home, SecurityRefused) == []
    assert unsecured(home) == []
    assert {request.cluster for request in secured(home)} == {0x0019, 0x0704}


def test_an_hcalcs_too() -> None:
    home = Home("hcalcs", keys="suite-2")
    home.offer()
    assert home.run_until(lambda: home.device._update.state is State.HELD)
    home.backhaul.activate_firmware(DEVICE_EUI, home.world.now)
    assert home.run_until(lambda: home.boots[-1] == "1.1.0" and home.rig.slot_state(Slot.B) is SlotState.CONFIRMED)
    assert unsecured(home) == []


@pytest.mark.parametrize(
    ("device", "hub", "suite"), [("both", "suite-1", SUITE_1), ("both", "suite-2", SUITE_2), ("suite-1", "both", 1)]
)
def test_the_suite_is_the_best_in_common(device: str, hub: str, suite: int) -> None:
    home = Home(keys=device, hub_keys=hub)
    assert home.run_until(lambda: bool(suites(home)), 60.0)
    assert suites(home) == [suite]


def test_no_suite_in_common_is_said_and_tried_ever_more_rarely() -> None:
    home = Home(keys="suite-2", hub_keys="suite-1")
    home.run(4 * 3_600.0)
    failures = home.logged("link key failed")
    assert {failure["reason"] for failure in failures} == {"unsupported suite"}
    pauses = [failure["retry_s"] for failure in failures]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 3_600.0
    assert unsecured(home) == []


def foreign_hub(issuer: int) -> Home:
    """A hub with certificates of another CA."""
    rng = random.Random(1)
    authority = make_authority(SUITE_2, issuer, rng)
    return Home(keys="suite-2", hub_keys={SUITE_2: issue(authority, HUB_EUI, rng)})


def test_another_issuer_makes_the_device_leave_and_say_why() -> None:
    home = foreign_hub(0x0123456789ABCDEF)
    assert home.run_until(lambda: bool(home.logged("left network")), 60.0)
    (left,) = home.logged("left network")
    assert "issuer" in str(left["reason"])
    seat = home.world.seats[DEVICE_EUI]
    assert seat.network is None
    home.world.seats[HUB_EUI].permit_until = home.world.now + 86_400.0
    home.run(3_000.0)
    assert seat.network is None, "for an hour it stays away"
    home.run(1_000.0)
    assert len(home.logged("left network")) == 2


def test_the_same_issuer_with_another_key_is_no_reason_to_leave() -> None:
    issuer = hub_credentials("ppmid", (SUITE_2,))[SUITE_2].certificate.issuer
    home = foreign_hub(issuer)
    home.run(120.0)
    assert home.logged("left network") == []
    assert {failure["reason"] for failure in home.logged("link key failed")} == {"bad key confirm"}
    assert told(home, KeyNotEstablished)


def test_a_hub_with_a_certificate_for_another_eui_gets_no_key() -> None:
    rng = random.Random(1)
    authority = make_authority(SUITE_2, hub_credentials("ppmid", (SUITE_2,))[SUITE_2].certificate.issuer, rng)
    home = Home(keys="suite-2", hub_keys={SUITE_2: issue(authority, HUB_EUI + 1, rng)})
    home.run(60.0)
    assert {failure["reason"] for failure in home.logged("link key failed")} == {"invalid certificate"}
    assert "made for" in str(home.logged("link key failed")[0]["detail"])


def test_a_hub_that_requires_keys_refuses_a_device_without() -> None:
    home = Home(keys="off", hub_keys="suite-2")
    home.offer()
    home.run(600.0)
    refused = told(home, SecurityRefused)
    assert refused
    assert {one.reason for one in refused} == {"no key is established"}  # type: ignore[attr-defined]
    assert home.boots == ["1.0.0"]
    assert home.device._update.state is State.IDLE
    assert [one for one in secured(home) if one.source_endpoint] == []


@pytest.mark.parametrize("seed", range(3))
def test_with_loss_a_key_is_made_and_the_update_ends(seed: int) -> None:
    home = Home(keys="suite-2", loss=0.1, seed=seed)
    home.offer()
    assert home.run_until(lambda: alerted(home), 4 * 3_600.0)
    home.run(600.0)
    assert len(home.reports) == 1
    assert unsecured(home) == []


def test_a_restart_and_a_loss_of_power_need_no_new_key() -> None:
    home = Home(keys="suite-2")
    assert home.run_until(lambda: bool(home.logged("tunnel open")), 60.0)
    home.restart()
    home.run(60.0)
    home.lose_power()
    home.run(60.0)
    assert suites(home) == [SUITE_2]
    assert len(home.logged("tunnel open")) == 3
    assert len(home.logged("link key made")) == 1


def test_the_journal_remembers_a_hash_and_never_the_key() -> None:
    home = Home(keys="suite-2")
    assert home.run_until(lambda: bool(home.logged("tunnel open")), 60.0)
    key = home.world.seats[DEVICE_EUI].keys.get(HUB_EUI).key
    stored = home.journal.hub_key()
    assert f'"hub_eui": {HUB_EUI}' in stored
    assert key.hex() not in stored
    assert key.hex() not in str(home.log)
    assert repr(key) not in str(home.log)
    assert json.loads(stored)["key_hash"] not in str(home.log)


@pytest.mark.parametrize(
    ("stored", "keys"),
    [
        (lambda text: json.dumps({**json.loads(text), "of_a_newer_program": 1}), 1),
        (lambda text: '{"hub_eui": 1}', 2),
        (lambda text: "[]", 2),
        (lambda text: "no JSON", 2),
    ],
)
def test_another_program_s_note_of_the_key(stored: Callable[[str], str], keys: int) -> None:
    """After a rollback: what it added is left alone, and what cannot be read costs a new key and nothing else."""
    home = Home(keys="suite-2")
    assert home.run_until(lambda: bool(home.logged("tunnel open")), 60.0)
    home.journal.set_hub_key(stored(home.journal.hub_key()))
    home.restart()
    assert home.run_until(lambda: len(home.logged("tunnel open")) == 2, 60.0)
    assert suites(home) == [SUITE_2] * keys


def test_a_hub_that_restarts_remembers_who_has_a_key() -> None:
    home = Home(keys="suite-2")
    assert home.run_until(lambda: bool(home.logged("tunnel open")), 60.0)
    (member,) = home.hub.members.by_eui.values()
    short = member.short
    home.restart_hub()
    assert home.run_until(lambda: home.hub.network is not None, 5.0)
    assert list(home.hub.members.by_short) == [short], "what it says is its own from the first moment"
    assert home.run_until(lambda: len(home.logged("tunnel open")) == 2, 10.0), "without a new key of 20 s"
    home.offer()
    assert home.run_until(lambda: alerted(home), 600.0)
    assert len(suites(home)) == 1
    assert told(home, SecurityRefused) == []
    assert home.logged("link key forgotten") == []


def test_a_hub_that_forgot_the_key_gets_a_new_one() -> None:
    home = Home(keys="suite-2")
    assert home.run_until(lambda: bool(home.logged("tunnel open")), 60.0)
    home.hub_memory.devices.clear()  # the folder is gone too
    home.restart_hub()
    assert home.run_until(lambda: bool(home.logged("link key forgotten")), 2 * 86_400.0)
    assert home.run_until(lambda: len(suites(home)) == 2, 600.0)
    home.offer()
    assert home.run_until(lambda: alerted(home), 3_600.0)


def test_a_chip_that_lost_the_key_is_noticed_by_unanswered_secured_frames() -> None:
    """Nothing refuses here: the frames vanish. The hub's clock still answers, so it is the key and not the network."""
    home = Home(keys="suite-2")
    assert home.run_until(lambda: bool(home.logged("tunnel open")), 60.0)
    home.world.seats[HUB_EUI].keys.clear()
    home.offer()
    assert home.run_until(lambda: bool(home.logged("link key forgotten")), 2 * 86_400.0)
    assert home.run_until(lambda: alerted(home), 3_600.0)
    assert len(suites(home)) == 2


def test_a_device_that_joins_anew_gets_a_new_key() -> None:
    home = Home(keys="suite-2")
    assert home.run_until(lambda: bool(home.logged("tunnel open")), 60.0)
    home.world.detach(DEVICE_EUI)
    home.world._say_goodbye(home.world.seats[DEVICE_EUI])
    home.world.seats[DEVICE_EUI].forget()
    home.world.seats[HUB_EUI].permit_until = home.world.now + 600.0
    home.device = home._boot()
    assert home.run_until(lambda: len(home.logged("tunnel open")) == 2, 600.0)
    assert len(suites(home)) == 2
    assert len(home.logged("link key made")) == 2


def test_silence_in_the_middle_of_an_exchange_is_survived() -> None:
    home = Home(keys="suite-2")
    joining = home.device._endpoint.joining
    assert home.run_until(lambda: joining.state is JoinState.KEYING, 60.0)
    home.world.blocked.add(HUB_EUI)
    home.run(600.0)
    home.world.blocked.clear()
    assert home.run_until(lambda: bool(home.logged("tunnel open")), 3_600.0)
    assert {failure["reason"] for failure in home.logged("link key failed")} <= {
        "time out",
        "time-out",
        "not delivered",
    }
