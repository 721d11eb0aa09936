"""RAUC and SWUpdate, where they are installed: each installs the same file from its own signed bundle into the slot.

Both get what they need to run beside anything else: keys, a configuration and, for RAUC, a D-Bus of its own. RAUC's
figures are those of its service and its client together, without the bus; its bundle is a squashfs, so it needs root,
mksquashfs and dbus-daemon.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.bench.measure import BenchError, Cost, PeakMemory, cost_of

START_LIMIT_S = 20.0


class Rival(Protocol):
    """Another tool."""

    @property
    def name(self) -> str: ...

    def install(self, file: Path, folder: Path, slot: Path) -> Cost:
        """Install ``file``; the slot is compared with it afterwards. Raises BenchError."""


def installed() -> list[Rival]:
    """Those that can run here."""
    found: list[Rival] = []
    if os.geteuid() == 0 and all(map(shutil.which, ("rauc", "mksquashfs", "dbus-daemon", "openssl"))):
        found.append(Rauc(_version(["rauc", "--version"], "RAUC")))
    if all(map(shutil.which, ("swupdate", "openssl"))):
        found.append(SwUpdate(_version(["swupdate", "--version"], "SWUpdate")))
    return found


def _version(command: list[str], name: str) -> str:
    said = subprocess.run(command, check=False, capture_output=True, text=True).stdout.split()
    number = next((word for word in said if word[:1].isdigit()), "")
    return f"{name} {number}".strip()


@dataclass(frozen=True, slots=True)
class Rauc:
    """A slot of type raw, a bundle in the format plain, no boot loader."""

    name: str

    def install(self, file: Path, folder: Path, slot: Path) -> Cost:
        """See ``Rival``."""
        with tempfile.TemporaryDirectory(prefix="rauc-", dir=folder) as name:
            work = Path(name)
            bundle = self._make_bundle(file, work)
            config = self._configure(work, slot)
            with _session_bus(work) as environment:
                cost = self._run(bundle, config, environment)
        _compare(file, slot)
        return cost

    @staticmethod
    def _make_bundle(file: Path, work: Path) -> Path:
        _make_certificate(work)
        content = work / "content"
        content.mkdir()
        shutil.copy(file, content / "image.img")
        (content / "manifest.raucm").write_text(
            "[update]\ncompatible=bench\nversion=1\n[bundle]\nformat=plain\n[image.rootfs]\nfilename=image.img\n",
            encoding="ascii",
        )
        keys = ["--cert", str(work / "cert.pem"), "--key", str(work / "key.pem")]
        _run(["rauc", *keys, "bundle", str(content), str(work / "bundle.raucb")])
        return work / "bundle.raucb"

    @staticmethod
    def _configure(work: Path, slot: Path) -> Path:
        (work / "mnt").mkdir()
        running = work / "running.img"
        running.touch()
        config = work / "system.conf"
        config.write_text(
            f"[system]\ncompatible=bench\nbootloader=noop\nmountprefix={work}/mnt\n[keyring]\npath={work}/cert.pem\n"
            f"[slot.rootfs.0]\ndevice={running}\ntype=raw\nbootname=A\n"
            f"[slot.rootfs.1]\ndevice={slot}\ntype=raw\nbootname=B\n",
            encoding="ascii",
        )
        return config

    @staticmethod
    def _run(bundle: Path, config: Path, environment: dict[str, str]) -> Cost:
        command = ["rauc", f"--conf={config}", "--override-boot-slot=A", "service"]
        log = (bundle.parent / "service.log").open("wb")
        with log:
            service = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
        watch = PeakMemory(service.pid)
        try:
            _wait_for_service(environment)
            start = time.monotonic()
            client = cost_of(["rauc", "install", bundle], environment)
            wall_s = time.monotonic() - start
        finally:
            watch.stop()
            os.kill(service.pid, signal.SIGTERM)  # terminate() would reap it when it has ended by itself
            _, status, usage = os.wait4(service.pid, 0)
            service.returncode = os.waitstatus_to_exitcode(status)
        cpu_s = client.cpu_s + usage.ru_utime + usage.ru_stime
        return Cost(wall_s, cpu_s, watch.peak_octets + client.peak_octets, client.output)


@contextmanager
def _session_bus(work: Path) -> Iterator[dict[str, str]]:
    """A D-Bus for RAUC's service alone; the environment that makes RAUC use it."""
    socket = work / "bus"
    command = ["dbus-daemon", "--session", "--nofork", f"--address=unix:path={socket}"]
    bus = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(socket.exists, "dbus-daemon")
        yield {"DBUS_STARTER_BUS_TYPE": "session", "DBUS_SESSION_BUS_ADDRESS": f"unix:path={socket}"}
    finally:
        bus.terminate()
        bus.wait()


def _wait_for_service(environment: dict[str, str]) -> None:
    def answers() -> bool:
        command = ["rauc", "status"]
        return not subprocess.run(
            command, check=False, capture_output=True, env={**os.environ, **environment}
        ).returncode

    _wait(answers, "rauc service")


def _wait(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + START_LIMIT_S
    while not condition():
        if time.monotonic() > end:
            raise BenchError(f"{what} did not come up within {START_LIMIT_S:g} s")
        time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class SwUpdate:
    """The handler raw, installed directly, as a stream."""

    name: str

    def install(self, file: Path, folder: Path, slot: Path) -> Cost:
        """See ``Rival``."""
        with tempfile.TemporaryDirectory(prefix="swu-", dir=folder) as name:
            work = Path(name)
            temporary = work / "tmp"
            temporary.mkdir()
            archive = self._make_archive(file, work, slot)
            command: list[str | Path] = ["swupdate", "-k", work / "cert.pem", "-H", "bench:1.0", "-i", archive]
            cost = cost_of(command, {"TMPDIR": str(temporary)})
        _compare(file, slot)
        return cost

    @staticmethod
    def _make_archive(file: Path, work: Path, slot: Path) -> Path:
        _make_certificate(work)
        octets = file.read_bytes()
        description = work / "sw-description"
        description.write_text(
            'software = { version = "1.0"; hardware-compatibility: [ "1.0" ]; images: ( { filename = "image.img"; '
            f'type = "raw"; device = "{slot}"; installed-directly = true; '
            f'sha256 = "{hashlib.sha256(octets).hexdigest()}"; }} ); }}\n',
            encoding="ascii",
        )
        signature = work / "sw-description.sig"
        _run(["openssl", "cms", "-sign", "-in", str(description), "-out", str(signature), "-outform", "DER", "-binary",
              "-nosmimecap", "-signer", str(work / "cert.pem"), "-inkey", str(work / "key.pem")])  # fmt: skip
        members = [(path.name, path.read_bytes()) for path in (description, signature)]
        archive = work / "image.swu"
        archive.write_bytes(_cpio([*members, ("image.img", octets)]))
        return archive


def _cpio(members: list[tuple[str, bytes]]) -> bytes:
    """The cpio form with checksums ("crc", magic 070702) that SWUpdate reads."""
    parts = []
    for number, (name, data) in enumerate([*members, ("TRAILER!!!", b"")]):
        mode, checksum = (0o100644, sum(data) & 0xFFFFFFFF) if number < len(members) else (0, 0)
        text = name.encode() + b"\0"
        fields = [number + 1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(text), checksum]
        head = b"070702" + b"".join(b"%08X" % value for value in fields) + text
        parts += [head, bytes(-len(head) % 4), data, bytes(-len(data) % 4)]
    return b"".join(parts)


def _make_certificate(work: Path) -> None:
    _run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
          "-subj", "/CN=bench", "-keyout", str(work / "key.pem"), "-out", str(work / "cert.pem")])  # fmt: skip


def _run(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise BenchError(f"{command[0]} ended with {done.returncode}: {words[-1] if words else 'no words'}")


def _compare(file: Path, slot: Path) -> None:
    """What the other tool wrote is what it was given."""
    octets = file.read_bytes()
    with slot.open("rb") as medium:
        if medium.read(len(octets)) != octets:
            raise BenchError(f"{slot} does not hold what was to be installed")
