"""The radio port on a CC2652 with Z-Stack ZNP firmware, in every role: coordinator, router, end device.

The chip answers ZDO requests of others by itself, so of ZDO only responses and announcements come up as indications
(destination endpoint 0, payload from the sequence number on). What a GB host must know of real chips: the APS security
option uses the key that ``SetLinkKey`` gave; messages longer than one frame are fragmented by the chip, up to its own
maximum transfer size.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
import zigpy_znp.commands as c

from agent.errors import RadioError
from agent.events import (
    ApsIndication,
    ApsRequest,
    DeviceLeft,
    DiscoverNetworks,
    FormNetwork,
    JoinNetwork,
    LeaveNetwork,
    MoveNetwork,
    NetworkChanged,
    NetworkInfo,
    NetworkLost,
    PermitInstallCode,
    PermitJoin,
    PermitLinkKey,
    RadioEvent,
    RadioLost,
    RadioRequest,
    RadioResult,
    RadioStatus,
    RestoreNetwork,
    SetLinkKey,
    SetPollRate,
)
from boards.znp.data import DataPort, result_of
from boards.znp.link import REQUEST_ERRORS, MtLink, open_link
from boards.znp.network import EndpointSettings, NetworkPort
from boards.znp.poll_rate import set_poll_rate

ANNOUNCEMENTS = (0x0013, 0x001F)  # Device_annce, Parent_annce
RESPONSE = 0x8000
# What may leave the chip on another network, or on none.
MEMBERSHIP = (FormNetwork, JoinNetwork, RestoreNetwork, DiscoverNetworks, MoveNetwork, LeaveNetwork)

log = structlog.get_logger(__name__)


class ZnpRadio:
    """``agent.ports.RadioPort``. ``path`` is a tty, a pty or ``socket://host:port``."""

    def __init__(
        self,
        path: str,
        endpoint: int = 1,
        profile: int = 0x0109,
        device: int = 0x0000,
        input_clusters: tuple[int, ...] = (),
        output_clusters: tuple[int, ...] = (),
        *,
        baudrate: int = 115200,
    ) -> None:
        self.path = path
        self._baudrate = baudrate
        self._endpoint = EndpointSettings(endpoint, profile, device, input_clusters, output_clusters)
        self._on_event: Callable[[RadioEvent], None] | None = None
        self._link: MtLink | None = None
        self._own_eui: Any = None
        self._here: NetworkInfo | None = None
        self._looks: set[asyncio.Task[None]] = set()

    async def open(self, on_event: Callable[[RadioEvent], None]) -> None:
        """Find the chip, reset it (its network stays in NV) and listen. Raises RadioError."""
        await self.close()
        link = await open_link(self.path, self._baudrate, self._lost, self._message)
        self._on_event = on_event
        self._link = link
        self._data = DataPort(link)
        self._network = NetworkPort(link, self._endpoint)
        link.listen()
        link.callback_for_response(c.ZDO.MsgCbIncoming.Callback(partial=True), self._zdo_message)
        link.callback_for_response(c.ZDO.LeaveInd.Callback(partial=True), self._leave)
        link.callback_for_response(c.SYS.ResetInd.Callback(partial=True), self._reset)
        link.callback_for_response(c.ZDO.StateChangeInd.Callback(partial=True), self._state_changed)

    async def close(self) -> None:
        """Let go of the port; no event after this. The chip keeps its network."""
        self._on_event = None
        link, self._link = self._link, None
        self._here = None
        for look in self._looks:
            look.cancel()
        if link is not None:
            link.give_up("closed")
            await link.disconnect()

    async def execute(self, request: RadioRequest) -> RadioResult:
        """Carry out one request to its end. Never raises for what the air, the chip or the line does."""
        link = self._link
        if link is None or link.is_lost:
            return RadioResult(RadioStatus.RADIO_LOST, detail=f"{self.path} is not open")
        try:
            return await self._carry_out(link, request)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # somebody wants this very task to end; otherwise the link woke us because it is lost
            return RadioResult(RadioStatus.RADIO_LOST, detail=f"{self.path} went away")
        except RadioError as error:
            return RadioResult(RadioStatus.REFUSED, detail=str(error))
        except REQUEST_ERRORS as error:
            return self._failed(link, error)

    def _failed(self, link: MtLink, error: BaseException) -> RadioResult:
        if link.is_lost:
            return RadioResult(RadioStatus.RADIO_LOST, detail=f"{self.path} went away")
        if isinstance(error, TimeoutError):
            return RadioResult(RadioStatus.TIMEOUT, detail="no answer in time")
        response = getattr(error, "response", None)
        status = getattr(response, "Status", None)
        return RadioResult(RadioStatus.REFUSED, detail=str(error)) if status is None else result_of(status)

    async def _carry_out(self, link: MtLink, request: RadioRequest) -> RadioResult:
        network = self._network
        if isinstance(request, MEMBERSHIP):
            self._here = None  # until the request says where the chip is
        match request:
            case ApsRequest():
                result = await self._send(request)
            case FormNetwork():
                result = await network.form(request)
            case JoinNetwork():
                result = await network.join(request)
            case RestoreNetwork():
                result = await network.restore()
            case DiscoverNetworks():
                result = await network.discover(request)
            case MoveNetwork():
                result = await network.move(request)
            case LeaveNetwork():
                result = await network.leave()
            case PermitJoin():
                result = await network.permit_join(request.duration_s)
            case PermitInstallCode() | PermitLinkKey() | SetLinkKey() | SetPollRate():
                result = await self._set(link, request)
        if result.status is RadioStatus.OK and result.network is not None:
            self._here = result.network
            self._own_eui = result.network.eui
        return result

    async def _set(
        self, link: MtLink, request: PermitInstallCode | PermitLinkKey | SetLinkKey | SetPollRate
    ) -> RadioResult:
        """What the chip only has to remember."""
        match request:
            case PermitInstallCode() | PermitLinkKey():
                return await self._network.permit(request)
            case SetLinkKey(eui, short_address, key):
                return await self._network.set_link_key(eui, short_address, key)
            case SetPollRate():
                return await set_poll_rate(link, request)

    async def _send(self, request: ApsRequest) -> RadioResult:
        """The chip takes the profile from the source endpoint: another one cannot be sent."""
        zdo = request.source_endpoint == 0
        if not zdo and (request.source_endpoint, request.profile) != (self._endpoint.number, self._endpoint.profile):
            return RadioResult(
                RadioStatus.REFUSED,
                detail=f"endpoint {request.source_endpoint} with profile 0x{request.profile:04X} is not registered",
            )
        return await self._data.send(request)

    def _emit(self, event: RadioEvent) -> None:
        if self._on_event is not None:
            self._on_event(event)

    def _lost(self, reason: str) -> None:
        if self._link is not None:
            self._emit(RadioLost(reason))

    def _reset(self, _indication: Any) -> None:
        """A reset that we did not ask for: whatever was in the chip's RAM is gone."""
        if not self._network.reset_expected and self._link is not None:
            self._link.give_up("reset")

    def _state_changed(self, _indication: Any) -> None:
        """Out of the blue, it is all that Z-Stack says of another short address (ZDO_AddrChangeIndicationCB)."""
        if self._here is not None:
            look = asyncio.get_running_loop().create_task(self._look(self._here))
            self._looks.add(look)
            look.add_done_callback(self._looks.discard)

    async def _look(self, before: NetworkInfo) -> None:
        """Tell where the chip is now, when that is not where it was."""
        try:
            now = await self._network.look(before.logical_type)
        except (RadioError, *REQUEST_ERRORS) as error:
            log.warning("the radio does not tell where it is", error=str(error))
            return
        if self._here == before and now != before:
            self._here = now
            self._emit(NetworkChanged(now))

    def _message(self, message: Any) -> None:
        self._emit(
            ApsIndication(
                source=int(message.SrcAddr),
                source_endpoint=int(message.SrcEndpoint),
                destination_endpoint=int(message.DstEndpoint),
                cluster=int(message.ClusterId),
                payload=bytes(message.Data),
                aps_security=bool(message.SecurityUse),
                broadcast=bool(message.WasBroadcast),
                link_quality=int(message.LQI),
            )
        )

    def _zdo_message(self, message: Any) -> None:
        if not message.ClusterId & RESPONSE and message.ClusterId not in ANNOUNCEMENTS:
            return
        self._emit(
            ApsIndication(
                source=int(message.Src),
                source_endpoint=0,
                destination_endpoint=0,
                cluster=int(message.ClusterId),
                payload=bytes((message.TSN,)) + bytes(message.Data),
                aps_security=bool(message.SecurityUse),
                broadcast=bool(message.IsBroadcast),
            )
        )

    def _leave(self, indication: Any) -> None:
        """ZDO_LEAVE_IND tells of the chip itself and of others."""
        if indication.Rejoin:
            return
        eui = int.from_bytes(indication.IEEE.serialize(), "little")
        self._emit(NetworkLost("the hub told the device to leave") if eui == self._own_eui else DeviceLeft(eui))
