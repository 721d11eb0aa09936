"""The boot state: its record, and its two copies under cuts."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_factory import steady

from agent.boot.state import (
    RECORD_OCTETS,
    BootState,
    EndReason,
    Slot,
    SlotRecord,
    SlotState,
    TryProgress,
    decode,
    encode,
)
from agent.boot.store import COPY_OFFSETS, BootStateStore, Finding, require
from agent.errors import FormatError, StorageError
from boards.virtual.disk import Cut, Disk, DiskArea, PowerCut, Survival

octet = st.integers(0, 255)
u32 = st.integers(0, 2**32 - 1)
records = st.builds(
    SlotRecord,
    state=st.sampled_from(SlotState),
    tries_left=octet,
    tries_given=octet,
    reason=st.sampled_from(EndReason),
    progress=st.sampled_from(TryProgress),
    image_octets=u32,
    security_counter=u32,
    image_hash=st.binary(min_size=32, max_size=32),
    boot_id=st.binary(min_size=16, max_size=16),
    room=st.binary(min_size=64, max_size=64),
)
states = st.builds(
    BootState,
    sequence=st.integers(0, 2**64 - 2),
    active=st.sampled_from([None, *Slot]),
    security_counter=u32,
    a=records,
    b=records,
    room=st.binary(min_size=192, max_size=192),
)
OLD = BootState(active=Slot.A, a=SlotRecord(SlotState.CONFIRMED), security_counter=3)
NEW = OLD.with_slot(Slot.B, SlotRecord(SlotState.TRIAL, 3, 3))


def make_area(seed: int = 0) -> tuple[Disk, DiskArea, BootStateStore]:
    disk = Disk(seed)
    area = disk.area("boot state", 128 * 1024)
    return disk, area, BootStateStore(area)


def same(state: BootState | None, other: BootState) -> bool:
    return state is not None and replace(state, sequence=0) == replace(other, sequence=0)


@steady
@given(states)
def test_a_record_comes_back_as_it_was(state: BootState) -> None:
    octets = encode(state)
    assert len(octets) == RECORD_OCTETS
    assert decode(octets) == state


@steady
@given(st.binary(max_size=2 * RECORD_OCTETS) | states.map(encode).map(lambda octets: octets[:-1]))
def test_foreign_octets_raise_format_error_only(octets: bytes) -> None:
    with pytest.raises(FormatError):
        decode(octets)


@steady
@given(states, st.integers(0, RECORD_OCTETS * 8 - 1))
def test_every_flipped_bit_is_seen(state: BootState, bit: int) -> None:
    octets = bytearray(encode(state))
    octets[bit // 8] ^= 1 << bit % 8
    with pytest.raises(FormatError):
        decode(bytes(octets))


@steady
@given(states, st.data())
def test_a_valid_checksum_over_nonsense_raises_format_error_only(state: BootState, data: st.DataObject) -> None:
    """A newer program's values that this one does not know."""
    octets = bytearray(encode(state)[:480])
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, 479))] = data.draw(octet)
    try:
        read = decode(bytes(octets) + hashlib.sha256(octets).digest())
    except FormatError:
        return
    assert decode(encode(read)) == read


def test_the_trial_is_the_slot_that_is_not_active() -> None:
    both = BootState(active=Slot.A, a=SlotRecord(SlotState.TRIAL), b=SlotRecord(SlotState.TRIAL))
    assert both.trial is Slot.B
    assert replace(both, active=Slot.B).trial is Slot.A
    assert OLD.trial is None


def test_an_empty_area_is_lost() -> None:
    _, _, store = make_area()
    assert store.load().finding is Finding.LOST
    with pytest.raises(StorageError, match="provision"):
        require(store.load().state)


@pytest.mark.parametrize("copy", [0, 1])
def test_one_torn_copy_costs_nothing_and_is_repaired(copy: int) -> None:
    _, area, store = make_area()
    store.replace(OLD)
    store.replace(NEW)
    area.damage(COPY_OFFSETS[copy] + 40)
    found = store.repair()
    assert found.finding is Finding.ONE_TORN
    assert same(found.state, NEW)
    assert store.load().finding is Finding.WHOLE


def test_both_copies_torn_are_lost_and_not_touched() -> None:
    disk, area, store = make_area()
    store.replace(OLD)
    for offset in COPY_OFFSETS:
        area.damage(offset)
    disk.operations.clear()
    assert store.repair().finding is Finding.LOST
    assert not disk.operations


def test_a_change_that_changes_nothing_writes_nothing() -> None:
    disk, _, store = make_area()
    before = store.replace(OLD)
    disk.operations.clear()
    assert store.update(require) == before
    assert not disk.operations


def test_a_refused_change_writes_nothing() -> None:
    disk, _, store = make_area()
    store.replace(OLD)
    disk.operations.clear()

    def refuse(state: BootState | None) -> BootState:
        raise StorageError("no")

    with pytest.raises(StorageError):
        store.update(refuse)
    assert not disk.operations


def count_operations(already_killed: bool) -> int:
    disk, _, store = make_area()
    store.replace(OLD)
    if already_killed:
        kill_in_replace(disk, store, 4)
    disk.cut_at(0)
    store.replace(NEW)
    return len(disk.operations)


def kill_in_replace(disk: Disk, store: BootStateStore, at: int) -> None:
    disk.cut_at(at, cut=Cut.KILL)
    with pytest.raises(PowerCut):
        store.replace(OLD)
    disk.power_on()


@pytest.mark.parametrize("survival", Survival)
@pytest.mark.parametrize("already_killed", [False, True])
def test_a_cut_anywhere_leaves_the_old_or_the_new_state(survival: Survival, already_killed: bool) -> None:
    for seed in range(4):
        for number in range(1, count_operations(already_killed) + 1):
            disk, _, store = make_area(seed)
            store.replace(OLD)
            if already_killed:
                kill_in_replace(disk, store, 1 + seed)
            disk.cut_at(number, survival)
            with pytest.raises(PowerCut):
                store.replace(NEW)
            disk.power_on()
            found = store.load()
            assert same(found.state, OLD) or same(found.state, NEW), (number, seed)
            # A second cut, anywhere in the repair.
            for second in range(1, 5):
                disk.cut_at(second, survival)
                try:
                    store.repair()
                except PowerCut:
                    disk.power_on()
                    again = store.load().state
                    assert again == found.state
            disk.power_on()
            store.repair()
            assert store.load().finding is Finding.WHOLE
            assert store.load().state == found.state


def test_a_state_that_was_returned_is_durable() -> None:
    disk, _, store = make_area()
    store.replace(OLD)
    store.replace(NEW)
    disk.lose_power(Survival.LOST)
    disk.power_on()
    assert same(store.load().state, NEW)
    assert store.load().finding is Finding.WHOLE
