"""How the machine came up this time, as far as anything here knows. **Untested on metal.**

What is asked, in this order; the first that says something is taken:

- ``/proc/device-tree/chosen/bootloader/rsts``, or ``pm_rsts`` (Raspberry Pi documentation, "Device Tree"): the SoC's
  register PM_RSTS as the bootloader found it, what ``vcgencmd get_rsts`` shows too. HADPOR is the power-on. HADWRF,
  HADSRF and HADDRF are resets without one; the bits between them bear the boot partition and tell nothing.
- ``/sys/class/watchdog/watchdog*/bootstatus``: WDIOF_CARDRESET says that the watchdog reset the machine. A driver that
  does not know says 0, as ``bcm2835_wdt`` always does: so 0 tells nothing.

Linux restarts a Pi through its watchdog, on purpose and after a panic as well: these three are one cause.
"""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
from pathlib import Path

HADPOR = 0x1000
HADWRF, HADSRF, HADDRF = 0x0020, 0x0200, 0x0002
WDIOF_CARDRESET = 0x0020  # linux/watchdog.h
BOOTLOADER = Path("proc/device-tree/chosen/bootloader")
WATCHDOGS = Path("sys/class/watchdog")


class ResetCause(Enum):
    """Three-valued: nobody may know."""

    UNKNOWN = "power or reset"
    POWER = "its power came on"
    RESET = "it was reset without losing power: hardware watchdog, kernel panic or a reboot"


def read_reset_cause(root: Path = Path("/")) -> ResetCause:
    """Of the present boot. Never raises: what cannot be read tells nothing."""
    cause = _of_raspberry_pi(root / BOOTLOADER)
    return cause if cause is not ResetCause.UNKNOWN else _of_watchdogs(root / WATCHDOGS)


def _of_raspberry_pi(folder: Path) -> ResetCause:
    for name in ("rsts", "pm_rsts"):
        with suppress(OSError):
            register = int.from_bytes((folder / name).read_bytes()[:4], "big")
            if register & (HADWRF | HADSRF | HADDRF):
                return ResetCause.RESET
            if register & HADPOR:
                return ResetCause.POWER
    return ResetCause.UNKNOWN


def _of_watchdogs(folder: Path) -> ResetCause:
    for path in sorted(folder.glob("watchdog*/bootstatus")):
        with suppress(OSError, ValueError):
            if int(path.read_text(encoding="ascii"), 0) & WDIOF_CARDRESET:
                return ResetCause.RESET
    return ResetCause.UNKNOWN
