"""A CC2652 with its ROM serial bootloader, strict about every packet, and a serial line that can be hostile.

Written from SWCU185 chapter 11 alone; it shares no code with the flasher, so that one misreading cannot hide the other.
The chip is a function of octets (``receive``); ``cc2652_rom_line.PtyServer`` puts it behind a real tty.

Where the manual is silent, the choice that is worst for a host: zeros between packets are skipped, a broken packet is
waited for without limit, and an octet that is neither acknowledgement nor refusal ends the wait for one.
"""

from __future__ import annotations

import struct
import zlib

SECTOR_OCTETS = 8192
CCFG_OCTETS = 88
FCFG_IEEE = 0x500012F0
FCFG_ICEPICK = 0x50001318
FLASH_SIZE = 0x4003002C
_ACK, _NACK = b"\x00\xcc", b"\x00\x33"
_SUCCESS, _UNKNOWN, _INVALID, _ADDRESS, _FLASH_FAIL = 0x40, 0x41, 0x42, 0x43, 0x44
_LENGTHS = {0x20: 1, 0x21: 9, 0x23: 1, 0x25: 1, 0x26: 5, 0x27: 13, 0x28: 1, 0x2A: 7, 0x2C: 1}


def factory_ccfg() -> bytes:
    """CCFG as delivered: bootloader on, no backdoor, no valid image (so that the bootloader always starts)."""
    ccfg = bytearray(b"\xff" * CCFG_OCTETS)
    ccfg[48:52] = struct.pack("<I", 0xC5FFFFFF)
    return bytes(ccfg)


class VirtualCc2652:
    """Flash, the ROM's packet machine, reset, the backdoor pin. ``log`` names each command that was carried out."""

    def __init__(self, *, flash_octets: int = 352 * 1024, user_id: int = 0x3202F000, wafer: int = 0xBB41) -> None:
        self.flash = bytearray(b"\xff" * (flash_octets - CCFG_OCTETS) + factory_ccfg())
        self.user_id = user_id
        self.words = {
            FCFG_ICEPICK: 0x3000002F | wafer << 12,
            FLASH_SIZE: flash_octets // SECTOR_OCTETS,
            FCFG_IEEE: 0x1CA0D3C1,
            FCFG_IEEE + 4: 0x00124B00,
        }
        self.log: list[str] = []
        self.backdoor_low = False
        self.powered = True
        self.resends_refused_packet = True
        self.power_fails_after: int | None = None  # SEND_DATA packets
        self.wrong_crc = False
        self._in_reset = False
        self.reset()

    # pins and power

    def set_reset_pin(self, low: bool) -> None:
        """Reset is active low; the boot ROM runs when it goes high again."""
        if self._in_reset and not low:
            self.reset()
        self._in_reset = low

    def power(self, on: bool) -> None:
        self.powered = on
        if on:
            self.power_fails_after = None
            self.reset()

    def reset(self) -> None:
        """Boot ROM: the bootloader when asked for by the backdoor pin or without a valid image (SWCU185, 11.1)."""
        self.in_bootloader = self._bootloader_starts()
        self._trained = False
        self._buffer = bytearray()
        self._answer = b""
        self._status = _SUCCESS
        self._address = self._left = 0

    def _bootloader_starts(self) -> bool:
        ccfg = self.flash[-CCFG_OCTETS:]
        bl_enable, pin, level, enabled = ccfg[48:52]
        if enabled != 0xC5:
            return False
        image_valid = struct.unpack_from("<I", ccfg, 68)[0] < len(self.flash)
        backdoor = bl_enable == 0xC5 and pin <= 30 and self.backdoor_low == (not level & 1)
        return backdoor or not image_valid

    # octets

    def receive(self, data: bytes) -> bytes:
        """Octets from the host; what the chip answers."""
        if not self.powered or self._in_reset:
            return b""
        answer = b""
        for octet in data:
            self._buffer.append(octet)
            answer += self._take() if self.in_bootloader else self._take_mt()
        return answer if self.powered else b""

    def _take_mt(self) -> bytes:
        """The firmware: of MT it knows SYS_RESET_REQ alone, answered with SYS_RESET_IND where it comes up again."""
        self._buffer = self._buffer[-6:]
        if bytes(self._buffer) in (b"\xfe\x01\x41\x00\x00\x40", b"\xfe\x01\x41\x00\x01\x41"):
            self.reset()
            return b"" if self.in_bootloader else bytes.fromhex("fe064180000201020701c1")
        return b""

    def _take(self) -> bytes:
        if not self._trained:
            self._trained = self._buffer.endswith(b"\x55\x55")
            if self._trained:
                self._buffer.clear()
            return _ACK if self._trained else b""
        if self._buffer[0] == 0:
            self._buffer.clear()
            return b""
        if self._answer:
            return self._take_acknowledge()
        if len(self._buffer) < max(3, self._buffer[0]):
            return b""
        packet, self._buffer = bytes(self._buffer), bytearray()
        if packet[0] < 3 or sum(packet[2:]) & 0xFF != packet[1]:
            return _NACK
        return self._carry_out(packet[2], packet[3:])

    def _take_acknowledge(self) -> bytes:
        octet = self._buffer[0]
        self._buffer.clear()
        if octet == 0x33 and self.resends_refused_packet:
            return self._answer
        self._answer = b""
        return b""

    def _reply(self, data: bytes) -> bytes:
        self._answer = bytes((len(data) + 2, sum(data) & 0xFF)) + data
        return _ACK + self._answer

    # commands

    def _carry_out(self, code: int, parameters: bytes) -> bytes:
        if code == 0x23:
            return self._reply(bytes((self._status,)))
        if code not in _LENGTHS and code != 0x24:
            self._status = _UNKNOWN
            return _ACK
        if code != 0x24 and len(parameters) + 1 != _LENGTHS[code]:
            self._status = _INVALID
            return _ACK
        self._status = _SUCCESS
        handler = {
            0x20: self._ping,
            0x21: self._download,
            0x24: self._send_data,
            0x25: self._reset_command,
            0x26: self._sector_erase,
            0x27: self._crc32,
            0x28: self._chip_id,
            0x2A: self._memory_read,
            0x2C: self._bank_erase,
        }[code]
        self.log.append(handler.__name__.strip("_"))
        return handler(parameters)

    def _ping(self, _: bytes) -> bytes:
        return _ACK

    def _chip_id(self, _: bytes) -> bytes:
        return self._reply(self.user_id.to_bytes(4, "big"))

    def _reset_command(self, _: bytes) -> bytes:
        self.reset()
        return _ACK

    def _download(self, parameters: bytes) -> bytes:
        address, size = struct.unpack(">II", parameters)
        if size % 4 or address % 4 or address + size > len(self.flash):
            self._status, self._left = _ADDRESS, 0
        else:
            self._address, self._left = address, size
        return _ACK

    def _send_data(self, data: bytes) -> bytes:
        if self.power_fails_after is not None:
            self.power_fails_after -= 1
            if self.power_fails_after < 0:
                self.power(False)
                return b""
        if not data or len(data) > self._left:
            self._status = _ADDRESS
            return _ACK
        old = self.flash[self._address : self._address + len(data)]
        self.flash[self._address : self._address + len(data)] = bytes(a & b for a, b in zip(old, data, strict=True))
        if any(b & ~a for a, b in zip(old, data, strict=True)):  # programming cannot turn a 0 into a 1
            self._status = _FLASH_FAIL
            return _ACK
        self._address += len(data)
        self._left -= len(data)
        return _ACK

    def _protected(self, sector: int) -> bool:
        words = struct.unpack("<4I", self.flash[-16:])
        return sector < 128 and not words[sector // 32] >> sector % 32 & 1

    def _erase(self, sector: int) -> None:
        if self._protected(sector):
            return
        start = sector * SECTOR_OCTETS
        self.flash[start : start + SECTOR_OCTETS] = b"\xff" * SECTOR_OCTETS
        if start + SECTOR_OCTETS == len(self.flash):
            self.flash[-CCFG_OCTETS:] = factory_ccfg()

    def _sector_erase(self, parameters: bytes) -> bytes:
        address = int.from_bytes(parameters, "big")
        if address % SECTOR_OCTETS or address >= len(self.flash):
            self._status = _ADDRESS
        else:
            self._erase(address // SECTOR_OCTETS)
        return _ACK

    def _bank_erase(self, _: bytes) -> bytes:
        if self.flash[-CCFG_OCTETS + 52] & 1:  # BANK_ERASE_DIS_N
            for sector in range(len(self.flash) // SECTOR_OCTETS):
                self._erase(sector)
        return _ACK

    def _crc32(self, parameters: bytes) -> bytes:
        address, size, _ = struct.unpack(">III", parameters)
        if size <= 8 or address + size > len(self.flash):
            return self._reply(b"\xff\xff\xff\xff")
        crc = zlib.crc32(self.flash[address : address + size]) ^ (0x01 if self.wrong_crc else 0)
        return self._reply(crc.to_bytes(4, "big"))

    def _memory_read(self, parameters: bytes) -> bytes:
        address, kind, count = struct.unpack(">IBB", parameters)
        if kind != 1 or not 1 <= count <= 63 or address % 4:
            self._status = _INVALID
            return self._reply(b"\x00")
        if address + 4 * count <= len(self.flash):
            return self._reply(bytes(self.flash[address : address + 4 * count]))
        words = (self.words.get(address + 4 * index, 0) for index in range(count))
        return self._reply(b"".join(struct.pack("<I", word) for word in words))
