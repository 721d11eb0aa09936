"""APP_CNF: the BDB's settings and its start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.errors import FormatError
from boards.virtual.ncp import items
from boards.virtual.ncp.codec import Fields
from boards.virtual.ncp.nv import old_item
from boards.virtual.ncp.sys_commands import FAILURE, INVALID_PARAMETER, SUCCESS
from boards.virtual.stack.interface import DEFAULT_CENTRALIZED_KEY
from boards.virtual.stack.keys import install_code_link_key

if TYPE_CHECKING:
    from boards.virtual.ncp.af import Handler
    from boards.virtual.ncp.chip import Chip

CODE_AND_CRC_OCTETS = 18
KEY_OCTETS = 16
KEY_DEFAULT, KEY_INSTALL_CODE, KEY_INSTALL_CODE_OR_DEFAULT, KEY_GIVEN, KEY_GIVEN_OR_DEFAULT = range(5)
FORMAT_INSTALL_CODE, FORMAT_KEY = 1, 2


def start_commissioning(chip: Chip, fields: Fields) -> bytes:
    """APP_CNF_BDB_START_COMMISSIONING: what comes of it is notified."""
    return SUCCESS if chip.bdb.start(fields.u8()) else FAILURE


def set_channels(chip: Chip, fields: Fields) -> bytes:
    """APP_CNF_BDB_SET_CHANNEL: primary or secondary mask."""
    primary, mask = fields.u8(), fields.u32()
    if primary:
        chip.bdb.channels = mask
    else:
        chip.bdb.secondary_channels = mask
    return SUCCESS


def _key(form: int, octets: bytes) -> bytes | None:
    """The 16-octet key behind an install code with CRC or a plain key; None where it is neither."""
    if form == FORMAT_KEY:
        return octets[:KEY_OCTETS] if len(octets) >= KEY_OCTETS else None
    if len(octets) < CODE_AND_CRC_OCTETS:  # the chip takes the longest form only
        return None
    try:
        return install_code_link_key(octets[:CODE_AND_CRC_OCTETS])
    except FormatError:
        return None


def add_install_code(chip: Chip, fields: Fields) -> bytes:
    """APP_CNF_BDB_ADD_INSTALLCODE: format 1 code and CRC, 2 key; a wrong CRC is an invalid parameter."""
    form, eui = fields.u8(), fields.u64()
    key = _key(form, fields.rest()) if form in (FORMAT_INSTALL_CODE, FORMAT_KEY) else None
    if key is None:
        return INVALID_PARAMETER
    chip.stack.allow_link_key(eui, key)
    return SUCCESS


def set_active_key(chip: Chip, fields: Fields) -> bytes:
    """APP_CNF_BDB_SET_ACTIVE_DEFAULT_CENTRALIZED_KEY: the key that the next join tries, and what it falls back to."""
    mode, octets = fields.u8(), fields.rest()
    if mode == KEY_DEFAULT:
        chip.bdb.link_keys = [DEFAULT_CENTRALIZED_KEY]
        return SUCCESS
    if mode > KEY_GIVEN_OR_DEFAULT:
        return INVALID_PARAMETER
    by_code = mode in (KEY_INSTALL_CODE, KEY_INSTALL_CODE_OR_DEFAULT)
    key = _key(FORMAT_INSTALL_CODE if by_code else FORMAT_KEY, octets)
    if key is None:
        return INVALID_PARAMETER
    fall_back = mode in (KEY_INSTALL_CODE_OR_DEFAULT, KEY_GIVEN_OR_DEFAULT)
    chip.bdb.link_keys = [key, DEFAULT_CENTRALIZED_KEY] if fall_back else [key]
    return SUCCESS


def require_install_code(chip: Chip, fields: Fields) -> bytes:
    """APP_CNF_BDB_SET_JOINUSESINSTALLCODEKEY: not kept over a reset, as on the chip."""
    chip.stack.require_install_code(bool(fields.u8()))
    return SUCCESS


def accept(_chip: Chip, fields: Fields) -> bytes:
    """A policy that this stack always follows in one way: rejoin by network key, no Trust Center key exchange."""
    fields.u8()
    return SUCCESS


def recover_network(chip: Chip, _fields: Fields) -> bytes:
    """APP_CNF_BDB_ZED_ATTEMPT_RECOVER_NWK: the same as an initialisation."""
    return SUCCESS if chip.network is None and chip.bdb.start(0) else FAILURE


def set_poll_rate(chip: Chip, fields: Fields) -> bytes:
    """APP_CNF_SET_POLL_RATE_TYPE: one of the rates, milliseconds, into NV and in force at once; always a success."""
    place, rate_ms = items.POLL_RATE_PLACES.get(fields.u16()), fields.u32()
    if place is not None:
        table = list(items.read_poll_rates(chip.nv.get(old_item(items.POLL_RATE))))
        table[place] = rate_ms
        chip.nv.put(old_item(items.POLL_RATE), items.POLL_RATE_TABLE.pack(*table))
        chip.bdb.set_poll_rates()
    return SUCCESS


COMMANDS: dict[int, Handler] = {
    0x01: accept,  # SET_DEFAULT_REMOTE_ENDDEVICE_TIMEOUT
    0x02: accept,  # SET_ENDDEVICETIMEOUT
    0x03: accept,  # SET_ALLOWREJOIN_TC_POLICY
    0x04: add_install_code,
    0x05: start_commissioning,
    0x06: require_install_code,
    0x07: set_active_key,
    0x08: set_channels,
    0x09: accept,  # SET_TC_REQUIRE_KEY_EXCHANGE
    0x0A: recover_network,
    0x0B: accept,  # SET_DEFAULT_PARENT_INFO
    0x0C: set_poll_rate,
}
