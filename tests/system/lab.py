"""The whole programs as child processes: ``air``, ``hub`` and ``run`` as a lab starts them, each ended by its own id.

What a program says is collected by a thread as it is said, so a test waits for words and never for time.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.events import format_eui
from agent.image.ota_form import Form
from agent.image.version import Version
from boards.bench.control_client import HubClient
from boards.bench.demo.prepare import (
    DEVICE_EUIS,
    HARDWARE_VERSION,
    HUB_EUI,
    IMAGE_TYPES,
    MANUFACTURER_CODE,
    Prepared,
    PreparedDevice,
    prepare,
    write_configs,
)
from flash.image_build import base_abi, build_payload
from flash.image_sign import ImageFacts, sign_image, wrap_image

Event = dict[str, object]
ANY = "tcp://127.0.0.1:0"
LIMIT_S = 100.0  # of any wait: an overloaded machine takes some time, a defect takes for ever
DEVICE_EUI = DEVICE_EUIS["ppmid"]


Heard = Callable[[str, Event], None]  # a program's name, and what it said


class Running:
    """One ``han-agent`` command (or another one). ``events`` are its JSON lines, ``lines`` all of them.

    ``heard`` is told each event as it is said, on a thread of the program's own.
    """

    def __init__(
        self, name: str, command: Sequence[str], log: Path, news: threading.Condition, heard: Heard | None = None
    ) -> None:
        self.name = name
        self._heard = heard
        self.log = log
        self.events: list[Event] = []
        self.lines: list[str] = []
        self._news = news
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=log.parent
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        stream = self.process.stdout
        assert stream is not None
        with stream, self.log.open("ab", buffering=0) as file:
            for octets in stream:
                file.write(octets)
                line = octets.decode(errors="replace").rstrip()
                try:
                    event = json.loads(self.json_in(line))
                except ValueError:
                    event = None
                with self._news:
                    self.lines.append(line)
                    if isinstance(event, dict):
                        self.events.append(event)
                    self._news.notify_all()
                if self._heard and isinstance(event, dict):
                    self._heard(self.name, event)
        with self._news:
            self._news.notify_all()

    @staticmethod
    def json_in(line: str) -> str:
        """Where in a line the JSON of an event stands."""
        return line

    def said(self, name: str, **facts: object) -> list[Event]:
        """Every event of this name with these facts."""
        with self._news:
            return [e for e in self.events if e.get("event") == name and facts.items() <= e.items()]

    def wait_for(self, name: str, count: int = 1, limit_s: float = LIMIT_S, **facts: object) -> Event:
        """The ``count``-th such event, as soon as it is there. Fails when the program ends or the time is over."""
        self.until(lambda: len(self.said(name, **facts)) >= count, f"{name} {facts} ({count})", limit_s)
        return self.said(name, **facts)[count - 1]

    def until(self, condition: Callable[[], bool], what: str, limit_s: float = LIMIT_S) -> None:
        """Wait for anything that this or another program of the lab says."""
        end = time.monotonic() + limit_s
        with self._news:
            while not condition():
                left = end - time.monotonic()
                last = "\n".join(self.lines[-15:])
                assert left > 0, f"{self.name} did not say within {limit_s:g} s: {what}; it said:\n{last}"
                ended = self.process.poll() is not None and not self._reader.is_alive()
                assert not ended, f"{self.name} ended before it said: {what}; it said:\n{last}"
                self._news.wait(min(left, 0.5))

    def wait_for_end(self, limit_s: float = LIMIT_S) -> int:
        """Its exit code."""
        code = self.process.wait(limit_s)
        self._reader.join(limit_s)
        return code

    def child(self) -> int:
        """The process id of the only child: of a unit, the first stage and then the image that it became."""
        pid = self.process.pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        return int(child)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it; killed when it does not listen."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(20.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
        code = self.process.wait(20.0)
        self._reader.join(20.0)
        return code


@dataclass
class Lab:
    """One virtual board, hub and device in ``folder``; ``close`` ends whatever still runs."""

    folder: Path
    python: Path
    source: Path  # of the images
    speed: float = 1000.0
    programs: list[Running] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)
    addresses: list[str] = field(default_factory=list)
    heard: Heard | None = None

    def start(self, name: str, *arguments: str) -> Running:
        """``han-agent ARGUMENTS``; its log is NAME.log."""
        command = [str(self.python), "-m", "agent.cli", *arguments]
        running = Running(name, command, self.folder / f"{name}.log", self.news, self.heard)
        self.programs.append(running)
        return running

    def prepare(self, roles: tuple[str, ...] = ("ppmid",)) -> Prepared:
        """Keys and images as the demo makes them."""
        self.prepared = prepare(self.folder, roles, self.source)
        return self.prepared

    def make_image(
        self, version: Version, *, source: Path | None = None, form: Form = Form.GB_PPMID, payload: bytes | None = None
    ) -> Path:
        """One more image, signed with the manufacturer's key of this lab; ``payload`` instead of one from source."""
        payload = payload or build_payload(version, source=source or self.source, base_abi=base_abi())
        key = self.prepared.keys / "manufacturer" / "manufacturer.pem"
        facts = ImageFacts(version=version, base_abi=base_abi(), security_counter=version.minor + 1, upgrade_from=None)
        file = wrap_image(
            sign_image(payload, key, facts),
            form,
            manufacturer_code=MANUFACTURER_CODE,
            image_type=IMAGE_TYPES["ppmid"],
            hardware_versions=(HARDWARE_VERSION, HARDWARE_VERSION),
            header_string=f"HAN agent {version}",
        )
        path = self.folder / "images" / f"{form.value}-{version}.ota"
        path.write_bytes(file)
        return path

    @property
    def device(self) -> PreparedDevice:
        """The only device."""
        return self.prepared.devices[0]

    def start_air(self, *options: str, addresses: Sequence[str] = (ANY, ANY)) -> Running:
        """Two chips, the hub's first. Sets ``addresses``; pass them again to get the same ports."""
        arguments = ["air", "--json", "--speed", str(self.speed), "--nv-dir", str(self.folder / "air"), *options]
        for address, eui in zip(addresses, (HUB_EUI, DEVICE_EUI), strict=True):
            arguments += ["--ncp", address, "--eui", format_eui(eui)]
        air = self.start("air", *arguments)
        air.until(lambda: any(event.get("ready") is True for event in air.events), "ready")
        self.addresses = [str(event["ncp"]) for event in air.events if "ncp" in event]
        return air

    def configure(self, *device_changes: tuple[str, str], hub: str = "") -> None:
        """device.toml and hub.toml, the device provisioned; then (pattern, replacement) for device.toml's text."""
        hub_toml = write_configs(self.prepared, self.addresses[0], {self.device.role: self.addresses[1]})
        self.hub_toml = hub_toml
        hub_toml.write_text(hub_toml.read_text(encoding="utf-8") + hub, encoding="utf-8")
        self.change_config(self.device.config, *device_changes)

    @staticmethod
    def change_config(path: Path, *changes: tuple[str, str]) -> None:
        """Replace what each pattern finds, once."""
        text = path.read_text(encoding="utf-8")
        for pattern, replacement in changes:
            text, found = re.subn(pattern, lambda _match, new=replacement: new, text, count=1, flags=re.MULTILINE)
            assert found, f"{pattern!r} is not in {path}"
        path.write_text(text, encoding="utf-8")

    def start_hub(self) -> Running:
        """On its network."""
        hub = self.start("hub", "hub", "--config", str(self.hub_toml), "--json")
        hub.wait_for("network-up")
        return hub

    def start_device(self) -> Running:
        """The unit, which runs the first stage, which becomes the image."""
        return self.start("device", "run", "--config", str(self.device.config))

    def update(self, image: Path) -> None:
        """The head end asks for it, as ``han-agent head-end update-ppmid-firmware`` does."""
        self.ask("update-ppmid-firmware", path=str(image.resolve()), devices=[format_eui(DEVICE_EUI)])

    def ask(self, command: str, **values: object) -> Event:
        """One request on the hub's control socket."""
        with HubClient(self.prepared.hub_folder / "state" / "control.sock") as client:
            return client.ask(command, **values)

    def logs(self) -> str:
        """Everything that any program wrote, the device's and hub's own log files included."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.rglob("*.log")))

    def close(self) -> None:
        """The device first, so that it can still talk to its radio."""
        for program in reversed(self.programs):
            program.stop()
