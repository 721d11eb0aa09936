"""UTIL: device information, the associated device list, the address manager, LEDs."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from boards.virtual.ncp import items
from boards.virtual.ncp.codec import Fields
from boards.virtual.ncp.nv import old_item
from boards.virtual.ncp.sys_commands import FAILURE, SUCCESS
from boards.virtual.stack.interface import LogicalType, Neighbour

if TYPE_CHECKING:
    from boards.virtual.ncp.af import Handler
    from boards.virtual.ncp.chip import Chip

ALL_ROLES = 0x07  # this build can be any of the three
DEVICE_OCTETS = 36  # associated_devices_t in memory
RELATION_PARENT, RELATION_NEIGHBOUR = 0, 5
NO_SHORT = 0xFFFE


def device_info(chip: Chip, _fields: Fields) -> bytes:
    """UTIL_GET_DEVICE_INFO."""
    shorts = [neighbour.short for neighbour in chip.neighbours() if neighbour.relation == 1]
    head = struct.pack("<BQHBBB", 0, chip.eui, chip.short, ALL_ROLES, chip.bdb.device_state, len(shorts))
    return head + struct.pack(f"<{len(shorts)}H", *shorts)


def nv_info(chip: Chip, _fields: Fields) -> bytes:
    """UTIL_GET_NV_INFO: the channel mask is the one big-endian value of MT."""
    nv = chip.nv
    channels = (nv.get(old_item(items.CHANLIST)) or bytes(4))[::-1]
    tail = (nv.get(old_item(items.PANID)) or b"\xff\xff") + b"\x05" + (nv.get(old_item(items.PRECFGKEY)) or bytes(16))
    return b"\x00" + (nv.get(old_item(items.EXTADDR)) or bytes(8)) + channels + tail


def set_pan_id(chip: Chip, fields: Fields) -> bytes:
    """UTIL_SET_PANID."""
    chip.nv.put(old_item(items.PANID), fields.take(2))
    return SUCCESS


def set_channels(chip: Chip, fields: Fields) -> bytes:
    """UTIL_SET_CHANNELS."""
    chip.nv.put(old_item(items.CHANLIST), fields.take(4))
    return SUCCESS


def set_preconfigured_key(chip: Chip, fields: Fields) -> bytes:
    """UTIL_SET_PRECFGKEY."""
    chip.nv.put(old_item(items.PRECFGKEY), fields.take(16))
    return SUCCESS


def subscribe(_chip: Chip, fields: Fields) -> bytes:
    """UTIL_CALLBACK_SUB_CMD: every indication goes out anyway."""
    fields.take(3)
    return SUCCESS


def time_alive(chip: Chip, _fields: Fields) -> bytes:
    """UTIL_TIME_ALIVE, seconds."""
    return chip.uptime_s().to_bytes(4, "little")


def led_control(_chip: Chip, fields: Fields) -> bytes:
    """UTIL_LED_CONTROL: no LEDs here, and none missed."""
    fields.take(2)
    return SUCCESS


def loop_back(_chip: Chip, fields: Fields) -> bytes:
    """UTIL_TEST_LOOPBACK."""
    return fields.rest()


def short_of(chip: Chip, fields: Fields) -> bytes:
    """UTIL_ADDRMGR_EXT_ADDR_LOOKUP: FFFE where not known."""
    short = chip.stack.address_of(fields.u64())
    return (NO_SHORT if short is None else short).to_bytes(2, "little")


def eui_of(chip: Chip, fields: Fields) -> bytes:
    """UTIL_ADDRMGR_NWK_ADDR_LOOKUP: zeros where not known."""
    return (chip.stack.eui_of(fields.u16()) or 0).to_bytes(8, "little")


def link_key(chip: Chip, fields: Fields) -> bytes:
    """UTIL_APSME_LINK_KEY_DATA_GET: status, key, counters."""
    eui = fields.u64()
    for entry in () if chip.network is None else chip.network.link_keys:
        if entry.eui == eui:
            return SUCCESS + entry.key + struct.pack("<II", entry.outgoing_counter, entry.incoming_counter)
    return FAILURE + bytes(24)


def _relation(neighbour: Neighbour) -> int:
    if neighbour.relation == 0:
        return RELATION_PARENT
    if neighbour.relation != 1:
        return RELATION_NEIGHBOUR
    full = neighbour.logical_type is LogicalType.ROUTER
    return 1 + neighbour.receiver_on_when_idle + 2 * full


def _device(index: int, neighbour: Neighbour | None) -> bytes:
    """associated_devices_t with its padding; all ones where there is none."""
    if neighbour is None:
        return b"\xff" * DEVICE_OCTETS
    link = struct.pack("<BBBBIHxx", 0, 1, neighbour.lqi, 0, 0, 0)
    head = struct.pack("<HHBBBB", neighbour.short, index, _relation(neighbour), 1, 0, 0)
    return head + link + struct.pack("<BxxxIIBBxx", 0, 0, 0, 0, 0)


def count_associated(chip: Chip, fields: Fields) -> bytes:
    """UTIL_ASSOC_COUNT: devices whose relation lies in the range."""
    first, last = fields.u8(), fields.u8()
    count = sum(1 for neighbour in chip.neighbours() if first <= _relation(neighbour) <= last)
    return count.to_bytes(2, "little")


def find_associated(chip: Chip, fields: Fields) -> bytes:
    """UTIL_ASSOC_FIND_DEVICE: the n-th entry."""
    index, known = fields.u8(), chip.neighbours()
    return _device(index, known[index] if index < len(known) else None)


def get_associated(chip: Chip, fields: Fields) -> bytes:
    """UTIL_ASSOC_GET_WITH_ADDRESS: by EUI, or by short address where the EUI is zero."""
    eui, short = fields.u64(), fields.u16()
    for index, neighbour in enumerate(chip.neighbours()):
        if neighbour.eui == eui or (eui == 0 and neighbour.short == short):
            return _device(index, neighbour)
    return _device(0, None)


COMMANDS: dict[int, Handler] = {
    0x00: device_info,
    0x01: nv_info,
    0x02: set_pan_id,
    0x03: set_channels,
    0x05: set_preconfigured_key,
    0x06: subscribe,
    0x09: time_alive,
    0x0A: led_control,
    0x10: loop_back,
    0x40: short_of,
    0x41: eui_of,
    0x44: link_key,
    0x48: count_associated,
    0x49: find_associated,
    0x4A: get_associated,
}
