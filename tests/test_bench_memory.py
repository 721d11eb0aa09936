"""The hub's memory of its network: what is kept, when, and what is refused."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import SettingsError
from agent.events import LogicalType, NetworkInfo
from agent.zigbee.cbke.mmo import mmo
from boards.bench.hub_runtime import _memory
from boards.bench.memory import HubMemory, parse_memory

HUB, DEVICE, KEY = 0x02DB000000000C4F, 0x02DB000000000001, bytes(range(16))
NETWORK = NetworkInfo(HUB, 0, 0x1A62, 0x99, 20, LogicalType.COORDINATOR)


def known() -> tuple[HubMemory, list[str]]:
    """A hub that has a device with a key, and what it has stored so far."""
    stored: list[str] = []
    memory = HubMemory(keep=stored.append)
    memory.on_network(NETWORK, restored=False)
    memory.address(DEVICE, 0x28CE)
    memory.key_made(DEVICE, 2, KEY)
    return memory, stored


def test_a_hash_is_kept_and_never_the_key() -> None:
    memory, stored = known()
    assert len(stored) == 3
    assert KEY.hex() not in stored[-1]
    assert mmo(KEY).hex() in stored[-1]
    assert mmo(KEY).hex() not in repr(memory), "it serves as a key after a Trust Center swap-out"
    again = parse_memory(stored[-1], "here")
    assert (again.holders(), again.devices, again.text()) == ({DEVICE}, memory.devices, stored[-1])


def test_nothing_is_stored_where_nothing_changes() -> None:
    memory, stored = known()
    memory.address(DEVICE, 0x28CE)
    memory.on_network(NETWORK, restored=True)
    assert len(stored) == 3
    memory.key_gone(DEVICE)
    assert (memory.holders(), len(stored)) == (set(), 4)


@pytest.mark.parametrize(
    ("network", "restored"),
    [
        (NETWORK, False),
        (NetworkInfo(HUB + 1, 0, 0x1A62, 0x99, 20, LogicalType.COORDINATOR), True),
        (NetworkInfo(HUB, 0, 0x1A62, 0x98, 20, LogicalType.COORDINATOR), True),
    ],
)
def test_another_network_or_another_chip_has_none_of_its_keys(network: NetworkInfo, restored: bool) -> None:
    memory, stored = known()
    memory.on_network(network, restored=restored)
    assert memory.devices == {}
    assert json.loads(stored[-1])["devices"] == []


def test_the_file_is_its_owners_alone_and_a_full_medium_costs_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state" / "network.json"
    memory = _memory(path)
    memory.on_network(NETWORK, restored=False)
    assert path.stat().st_mode & 0o777 == 0o600
    assert _memory(path).extended_pan_id == 0x99
    path.unlink()
    path.mkdir()  # as a medium that takes nothing
    memory.address(DEVICE, 1)
    assert memory.devices[DEVICE].short == 1


GOOD = known()[0].text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        GOOD[:-20],
        GOOD.replace(mmo(KEY).hex(), ""),
        GOOD.replace(mmo(KEY).hex(), "00"),
        GOOD.replace("0x28CE", "somewhere"),
        GOOD.replace("02DB000000000C4F", "the hub"),
    ],
)
def test_a_file_that_is_none_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match=r"network\.json: no hub's memory"):
        parse_memory(text, "network.json")


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_text(text: str) -> None:
    with contextlib.suppress(SettingsError):
        parse_memory(text, "x")
