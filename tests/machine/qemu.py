"""QEMU as a program of the lab: processors in software, an SD card, a USB serial bridge that leads to a CC2652.

Its output is the guest's journal, so an event of the agent in the guest is waited for as one of a program on the host.
The kernel's console goes to ``console.log``. A root shell on the second serial port is systemd's own debug shell.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from pathlib import Path

from tests.machine.base import MachineError, System
from tests.machine.card import Card
from tests.system.lab import Heard, Running

MEMORY_MIB = 768
KERNEL_OPTIONS = "console=ttyS0 rw rootwait systemd.debug_shell=ttyS1 TERM=dumb"
SOCKET_LIMIT_S = 60.0
JOURNAL_PREFIX = re.compile(r"^\[ *[0-9.]+\] [^ :]+: ")


class Machine(Running):
    """One run of QEMU. ``radio`` is where the emulated CC2652 listens, as ``socket://HOST:PORT``."""

    def __init__(
        self, folder: Path, system: System, card: Card, radio: str, news: threading.Condition, heard: Heard
    ) -> None:
        self.folder = folder
        command = _command(folder, system, card, radio)
        super().__init__("ppmid", command, folder / "journal.log", news, heard)

    @staticmethod
    def json_in(line: str) -> str:
        """Behind the journal's time and name."""
        return JOURNAL_PREFIX.sub("", line)

    def order(self, command: str) -> None:
        """One QMP command without arguments, carried out when this returns."""
        with _connect(self.folder / "qmp.sock") as line, line.makefile("rwb") as stream:
            stream.readline()  # its greeting
            for name in ("qmp_capabilities", command):
                stream.write(json.dumps({"execute": name}).encode() + b"\n")
                stream.flush()
                while "return" not in (answer := json.loads(stream.readline())):
                    if "error" in answer:
                        raise MachineError(f"QMP {command}: {answer['error']}")

    def pull_power(self) -> None:
        """Without a word to the guest: what it had not yet written to its card is gone."""
        self.process.kill()
        self.process.wait()

    def run(self, command: str, limit_s: float = 120.0) -> tuple[int, str]:
        """Exit code and output of a command in the guest's root shell."""
        with _connect(self.folder / "shell.sock") as line:
            line.settimeout(1.0)
            # A shell that edits no lines; what it echoes of this must not look like the begin or the end.
            words = f"echo 'begin:'; {{ {command}\n}} 2>&1; code=$?; echo; echo 'end:' $code"
            line.sendall(f"\nexec sh\nstty -echo; PS1=\n{words}\n".encode())
            heard = ""
            end = time.monotonic() + limit_s
            while (done := re.search(r"^end: (\d+)\r?$", heard, re.MULTILINE)) is None:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise MachineError(f"the machine's shell did not answer {command!r} within {limit_s:g} s: {heard}")
                try:
                    heard += line.recv(65536).decode(errors="replace")
                except TimeoutError:
                    continue
        output = heard[: done.start()].replace("\r", "")
        return int(done.group(1)), output.split("begin:\n")[-1].strip()


def _command(folder: Path, system: System, card: Card, radio: str) -> list[str]:
    host, port = radio.removeprefix("socket://").rsplit(":", 1)
    drive = f"file={card.path},format=raw,if=none,id=card,cache=writeback"
    options = f"{KERNEL_OPTIONS} root=PARTUUID={card.partuuids['']}"
    return [
        *("qemu-system-x86_64", "-nodefaults", "-display", "none", "-machine", "pc", "-cpu", "max"),
        *("-accel", "tcg,thread=multi", "-smp", "2", "-m", str(MEMORY_MIB)),
        *("-kernel", str(system.kernel), "-initrd", str(system.initrd), "-append", options),
        *("-qmp", f"unix:{folder / 'qmp.sock'},server=on,wait=off"),
        *("-chardev", f"file,id=console,path={folder / 'console.log'},append=on", "-serial", "chardev:console"),
        *("-serial", f"unix:{folder / 'shell.sock'},server=on,wait=off"),
        *("-device", "sdhci-pci", "-drive", drive, "-device", "sd-card,drive=card"),
        *("-device", "qemu-xhci"),
        *("-chardev", f"socket,id=radio,host={host},port={port}", "-device", "usb-serial,chardev=radio,serial=HAN"),
        *("-device", "virtio-serial-pci", "-chardev", "file,id=journal,path=/dev/fd/1"),
        *("-device", "virtconsole,chardev=journal"),
    ]


def _connect(path: Path) -> socket.socket:
    line = socket.socket(socket.AF_UNIX)
    end = time.monotonic() + SOCKET_LIMIT_S
    while True:
        try:
            line.connect(str(path))
        except OSError as error:
            if time.monotonic() > end:
                line.close()
                raise MachineError(f"{path}: QEMU does not answer: {error}") from None
            time.sleep(0.2)
        else:
            return line
