"""The demo on a screen: who said what and when, a progress bar while the image crosses the air, and what was proved."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from boards.bench.demo.outcome import DeviceOutcome, Event
from boards.bench.demo.play import SLEEPY, Play, Said
from boards.bench.demo.prepare import CAPTURE, NEW
from boards.virtual.air.awake import RadioUse

HUB_SHOWN = {
    "network-up",
    "join-permitted",
    "device-seen",
    "image-on-offer",
    "image-queried",
    "transfer-ended",
    "key-established",
    "key-not-established",
    "tunnel-opened",
    "request-sent",
    "report",
    "network-down",
    "bad-frame",
}


class Screen:
    """Lines as they are said; use ``with``, so that the progress bar is taken away when something fails."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("          {task.fields[role]:<8}"),
            BarColumn(bar_width=30),
            DownloadColumn(binary_units=False),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("retries {task.fields[retries]}"),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._quarters: dict[str, int] = {}
        self._last: tuple[str, str] = ("", "")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, said: Said) -> None:
        """One thing that was said."""
        if said.event.get("event") == "transfer-progress":
            self._transfer(said.event)
            return
        words = _words(said)
        if words and (said.who, words) != self._last:
            self._last = (said.who, words)
            self._console.print(f"{said.seconds:6.1f} s  {said.who:<8}  {words}", markup=False)

    def _quarter(self, eui: str, offset: int, size: int, repeats: int) -> None:
        """Where there is no terminal for a bar: a line every quarter."""
        quarter = 4 * offset // size
        if quarter > self._quarters.get(eui, 0):
            self._quarters[eui] = quarter
            self._console.print(
                f"{'':8}  device    {eui[-4:]} has {offset} of {size} octets, {repeats} retries", markup=False
            )

    def _transfer(self, event: Event) -> None:
        eui, size = str(event["device_eui"]), int(str(event["size"]))
        offset, repeats = int(str(event["offset"])), int(str(event["repeats"]))
        if eui not in self._tasks:
            self._tasks[eui] = self._progress.add_task("", total=size, role=eui[-4:], retries=0)
        self._progress.update(self._tasks[eui], completed=offset, retries=repeats)
        if not self._console.is_terminal:
            self._quarter(eui, offset, size, repeats)
        if offset >= size:
            self._progress.update(self._tasks[eui], visible=False)


def _words(said: Said) -> str:
    """One sentence; empty for what a newcomer need not see."""
    event = said.event
    if said.who == "demo":
        return f"keys, certificates and the images 1.0.0 and 1.1.0 are in {event['workdir']}"
    if said.who == "air":
        return f"an emulated CC2652 {event['eui']} on {event['ncp']}" if "ncp" in event else ""
    if said.who == "hub":
        shown = event.get("event") in HUB_SHOWN and event.get("duplicate") is not True
        return str(event.get("text", "")) if shown else ""
    return _device_words(event)


def _device_words(event: Event) -> str:
    name = str(event.get("event"))
    make = DEVICE_WORDS.get(name)
    if make is not None:
        return make.format_map(_Facts(event))
    if name in ("image refused", "command refused", "activation failed", "trial failed", "update reverted", "stopped"):
        facts = ", ".join(
            f"{key} {value}" for key, value in event.items() if key not in ("event", "level", "timestamp")
        )
        return f"{name}: {facts}"
    return ""


class _Facts(dict[str, object]):
    """A line that lacks a fact is still shown."""

    def __missing__(self, key: str) -> str:
        return "?"


DEVICE_WORDS = {
    "boot_decision": "first stage: slot {slot}, {rule}",
    "running": "version {version} runs from slot {slot}",
    "network up": "on the network",
    "join failed": "not on a network: {status} {detail}; again in {retry_s} s",
    "link key made": "has a link key with the hub: OTA and tunnel travel APS-secured from here on",
    "poll rate changed": "asks its parent for frames every {period_s} s ({polling})",
    "poll rate refused": "its radio polls as it likes: {status} {detail}",
    "tunnel open": "tunnel {tunnel} is open",
    "download starts": "downloads version {version}, {total_octets} octets",
    "download resumes": "resumes the download at octet {offset_octets} of {total_octets}",
    "transfer paused": "transfer paused: {reason}",
    "transfer complete": "all octets are here: {blocks} blocks, {retries} retries",
    "image verified": "the image is whole and its signature verifies: {manufacturer_image_hash}",
    "image held": "holds the image until a signed command activates it",
    "activation decided": "activates slot {slot}: {cause}",
    "command accepted": "accepts command {message_code} from {originator}",
    "restart": "restarts through the first stage ({reason})",
    "trial started": "the new code runs on trial",
    "update confirmed": "the hub has answered the new code: version {version} is confirmed",
    "message goes up": "sends {kind} ({octets} octets, signed)",
    "message delivered": "{kind} is delivered",
}


def print_proof(console: Console, play: Play, *, ok: bool) -> None:
    """The last lines: what was proved, by whom, and where everything is."""
    console.print()
    for outcome in play.outcomes.values():
        for line in _proof(outcome):
            console.print(line, markup=False)
    console.print(
        "everything was verified by the head end's own copy of the keys" if ok else "NOT PROVED: see the logs"
    )
    console.print()
    for name, path in _places(play.plan.workdir, play):
        console.print(f"  {name:<24}{path}", markup=False)


def _proof(outcome: DeviceOutcome) -> list[str]:
    final = outcome.final or {}
    start, end = outcome.starts[0], outcome.starts[-1]
    report = "CS09 alert 0x8F8B" if outcome.role == "ppmid" else "CS06 response"
    lines = [
        f"{outcome.role.upper()} {outcome.eui:016X}: {start[0]} in slot {start[1]} -> {end[0]} in slot {end[1]}, "
        f"{outcome.image_octets} octets in {outcome.blocks} blocks, {outcome.retries} retries, {outcome.seconds:.1f} s",
        f"  {report}: version {final.get('version')}, {final.get('result')}, signature {final.get('signature')}, "
        f"reported by the code that arrived over the air",
    ]
    if outcome.logical_type == SLEEPY:
        lines.append(f"  radio, as it measured itself: {_use('the update', outcome.update_use)}")
        lines.append(f"                                {_use('at rest', outcome.rest_use)}")
    if outcome.receipt is not None:
        lines.append(
            f"  receipt 0x8F72: image {outcome.receipt['image_hash']}, signature {outcome.receipt['signature']}"
        )
    return lines if outcome.ok(str(NEW)) else [*lines, "  not as it should be"]


def _use(when: str, use: RadioUse | None) -> str:
    if use is None:
        return f"{when}: not measured"
    return f"{when}: awake {use.awake_s:.3f} s of {use.seconds:.1f} s of air ({use.share:.2%}), {use.polls} polls"


def _places(workdir: Path, play: Play) -> list[tuple[str, Path]]:
    prepared = play.prepared
    if prepared is None:
        return []
    places = [(f"{one.role}: slots, journal", one.config.parent) for one in prepared.devices]
    places += [(f"{one.role}: log", one.config.parent / f"{one.role}.log") for one in prepared.devices]
    return [
        *places,
        ("hub: log, requests", prepared.hub_folder),
        ("images", workdir / "images"),
        ("keys", prepared.keys),
        ("capture, and its keys", prepared.air_folder / CAPTURE),
    ]
