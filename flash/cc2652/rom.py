"""The host's side of the ROM bootloader, made for a line that loses, corrupts and delays octets.

Everything but SEND_DATA may be said twice. When an exchange goes wrong, ``_resync`` brings both sides to a packet
boundary without knowing where the chip stands: PING packets are sent until one is acknowledged. A chip that waits
for the rest of a broken packet swallows pings until that packet is full; what is left of the last ping then reads as a
packet of 32 octets, and 32 modulo 3 moves the boundary until it meets the start of a ping. Then the exchange is
repeated; a broken SEND_DATA with a fresh DOWNLOAD at its own address.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from agent.errors import FormatError, RadioError
from flash.cc2652.packets import (
    ACK,
    MAXIMUM_DATA_OCTETS,
    MAXIMUM_READ_WORDS,
    NACK,
    SYNC,
    Command,
    Status,
    command,
    decode_packet,
)

NOISE_OCTETS = 1024  # more than that, and it is not a bootloader that talks
RESYNC_PINGS = 160  # 255 + 32 + 32 octets swallowed at worst, three a ping, and some that the line loses

HOW_TO_ENTER = (
    "bring the chip into its bootloader by hand: hold the BOOT (BSL) button, press RESET or plug the stick in, "
    "release BOOT, and run this again with --entry already"
)

T = TypeVar("T")


class Link(Protocol):
    """An open serial line."""

    def write(self, data: bytes) -> None:
        """All of it. Raises RadioError when the port is gone."""

    def read(self, maximum_octets: int, timeout_s: float) -> bytes:
        """At least one octet as soon as there is one, at most ``maximum_octets``; none after ``timeout_s``."""


@dataclass(frozen=True, slots=True)
class RomTimes:
    """Waiting times in seconds and bounds. Our choice; erasing 352 KiB takes well below a second on the chip."""

    sync_s: float = 0.5
    sync_tries: int = 3
    acknowledge_s: float = 1.0
    erase_s: float = 10.0
    crc_s: float = 5.0
    quiet_s: float = 0.05  # the line counts as drained after so long without an octet
    tries: int = 10  # of one exchange


class SilentChipError(RadioError):
    """Nothing came back at all, however often it was asked."""


class _ExchangeError(Exception):
    """One exchange went wrong in a way that another try may cure."""


class RomBootloader:
    """One chip in its ROM bootloader. Every method raises RadioError when its tries are used up."""

    def __init__(self, link: Link, times: RomTimes | None = None) -> None:
        self._link = link
        self._times = times or RomTimes()
        self.retries = 0  # exchanges that had to be repeated, for the report

    def connect(self) -> None:
        """Train the baud rate (two octets 0x55), or find a chip that is trained already."""
        for _ in range(self._times.sync_tries):
            self._drain()
            self._link.write(SYNC)
            if self._wait_acknowledge(self._times.sync_s) is True:
                return
        try:
            self._repeat("sync", lambda _: self._resync())
        except SilentChipError:
            raise SilentChipError(f"no answer to the bootloader's sync (55 55): {HOW_TO_ENTER}") from None

    def chip_id(self) -> int:
        """JTAGUSERCODE, 32 bits."""
        return int.from_bytes(self._ask("GET_CHIP_ID", command(Command.GET_CHIP_ID), 4), "big")

    def read_word(self, address: int) -> int:
        """One 32-bit word of the memory map (little-endian in the packet, as it lies in memory)."""
        return int.from_bytes(self.read_memory(address, 1), "little")

    def read_memory(self, address: int, words: int) -> bytes:
        """``words`` 32-bit words (1 to 63) from ``address`` on, as they lie in memory."""
        if not 1 <= words <= MAXIMUM_READ_WORDS:
            raise ValueError(f"MEMORY_READ takes 1 to {MAXIMUM_READ_WORDS} words, not {words}")
        packet = command(Command.MEMORY_READ, address, tail=bytes((1, words)))
        return self._ask("MEMORY_READ", packet, 4 * words)

    def crc32(self, address: int, length_octets: int) -> int:
        """CRC-32 (the one of zlib) that the chip computes over its flash."""
        packet = command(Command.CRC32, address, length_octets, 0)  # 0: read each location once
        return int.from_bytes(self._ask("CRC32", packet, 4, self._times.crc_s), "big")

    def bank_erase(self) -> None:
        """Erase the flash; the chip then puts back the CCFG that it was delivered with."""
        packet = command(Command.BANK_ERASE)
        self._repeat("BANK_ERASE", lambda _: self._tell(packet, self._times.erase_s))

    def program(self, address: int, data: bytes, progress: Callable[[int], None]) -> None:
        """Program erased flash. ``address`` and length are multiples of four; ``progress`` gets octets done."""
        if address % 4 or len(data) % 4:
            raise ValueError(f"flash is programmed in words of four octets: {address:#x}, {len(data)}")
        for offset in range(0, len(data), MAXIMUM_DATA_OCTETS):
            chunk = data[offset : offset + MAXIMUM_DATA_OCTETS]
            announce = command(Command.DOWNLOAD, address + offset, len(data) - offset)
            send = command(Command.SEND_DATA, tail=chunk)
            first = offset == 0

            def step(again: bool, announce: bytes = announce, send: bytes = send, first: bool = first) -> None:
                if first or again:  # after a doubt the chip's own address pointer is not to be trusted
                    self._tell(announce)
                self._tell(send)

            self._repeat(f"SEND_DATA at {address + offset:#08x}", step)
            progress(offset + len(chunk))

    def reset(self) -> None:
        """Leave the bootloader and start the firmware. A lost acknowledgement is not an error: nothing answers then."""
        self._link.write(command(Command.RESET))
        self._wait_acknowledge(self._times.acknowledge_s)

    # one exchange

    def _ask(self, what: str, packet: bytes, answer_octets: int, timeout_s: float | None = None) -> bytes:
        def exchange(_: bool) -> bytes:
            self._send(packet, timeout_s or self._times.acknowledge_s)
            answer = self._receive()
            if len(answer) != answer_octets:
                raise _ExchangeError(f"answer of {len(answer)} octets instead of {answer_octets}")
            self._check_status()
            return answer

        return self._repeat(what, exchange)

    def _tell(self, packet: bytes, timeout_s: float | None = None) -> None:
        self._send(packet, timeout_s or self._times.acknowledge_s)
        self._check_status()

    def _repeat(self, what: str, exchange: Callable[[bool], T]) -> T:
        """``exchange(again)`` until it succeeds, with both sides at a packet boundary before every new try."""
        reason = ""
        for attempt in range(self._times.tries):
            try:
                if attempt:
                    self.retries += 1
                    self._resync()
                return exchange(attempt > 0)
            except _ExchangeError as error:
                reason = str(error)
        raise RadioError(f"the bootloader did not carry out {what} in {self._times.tries} tries: {reason}")

    def _send(self, packet: bytes, timeout_s: float) -> None:
        self._link.write(packet)
        acknowledged = self._wait_acknowledge(timeout_s)
        if acknowledged is not True:
            raise _ExchangeError("no answer" if acknowledged is None else "the chip saw a wrong checksum")

    def _check_status(self) -> None:
        self._send(command(Command.GET_STATUS), self._times.acknowledge_s)
        answer = self._receive()
        if answer != bytes((Status.SUCCESS,)):
            known = {status.value: status.name for status in Status}
            raise _ExchangeError(f"status {known.get(answer[0], 'unknown')} ({answer.hex()})")

    def _wait_acknowledge(self, timeout_s: float) -> bool | None:
        """True or False for 00 CC or 00 33; None when neither came. Octets before them are skipped."""
        last = -1
        for _ in range(NOISE_OCTETS):
            octet = self._link.read(1, timeout_s)
            if not octet:
                return None
            if last == 0 and octet[0] in (ACK[1], NACK[1]):
                return octet[0] == ACK[1]
            last = octet[0]
        return None

    def _receive(self) -> bytes:
        """One packet, acknowledged. A bad one is refused, in case this ROM sends it again after that."""
        for _ in range(2):
            try:
                data = decode_packet(self._read_packet())
            except FormatError:
                self._link.write(NACK)
                continue
            self._link.write(ACK)
            return data
        raise _ExchangeError("the answer came in garbled")

    def _read_packet(self) -> bytes:
        size = b"\x00"
        for _ in range(NOISE_OCTETS):
            size = self._link.read(1, self._times.acknowledge_s)
            if size != b"\x00":
                break
        if not size.strip(b"\x00"):
            raise _ExchangeError("no answer packet")
        packet = bytearray(size)
        while len(packet) < size[0]:
            more = self._link.read(size[0] - len(packet), self._times.acknowledge_s)
            if not more:
                raise _ExchangeError("the answer packet broke off")
            packet += more
        return bytes(packet)

    def _drain(self) -> None:
        for _ in range(NOISE_OCTETS):
            if not self._link.read(4096, self._times.quiet_s):
                return

    def _resync(self) -> None:
        """Both sides at a packet boundary, proved by a whole GET_STATUS exchange."""
        self._drain()
        ping = command(Command.PING)
        for _ in range(RESYNC_PINGS):
            self._link.write(ping)
            if self._wait_acknowledge(self._times.quiet_s) is True:
                self._drain()
                self._check_status()
                return
        raise SilentChipError("the chip stopped answering in the middle; its power or the line failed")
