"""Ways into the ROM bootloader. The boot ROM looks at the backdoor pin whenever the chip comes out of reset.

- ``dtr-rts``: the stick's USB bridge holds the backdoor pin with DTR and reset with RTS. The order below serves both
  plain wiring and the gate that lets a line through only while the other one is off (as on many sticks)::

      RTS  ____/~~~~~~~~\\______________     reset
      DTR  _________/~~~~~~~~~~~~~~\\____     backdoor pin
                        ^ gate: reset is let go, backdoor held

- ``mt``: SYS_RESET_REQ to the running Z-Stack, while a person (or a jumper) holds the backdoor pin: the reset runs the
  boot ROM, which looks at the pin. A command of MT that jumps into the ROM bootloader without the pin is not known to
  us: SYS_RESET_REQ takes 0 (chip reset), 1 (soft reset) and 2 (shutdown), and MT's UBL commands are those of the
  CC253x's own bootloader.
- ``pins``: two GPIO lines of a Raspberry Pi hold BOOT and reset (``boards.raspberry_pi.gpio.RadioPins``); plain wiring.
- ``already``: somebody brought it there with button and reset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from flash.cc2652.rom import Link

ENTRIES = ("dtr-rts", "pins", "mt", "already")
MT_SYS_RESET_REQ_CHIP = b"\xfe\x01\x41\x00\x00\x40"


@dataclass(frozen=True, slots=True)
class EntryTimes:
    """Seconds. Our choice; 0.1 s is what flashers in use wait for bridges that have a processor of their own."""

    reset_s: float = 0.05
    backdoor_s: float = 0.1
    mt_reset_s: float = 0.5


class Lines(Protocol):
    """The two wires that bring the chip into its bootloader, and a clock to wait by."""

    def set_dtr(self, asserted: bool) -> None:
        """The backdoor pin (BOOT), active low on the chip when asserted. Raises RadioError."""

    def set_rts(self, asserted: bool) -> None:
        """Reset, active low on the chip when asserted. Raises RadioError."""

    def wait(self, seconds: float) -> None:
        """Let time pass."""


class SwappedLines:
    """A board where DTR is reset and RTS the backdoor pin."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def set_dtr(self, asserted: bool) -> None:
        self._lines.set_rts(asserted)

    def set_rts(self, asserted: bool) -> None:
        self._lines.set_dtr(asserted)

    def wait(self, seconds: float) -> None:
        self._lines.wait(seconds)


def enter_by_lines(lines: Lines, times: EntryTimes | None = None) -> None:
    """Reset with the backdoor pin held, then both let go. Raises RadioError when the port has no such lines."""
    times = times or EntryTimes()
    lines.set_dtr(False)
    lines.set_rts(True)
    lines.wait(times.reset_s)
    lines.set_dtr(True)
    lines.set_rts(False)
    lines.wait(times.backdoor_s)
    lines.set_dtr(False)


def enter_by_mt(link: Link, lines: Lines, times: EntryTimes | None = None) -> None:
    """Ask the firmware for a chip reset; the backdoor pin must be held already. Raises RadioError."""
    link.write(MT_SYS_RESET_REQ_CHIP)
    lines.wait((times or EntryTimes()).mt_reset_s)
