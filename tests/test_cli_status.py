"""``han-agent status`` and ``han-agent events``: what a device's files tell, at every stage of its life."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from agent import presence
from agent.errors import EXIT_OK, EXIT_STORAGE, EXIT_USAGE
from agent.update.database import open_database
from agent.update.facts import FactName
from agent.update.journal import Journal
from flash.identity import ACB, SUPPLIER
from tests.boot_factory import image_hash
from tests.device_folder import NEW, STARTED_UTC, DeviceFolder, make_device


@pytest.fixture
def bare(tmp_path: Path) -> DeviceFolder:
    return make_device(tmp_path)


@pytest.fixture
def fresh(bare: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> DeviceFolder:
    bare.provision(capsys)
    return bare


@pytest.fixture
def device(fresh: DeviceFolder) -> DeviceFolder:
    fresh.write_slot("B", NEW)
    fresh.have_run()
    return fresh


def test_a_device_that_was_never_provisioned(bare: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    status = bare.json(capsys, "status", code=EXIT_STORAGE)
    assert (status["boot"], status["slots"], status["update"], status["has_run"]) == (None, {}, None, False)
    assert ["han-agent provision" in problem for problem in status["problems"]] == [True]
    assert bare.call("status") == EXIT_STORAGE
    out = capsys.readouterr().out
    assert "HCALCS  02DB000000000001" in out
    assert "PROBLEM" in out


def test_a_device_that_never_ran_says_so(fresh: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    status = fresh.json(capsys, "status")
    assert (status["has_run"], status["runs"], status["network"], status["counters"]) == (False, False, None, None)
    assert status["slots"]["A"]["version"] == "1.0.0"
    assert status["problems"] == []
    assert fresh.call("status") == EXIT_OK
    out = capsys.readouterr().out
    assert "never: there is no journal yet" in out
    assert "not known" in out
    assert fresh.call("events") == EXIT_OK
    assert "never run" in capsys.readouterr().out
    assert fresh.call("events", "--json") == EXIT_OK
    assert capsys.readouterr().out == ""
    assert not fresh.database.exists(), "looking makes no journal"


def test_what_a_device_with_a_life_behind_it_tells(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    status = device.json(capsys, "status")
    assert (status["role"], status["eui"], status["problems"]) == ("hcalcs", "02DB000000000001", [])
    assert status["last_start"] == {
        "slot": "A",
        "version": "1.0.0",
        "trial": False,
        "time": "2027-01-15T08:00:00Z",
    }
    assert status["network"]["channel"] == 20
    assert (status["network_sought"]["sight"], status["trial_failed"]["version"]) == ("absent", "0.9.0")
    assert status["last_contact"] == {"link_quality": 200, "hub_has_time": True, "time": "2027-01-15T08:00:09Z"}
    assert status["pending"] == {
        "version": "1.0.1",
        "image_hash": image_hash(NEW).hex(),
        "slot": "B",
        "state": "held",
        "activate_at": None,
    }
    assert status["dated_activation"] == {"image_hash": image_hash(NEW).hex(), "execution": "2027-01-15T09:00:00Z"}
    assert status["counters"]["own"] == 1_800_000_000 << 20
    assert status["counters"]["originators"] == [
        {
            "originator": f"{SUPPLIER:016X}",
            "message_code": "0x0012",
            "use_case": "CS06 Activate Firmware",
            "last_accepted": 41,
        },
        {
            "originator": f"{ACB:016X}",
            "message_code": "0x0129",
            "use_case": "CS08 Read PPMID/HCALCS Firmware Version",
            "last_accepted": 7,
        },
    ]
    assert [row["kind"] for row in status["outbox"]] == ["receipt"]
    assert [(one["code"], one["name"]) for one in status["refusals"]] == [("0x8F3D", "authentication failure")]
    assert [one["what"] for one in status["events"]] == ["download starts version=1.0.1", "update confirmed"]
    assert (status["slots"]["A"]["state"], status["slots"]["B"]["state"]) == ("CONFIRMED", "WRITTEN")
    assert len(status["certificates"]) == 5


def test_a_person_reads_where_the_network_is_and_why_a_trial_failed(
    device: DeviceFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert device.call("status") == EXIT_OK
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "discovery no beacon of our network, 2027-01-15T08:01:00Z" in lines
    reason = "the hub did not answer within 180 s (health.limit_s)"
    assert f"trial failed 0.9.0: {reason}, 2027-01-15T08:00:05Z" in lines


def test_a_sleepy_device_tells_how_it_was_told_to_poll(
    device: DeviceFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert device.json(capsys, "status")["polling"] is None, "a router does not"
    text = device.config.read_text(encoding="utf-8")
    device.config.write_text(text.replace("[radio]", '[radio]\nlogical_type = "end-device"'), encoding="utf-8")
    rates = {"poll_rate_s": 7.5, "fast_poll_rate_s": 0.1}
    assert device.json(capsys, "status")["polling"] == {**rates, "last": None}
    assert device.call("status") == EXIT_OK
    assert "radio.logical_type is end-device, from the next join on" in capsys.readouterr().out
    device.note(FactName.NETWORK, channel=20, pan_id="0x1A62", extended_pan_id="0", short_address="0x77AA",
                logical_type="end_device", by="join")  # fmt: skip
    device.note(FactName.POLLING, period_s=7.5, polling="at rest", fast_s=41.2)
    last = {"period_s": 7.5, "polling": "at rest", "fast_s": 41.2, "time": "2027-01-15T08:00:00Z"}
    assert device.json(capsys, "status")["polling"] == {**rates, "last": last}
    assert device.call("status") == EXIT_OK
    assert (
        "at rest, every 0.1 s in an exchange; at rest since 2027-01-15T08:00:00Z, fast for 41.2 s since the start"
        in capsys.readouterr().out
    )
    device.note(FactName.POLLING, refused="the chip did not answer", detail="no answer in time")
    assert device.call("status") == EXIT_OK
    assert "it cannot be told (the chip did not answer no answer in time)" in capsys.readouterr().out


def test_the_role_stands_in_one_table_with_our_choices_marked(
    device: DeviceFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    status = device.json(capsys, "status")
    assert status["endpoint"]["device"] == "0x0504 load control device"
    assert "0x0019 ota" in status["endpoint"]["output_clusters"]
    assert status["basic"]["model"] == "HCALCS"
    assert status["our_choices"][0].startswith("device id:")


def test_the_text_says_the_same(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert device.call("status") == EXIT_OK
    out = capsys.readouterr().out
    for words in (
        "slot A            1.0.0, confirmed (ran last, active)",
        "slot B            1.0.1, written",
        f"pending image     1.0.1 in slot B, hash {image_hash(NEW).hex()}",
        "no time: it waits for the hub or a command",
        "dated command     2027-01-15T09:00:00Z",
        "channel 20, PAN 0x1A62",
        "link quality 200",
        "0x8F3D authentication failure:  MAC does not verify",
        "our choice",
        "not delivered     receipt, 60 octets",
    ):
        assert words in out, out


def test_a_running_device_is_told_by_its_lock(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    with presence.hold(device.database):
        status = device.json(capsys, "status")
        assert status["runs"] is True
        assert device.call("status") == EXIT_OK
    assert "slot A            1.0.0, confirmed (runs, active)" in capsys.readouterr().out
    assert device.json(capsys, "status")["runs"] is False


def test_a_broken_journal_is_told_and_the_rest_is_shown(
    device: DeviceFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in device.folder.glob("agent.db*"):
        path.unlink()
    device.database.write_bytes(b"no database" * 1000)
    status = device.json(capsys, "status", code=EXIT_STORAGE)
    assert "agent.db: not a journal" in status["problems"][0]
    assert status["slots"]["A"]["version"] == "1.0.0"
    assert device.call("events") == EXIT_STORAGE
    assert "move it away" in capsys.readouterr().err


def test_a_key_that_does_not_fit_is_a_problem(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    (device.keys / "02db000000000001-ds.pem").write_bytes((device.keys / "02db000000000001-ka.pem").read_bytes())
    status = device.json(capsys, "status", code=EXIT_STORAGE)
    assert "02db000000000001-ds.pem" in status["problems"][0]


def test_events_by_log_and_limit(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert device.call("events", "--log", "security", "--json") == EXIT_OK
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "log": "security",
        "time": "2027-01-15T08:00:00Z",
        "code": "0x8F3D",
        "name": "authentication failure",
        "what": "MAC does not verify",
        "update_id": "",
    }
    assert device.call("events", "--limit", "1") == EXIT_OK
    assert capsys.readouterr().out == (
        "2027-01-15T08:00:00Z  event     0x8F43 firmware version changed:  update confirmed\n"
    )
    assert device.call("events", "--log", "event") == EXIT_OK
    assert capsys.readouterr().out.startswith("2027-01-15T08:00:00Z  event     download starts")


@pytest.mark.parametrize("limit", ["0", "-1", "x", "10001"])
def test_a_limit_that_is_none(device: DeviceFolder, limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        device.call("events", f"--limit={limit}")
    assert ended.value.code == EXIT_USAGE
    assert "not a number from 1 to 10000" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "events"])
def test_a_configuration_that_is_not_there(
    device: DeviceFolder, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    device.config.unlink()
    assert device.call(command) == EXIT_USAGE
    assert "no such configuration file" in capsys.readouterr().err


def test_a_factory_agent_is_told_and_what_to_do(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert device.json(capsys, "status")["factory_agent"] is False
    with closing(open_database(device.database)) as opened:
        Journal(opened).facts.record(FactName.STARTED, STARTED_UTC, slot=None, version="0.0.0", trial=False)
    assert device.json(capsys, "status")["factory_agent"] is True
    assert device.call("status") == EXIT_OK
    out = capsys.readouterr().out
    assert "the factory agent, 2027-01-15T08:00:00Z: no slot verifies" in out
    assert "han-agent slots verify" in out
