"""The serial line to an emulated CC2652 in its bootloader, as bad as a test wants it: a real tty, or virtual time."""

from __future__ import annotations

import os
import pty
import random
import select
import threading
import tty
from types import TracebackType

from boards.virtual.cc2652_rom import VirtualCc2652


class HostileLine:
    """Loses, corrupts and holds back octets, by the seeded generator given; the same seed does the same harm."""

    def __init__(self, rng: random.Random, *, lose: float = 0.0, corrupt: float = 0.0, hold: float = 0.0) -> None:
        self._rng, self._lose, self._corrupt, self._hold = rng, lose, corrupt, hold
        self.harm = 0

    def carry(self, data: bytes) -> tuple[bytes, bool]:
        """What arrives of ``data``, and whether it arrives late. Rates are for one such piece, not for one octet."""
        if not data:
            return data, False
        piece = bytearray(data)
        at = self._rng.randrange(len(piece))
        draw = self._rng.random()
        if draw < self._lose:
            del piece[at : at + self._rng.choice((1, 1, 2, len(piece)))]
        elif draw < self._lose + self._corrupt:
            piece[at] ^= 1 << self._rng.randrange(8)
        late = self._rng.random() < self._hold
        self.harm += late or bytes(piece) != data
        return bytes(piece), late


class PtyServer:
    """A chip behind a pseudo-terminal, served by a thread of its own; a context manager that leaves nothing behind.

    Late pieces are sent together with the next ones, or when the host has been silent for ``hold_s``.
    """

    def __init__(self, chip: VirtualCc2652, line: HostileLine | None = None, hold_s: float = 0.02) -> None:
        self.chip = chip
        self._line = line
        self._hold_s = hold_s
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="virtual-cc2652", daemon=True)

    def __enter__(self) -> PtyServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join()
        for descriptor in (self._master, self._slave, self._stop_read, self._stop_write):
            os.close(descriptor)

    def _serve(self) -> None:
        held = b""
        while True:
            ready, _, _ = select.select((self._master, self._stop_read), (), (), self._hold_s if held else None)
            if self._stop_read in ready:
                return
            answer, late = b"", False
            if self._master in ready:
                answer, late = self._exchange(os.read(self._master, 4096))
            held += answer
            if held and not late:
                os.write(self._master, held)
                held = b""

    def _exchange(self, data: bytes) -> tuple[bytes, bool]:
        if self._line is None:
            return self.chip.receive(data), False
        arrived, _ = self._line.carry(data)
        return self._line.carry(self.chip.receive(arrived))


class MemoryLine:
    """The host's end of the same line in virtual time: a time-out of ten seconds takes none. A ``rom.Link``."""

    def __init__(self, chip: VirtualCc2652, line: HostileLine | None = None, late_s: float = 0.2) -> None:
        self._chip = chip
        self._line = line
        self._late_s = late_s
        self._arriving: list[tuple[float, bytes]] = []
        self.now = 0.0

    def write(self, data: bytes) -> None:
        late = False
        if self._line is None:
            answer = self._chip.receive(data)
        else:
            arrived, _ = self._line.carry(data)
            answer, late = self._line.carry(self._chip.receive(arrived))
        due = max([self.now + (self._late_s if late else 0.0), *(at for at, _ in self._arriving)])
        if answer:
            self._arriving.append((due, answer))

    def read(self, maximum_octets: int, timeout_s: float) -> bytes:
        if not self._arriving or self._arriving[0][0] > self.now + timeout_s:
            self.now += timeout_s
            return b""
        due, answer = self._arriving.pop(0)
        self.now = max(self.now, due)
        if answer[maximum_octets:]:
            self._arriving.insert(0, (due, answer[maximum_octets:]))
        return answer[:maximum_octets]
