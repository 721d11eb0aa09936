"""One open MT line to a Z-Stack chip: zigpy-znp's ZNP, its gaps filled, its noise turned down, its loss told."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
import zigpy_znp.commands as c
import zigpy_znp.types as t
from zigpy_znp.api import ZNP
from zigpy_znp.config import CONFIG_SCHEMA
from zigpy_znp.exceptions import CommandNotRecognized, InvalidCommandResponse
from zigpy_znp.frames import GeneralFrame

from agent.errors import RadioError

ANSWER_TIMEOUT_S = 5.0  # a chip answers a synchronous request within milliseconds; a reset takes up to 3 s
OPEN_TIMEOUT_S = 15.0
RETRIEVE_OCTETS = 240  # of the 248 that fit
HUGE_HEAD_OCTETS = 27  # AF_INCOMING_MSG_EXT up to and with the length
INCOMING_EXT_HEADER = c.AF.IncomingMsgExt.Callback.header
NOISY_LOGGERS = ("zigpy_znp", "zigpy", "serialx")

log = structlog.get_logger(__name__)

# what a request on an open line may raise: no answer, another status than success, a command that the chip lacks,
# a line that is gone
REQUEST_ERRORS = (TimeoutError, InvalidCommandResponse, CommandNotRecognized, OSError)


class _ToDebug(logging.Handler):
    """zigpy's own log lines go where ours go, at debug: what matters of them we report in our words."""

    def emit(self, record: logging.LogRecord) -> None:
        log.debug("zigpy", source=record.name, message=record.getMessage())


def quieten_zigpy() -> None:
    """Once a process. Octet dumps (zigpy's debug and trace) are not even made."""
    for name in NOISY_LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(handler, _ToDebug) for handler in logger.handlers):
            logger.addHandler(_ToDebug())
            logger.setLevel(logging.INFO)
            logger.propagate = False


class MtLink(ZNP):  # type: ignore[misc]  # zigpy-znp is published without types
    """``on_lost`` is called once when the line goes away by itself, ``on_message`` with each message received."""

    def __init__(
        self, path: str, baudrate: int, on_lost: Callable[[str], None], on_message: Callable[[Any], None]
    ) -> None:
        super().__init__(_config(path, baudrate))
        self.is_lost = False
        self.poll_rates_ms: dict[int, int] = {}  # what the chip was told on this link: see ``poll_rate``
        self._on_lost = on_lost
        self._on_message = on_message
        self._retrievals: set[asyncio.Task[None]] = set()
        self._waiters: set[asyncio.Future[Any]] = set()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Everybody who waits for this chip is woken by cancellation: see ``ZnpRadio.execute``."""
        super().connection_lost(exc)
        self.give_up(str(exc) if exc else "the line was closed at the other end")

    def give_up(self, reason: str) -> None:
        """Nothing more is to be expected of this chip. Only the first reason is told."""
        if self.is_lost:
            return
        self.is_lost = True
        for waiting in (*self._retrievals, *self._waiters):
            waiting.cancel()
        self.close()
        self._on_lost(reason)

    def make_waiter(self) -> asyncio.Future[Any]:
        """A future that is cancelled when the link is lost."""
        waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        waiter.add_done_callback(self._waiters.discard)
        return waiter

    async def request(self, request: Any, timeout: float | None = None, **response: Any) -> Any:
        """As zigpy-znp, but carried through to its answer even when the caller is cancelled.

        Otherwise the late answer would be taken for that of the next request of its kind.
        """
        task = asyncio.get_running_loop().create_task(self._request(request, timeout, response))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_note_outcome)
            raise

    async def _request(self, request: Any, timeout: float | None, response: dict[str, Any]) -> Any:
        """A line that went away while the request stood in the queue is a ConnectionResetError."""
        try:
            return await super().request(request, timeout=timeout, **response)
        except (AttributeError, RuntimeError):  # zigpy-znp has no transport to write to any more
            if self.is_lost:
                raise ConnectionResetError("the radio went away") from None
            raise

    def listen(self) -> None:
        """Hand messages for endpoints to ``on_message``. Needed again after every ``close``."""
        self.callback_for_response(c.AF.IncomingMsg.Callback(partial=True), self._on_message)

    def frame_received(self, frame: GeneralFrame) -> bool | None:
        """As zigpy-znp, and huge messages, which it cannot parse: their length is told, their octets are not there."""
        if self.is_lost:
            return False
        if frame.header == INCOMING_EXT_HEADER and len(frame.data) >= HUGE_HEAD_OCTETS:
            task = asyncio.get_running_loop().create_task(self._retrieve(bytes(frame.data)))
            self._retrievals.add(task)
            task.add_done_callback(self._retrievals.discard)
            return True
        handled: bool | None = super().frame_received(frame)
        return handled

    async def _retrieve(self, announcement: bytes) -> None:
        """AF_DATA_RETRIEVE until all octets are there, then free them in the chip."""
        length = int.from_bytes(announcement[HUGE_HEAD_OCTETS - 2 : HUGE_HEAD_OCTETS], "little")
        stamp = int.from_bytes(announcement[20:24], "little")
        try:
            octets = announcement[HUGE_HEAD_OCTETS:-3]  # all of them, should a chip have sent them along after all
            if len(octets) != length:
                octets = await self._retrieve_octets(stamp, length)
        except REQUEST_ERRORS as error:
            log.warning("a long message could not be fetched from the radio", octets=length, error=str(error))
            return
        source = int.from_bytes(announcement[5:7], "little")
        self._on_message(
            c.AF.IncomingMsg.Callback(
                GroupId=int.from_bytes(announcement[0:2], "little"),
                ClusterId=int.from_bytes(announcement[2:4], "little"),
                SrcAddr=source,
                SrcEndpoint=announcement[13],
                DstEndpoint=announcement[16],
                WasBroadcast=bool(announcement[17]),
                LQI=announcement[18],
                SecurityUse=bool(announcement[19]),
                TimeStamp=stamp,
                TSN=announcement[24],
                Data=_LongData(octets),
                MacSrcAddr=source,
                MsgResultRadius=announcement[-1],
            )
        )

    async def _retrieve_octets(self, stamp: int, length: int) -> bytes:
        octets = b""
        while len(octets) < length:
            part = min(RETRIEVE_OCTETS, length - len(octets))
            request = c.AF.DataRetrieve.Req(TimeStamp=stamp, Index=len(octets), Length=part)
            octets += (await self.request(request, RspStatus=t.Status.SUCCESS)).Data
        await self.request(c.AF.DataRetrieve.Req(TimeStamp=stamp, Index=0, Length=0))
        return octets


def _note_outcome(task: asyncio.Task[Any]) -> None:
    """Nobody waits for this one any more."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.debug("an abandoned request failed", error=str(error))


class _LongData(t.ShortBytes):  # type: ignore[misc]
    """More octets than AF_INCOMING_MSG itself carries; never sent."""

    def serialize(self) -> bytes:
        return b"\x00"


async def open_link(
    path: str, baudrate: int, on_lost: Callable[[str], None], on_message: Callable[[Any], None]
) -> MtLink:
    """A chip that has answered, freshly reset. Raises RadioError naming the path and the remedy."""
    quieten_zigpy()
    opening = _Opening(on_lost)
    link = MtLink(path, baudrate, opening.lost, on_message)
    task = asyncio.ensure_future(_connect(link))
    either: set[asyncio.Future[Any]] = {task, opening.gone}
    try:
        await asyncio.wait(either, timeout=OPEN_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if opening.gone.done():
            raise RadioError(_hung_up(path))
        if not task.done():
            raise RadioError(_no_answer(path, baudrate))
        _raise_open_error(path, baudrate, task)
        opening.is_over = True
    finally:
        if not opening.is_over:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await link.disconnect()
    return link


class _Opening:
    """Who is told that the line is lost: ``open_link`` while it runs, the radio afterwards."""

    def __init__(self, on_lost: Callable[[str], None]) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_over = False
        self._on_lost = on_lost

    def lost(self, reason: str) -> None:
        if self.is_over:
            self._on_lost(reason)
        elif not self.gone.done():
            self.gone.set_result(None)


async def _connect(link: MtLink) -> None:
    await link.connect()
    await link.reset()


def _raise_open_error(path: str, baudrate: int, task: asyncio.Task[None]) -> None:
    """RadioError in a person's words for what ended ``_connect``; what is a defect of ours passes as it is."""
    error = task.exception()
    if error is None:
        return
    if isinstance(error, FileNotFoundError):
        raise RadioError(f"{path}: no such device; plug the radio in and look at: ls /dev/serial/by-id") from None
    if isinstance(error, PermissionError) and error.errno in (errno.EACCES, errno.EPERM):
        raise RadioError(
            f"{path}: permission denied; join the dialout group: sudo usermod -aG dialout $USER, then log in anew"
        ) from None
    if isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno == errno.EBUSY):
        raise RadioError(f"{path}: another program has the radio open; stop it first") from None
    if isinstance(error, ConnectionRefusedError):
        raise RadioError(f"{path}: nobody listens there; start the bridge, or han-agent air --ncp tcp://...") from None
    if isinstance(error, TimeoutError):
        raise RadioError(_no_answer(path, baudrate)) from None
    if isinstance(error, OSError):
        raise RadioError(f"{path}: cannot be opened: {error.strerror or error}") from None
    if isinstance(error, CommandNotRecognized | InvalidCommandResponse | ValueError):
        raise RadioError(
            f"{path}: speaks MT, but not as Z-Stack 3 does ({error}); flash Z-Stack ZNP firmware"
        ) from None
    raise error


def _no_answer(path: str, baudrate: int) -> str:
    return (
        f"{path}: no answer to SYS.Ping at {baudrate} baud: not a CC2652 with Z-Stack ZNP firmware, or another speed;"
        " check the path, or flash the firmware"
    )


def _hung_up(path: str) -> str:
    return f"{path}: the other end hung up; another program may have the radio open"


def _config(path: str, baudrate: int) -> Any:
    """zigpy-znp's raw configuration. Only a real stick has a bootloader to be skipped with its modem pins."""
    stick = "://" not in path and not str(Path(path).resolve()).startswith("/dev/pts/")
    return CONFIG_SCHEMA(
        {
            "device": {"path": path, "baudrate": baudrate, "flow_control": None},
            "znp_config": {
                "skip_bootloader": stick,
                "sync_request_timeout": ANSWER_TIMEOUT_S,
                "async_response_timeout": ANSWER_TIMEOUT_S,
            },
        }
    )
