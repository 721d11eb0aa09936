"""Which radio is on which port: what USB says of it, then what the chip itself answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from serial.tools import list_ports

from agent.errors import RadioError
from agent.events import format_eui
from boards.radios import Radio, recognise
from flash.cc2652.chip import identify
from flash.cc2652.mt import ask_firmware
from flash.cc2652.port import SerialPort
from flash.cc2652.rom import RomBootloader, RomTimes, SilentChipError

MODEL = Path("/proc/device-tree/model")
PROBE_TIMES = RomTimes(sync_s=0.3, sync_tries=2, quiet_s=0.02, tries=1)  # a silent port is left after seconds


@dataclass(frozen=True, slots=True)
class Port:
    """One serial port. ``usb`` None: not on USB."""

    path: str
    usb: tuple[int, int] | None = None
    words: str = ""
    radio: Radio | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """``state``: ``z-stack``, ``bootloader``, ``silent`` or ``error``; ``detail`` for a person."""

    port: Port
    state: str
    detail: str


def read_model(path: Path = MODEL) -> str:
    """What the machine calls itself; empty where there is no device tree."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").rstrip("\0\n")
    except OSError:
        return ""


def find_ports(extra: Iterable[str] = ()) -> list[Port]:
    """The serial ports of this machine, and those in ``extra`` that exist, each once."""
    ports = {}
    for one in sorted(list_ports.comports(), key=lambda info: info.device):
        usb = None if one.vid is None or one.pid is None else (one.vid, one.pid)
        words = " ".join(word for word in (one.manufacturer, one.product) if word)
        ports[one.device] = Port(one.device, usb, words, recognise(usb, words) if usb else None)
    for path in extra:
        if Path(path).exists():
            ports.setdefault(path, Port(path))
    return list(ports.values())


def probe(port: Port) -> Finding:
    """Ask the chip: MT first, which disturbs nothing, then the ROM bootloader's sync."""
    try:
        with SerialPort(port.path) as line:
            firmware = ask_firmware(line)
            if firmware is not None:
                return Finding(port, "z-stack", str(firmware))
            rom = RomBootloader(line, PROBE_TIMES)
            rom.connect()
            chip = identify(rom)
    except SilentChipError:
        return Finding(port, "silent", "answers neither MT nor the bootloader's sync")
    except RadioError as error:
        return Finding(port, "error", str(error))
    return Finding(port, "bootloader", f"{chip.model} {format_eui(chip.ieee)} in its ROM bootloader")
