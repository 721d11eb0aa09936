"""The MT line of an emulated chip: a TCP port or a pseudo-terminal, one host at a time.

Like a serial port that one program holds open, a second host is refused, after half a second of grace in which the
first may still be hanging up. A host that goes away leaves the chip running.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import select
import termios
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import urlsplit

import structlog

from agent.errors import RadioError, SettingsError
from boards.virtual.ncp.chip import Chip

GRACE_S = 0.5
PTY_POLL_S = 0.05  # how often a pty without a host is looked at
BACKLOG_OCTETS = 262_144  # what a host may leave unread before it is dropped, as a UART would
READ_OCTETS = 65_536

log = structlog.get_logger(__name__)


class Line(Protocol):
    """An open line."""

    address: str

    async def close(self) -> None:
        """Hang up and free the port."""


async def open_line(address: str, chip: Chip) -> Line:
    """``tcp://127.0.0.1:PORT`` (0 picks a port), ``pty`` or ``pty:LINK``. Raises SettingsError or RadioError."""
    if address == "pty" or address.startswith("pty:"):
        return PtyLine(chip, Path(address[4:]) if len(address) > 4 else None)
    host, port = parse_tcp(address)
    line = TcpLine(chip, address)
    await line.listen(host, port)
    return line


def parse_tcp(address: str) -> tuple[str, int]:
    """Host and port of ``tcp://HOST:PORT``; only this machine itself, for MT asks nobody who they are."""
    parts = urlsplit(address)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "tcp" or parts.hostname is None or port is None or parts.path:
        raise SettingsError(f"--ncp {address}: not an address; use tcp://127.0.0.1:PORT, pty or pty:LINK")
    if parts.hostname != "localhost" and not _is_loopback(parts.hostname):
        raise SettingsError(
            f"--ncp {address}: only a loopback address: MT has no passwords; use tcp://127.0.0.1:{port}"
        )
    return parts.hostname, port


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class TcpLine:
    """A listening TCP port in front of one chip."""

    def __init__(self, chip: Chip, asked: str) -> None:
        self.address = ""
        self._chip = chip
        self._asked = asked
        self._server: asyncio.Server | None = None
        self._holder: _TcpHost | None = None
        self._hosts: set[_TcpHost] = set()

    async def listen(self, host: str, port: int) -> None:
        """Raises RadioError where the port cannot be had."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: _TcpHost(self), host, port)
        except OSError as error:
            reason = error.strerror or str(error)
            raise RadioError(f"--ncp {self._asked}: {reason}; name another port, or 0 to have one picked") from None
        self.address = f"socket://{host}:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for host in list(self._hosts):
            host.hang_up()
        self._chip.detach()
        await asyncio.sleep(0)  # lets the transports close

    def connected(self, host: _TcpHost) -> None:
        """A host knocks."""
        self._hosts.add(host)
        if self._holder is None:
            self._take(host)
        else:
            host.wait(GRACE_S)

    def grace_over(self, host: _TcpHost) -> None:
        """A second host has waited long enough."""
        if self._holder is None:
            self._take(host)
        else:
            log.warning("a second host was refused: the line is in use", line=self.address)
            host.hang_up()

    def _take(self, host: _TcpHost) -> None:
        self._holder = host
        self._chip.attach(host.write)
        host.serve()

    def received(self, host: _TcpHost, octets: bytes) -> None:
        """Octets from the host that holds the line."""
        if host is self._holder:
            self._chip.receive(octets)

    def disconnected(self, host: _TcpHost) -> None:
        """A host hung up."""
        self._hosts.discard(host)
        if host is self._holder:
            self._holder = None
            self._chip.detach()


class _TcpHost(asyncio.Protocol):
    """One TCP connection."""

    def __init__(self, line: TcpLine) -> None:
        self._line = line
        self._transport: asyncio.Transport | None = None
        self._grace: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._line.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._grace is not None:
            self._grace.cancel()
        self._line.disconnected(self)

    def data_received(self, data: bytes) -> None:
        self._line.received(self, data)

    def wait(self, delay_s: float) -> None:
        """Nothing is read until it is known whether the line is free."""
        if self._transport is not None:
            self._transport.pause_reading()
        self._grace = asyncio.get_running_loop().call_later(delay_s, self._line.grace_over, self)

    def serve(self) -> None:
        """The line is this host's."""
        if self._transport is not None and not self._transport.is_reading():
            self._transport.resume_reading()

    def write(self, octets: bytes) -> None:
        """To the host; a host that does not read loses octets, not the chip its memory."""
        if self._transport is not None and self._transport.get_write_buffer_size() < BACKLOG_OCTETS:
            self._transport.write(octets)

    def hang_up(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


class PtyLine:
    """A pseudo-terminal; its slave is what a host opens. ``link`` is a symbolic link to it."""

    def __init__(self, chip: Chip, link: Path | None) -> None:
        self._chip = chip
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._master, slave = os.openpty()
        tty.setraw(slave)
        path = os.ttyname(slave)
        os.close(slave)  # so that a host's going away shows as a hang-up
        os.set_blocking(self._master, False)
        self._backlog = bytearray()
        self._poll: asyncio.TimerHandle | None = None
        self.address = path if link is None else str(link)
        if link is not None:
            _make_link(link, path, lambda: os.close(self._master))
        self._wait_for_host()

    def _wait_for_host(self) -> None:
        """A hung-up master is always ready to be read, so it is looked at now and then instead."""
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        if any(event & select.POLLHUP for _, event in poll.poll(0)):
            self._poll = self._loop.call_later(PTY_POLL_S, self._wait_for_host)
            return
        self._poll = None
        self._chip.attach(self._write)
        self._loop.add_reader(self._master, self._read)

    def _read(self) -> None:
        try:
            octets = os.read(self._master, READ_OCTETS)
        except BlockingIOError:
            return
        except OSError:  # EIO: nobody has the slave open
            self._hung_up()
            return
        self._chip.receive(octets)

    def _hung_up(self) -> None:
        self._chip.detach()
        self._loop.remove_reader(self._master)
        self._loop.remove_writer(self._master)
        self._backlog.clear()
        # Answers that the old host did not fetch go; what comes in may already be of the next host.
        termios.tcflush(self._master, termios.TCOFLUSH)
        self._poll = self._loop.call_later(PTY_POLL_S, self._wait_for_host)

    def _write(self, octets: bytes) -> None:
        if len(self._backlog) < BACKLOG_OCTETS:
            self._backlog += octets
        self._flush()

    def _flush(self) -> None:
        try:
            written = os.write(self._master, self._backlog) if self._backlog else 0
        except BlockingIOError:
            written = 0
        except OSError:  # the host is gone; the reader will notice
            written = len(self._backlog)
        del self._backlog[:written]
        if self._backlog:
            self._loop.add_writer(self._master, self._flush)
        else:
            self._loop.remove_writer(self._master)

    async def close(self) -> None:
        self._chip.detach()
        if self._poll is not None:
            self._poll.cancel()
        self._loop.remove_reader(self._master)
        self._loop.remove_writer(self._master)
        os.close(self._master)
        if self._link is not None:
            self._link.unlink(missing_ok=True)


def _make_link(link: Path, target: str, give_up: Callable[[], None]) -> None:
    try:
        if link.is_symlink():
            link.unlink()
        link.symlink_to(target)
    except OSError as error:
        give_up()
        raise SettingsError(f"--ncp pty:{link}: the link cannot be made: {error.strerror}; name another path") from None
