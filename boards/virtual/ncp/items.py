"""NV items of Z-Stack 3.x on a CC2652: numbers, defaults and the aligned layouts that hosts read and write.

Layouts are the memory images of TI's C structures on a 32-bit ARM (natural alignment), as zigpy-znp and other backup
tools know them; the comments give octet offsets. Multi-octet values are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

EXTADDR = 0x0001
STARTUP_OPTION = 0x0003
NIB_ITEM = 0x0021
EXTENDED_PAN_ID = 0x002D
POLL_RATE = 0x0035
NWK_ACTIVE_KEY_INFO = 0x003A
NWK_ALTERN_KEY_INFO = 0x003B
APS_USE_EXT_PANID = 0x0047
APS_LINK_KEY_TABLE = 0x004C
BDB_NODE_IS_ON_A_NETWORK = 0x0055
PRECFGKEY = 0x0062
TRUSTCENTER_ADDR = 0x0071
PANID = 0x0083
CHANLIST = 0x0084
LOGICAL_TYPE = 0x0087
ZDO_DIRECT_CB = 0x008F
TCLK_SEED = 0x0101

# extended items, tables by sub id
TABLE_ADDRMGR = 0x0001
TABLE_TCLK = 0x0004
TABLE_APS_KEY = 0x0006
TABLE_NWK_SEC_MATERIAL = 0x0007

STARTUP_CLEAR_CONFIG = 0x01
STARTUP_CLEAR_STATE = 0x02
STARTUP_AUTO_START = 0x04
STARTUP_CLEAR_FRAME_COUNTERS = 0x80

DEVICE_ENTRIES = 64  # our choice of the sizes that a build fixes: devices, keys
SEC_MATERIAL_ENTRIES = 5
NO_EUI = 0
UNUSED_EUI = 0xFFFFFFFFFFFFFFFF

# nwk_pollRateTable_t, ms: default, rejoin, queued, response, keep alive, 1 s, two of the application; then the stack's
# pointer to the one in use and the bits of those that are asked for
POLL_RATE_TABLE = struct.Struct("<8IIHxx")
POLL_RATE_DEFAULTS = (1000, 440, 100, 100, 0, 1000, 0, 0, 0, 0)
POLL_RATE_PLACES = {0x0001: 0, 0x0008: 1, 0x0010: 2, 0x0020: 3, 0x0002: 6, 0x0004: 7}  # by poll rate type
POLL_RATE_OFF = 0xFFFFFFFF

# config items: what start-up option bit 0 restores; state items: what bit 1 clears
CONFIG_DEFAULTS: dict[int, bytes] = {
    0x0004: b"\x0a",  # START_DELAY
    0x0024: b"\xe8\x03",  # POLL_RATE_OLD16
    0x0028: b"\x02",  # DATA_RETRIES
    0x0029: b"\x02",  # POLL_FAILURE_RETRIES
    0x002A: b"\x02",  # STACK_PROFILE: ZigBee PRO
    0x002B: b"\x07",  # INDIRECT_MSG_TIMEOUT, s
    0x002C: b"\x1e",  # ROUTE_EXPIRY_TIME, s
    EXTENDED_PAN_ID: b"\xff" * 8,
    0x002E: b"\x02",  # BCAST_RETRIES
    0x002F: b"\x05",  # PASSIVE_ACK_TIMEOUT
    0x0030: b"\x1e",  # BCAST_DELIVERY_TIME
    0x0031: b"\x02",  # NWK_MODE: mesh
    0x0032: b"\x00",  # CONCENTRATOR_ENABLE
    0x0033: b"\x3c",  # CONCENTRATOR_DISCOVERY, s
    0x0034: b"\x0a",  # CONCENTRATOR_RADIUS
    POLL_RATE: POLL_RATE_TABLE.pack(*POLL_RATE_DEFAULTS),
    0x0036: b"\x01",  # CONCENTRATOR_RC
    0x0037: b"\x00",  # NWK_MGR_MODE
    0x0038: b"\xff",  # SRC_RTG_EXPIRY_TIME
    0x0039: b"\x0d",  # ROUTE_DISCOVERY_TIME
    0x003D: b"\x01",  # NWK_LEAVE_REQ_ALLOWED
    0x003E: b"\x00",  # NWK_CHILD_AGE_ENABLE
    0x0043: b"\x03",  # APS_FRAME_RETRIES
    0x0044: b"\xb8\x0b",  # APS_ACK_WAIT_DURATION, ms
    0x0045: b"\x02",  # APS_ACK_WAIT_MULTIPLIER
    0x0046: b"\x80\x3e",  # BINDING_TIME, ms
    APS_USE_EXT_PANID: bytes(8),
    0x0048: b"\x01",  # APS_USE_INSECURE_JOIN
    0x0049: b"\xfe\xff",  # COMMISSIONED_NWK_ADDR
    0x004B: b"\x02",  # APS_NONMEMBER_RADIUS
    0x0061: b"\x05",  # SECURITY_LEVEL
    PRECFGKEY: b"\xff" * 16,
    0x0063: b"\x00",  # PRECFGKEYS_ENABLE
    0x0065: b"\x01",  # SECURE_PERMIT_JOIN
    0x0066: b"\x01",  # APS_LINK_KEY_TYPE
    0x0067: b"\x00",  # APS_ALLOW_R19_SECURITY
    0x006D: b"\x01",  # USE_DEFAULT_TCLK
    TRUSTCENTER_ADDR: b"\xff" * 8,
    PANID: b"\xff\xff",
    CHANLIST: b"\x00\x08\x00\x00",  # channel 11
    0x0085: b"\x00",  # LEAVE_CTRL
    0x0086: b"\x04",  # SCAN_DURATION
    LOGICAL_TYPE: b"\x00",
    0x0089: b"\x00\x00",  # NWKMGR_ADDR
    ZDO_DIRECT_CB: b"\x00",
}


def read_poll_rates(packed: bytes | None) -> tuple[int, ...]:
    """The fields of POLL_RATE_TABLE; the defaults where the item has another length (a host took it for one u32)."""
    if packed is None or len(packed) != POLL_RATE_TABLE.size:
        return POLL_RATE_DEFAULTS
    return POLL_RATE_TABLE.unpack(packed)


@dataclass(frozen=True, slots=True)
class Nib:
    """The fields of the NWK information base that mean something here (nwkIB_t, 116 octets)."""

    short: int = 0xFFFE
    channel: int = 0
    parent_short: int = 0xFFFF
    parent_eui: int = 0
    pan_id: int = 0xFFFF
    state: int = 0  # 8 router or coordinator, 4 end device
    channel_mask: int = 0x0800
    depth: int = 0
    extended_pan_id: int = 0
    key_loaded: bool = False
    update_id: int = 0


NIB_OCTETS = 116
_NIB_PREFIX = bytes((0, 5, 2, 20, 15, 20, 0, 30, 0, 0, 0, 1, 5, 1))  # sequence 0 .. symmetric links, offsets 0..13


def pack_nib(nib: Nib) -> bytes:
    """116 octets. Fields that the emulated stack has no use for carry Z-Stack's defaults."""
    packed = bytearray(NIB_OCTETS)
    packed[0:14] = _NIB_PREFIX
    struct.pack_into("<BxHBBBx", packed, 14, 0x8E, 7, 2, 13, 30)  # capability, persistence, version, discovery, expiry
    struct.pack_into(
        "<HBxHQHBx", packed, 22, nib.short, nib.channel, nib.parent_short, nib.parent_eui, nib.pan_id, nib.state
    )
    struct.pack_into("<IBBBBII", packed, 40, nib.channel_mask, 15, 15, 4, 0, 0, 0)
    struct.pack_into("<BQB", packed, 56, nib.depth, nib.extended_pan_id, nib.key_loaded)
    struct.pack_into("<BBBBBBB", packed, 102, 15, 3, 0, 0, 0, 0, 0)  # link status period 15 s, router age limit 3
    struct.pack_into("<HHB", packed, 110, 0, 0, nib.update_id)
    return bytes(packed)


def unpack_nib(packed: bytes) -> Nib | None:
    """The NIB that a host may have written, or None when it is no NIB."""
    if len(packed) != NIB_OCTETS:
        return None
    short, channel, parent_short, parent_eui, pan_id, state = struct.unpack_from("<HBxHQHBx", packed, 22)
    (mask,) = struct.unpack_from("<I", packed, 40)
    depth, extended_pan_id, key_loaded = struct.unpack_from("<BQB", packed, 56)
    return Nib(
        short,
        channel,
        parent_short,
        parent_eui,
        pan_id,
        state,
        mask,
        depth,
        extended_pan_id,
        bool(key_loaded),
        packed[114],
    )


ADDRESS_ENTRY = struct.Struct("<BxHQ")  # user type, short, EUI: AddrMgrEntry_t
TCLK_ENTRY = struct.Struct("<IIQBBBx")  # out, in, EUI, attributes, type, seed shift: APSME_TCLinkKeyNVEntry_t
APS_KEY_ENTRY = struct.Struct("<16sII")  # key, out, in: APSME_LinkKeyData_t
SEC_MATERIAL_ENTRY = struct.Struct("<IQ")  # out counter, extended PAN id: nwkSecMaterialDesc_t
LINK_KEY_ENTRY = struct.Struct("<HHBx")  # address manager index, key index, authentication option
KEY_DESCRIPTOR = struct.Struct("<B16s")  # sequence, key: nwkKeyDesc

ADDRESS_IS_CHILD = 0x01
ADDRESS_HAS_KEY = 0x02
AUTHENTICATED_CBCK = 1

EMPTY_ADDRESS = ADDRESS_ENTRY.pack(0xFF, 0xFFFF, UNUSED_EUI)
EMPTY_TCLK = TCLK_ENTRY.pack(0, 0, NO_EUI, 0xFF, 0, 0)
EMPTY_APS_KEY = APS_KEY_ENTRY.pack(bytes(16), 0, 0)
EMPTY_SEC_MATERIAL = SEC_MATERIAL_ENTRY.pack(0, NO_EUI)
LINK_KEY_TABLE_OCTETS = 2 + DEVICE_ENTRIES * LINK_KEY_ENTRY.size
