"""ZDO: requests that become ZDP frames, network discovery, link keys, groups, network information."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from boards.virtual.ncp.af import BROADCASTS, NO_NETWORK
from boards.virtual.ncp.codec import Fields, Subsystem
from boards.virtual.ncp.sys_commands import FAILURE, INVALID_PARAMETER, SUCCESS
from boards.virtual.ncp.zdo_server import channels_of
from boards.virtual.stack.interface import BROADCAST_AWAKE, FoundNetwork, LogicalType

if TYPE_CHECKING:
    from boards.virtual.ncp.af import Handler
    from boards.virtual.ncp.chip import Chip

ROUTE_SUCCESS, ROUTE_NO_ENTRY = b"\x00", b"\x04"
BEACONS_A_FRAME = 4  # MT_ZDO_BEACON_IND_PACK_LEN 100 octets, 21 a beacon
MODE_EUI_ADDRESS = 3
SCAN_SLOT_S, LONGEST_SCAN = 0.01536, 14  # aBaseSuperframeDuration; 802.15.4's largest ScanDuration
MAXIMUM_GROUPS = 16  # APS_MAX_GROUPS
TABLE_FULL = b"\xb2"
GROUP_NAME_OCTETS = 16  # APS_GROUP_NAME_LEN, with its length octet
FOUND_GROUP_OCTETS = 1 + 2 + GROUP_NAME_OCTETS


def _send(chip: Chip, destination: int, cluster: int, body: bytes) -> bytes:
    if chip.network is None:
        return bytes((NO_NETWORK,))
    chip.zdo.request(destination, cluster, body)
    return SUCCESS


def _relay(cluster: int) -> Handler:
    """A request whose MT form is the destination and then the very octets of the ZDP frame."""

    def handler(chip: Chip, fields: Fields) -> bytes:
        destination = fields.u16()
        return _send(chip, destination, cluster, fields.rest())

    return handler


def nwk_address(chip: Chip, fields: Fields) -> bytes:
    """ZDO_NWK_ADDR_REQ: to everybody awake."""
    return _send(chip, BROADCAST_AWAKE, 0x0000, fields.take(10))


def ieee_address(chip: Chip, fields: Fields) -> bytes:
    """ZDO_IEEE_ADDR_REQ: to the device itself."""
    body = fields.take(4)
    return _send(chip, int.from_bytes(body[:2], "little"), 0x0001, body)


def announce(chip: Chip, fields: Fields) -> bytes:
    """ZDO_END_DEVICE_ANNCE."""
    return _send(chip, BROADCAST_AWAKE, 0x0013, fields.take(11))


def discover_servers(chip: Chip, fields: Fields) -> bytes:
    """ZDO_SERVER_DISC_REQ."""
    return _send(chip, BROADCAST_AWAKE, 0x0015, fields.take(2))


def bind(cluster: int) -> Handler:
    """ZDO_BIND_REQ and ZDO_UNBIND_REQ: a group's address is two octets on the air."""

    def handler(chip: Chip, fields: Fields) -> bytes:
        destination, head, mode = fields.u16(), fields.take(11), fields.u8()
        target = fields.take(9) if mode == MODE_EUI_ADDRESS else fields.take(2)
        return _send(chip, destination, cluster, head + bytes((mode,)) + target)

    return handler


def leave(chip: Chip, fields: Fields) -> bytes:
    """ZDO_MGMT_LEAVE_REQ: bit 0 rejoin, bit 1 remove children; on the air bits 7 and 6."""
    destination, eui, options = fields.u16(), fields.take(8), fields.u8()
    return _send(chip, destination, 0x0034, eui + bytes(((options & 1) << 7 | (options & 2) << 5,)))


def permit_joining(chip: Chip, fields: Fields) -> bytes:
    """ZDO_MGMT_PERMIT_JOIN_REQ; a broadcast opens this device as well."""
    fields.u8()
    destination, body = fields.u16(), fields.take(2)
    status = _send(chip, destination, 0x0036, body)
    if status == SUCCESS and destination >= BROADCASTS:
        chip.zdo.permit_joining_here(body)
    return status


def network_update(chip: Chip, fields: Fields) -> bytes:
    """ZDO_MGMT_NWKUPDATE_REQ: the tail depends on the scan duration (clause 2.4.3.3.9)."""
    destination, _mode, channels, duration = fields.u16(), fields.u8(), fields.take(4), fields.u8()
    count, manager = fields.take(1), fields.take(2)
    tail = {0xFE: b"\x00", 0xFF: b"\x00" + manager}.get(duration, count)
    return _send(chip, destination, 0x0038, channels + bytes((duration,)) + tail)


def register_callback(chip: Chip, fields: Fields) -> bytes:
    """ZDO_MSG_CB_REGISTER: FFFF is every cluster."""
    chip.zdo.registered.add(fields.u16())
    return SUCCESS


def remove_callback(chip: Chip, fields: Fields) -> bytes:
    """ZDO_MSG_CB_REMOVE."""
    chip.zdo.registered.discard(fields.u16())
    return SUCCESS


def start_up(chip: Chip, fields: Fields) -> bytes:
    """ZDO_STARTUP_FROM_APP: in Z-Stack 3 a call of the BDB, which restores; the answer means nothing."""
    fields.u16()
    chip.bdb.start(0)
    return SUCCESS


def set_link_key(chip: Chip, fields: Fields) -> bytes:
    """ZDO_SET_LINK_KEY and ZDO_SEC_ADD_LINK_KEY: from now on the key for this partner."""
    short, eui, key = fields.u16(), fields.u64(), fields.take(16)
    if chip.network is None:
        return FAILURE
    chip.stack.set_link_key(eui, short, key)
    return SUCCESS


def get_link_key(chip: Chip, fields: Fields) -> bytes:
    """ZDO_GET_LINK_KEY."""
    eui = fields.u64()
    for entry in () if chip.network is None else chip.network.link_keys:
        if entry.eui == eui:
            return SUCCESS + eui.to_bytes(8, "little") + entry.key
    return FAILURE + eui.to_bytes(8, "little") + bytes(16)


def discover_networks(chip: Chip, fields: Fields) -> bytes:
    """ZDO_NETWORK_DISCOVERY_REQ: beacons by ZDO_BEACON_NOTIFY_IND, the end by ZDO_NWK_DISCOVERY_CNF."""
    channels, duration = channels_of(fields.u32()), fields.u8()
    if not channels or duration > LONGEST_SCAN:
        return INVALID_PARAMETER
    listening_s = SCAN_SLOT_S * (2**duration + 1)
    chip.defer(lambda: chip.stack.active_scan(channels, lambda found: _report_beacons(chip, found), listening_s))
    return SUCCESS


def _report_beacons(chip: Chip, found: list[FoundNetwork]) -> None:
    for start in range(0, len(found), BEACONS_A_FRAME):
        part = found[start : start + BEACONS_A_FRAME]
        chip.indicate(Subsystem.ZDO, 0xC5, bytes((len(part),)) + b"".join(map(_beacon, part)))
    chip.indicate(Subsystem.ZDO, 0xC7, SUCCESS)


def _beacon(found: FoundNetwork) -> bytes:
    flags = (found.permits_joining, found.router_capacity, found.end_device_capacity)
    head = struct.pack("<HHBBBB", found.sender, found.pan_id, found.channel, *flags)
    return head + struct.pack("<BBBBBQ", 2, 2, found.lqi, found.depth, found.update_id, found.extended_pan_id)


def discover_route(chip: Chip, fields: Fields) -> bytes:
    """ZDO_EXT_ROUTE_DISC: the stack finds routes by itself when it sends."""
    fields.take(4)
    return SUCCESS if chip.network is not None else bytes((NO_NETWORK,))


def check_route(chip: Chip, fields: Fields) -> bytes:
    """ZDO_EXT_ROUTE_CHECK: there is a route to whatever address the stack has an EUI for."""
    short = fields.u16()
    fields.take(2)
    return ROUTE_SUCCESS if chip.stack.eui_of(short) is not None else ROUTE_NO_ENTRY


def network_info(chip: Chip, _fields: Fields) -> bytes:
    """ZDO_EXT_NWK_INFO: 24 octets, the device state among them (TI's document leaves it out)."""
    state = chip.network
    if state is None:
        return struct.pack("<HBHHQQB", chip.short, chip.bdb.device_state, 0xFFFF, 0xFFFF, 0, 0, 0)
    coordinator = state.logical_type is LogicalType.COORDINATOR
    parent = (0x0000, chip.eui) if coordinator else (state.parent_short, state.parent_eui)
    head = struct.pack("<HBHH", state.short, chip.bdb.device_state, state.pan_id, parent[0])
    return head + struct.pack("<QQB", state.extended_pan_id, parent[1], state.channel)


def add_group(chip: Chip, fields: Fields) -> bytes:
    """ZDO_EXT_ADD_GROUP."""
    endpoint, group = fields.u8(), fields.u16()
    name = fields.take(fields.u8())[: GROUP_NAME_OCTETS - 1]
    if sum(len(members) for members in chip.groups.values()) >= MAXIMUM_GROUPS:
        return TABLE_FULL
    chip.groups.setdefault(group, {})[endpoint] = name
    return SUCCESS


def remove_group(chip: Chip, fields: Fields) -> bytes:
    """ZDO_EXT_REMOVE_GROUP."""
    endpoint, group = fields.u8(), fields.u16()
    return FAILURE if chip.groups.get(group, {}).pop(endpoint, None) is None else SUCCESS


def remove_all_groups(chip: Chip, fields: Fields) -> bytes:
    """ZDO_EXT_REMOVE_ALL_GROUP, of one endpoint."""
    endpoint = fields.u8()
    for members in chip.groups.values():
        members.pop(endpoint, None)
    return SUCCESS


def groups_of_endpoint(chip: Chip, fields: Fields) -> bytes:
    """ZDO_EXT_FIND_ALL_GROUPS_ENDPOINT."""
    endpoint = fields.u8()
    groups = sorted(group for group, members in chip.groups.items() if endpoint in members)
    return struct.pack(f"<B{len(groups)}H", len(groups), *groups)


def find_group(chip: Chip, fields: Fields) -> bytes:
    """ZDO_EXT_FIND_GROUP: status, group, name of up to 15 octets after its length, in 19 octets always."""
    endpoint, group = fields.u8(), fields.u16()
    name = chip.groups.get(group, {}).get(endpoint)
    if name is None:
        return FAILURE + bytes(FOUND_GROUP_OCTETS - 1)
    found = SUCCESS + group.to_bytes(2, "little") + bytes((len(name),)) + name
    return found.ljust(FOUND_GROUP_OCTETS, b"\0")


def count_groups(chip: Chip, _fields: Fields) -> bytes:
    """ZDO_EXT_COUNT_ALL_GROUPS."""
    return bytes((sum(len(members) for members in chip.groups.values()) & 0xFF,))


COMMANDS: dict[int, Handler] = {
    0x00: nwk_address,
    0x01: ieee_address,
    0x02: _relay(0x0002),
    0x03: _relay(0x0003),
    0x04: _relay(0x0004),
    0x05: _relay(0x0005),
    0x06: _relay(0x0006),
    0x0A: announce,
    0x0C: discover_servers,
    0x21: bind(0x0021),
    0x22: bind(0x0022),
    0x23: set_link_key,
    0x25: get_link_key,
    0x26: discover_networks,
    0x30: _relay(0x0030),
    0x31: _relay(0x0031),
    0x32: _relay(0x0032),
    0x33: _relay(0x0033),
    0x34: leave,
    0x36: permit_joining,
    0x37: network_update,
    0x3E: register_callback,
    0x3F: remove_callback,
    0x40: start_up,
    0x42: set_link_key,
    0x45: discover_route,
    0x46: check_route,
    0x47: remove_group,
    0x48: remove_all_groups,
    0x49: groups_of_endpoint,
    0x4A: find_group,
    0x4B: add_group,
    0x4C: count_groups,
    0x50: network_info,
}
