"""SYS: ping, version, NV memory, timers, randomness."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from boards.virtual.ncp import items
from boards.virtual.ncp.codec import Fields, Subsystem
from boards.virtual.ncp.nv import NvKey, old_item

if TYPE_CHECKING:
    from boards.virtual.ncp.af import Handler
    from boards.virtual.ncp.chip import Chip

SUCCESS, FAILURE, INVALID_PARAMETER = b"\x00", b"\x01", b"\x02"
NV_ITEM_CREATED, NV_OPER_FAILED, NV_BAD_LENGTH = b"\x09", b"\x0a", b"\x0c"
CAPABILITIES = 0x0459  # SYS, AF, ZDO, UTIL, APP_CNF
REVISION = 20240710  # community firmware by its build date: hosts choose features by it
ITEM_MAX_OCTETS = 1024
READ_MAX_OCTETS = 248
ZIGBEE_EPOCH_S = 946_684_800  # 2000-01-01 00:00 UTC
TIMERS = 4


def ping(_chip: Chip, _fields: Fields) -> bytes:
    """SYS_PING."""
    return CAPABILITIES.to_bytes(2, "little")


def version(_chip: Chip, _fields: Fields) -> bytes:
    """SYS_VERSION: release, revision, no bootloader."""
    return bytes((2, 1, 2, 7, 1)) + REVISION.to_bytes(4, "little") + b"\x00" + b"\xff" * 4


def set_extended_address(chip: Chip, fields: Fields) -> bytes:
    """SYS_SET_EXTADDR: into NV, in force from the next reset on."""
    chip.nv.put(old_item(items.EXTADDR), fields.take(8))
    return SUCCESS


def get_extended_address(chip: Chip, _fields: Fields) -> bytes:
    """SYS_GET_EXTADDR."""
    return chip.eui.to_bytes(8, "little")


def random_number(chip: Chip, _fields: Fields) -> bytes:
    """SYS_RANDOM."""
    return chip.random.randbytes(2)


def start_timer(chip: Chip, fields: Fields) -> bytes:
    """SYS_OSAL_START_TIMER, milliseconds on the air's clock; SYS_OSAL_TIMER_EXPIRED follows."""
    number, timeout_ms = fields.u8(), fields.u16()
    if number >= TIMERS:
        return INVALID_PARAMETER
    chip.timers.start(number, timeout_ms / 1000, lambda: chip.indicate(Subsystem.SYS, 0x81, bytes((number,))))
    return SUCCESS


def stop_timer(chip: Chip, fields: Fields) -> bytes:
    """SYS_OSAL_STOP_TIMER."""
    return SUCCESS if chip.timers.stop(fields.u8()) else INVALID_PARAMETER


def set_time(chip: Chip, fields: Fields) -> bytes:
    """SYS_SET_TIME by UTC seconds since 2000. Zero (time given in parts) is not supported."""
    seconds = fields.u32()
    fields.take(7)
    if seconds == 0:
        return INVALID_PARAMETER
    chip.clock_offset_s = seconds - chip.scheduler.now()
    return SUCCESS


def get_time(chip: Chip, _fields: Fields) -> bytes:
    """SYS_GET_TIME: UTC seconds since 2000, then hour, minute, second, month, day, year."""
    seconds = int(chip.clock_offset_s + chip.scheduler.now())
    parts = time.gmtime(ZIGBEE_EPOCH_S + seconds)
    clock = bytes((parts.tm_hour, parts.tm_min, parts.tm_sec, parts.tm_mon, parts.tm_mday))
    return (seconds & 0xFFFFFFFF).to_bytes(4, "little") + clock + parts.tm_year.to_bytes(2, "little")


def set_tx_power(_chip: Chip, fields: Fields) -> bytes:
    """SYS_SET_TX_POWER: the virtual air has no power levels."""
    fields.u8()
    return SUCCESS


def old_init(chip: Chip, fields: Fields) -> bytes:
    """SYS_OSAL_NV_ITEM_INIT: 09 where it creates, 00 where the item is there, 0A where it has another length."""
    key, length = old_item(fields.u16()), fields.u16()
    value = fields.take(fields.u8())
    if chip.nv.get(key) is not None:
        return SUCCESS if chip.nv.length(key) == length else NV_OPER_FAILED
    if not 0 < length <= ITEM_MAX_OCTETS or len(value) > length:
        return NV_OPER_FAILED
    chip.nv.put(key, value.ljust(length, b"\xff"))
    return NV_ITEM_CREATED


def _read(chip: Chip, key: NvKey, offset: int, limit: int = READ_MAX_OCTETS) -> bytes:
    value = chip.nv.get(key)
    if value is None or offset >= len(value):
        return INVALID_PARAMETER + b"\x00"
    part = value[offset : offset + min(limit, READ_MAX_OCTETS)]
    return SUCCESS + bytes((len(part),)) + part


def old_read(chip: Chip, fields: Fields) -> bytes:
    """SYS_OSAL_NV_READ."""
    return _read(chip, old_item(fields.u16()), fields.u8())


def old_read_ext(chip: Chip, fields: Fields) -> bytes:
    """SYS_OSAL_NV_READ_EXT."""
    return _read(chip, old_item(fields.u16()), fields.u16())


def old_write(chip: Chip, fields: Fields) -> bytes:
    """SYS_OSAL_NV_WRITE."""
    key, offset = old_item(fields.u16()), fields.u8()
    return SUCCESS if chip.nv.write(key, offset, fields.take(fields.u8())) else NV_OPER_FAILED


def old_write_ext(chip: Chip, fields: Fields) -> bytes:
    """SYS_OSAL_NV_WRITE_EXT: 16-bit offset and length."""
    key, offset = old_item(fields.u16()), fields.u16()
    return SUCCESS if chip.nv.write(key, offset, fields.take(fields.u16())) else NV_OPER_FAILED


def old_delete(chip: Chip, fields: Fields) -> bytes:
    """SYS_OSAL_NV_DELETE: the length must be the item's."""
    key, length = old_item(fields.u16()), fields.u16()
    if chip.nv.get(key) is None:
        return NV_ITEM_CREATED  # NV_ITEM_UNINIT, the same code
    if chip.nv.length(key) != length:
        return NV_BAD_LENGTH
    chip.nv.delete(key)
    return SUCCESS


def old_length(chip: Chip, fields: Fields) -> bytes:
    """SYS_OSAL_NV_LENGTH: 0 where there is no item."""
    return chip.nv.length(old_item(fields.u16())).to_bytes(2, "little")


def _key(fields: Fields) -> NvKey:
    return (fields.u8(), fields.u16(), fields.u16())


def create(chip: Chip, fields: Fields) -> bytes:
    """SYS_NV_CREATE."""
    key, length = _key(fields), fields.u32()
    if chip.nv.get(key) is not None or not 0 < length <= ITEM_MAX_OCTETS:
        return NV_OPER_FAILED
    chip.nv.put(key, b"\xff" * length)
    return SUCCESS


def delete(chip: Chip, fields: Fields) -> bytes:
    """SYS_NV_DELETE."""
    return SUCCESS if chip.nv.delete(_key(fields)) else NV_OPER_FAILED


def length(chip: Chip, fields: Fields) -> bytes:
    """SYS_NV_LENGTH: 0 where there is no item."""
    return chip.nv.length(_key(fields)).to_bytes(4, "little")


def read(chip: Chip, fields: Fields) -> bytes:
    """SYS_NV_READ: what fits of the asked length."""
    return _read(chip, _key(fields), fields.u16(), fields.u8())


def write(chip: Chip, fields: Fields) -> bytes:
    """SYS_NV_WRITE."""
    key, offset = _key(fields), fields.u16()
    return SUCCESS if chip.nv.write(key, offset, fields.take(fields.u8())) else NV_OPER_FAILED


def update(chip: Chip, fields: Fields) -> bytes:
    """SYS_NV_UPDATE: write the whole item, creating it."""
    key = _key(fields)
    chip.nv.put(key, fields.take(fields.u8()))
    return SUCCESS


def compact(_chip: Chip, fields: Fields) -> bytes:
    """SYS_NV_COMPACT: a file has nothing to compact."""
    fields.u16()
    return SUCCESS


COMMANDS: dict[int, Handler] = {
    0x01: ping,
    0x02: version,
    0x03: set_extended_address,
    0x04: get_extended_address,
    0x07: old_init,
    0x08: old_read,
    0x09: old_write,
    0x0A: start_timer,
    0x0B: stop_timer,
    0x0C: random_number,
    0x10: set_time,
    0x11: get_time,
    0x12: old_delete,
    0x13: old_length,
    0x14: set_tx_power,
    0x1C: old_read_ext,
    0x1D: old_write_ext,
    0x30: create,
    0x31: delete,
    0x32: length,
    0x33: read,
    0x34: write,
    0x35: update,
    0x36: compact,
}
