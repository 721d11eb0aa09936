"""NV items against zigpy-znp's own structures, and networks written and read back."""

from __future__ import annotations

from dataclasses import replace

import zigpy_znp.const
import zigpy_znp.types as t
from hypothesis import given, settings
from hypothesis import strategies as st
from zigpy_znp.znp.security import compute_key, compute_tclk_seed

from boards.virtual.ncp import items
from boards.virtual.ncp.items import Nib
from boards.virtual.ncp.network_image import clear_network, read_network, write_network
from boards.virtual.ncp.nv import ZSTACK, NvMemory, old_item
from boards.virtual.stack.interface import LinkKeyEntry, LogicalType, Neighbour, NetworkState

OWN_EUI = 0x00124B0000000001
PARTNER = 0x00124B0000000002
euis = st.integers(1, 2**64 - 2)
keys = st.binary(min_size=16, max_size=16)
counters = st.integers(0, 2**32 - 1)


@st.composite
def networks(draw: st.DrawFn) -> NetworkState:
    """Any state that a stack may export, with as many partners as a table has places."""
    partners = draw(st.lists(euis, max_size=8, unique=True))
    shorts = {eui: draw(st.integers(1, 0xFFF7)) for eui in partners}
    roles = st.tuples(st.sampled_from([None, *LogicalType]), st.integers(0, 3), st.booleans())
    neighbours = [Neighbour(eui, shorts[eui], *draw(roles)) for eui in partners[::2]]
    kind = draw(st.sampled_from(list(LogicalType)))
    coordinator = kind is LogicalType.COORDINATOR
    return NetworkState(
        logical_type=kind,
        short=0 if coordinator else draw(st.integers(1, 0xFFF7)),
        channel=draw(st.integers(11, 26)),
        pan_id=draw(st.integers(0, 0xFFFE)),
        extended_pan_id=draw(euis),
        network_key=draw(keys),
        trust_center=OWN_EUI if coordinator else draw(euis),
        network_key_sequence=draw(st.integers(0, 255)),
        outgoing_counter=draw(counters),
        update_id=draw(st.integers(0, 255)),
        parent_short=0xFFFF if coordinator else draw(st.integers(0, 0xFFF7)),
        parent_eui=0 if coordinator else draw(euis),
        depth=draw(st.integers(0, 15)),
        neighbours=tuple(neighbours),
        addresses=tuple(shorts.items()),
        link_keys=tuple(
            LinkKeyEntry(eui, draw(keys), draw(st.booleans()), draw(counters), draw(counters)) for eui in partners[::3]
        ),
    )


def fresh_nv() -> NvMemory:
    nv = NvMemory()
    clear_network(nv)
    return nv


@settings(deadline=None)
@given(networks())
def test_what_is_written_is_read_back(state: NetworkState) -> None:
    nv = fresh_nv()
    nv.put(old_item(items.LOGICAL_TYPE), bytes((state.logical_type.value,)))
    write_network(nv, state, OWN_EUI)
    read = read_network(nv, OWN_EUI)
    assert read is not None
    assert sorted(read.addresses) == sorted(state.addresses)
    assert sorted(read.neighbours, key=lambda n: n.eui) == sorted(state.neighbours, key=lambda n: n.eui)
    assert replace(read, addresses=(), neighbours=()) == replace(state, addresses=(), neighbours=())


@settings(deadline=None)
@given(networks())
def test_zigpy_znp_reads_the_same_network(state: NetworkState) -> None:
    nv = fresh_nv()
    write_network(nv, state, OWN_EUI)
    nib, rest = t.NIB.deserialize(nv.get(old_item(items.NIB_ITEM)), align=True)
    assert rest == b""
    assert (nib.nwkDevAddress, nib.nwkLogicalChannel, nib.nwkPanId) == (state.short, state.channel, state.pan_id)
    assert nib.extendedPANID.serialize() == state.extended_pan_id.to_bytes(8, "little")
    assert (nib.nwkKeyLoaded, nib.nwkUpdateId, nib.nodeDepth, nib.SecurityLevel) == (1, state.update_id, state.depth, 5)
    assert list(nib.channelList) == [state.channel] or nib.channelList == t.Channels.from_channel_list([state.channel])
    key, _ = t.NwkKeyDesc.deserialize(nv.get(old_item(items.NWK_ACTIVE_KEY_INFO)), align=True)
    assert (key.KeySeqNum, bytes(key.Key.serialize())) == (state.network_key_sequence, state.network_key)
    table, _ = t.APSLinkKeyTable.deserialize(nv.get(old_item(items.APS_LINK_KEY_TABLE)), align=True)
    assert len(table) == len(state.link_keys)
    for row, entry in zip(table, state.link_keys, strict=True):
        address, _ = t.AddrMgrEntry.deserialize(
            nv.get((ZSTACK, items.TABLE_ADDRMGR, row.AddressManagerIndex)), align=True
        )
        stored, _ = t.APSKeyDataTableEntry.deserialize(
            nv.get((ZSTACK, items.TABLE_APS_KEY, row.LinkKeyNvId)), align=True
        )
        assert address.extAddr.serialize() == entry.eui.to_bytes(8, "little")
        assert address.type & t.AddrMgrUserType.Security
        assert bytes(stored.Key.serialize()) == entry.key
        assert (stored.TxFrameCounter, stored.RxFrameCounter) == (entry.outgoing_counter, entry.incoming_counter)


def test_empty_tables_are_what_zigpy_znp_calls_empty() -> None:
    nv = fresh_nv()
    empty = zigpy_znp.const.EMPTY_ADDR_MGR_ENTRY_ZSTACK3
    for _, packed in nv.table(items.TABLE_ADDRMGR):
        assert t.AddrMgrEntry.deserialize(packed, align=True) == (empty, b"")
    for _, packed in nv.table(items.TABLE_TCLK):
        assert len(packed) == t.TCLKDevEntry.get_size(align=True)
    assert read_network(nv, OWN_EUI) is None


@given(st.builds(Nib, channel=st.integers(0, 26), short=st.integers(0, 0xFFFF), extended_pan_id=euis))
def test_nib_round_trip(nib: Nib) -> None:
    packed = items.pack_nib(nib)
    assert len(packed) == t.NIB.get_size(align=True)
    assert items.unpack_nib(packed) == nib
    assert items.unpack_nib(packed[:-1]) is None


@given(euis, keys, st.integers(0, 15))
def test_a_hashed_link_key_that_a_host_restored(eui: int, seed: bytes, shift: int) -> None:
    address = t.EUI64(eui.to_bytes(8, "little"))
    key = compute_key(address, t.KeyData(seed), shift)
    assert compute_tclk_seed(address, key, shift) == t.KeyData(seed)
    nv = fresh_nv()
    write_network(nv, base_network(), OWN_EUI)
    nv.put(old_item(items.TCLK_SEED), seed)
    row = t.TCLKDevEntry(txFrmCntr=7, rxFrmCntr=9, extAddr=address, keyAttributes=2, keyType=0, SeedShift_IcIndex=shift)
    nv.put((ZSTACK, items.TABLE_TCLK, 0), row.serialize(align=True))
    read = read_network(nv, OWN_EUI)
    assert read is not None
    assert read.link_keys == (LinkKeyEntry(eui, bytes(key.serialize()), False, 7, 9),)


def base_network() -> NetworkState:
    return NetworkState(LogicalType.COORDINATOR, 0, 15, 0x1A62, 0x1122, bytes(range(16)), OWN_EUI)


def test_counters_of_a_network_outlive_a_factory_reset() -> None:
    nv = fresh_nv()
    state = replace(base_network(), outgoing_counter=5000)
    write_network(nv, state, OWN_EUI)
    clear_network(nv)
    assert read_network(nv, OWN_EUI) is None
    packed = dict(nv.table(items.TABLE_NWK_SEC_MATERIAL))
    assert items.SEC_MATERIAL_ENTRY.pack(5000, 0x1122) in packed.values()
    for number in range(10):  # more networks than places
        write_network(nv, replace(state, extended_pan_id=0x5000 + number), OWN_EUI)
    assert len(dict(nv.table(items.TABLE_NWK_SEC_MATERIAL))) == items.SEC_MATERIAL_ENTRIES
    clear_network(nv, clear_counters=True)
    assert set(dict(nv.table(items.TABLE_NWK_SEC_MATERIAL)).values()) == {items.EMPTY_SEC_MATERIAL}


def test_another_network_written_by_a_host_does_not_inherit_what_only_we_knew() -> None:
    nv = fresh_nv()
    partner = LinkKeyEntry(PARTNER, bytes(16), established=True)
    neighbour = Neighbour(PARTNER, 5, LogicalType.ROUTER, 1, True)
    write_network(nv, replace(base_network(), link_keys=(partner,), neighbours=(neighbour,)), OWN_EUI)
    nib = items.unpack_nib(nv.get(old_item(items.NIB_ITEM)) or b"")
    assert nib is not None
    nv.put(old_item(items.NIB_ITEM), items.pack_nib(replace(nib, extended_pan_id=0x3344)))
    read = read_network(nv, OWN_EUI)
    assert read is not None
    assert read.link_keys == (replace(partner, established=False),)
    assert [n.logical_type for n in read.neighbours] == [LogicalType.END_DEVICE]  # a child, for all TI's items say


@given(st.lists(st.tuples(st.sampled_from([0x21, 0x3A, 0x4C, 0x55, 0x71, 0x87, 0x101]), st.binary(max_size=130))),
       st.lists(st.tuples(st.sampled_from([1, 4, 6, 7]), st.integers(0, 3), st.binary(max_size=30))))  # fmt: skip
def test_whatever_a_host_leaves_in_nv_is_read_without_raising(
    old: list[tuple[int, bytes]], extended: list[tuple[int, int, bytes]]
) -> None:
    nv = fresh_nv()
    write_network(nv, base_network(), OWN_EUI)
    for item, value in old:
        nv.put(old_item(item), value)
    for table, sub, value in extended:
        nv.put((ZSTACK, table, sub), value)
    read_network(nv, OWN_EUI)
