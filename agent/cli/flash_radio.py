"""``han-agent flash radio``: program the CC2652 over its ROM serial bootloader."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from agent.errors import EXIT_OK, EXIT_REFUSED, SettingsError
from agent.events import format_eui
from boards.raspberry_pi.board import open_pins
from boards.raspberry_pi.gpio import RadioPins
from boards.raspberry_pi.profile import load_profile
from flash.cc2652.entry import ENTRIES, SwappedLines, enter_by_lines, enter_by_mt
from flash.cc2652.flasher import FlashReport, flash_radio, verify_radio
from flash.cc2652.flasher import Progress as Show
from flash.cc2652.image import load_image
from flash.cc2652.port import BAUD_DEFAULT, SerialPort
from flash.cc2652.rom import RomBootloader

_ENTRY_HELP = (
    "how the chip comes into its bootloader: dtr-rts (the stick does it), pins (GPIO, with --profile), mt (ask the "
    "firmware for a reset while the BOOT pin is held), already (done by hand); default dtr-rts"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``flash radio``."""
    parser.add_argument("--port", required=True, help="serial port of the radio, best from /dev/serial/by-id/")
    parser.add_argument("--image", required=True, type=Path, help="Intel HEX, or a binary of the whole flash")
    parser.add_argument("--entry", choices=ENTRIES, default="dtr-rts", help=_ENTRY_HELP)
    parser.add_argument("--profile", default="", help="with pins: the board whose radio_reset and radio_boot are wired")
    parser.add_argument("--swap-lines", action="store_true", help="with dtr-rts: DTR is reset, RTS the BOOT pin")
    parser.add_argument("--baud", type=int, default=BAUD_DEFAULT, help=f"default {BAUD_DEFAULT}; the chip measures it")
    parser.add_argument("--verify-only", action="store_true", help="compare, change nothing")
    parser.add_argument(
        "--allow-bootloader-lockout", action="store_true", help="program an image after which only JTAG can change it"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Do it. Exit code 0 when the flash holds the image, 1 when it does not or the image is refused, 3 radio."""
    image = load_image(args.image)  # first: a bad file should not reset a radio
    pins = _radio_pins(args.profile) if args.entry == "pins" else None
    with SerialPort(args.port, args.baud) as port, _bar(args.json) as bar:
        if args.entry == "dtr-rts":
            enter_by_lines(SwappedLines(port) if args.swap_lines else port)
        elif pins is not None:
            enter_by_lines(pins)
        elif args.entry == "mt":
            enter_by_mt(port, port)
        rom = RomBootloader(port)
        if args.verify_only:
            report = verify_radio(rom, image, _show(bar))
        else:
            report = flash_radio(rom, image, allow_lockout=args.allow_bootloader_lockout, progress=_show(bar))
    print(json.dumps(_table(report), indent=2) if args.json else _text(report))
    return EXIT_OK if report.matches else EXIT_REFUSED


def _radio_pins(name: str) -> RadioPins:
    if not name:
        raise SettingsError("--entry pins needs --profile NAME, the board whose pins are meant (han-agent board list)")
    profile = load_profile(name)
    reset, boot = profile.pins.radio_reset, profile.pins.radio_boot
    if reset is None or boot is None:
        raise SettingsError(f"--profile {name}: pins.radio_reset and pins.radio_boot are not both there")
    return RadioPins(open_pins(profile, Path()), reset, boot)


def _bar(quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description:8}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=quiet or not sys.stderr.isatty(),
    )


def _show(bar: Progress) -> Show:
    tasks = {}

    def show(step: str, done: int, total: int) -> None:
        if step not in tasks:
            tasks[step] = bar.add_task(step, total=total)
        bar.update(tasks[step], completed=done, total=total)

    return show


def _table(report: FlashReport) -> dict[str, object]:
    return {
        "chip": report.chip.model,
        "user_id": f"{report.chip.user_id:08X}",
        "ieee": format_eui(report.chip.ieee),
        "flash_octets": report.chip.flash_octets,
        "image": report.image,
        "image_octets": report.image_octets,
        "image_crc32": f"{report.image_crc32:08X}",
        "programmed_octets": report.programmed_octets,
        "backdoor": report.backdoor,
        "passes": report.passes,
        "retries": report.retries,
        "matches": report.matches,
    }


def _text(report: FlashReport) -> str:
    chip = f"{report.chip.model} {format_eui(report.chip.ieee)}, {report.chip.flash_octets // 1024} KiB"
    done = f"{report.programmed_octets} octets programmed and checked" if report.programmed_octets else "compared"
    verdict = "the flash holds" if report.matches else "the flash does NOT hold"
    return (
        f"{chip}: {done}; {verdict} {report.image} (CRC-32 {report.image_crc32:08X}); bootloader pin {report.backdoor}"
    )
