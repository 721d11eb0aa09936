"""The stack's NetworkState as NV items that hosts know, and back.

NV is the only truth between two starts: what a host wrote there (zigpy restores a network that way) takes effect at the
next start. What the stack knows beyond TI's items (neighbours' roles, which link keys came from key establishment)
stands in an item of our own and counts only while it fits the network that TI's items describe.
"""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from typing import Any

from boards.virtual.ncp import items
from boards.virtual.ncp.nv import ZSTACK, NvMemory, old_item
from boards.virtual.stack.interface import LinkKeyEntry, LogicalType, Neighbour, NetworkState

OWN_ITEM = (7, 0x0001, 0x0000)  # system id 7: application
NWK_STATE_END_DEVICE = 4
NWK_STATE_ROUTER = 8
RELATION_CHILD = 1


def write_network(nv: NvMemory, state: NetworkState, own_eui: int) -> None:
    """Every item that describes the network, from the stack's state."""
    coordinator = state.logical_type is LogicalType.COORDINATOR
    nib = items.Nib(
        short=state.short,
        channel=state.channel,
        parent_short=state.parent_short,
        parent_eui=own_eui if coordinator else state.parent_eui,
        pan_id=state.pan_id,
        state=NWK_STATE_END_DEVICE if state.logical_type is LogicalType.END_DEVICE else NWK_STATE_ROUTER,
        channel_mask=1 << state.channel,
        depth=state.depth,
        extended_pan_id=state.extended_pan_id,
        key_loaded=True,
        update_id=state.update_id,
    )
    if coordinator:
        nib = replace(nib, parent_short=0x0000)
    key = items.KEY_DESCRIPTOR.pack(state.network_key_sequence, state.network_key)
    nv.put(old_item(items.NIB_ITEM), items.pack_nib(nib))
    nv.put(old_item(items.NWK_ACTIVE_KEY_INFO), key)
    nv.put(old_item(items.NWK_ALTERN_KEY_INFO), key)
    nv.put(old_item(items.EXTENDED_PAN_ID), state.extended_pan_id.to_bytes(8, "little"))
    nv.put(old_item(items.TRUSTCENTER_ADDR), state.trust_center.to_bytes(8, "little"))
    nv.put(old_item(items.BDB_NODE_IS_ON_A_NETWORK), b"\x01")
    _put_counter(nv, state)
    _put_devices(nv, state)
    nv.put(OWN_ITEM, json.dumps(_own_part(state), separators=(",", ":")).encode("ascii"))


def read_network(nv: NvMemory, own_eui: int) -> NetworkState | None:
    """The network to come back to, or None when NV holds none."""
    nib = items.unpack_nib(nv.get(old_item(items.NIB_ITEM)) or b"")
    key_item = nv.get(old_item(items.NWK_ACTIVE_KEY_INFO)) or b""
    on_network = nv.get(old_item(items.BDB_NODE_IS_ON_A_NETWORK)) == b"\x01"
    if nib is None or not on_network or not nib.key_loaded or len(key_item) != items.KEY_DESCRIPTOR.size:
        return None
    sequence, key = items.KEY_DESCRIPTOR.unpack(key_item)
    logical_type = read_logical_type(nv)
    own = _read_own(nv, nib.extended_pan_id)
    trust_center = int.from_bytes(nv.get(old_item(items.TRUSTCENTER_ADDR)) or b"", "little")
    neighbours, addresses = _read_addresses(nv, own)
    return NetworkState(
        logical_type=logical_type,
        short=nib.short,
        channel=nib.channel,
        pan_id=nib.pan_id,
        extended_pan_id=nib.extended_pan_id,
        network_key=key,
        trust_center=own_eui if logical_type is LogicalType.COORDINATOR else trust_center,
        network_key_sequence=sequence,
        outgoing_counter=_read_counter(nv, nib.extended_pan_id),
        update_id=nib.update_id,
        parent_short=nib.parent_short if logical_type is not LogicalType.COORDINATOR else 0xFFFF,
        parent_eui=nib.parent_eui if logical_type is not LogicalType.COORDINATOR else 0,
        depth=nib.depth,
        neighbours=neighbours,
        addresses=addresses,
        link_keys=_read_link_keys(nv, own),
    )


def read_logical_type(nv: NvMemory) -> LogicalType:
    """NV 0x0087; Z-Stack takes what is no type for a coordinator."""
    value = (nv.get(old_item(items.LOGICAL_TYPE)) or b"\0")[0]
    return LogicalType(value) if value <= LogicalType.END_DEVICE.value else LogicalType.COORDINATOR


def clear_network(nv: NvMemory, clear_counters: bool = False) -> None:
    """Forget the network. Frame counters of networks once joined stay, as on the chip, unless asked otherwise."""
    nv.put(old_item(items.NIB_ITEM), items.pack_nib(items.Nib()))
    empty_key = items.KEY_DESCRIPTOR.pack(0, bytes(16))
    nv.put(old_item(items.NWK_ACTIVE_KEY_INFO), empty_key)
    nv.put(old_item(items.NWK_ALTERN_KEY_INFO), empty_key)
    nv.put(old_item(items.EXTENDED_PAN_ID), b"\xff" * 8)
    nv.put(old_item(items.TRUSTCENTER_ADDR), b"\xff" * 8)
    nv.put(old_item(items.BDB_NODE_IS_ON_A_NETWORK), b"\x00")
    nv.put(old_item(items.APS_LINK_KEY_TABLE), bytes(items.LINK_KEY_TABLE_OCTETS))
    nv.delete(OWN_ITEM)
    for sub in range(items.DEVICE_ENTRIES):
        nv.put((ZSTACK, items.TABLE_ADDRMGR, sub), items.EMPTY_ADDRESS)
        nv.put((ZSTACK, items.TABLE_TCLK, sub), items.EMPTY_TCLK)
        nv.put((ZSTACK, items.TABLE_APS_KEY, sub), items.EMPTY_APS_KEY)
    for sub in range(items.SEC_MATERIAL_ENTRIES):
        key = (ZSTACK, items.TABLE_NWK_SEC_MATERIAL, sub)
        if clear_counters or nv.get(key) is None:
            nv.put(key, items.EMPTY_SEC_MATERIAL)


def _put_counter(nv: NvMemory, state: NetworkState) -> None:
    """One entry a network; the first place is used again when the table is full."""
    places = {items.SEC_MATERIAL_ENTRY.unpack(packed)[1]: sub for sub, packed in _counters(nv)}
    place = places.get(state.extended_pan_id, places.get(items.NO_EUI, 0))
    entry = items.SEC_MATERIAL_ENTRY.pack(state.outgoing_counter, state.extended_pan_id)
    nv.put((ZSTACK, items.TABLE_NWK_SEC_MATERIAL, place), entry)


def _read_counter(nv: NvMemory, extended_pan_id: int) -> int:
    for _, packed in _counters(nv):
        counter, network = items.SEC_MATERIAL_ENTRY.unpack(packed)
        if network == extended_pan_id:
            return int(counter)
    return 0


def highest_counter(nv: NvMemory) -> int:
    """Above every NWK frame counter used on any network: one that is joined again may still have its key."""
    return max((int(items.SEC_MATERIAL_ENTRY.unpack(packed)[0]) for _, packed in _counters(nv)), default=0)


def _counters(nv: NvMemory) -> list[tuple[int, bytes]]:
    size = items.SEC_MATERIAL_ENTRY.size
    return [(sub, packed) for sub, packed in nv.table(items.TABLE_NWK_SEC_MATERIAL) if len(packed) == size]


def _fields(layout: struct.Struct, packed: bytes | None) -> tuple[Any, ...] | None:
    """The entry's fields, or None where a host left something of another length."""
    return layout.unpack(packed) if packed is not None and len(packed) == layout.size else None


def _put_devices(nv: NvMemory, state: NetworkState) -> None:
    """Address manager, link keys and the table that joins the two."""
    keys = {entry.eui: entry for entry in state.link_keys}
    shorts = dict(state.addresses)
    children = {neighbour.eui for neighbour in state.neighbours if neighbour.relation == RELATION_CHILD}
    euis = list(dict.fromkeys([*keys, *sorted(children), *shorts]))[: items.DEVICE_ENTRIES]
    joined: list[bytes] = []
    for index in range(items.DEVICE_ENTRIES):
        address, key = items.EMPTY_ADDRESS, items.EMPTY_APS_KEY
        if index < len(euis):
            eui = euis[index]
            kind = (eui in children) * items.ADDRESS_IS_CHILD | (eui in keys) * items.ADDRESS_HAS_KEY
            address = items.ADDRESS_ENTRY.pack(kind, shorts.get(eui, 0xFFFE), eui)
        if index < len(keys):  # keys come first in euis, so both tables use one index
            entry = keys[euis[index]]
            key = items.APS_KEY_ENTRY.pack(entry.key, entry.outgoing_counter, entry.incoming_counter)
            joined.append(items.LINK_KEY_ENTRY.pack(index, index, items.AUTHENTICATED_CBCK))
        nv.put((ZSTACK, items.TABLE_ADDRMGR, index), address)
        nv.put((ZSTACK, items.TABLE_APS_KEY, index), key)
        nv.put((ZSTACK, items.TABLE_TCLK, index), items.EMPTY_TCLK)
    table = struct.pack("<H", len(joined)) + b"".join(joined)
    nv.put(old_item(items.APS_LINK_KEY_TABLE), table.ljust(items.LINK_KEY_TABLE_OCTETS, b"\0"))


def _read_addresses(nv: NvMemory, own: dict[str, Any]) -> tuple[tuple[Neighbour, ...], tuple[tuple[int, int], ...]]:
    """Children and known addresses, with what our own item adds about neighbours."""
    neighbours = {neighbour.eui: neighbour for neighbour in map(_neighbour, own["neighbours"])}
    addresses: list[tuple[int, int]] = []
    for kind, short, eui in _addresses(nv):
        if short < 0xFFF8:
            addresses.append((eui, short))
        if kind & items.ADDRESS_IS_CHILD and eui not in neighbours:
            neighbours[eui] = Neighbour(eui, short, LogicalType.END_DEVICE, RELATION_CHILD, False)
    return tuple(neighbours.values()), tuple(addresses)


def _addresses(nv: NvMemory) -> list[tuple[int, int, int]]:
    entries: list[tuple[int, int, int]] = []
    for _, packed in nv.table(items.TABLE_ADDRMGR):
        kind, short, eui = _fields(items.ADDRESS_ENTRY, packed) or (0, 0, items.NO_EUI)
        if eui not in (items.NO_EUI, items.UNUSED_EUI):
            entries.append((kind, short, eui))
    return entries


def _read_link_keys(nv: NvMemory, own: dict[str, Any]) -> tuple[LinkKeyEntry, ...]:
    """Keys that stand in the APS key table, and those that a host wrote hashed with the seed into the TCLK table."""
    established = set(own["established"])
    keys = {
        eui: LinkKeyEntry(eui, key, eui in established, outgoing, incoming)
        for eui, key, outgoing, incoming in [*_hashed_keys(nv), *_plain_keys(nv)]
    }
    return tuple(keys.values())


def _hashed_keys(nv: NvMemory) -> list[tuple[int, bytes, int, int]]:
    """Unique Trust Center link keys: seed rotated left by the shift, xor EUI twice (APSME_TCLinkKey)."""
    seed = nv.get(old_item(items.TCLK_SEED)) or bytes(16)
    found: list[tuple[int, bytes, int, int]] = []
    for _, packed in nv.table(items.TABLE_TCLK):
        outgoing, incoming, eui, _, _, shift = _fields(items.TCLK_ENTRY, packed) or (0, 0, 0, 0, 0, 0)
        if eui not in (items.NO_EUI, items.UNUSED_EUI):
            rotated = seed[shift % 16 :] + seed[: shift % 16]
            key = bytes(a ^ b for a, b in zip(rotated, eui.to_bytes(8, "little") * 2, strict=True))
            found.append((eui, key, outgoing, incoming))
    return found


def _plain_keys(nv: NvMemory) -> list[tuple[int, bytes, int, int]]:
    addresses = dict(nv.table(items.TABLE_ADDRMGR))
    keys = dict(nv.table(items.TABLE_APS_KEY))
    table = nv.get(old_item(items.APS_LINK_KEY_TABLE)) or b"\0\0"
    found: list[tuple[int, bytes, int, int]] = []
    for position in range(min(int.from_bytes(table[:2], "little"), items.DEVICE_ENTRIES)):
        start = 2 + position * items.LINK_KEY_ENTRY.size
        if start + items.LINK_KEY_ENTRY.size > len(table):
            break
        address_index, key_index, _ = items.LINK_KEY_ENTRY.unpack_from(table, start)
        address = _fields(items.ADDRESS_ENTRY, addresses.get(address_index))
        entry = _fields(items.APS_KEY_ENTRY, keys.get(key_index))
        if address is not None and entry is not None:
            found.append((address[2], *entry))
    return found


def _own_part(state: NetworkState) -> dict[str, Any]:
    return {
        "extended_pan_id": state.extended_pan_id,
        "established": [entry.eui for entry in state.link_keys if entry.established],
        "neighbours": [
            [
                n.eui,
                n.short,
                None if n.logical_type is None else n.logical_type.value,
                n.relation,
                n.receiver_on_when_idle,
                n.lqi,
                n.authenticated,
            ]
            for n in state.neighbours
        ],
    }


def _read_own(nv: NvMemory, extended_pan_id: int) -> dict[str, Any]:
    own: dict[str, Any] = json.loads(nv.get(OWN_ITEM) or b"{}")
    if own.get("extended_pan_id") != extended_pan_id:
        return {"established": [], "neighbours": []}
    return own


def _neighbour(row: list[Any]) -> Neighbour:
    eui, short, logical_type, relation, receiver_on, lqi, authenticated = row
    kind = None if logical_type is None else LogicalType(logical_type)
    return Neighbour(eui, short, kind, relation, receiver_on, lqi, authenticated)
