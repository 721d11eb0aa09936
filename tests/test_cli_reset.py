"""``han-agent update cancel`` and ``han-agent factory-reset``: what goes, what stays, and when nothing is touched."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from pathlib import Path

import pytest

from agent import presence
from agent.boot.state import SlotState
from agent.cli import main
from agent.errors import EXIT_OK, EXIT_RADIO, EXIT_REFUSED, EXIT_STORAGE, EXIT_USAGE
from agent.events import (
    FormNetwork,
    JoinNetwork,
    PermitInstallCode,
    PermitJoin,
    RadioEvent,
    RadioStatus,
    RestoreNetwork,
)
from agent.update.database import open_database
from agent.update.facts import FactName
from agent.update.journal import Journal, Record
from agent.update.states import State
from boards.virtual.ncp.board import BoardSettings, ChipSettings, VirtualBoard
from boards.znp_radio import ZnpRadio
from tests.device_folder import EUI, NEW, STARTED_UTC, DeviceFolder, make_device

OWN = STARTED_UTC << 20


@pytest.fixture
def device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> DeviceFolder:
    made = make_device(tmp_path)
    made.provision(capsys)
    made.write_slot("B", NEW)
    made.have_run()
    return made


def journal_of(device: DeviceFolder) -> Journal:
    return Journal(open_database(device.database))


def decide(device: DeviceFolder) -> None:
    with closing(open_database(device.database)) as opened:
        journal = Journal(opened)
        journal.move(journal.load(), State.ACTIVATING)


# --- cancel -----------------------------------------------------------------------------------------------------------


def test_a_pending_image_is_cancelled_at_rest(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    told = device.json(capsys, "update", "cancel")
    assert told["by_running_device"] is False
    assert (told["cancelled"]["version"], told["cancelled"]["state"]) == ("1.0.1", "held")
    journal = journal_of(device)
    assert journal.load().state is State.IDLE
    assert journal.events()[-1].what == "update cancelled reason=the engineer asked for it"
    assert journal.order("dated") is not None, "it will report that there is no image"
    assert device.slot("B").state is SlotState.EMPTY
    assert device.call("update", "cancel") == EXIT_REFUSED
    assert "nothing to cancel" in capsys.readouterr().out


def test_a_transfer_is_cancelled_at_rest(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(open_database(device.database)) as opened:
        journal = Journal(opened)
        journal.move(journal.load(), State.DOWNLOADING, offset_octets=4096)
    assert device.call("update", "cancel") == EXIT_OK
    assert "4096 of 20000 octets were here" in capsys.readouterr().out
    assert journal_of(device).load().state is State.IDLE


def test_an_activation_is_not_cancelled(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    decide(device)
    assert device.call("update", "cancel") == EXIT_REFUSED
    assert "an activation is going on" in capsys.readouterr().out
    assert journal_of(device).load().state is State.ACTIVATING


def test_cancel_of_a_device_that_never_ran(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fresh = make_device(tmp_path)
    assert fresh.call("update", "cancel") == EXIT_REFUSED
    assert "nothing to cancel" in capsys.readouterr().out
    assert not fresh.database.exists()


def test_a_device_that_holds_the_lock_and_does_not_answer(
    device: DeviceFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with presence.hold(device.database):
        assert device.call("update", "cancel") == EXIT_STORAGE
    assert "cannot speak with the running device" in capsys.readouterr().err
    assert journal_of(device).load().state is State.HELD


# --- factory reset ----------------------------------------------------------------------------------------------------


def test_without_yes_nothing_is_done(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert device.call("factory-reset", "everything") == EXIT_REFUSED
    assert "nothing was done" in capsys.readouterr().out
    assert journal_of(device).load().state is State.HELD


def test_the_journal_is_forgotten_and_the_counters_stay(
    device: DeviceFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    told = device.json(capsys, "factory-reset", "journal", "--yes")
    assert (told["left_network"], told["own_counter"]) == (None, OWN)
    journal = journal_of(device)
    assert journal.load() == Record()
    assert (journal.order("dated"), journal.undelivered()) == (None, [])
    assert [event.what for event in journal.events()] == ["factory reset: journal forgotten"]
    assert device.slot("B").state is SlotState.EMPTY
    assert device.slot("A").state is SlotState.CONFIRMED
    assert journal.next_own_counter(0) == OWN + 1
    assert sorted(journal.accepted_counters().values()) == [7, 41], "what was accepted stays accepted"
    assert journal.tunnel() != ""
    assert journal.facts.read(FactName.NETWORK) is not None


@pytest.mark.parametrize("scope", ["network", "journal", "everything"])
def test_a_running_device_is_left_alone(device: DeviceFolder, scope: str, capsys: pytest.CaptureFixture[str]) -> None:
    with presence.hold(device.database):
        assert device.call("factory-reset", scope, "--yes") == EXIT_STORAGE
    assert "in use by process" in capsys.readouterr().err
    assert journal_of(device).load().state is State.HELD


@pytest.mark.parametrize("scope", ["journal", "everything"])
def test_an_activation_is_not_torn_apart(device: DeviceFolder, scope: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert device.call("slots", "activate", "B") == EXIT_OK
    assert device.call("factory-reset", scope, "--yes") == EXIT_REFUSED
    assert "an activation is going on" in capsys.readouterr().err
    assert device.slot("B").state is SlotState.TRIAL
    assert journal_of(device).load().state is State.HELD


def test_without_a_radio_the_network_is_not_forgotten(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    device.write_config(str(device.folder / "no-radio"))
    for scope in ("network", "everything"):
        assert device.call("factory-reset", scope, "--yes") == EXIT_RADIO
    assert "no-radio" in capsys.readouterr().err
    journal = journal_of(device)
    assert journal.facts.read(FactName.NETWORK) is not None
    assert journal.load().state is State.HELD
    assert device.slot("B").state is SlotState.WRITTEN


def test_a_device_that_was_never_provisioned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert make_device(tmp_path).call("factory-reset", "journal", "--yes") == EXIT_STORAGE
    assert "han-agent provision" in capsys.readouterr().err


def test_a_scope_that_is_none(device: DeviceFolder) -> None:
    with pytest.raises(SystemExit) as ended:
        device.call("factory-reset", "all", "--yes")
    assert ended.value.code == EXIT_USAGE


async def restore(address: str) -> RadioStatus:
    radio = ZnpRadio(address)
    await radio.open(ignore)
    status = (await radio.execute(RestoreNetwork())).status
    await radio.close()
    return status


def ignore(_event: RadioEvent) -> None:
    pass


def test_everything_is_forgotten_on_the_chip_too(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    code = device.identity.install_code
    tcp = "tcp://127.0.0.1:0"
    chips = (ChipSettings(tcp, 0x00124B0000000001), ChipSettings(tcp, EUI))

    async def story() -> int:
        async with VirtualBoard(BoardSettings(chips=chips, speed=50.0, seed=1)) as board:
            hub, member = (ZnpRadio(address) for address in board.addresses)
            await hub.open(ignore)
            await member.open(ignore)
            for request in (FormNetwork(11), PermitInstallCode(EUI, code), PermitJoin(180)):
                assert (await hub.execute(request)).status is RadioStatus.OK
            assert (await member.execute(JoinNetwork(code, (11,)))).status is RadioStatus.OK
            await member.close()
            device.write_config(board.addresses[1])
            words = ["factory-reset", "everything", "--yes", "--json", "--config", str(device.config)]
            ended = await asyncio.to_thread(main, words)
            assert await restore(board.addresses[1]) is RadioStatus.NO_NETWORK
            await hub.close()
            return ended

    async def bounded() -> int:
        async with asyncio.timeout(60.0):
            return await story()

    assert asyncio.run(bounded()) == EXIT_OK
    told = json.loads(capsys.readouterr().out)
    assert (told["left_network"], told["own_counter"]) == (True, OWN)
    journal = journal_of(device)
    assert journal.accepted_counters() == {}
    assert journal.tunnel() == ""
    assert list(journal.facts.all()) == ["started"]
    assert journal.next_own_counter(0) == OWN + 1
    assert [event.what for event in journal.events()] == [
        "factory reset: network, journal, counters of the parties forgotten"
    ]
