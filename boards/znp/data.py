"""APS data through AF: requests with their confirms, as many at a time as a chip has buffers."""

from __future__ import annotations

import asyncio
from typing import Any

import zigpy_znp.commands as c
import zigpy_znp.types as t
from zigpy_znp.exceptions import InvalidCommandResponse

from agent.events import ApsRequest, RadioResult, RadioStatus
from boards.znp.link import MtLink

IN_FRAME_OCTETS = 230  # AF_DATA_REQUEST_EXT carries no more; longer goes through AF_DATA_STORE
STORE_OCTETS = 240
AT_ONCE = 16  # requests in flight; zigpy allows a CC2652 as many
CONFIRM_TIMEOUT_S = 30.0  # a fragmented message with every retry ends well before
BROADCASTS = 0xFFF8

STATUS_OF_CONFIRM = {
    t.Status.SUCCESS: RadioStatus.OK,
    t.Status.MAC_NO_ACK: RadioStatus.NOT_ACKNOWLEDGED,
    t.Status.APS_NO_ACK: RadioStatus.NOT_ACKNOWLEDGED,
    t.Status.NWK_NO_ACK: RadioStatus.NOT_ACKNOWLEDGED,
    t.Status.MAC_TRANSACTION_EXPIRED: RadioStatus.NOT_ACKNOWLEDGED,
    t.Status.MAC_CHANNEL_ACCESS_FAILURE: RadioStatus.NOT_ACKNOWLEDGED,
    t.Status.NWK_NO_ROUTE: RadioStatus.NO_ROUTE,
    t.Status.APS_FAIL: RadioStatus.NO_NETWORK,
    t.Status.NWK_INVALID_REQUEST: RadioStatus.NO_NETWORK,
}


class _Announced(t.LongBytes):  # type: ignore[misc]
    """The length of data that AF_DATA_STORE will bring, without the data."""

    def serialize(self) -> bytes:
        return len(self).to_bytes(2, "little")


def result_of(status: Any) -> RadioResult:
    """A Z-Stack status in the port's words; what has no word of its own is a refusal with the status' name."""
    known = STATUS_OF_CONFIRM.get(status)
    if known is RadioStatus.OK:
        return RadioResult(known)
    return RadioResult(known or RadioStatus.REFUSED, detail=f"{getattr(status, 'name', status)} (0x{int(status):02X})")


class DataPort:
    """AF of one open link."""

    def __init__(self, link: MtLink) -> None:
        self._link = link
        self._confirms: dict[int, asyncio.Future[Any]] = {}
        self._transaction = 0
        self._places = asyncio.Semaphore(AT_ONCE)
        self._long = asyncio.Lock()  # the chip holds one long request at a time
        link.callback_for_response(c.AF.DataConfirm.Callback(partial=True), self._confirmed)

    def _confirmed(self, confirm: Any) -> None:
        waiting = self._confirms.get(confirm.TSN)
        if waiting is not None and not waiting.done():
            waiting.set_result(confirm.Status)

    async def send(self, request: ApsRequest) -> RadioResult:
        """Until the chip's confirm; ZDO frames and broadcasts get none and end with the chip's word that it sends."""
        if request.destination_endpoint == 0 or request.destination >= BROADCASTS:
            await self._submit(request, request.payload[0] if request.payload else 0)
            return RadioResult(RadioStatus.OK)
        async with self._places:
            transaction = self._next_transaction()
            waiting = self._confirms[transaction] = self._link.make_waiter()
            try:
                await self._submit(request, transaction)
                async with asyncio.timeout(CONFIRM_TIMEOUT_S):
                    return result_of(await waiting)
            except InvalidCommandResponse as error:
                return result_of(error.response.Status)
            finally:
                waiting.cancel()
                del self._confirms[transaction]

    def _next_transaction(self) -> int:
        """A transaction id that nobody waits for."""
        while True:
            self._transaction = self._transaction % 255 + 1
            if self._transaction not in self._confirms:
                return self._transaction

    async def _submit(self, request: ApsRequest, transaction: int) -> None:
        if len(request.payload) <= IN_FRAME_OCTETS:
            await self._link.request(_af_request(request, transaction, request.payload), RspStatus=t.Status.SUCCESS)
            return
        async with self._long:
            announced = _af_request(request, transaction, _Announced(request.payload))
            await self._link.request(announced, RspStatus=t.Status.SUCCESS)
            for index in range(0, len(request.payload), STORE_OCTETS):
                await self._store(index, request.payload[index : index + STORE_OCTETS])
            await self._store(0, b"")  # no data: send it

    async def _store(self, index: int, data: bytes) -> None:
        await self._link.request(c.AF.DataStore.Req(Index=index, Data=t.ShortBytes(data)), RspStatus=t.Status.SUCCESS)


def _af_request(request: ApsRequest, transaction: int, data: bytes) -> Any:
    mode = t.AddrMode.Broadcast if request.destination >= BROADCASTS else t.AddrMode.NWK
    options = t_options(request.aps_ack and request.destination < BROADCASTS, request.aps_security)
    return c.AF.DataRequestExt.Req(
        DstAddrModeAddress=t.AddrModeAddress(mode=mode, address=request.destination),
        DstEndpoint=request.destination_endpoint,
        DstPanId=0x0000,
        SrcEndpoint=request.source_endpoint,
        ClusterId=request.cluster,
        TSN=transaction,
        Options=options,
        Radius=0,
        Data=data,
    )


def t_options(acknowledged: bool, secured: bool) -> Any:
    """AF transmit options: 0x10 APS ack, 0x40 APS security."""
    options = c.af.TransmitOptions
    return (options.ACK_REQUEST if acknowledged else options.NONE) | (
        options.ENABLE_SECURITY if secured else options.NONE
    )
