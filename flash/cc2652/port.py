"""The serial port: opened once, with errors that say what to do."""

from __future__ import annotations

import errno
import grp
import time
from pathlib import Path
from types import TracebackType

import serial

from agent.errors import RadioError

BAUD_DEFAULT = 115200  # the bootloader measures the rate; up to 1.6 MBd (SWCU185, 11.2.2), as fast as the adapter can


class SerialPort:
    """``rom.Link`` and ``entry.Lines`` on a pyserial port."""

    def __init__(self, path: str, baud: int = BAUD_DEFAULT) -> None:
        """Raises RadioError when the port is not there, not ours, or somebody else's."""
        self.path = path
        self._port = serial.Serial()
        self._port.port = path
        self._port.baudrate = baud
        self._port.exclusive = True
        self._port.timeout = 0
        self._port.write_timeout = 5
        self._port.dtr = False
        self._port.rts = False
        try:
            self._port.open()
        except (serial.SerialException, OSError, ValueError) as error:
            raise RadioError(_explain_open(path, error)) from None

    def __enter__(self) -> SerialPort:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._port.close()

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except (serial.SerialException, OSError) as error:
            raise RadioError(f"{self.path}: went away while writing: {error}") from None

    def read(self, maximum_octets: int, timeout_s: float) -> bytes:
        try:
            self._port.timeout = timeout_s
            data = self._port.read(1)
            if data and maximum_octets > 1:
                self._port.timeout = 0
                data += self._port.read(maximum_octets - 1)
        except (serial.SerialException, OSError, TypeError) as error:  # TypeError: pyserial on a port closed under it
            raise RadioError(f"{self.path}: went away while reading: {error}") from None
        return bytes(data)

    def set_dtr(self, asserted: bool) -> None:
        self._set_line("DTR", asserted)

    def set_rts(self, asserted: bool) -> None:
        self._set_line("RTS", asserted)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def _set_line(self, name: str, asserted: bool) -> None:
        try:
            setattr(self._port, name.lower(), asserted)
        except OSError as error:
            raise RadioError(
                f"{self.path}: has no {name} line ({error.strerror}); enter the bootloader in another way (--entry)"
            ) from None


def _explain_open(path: str, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        ports = sorted(str(port) for port in Path("/dev/serial/by-id").glob("*"))
        return f"{path}: no such port; " + (f"there are {', '.join(ports)}" if ports else "is the radio plugged in?")
    if number in (errno.EACCES, errno.EPERM):
        group = _group(path)
        if group == "root":
            return (
                f"{path}: no permission: it is root's alone; install the udev rule systemd/han-agent.rules, join its "
                "group with: sudo usermod -aG dialout $USER, then log in again"
            )
        return f"{path}: no permission; join its group with: sudo usermod -aG {group} $USER, then log in again"
    if number in (errno.EAGAIN, errno.EBUSY) or "exclusively lock" in str(error):
        return f"{path}: another program has it open; stop it first (the agent: sudo systemctl stop han-agent)"
    return f"{path}: cannot be opened as a serial port: {error}"


def _group(path: str) -> str:
    try:
        return grp.getgrgid(Path(path).stat().st_gid).gr_name
    except (OSError, KeyError):
        return "dialout"
