"""Forming, joining, restoring and leaving through BDB, in the order that Z-Stack 3 wants (NV first, then reset)."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import Any

import zigpy.util
import zigpy_znp.commands as c
import zigpy_znp.types as t
from zigpy_znp.exceptions import SecurityError
from zigpy_znp.types.nvids import OsalNvIds

from agent.errors import RadioError
from agent.events import (
    DiscoverNetworks,
    FormNetwork,
    JoinNetwork,
    LogicalType,
    MoveNetwork,
    NetworkInfo,
    PermitInstallCode,
    PermitLinkKey,
    RadioResult,
    RadioStatus,
)
from boards.znp.discovery import discover
from boards.znp.link import ANSWER_TIMEOUT_S, REQUEST_ERRORS, MtLink

COMMISSIONING_TIMEOUT_S = 120.0  # sixteen channels, several tries each
STATE_TIMEOUT_S = 15.0
NIB_TRIES, NIB_PERIOD_S = 10, 0.5
LONG_INSTALL_CODE_OCTETS = 18  # the only length that the chip takes as a code; shorter ones go as the key they make

STATUS = c.app_config.BDBCommissioningStatus
MODE = c.app_config.BDBCommissioningMode
STARTED_STATES = {
    LogicalType.COORDINATOR: t.DeviceState.StartedAsCoordinator,
    LogicalType.ROUTER: t.DeviceState.JoinedAsRouter,
    LogicalType.END_DEVICE: t.DeviceState.JoinedAsEndDevice,
}
STATUS_OF_BDB = {
    STATUS.NoNetwork: RadioStatus.NO_NETWORK,
    STATUS.TCLKExFailure: RadioStatus.KEY_EXCHANGE_FAILED,
    STATUS.Failure: RadioStatus.NO_NETWORK,
}
NOTHING_IN_NV = RadioResult(RadioStatus.NO_NETWORK, detail="the radio's NV memory holds no network")


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """The one application endpoint of this host."""

    number: int
    profile: int
    device: int
    input_clusters: tuple[int, ...]
    output_clusters: tuple[int, ...]


class NetworkPort:
    """BDB of one open link. ``reset_expected`` is True while a reset of the chip is ours."""

    def __init__(self, link: MtLink, endpoint: EndpointSettings) -> None:
        self._link = link
        self._endpoint = endpoint
        self._state: Any = None
        self._state_waiter: asyncio.Future[Any] | None = None
        self.reset_expected = False
        link.callback_for_response(c.ZDO.StateChangeInd.Callback(partial=True), self._note_state)

    def _note_state(self, indication: Any) -> None:
        self._state = indication.State
        if self._state_waiter is not None and not self._state_waiter.done():
            self._state_waiter.set_result(None)

    async def form(self, request: FormNetwork) -> RadioResult:
        """A new centralised network with a network key drawn here."""
        channels = t.Channels.from_channel_list([request.channel])
        await self._start_anew(LogicalType.COORDINATOR, request.extended_pan_id)
        pan_id = 0xFFFF if request.pan_id is None else request.pan_id
        for item, value in {
            OsalNvIds.PANID: t.uint16_t(pan_id),
            OsalNvIds.CHANLIST: channels,
            OsalNvIds.PRECFGKEY: t.KeyData(secrets.token_bytes(16)),
            OsalNvIds.PRECFGKEYS_ENABLE: t.Bool(False),
        }.items():
            await self._write(item, value)
        await self._reset()
        await self._register()
        await self._set_channels(channels)
        status = await self._commission(MODE.NwkFormation)
        if status != STATUS.Success:
            return _refused(status)
        await self._require_install_codes()
        return await self._started(LogicalType.COORDINATOR)

    async def join(self, request: JoinNetwork) -> RadioResult:
        """Join with the key of the install code; with none, by the default key, as generic gateways let devices in."""
        mode, key = _joining_key(request)
        await self._start_anew(request.logical_type, request.extended_pan_id)
        await self._reset()
        await self._register()
        await self._set_channels(t.Channels.from_channel_list(list(request.channels)))
        await self._success(
            c.AppConfig.BDBSetActiveDefaultCentralizedKey.Req(CentralizedLinkKeyModes=mode, InstallCode=key)
        )
        status = await self._commission(MODE.NwkSteering)
        return await self._started(request.logical_type) if status == STATUS.Success else _refused(status)

    async def discover(self, request: DiscoverNetworks) -> RadioResult:
        """Who sends beacons here. The reset puts the chip where it scans for its host: off its network."""
        await self._reset()
        return await discover(self._link, request)

    async def move(self, request: MoveNetwork) -> RadioResult:
        """The network in NV, elsewhere. Untested on metal.

        Z-Stack brings a router back as its NIB says, without a word on the air and without looking elsewhere
        (ZDO_StartDevice in MODE_RESUME); an end device it makes rejoin, from its NIB's channel on. MT offers a rejoin
        to end devices alone (APP_CNF_BDB_ZED_ATTEMPT_RECOVER_NWK), so for both the NIB is given the new place, as tools
        that restore a coordinator's backup do.
        """
        nib = await self._read(OsalNvIds.NIB, t.NIB)
        if nib is None or await self._read(OsalNvIds.BDBNODEISONANETWORK, t.uint8_t) != 1:
            return NOTHING_IN_NV
        await self._reset()  # off the air first: a running stack writes its own NIB
        channels = t.Channels.from_channel_list([request.channel])
        moved = nib.replace(nwkLogicalChannel=request.channel, nwkPanId=request.pan_id, channelList=channels)
        await self._write(OsalNvIds.NIB, moved)
        await self._write(OsalNvIds.CHANLIST, channels)
        await self._reset()
        return await self.restore()

    async def restore(self) -> RadioResult:
        """Back to the network in NV; NO_NETWORK, without a word on the air, when NV holds none."""
        if await self._read(OsalNvIds.BDBNODEISONANETWORK, t.uint8_t) != 1:
            return NOTHING_IN_NV
        kind = await self._read(OsalNvIds.LOGICAL_TYPE, t.uint8_t)
        if kind not in (0, 1, 2):
            raise RadioError(f"the radio's NV item 0x0087 holds {kind}, which is no logical type")
        logical_type = LogicalType(int(kind))
        await self._register()
        if (await self._link.request(c.UTIL.GetDeviceInfo.Req())).DeviceState == STARTED_STATES[logical_type]:
            return RadioResult(RadioStatus.OK, await self.look(logical_type))  # it is on it all the time
        status = await self._commission(MODE.NONE)
        if status != STATUS.NetworkRestored:
            return RadioResult(RadioStatus.NOT_TAKEN_BACK, await self.look(logical_type), f"BDB: {status.name}")
        if logical_type is LogicalType.COORDINATOR:
            await self._require_install_codes()
        return await self._started(logical_type)

    async def leave(self) -> RadioResult:
        """Say goodbye where there is a network to leave, then forget it."""
        info = await self._link.request(c.UTIL.GetDeviceInfo.Req())
        if info.DeviceState in STARTED_STATES.values():
            await self._say_goodbye(info)
        await self._factory_reset()
        return RadioResult(RadioStatus.OK)

    async def _say_goodbye(self, info: Any) -> None:
        """Mgmt_Leave to ourselves makes the chip send a NWK leave; it resets itself when done."""
        self.reset_expected = True
        try:
            await self._link.request_callback_rsp(
                request=c.ZDO.MgmtLeaveReq.Req(
                    DstAddr=info.NWK, IEEE=info.IEEE, RemoveChildren_Rejoin=c.zdo.LeaveOptions.NONE
                ),
                callback=c.SYS.ResetInd.Callback(partial=True),
                timeout=ANSWER_TIMEOUT_S,
            )
        except REQUEST_ERRORS:
            return  # it could not be said; what counts is that the chip forgets
        finally:
            self.reset_expected = False

    async def permit_join(self, duration_s: int) -> RadioResult:
        """Open or close the whole network (broadcast to routers)."""
        await self._success(
            c.ZDO.MgmtPermitJoinReq.Req(
                AddrMode=t.AddrMode.Broadcast, Dst=0xFFFC, Duration=min(max(duration_s, 0), 254), TCSignificance=1
            )
        )
        return RadioResult(RadioStatus.OK)

    async def permit(self, request: PermitInstallCode | PermitLinkKey) -> RadioResult:
        """The Trust Center takes this device with the key of its install code, or with this very key."""
        formats = c.app_config.InstallCodeFormat
        form, octets = formats.KeyDerivedFromInstallCode, b""
        if isinstance(request, PermitLinkKey):
            octets = request.key
        elif len(request.install_code) == LONG_INSTALL_CODE_OCTETS:
            _key_of(request.install_code)  # its CRC is right
            form, octets = formats.InstallCodeAndCRC, request.install_code
        else:
            octets = _key_of(request.install_code)
        ieee = t.EUI64(request.eui.to_bytes(8, "little"))
        await self._success(c.AppConfig.BDBAddInstallCode.Req(InstallCodeFormat=form, IEEE=ieee, InstallCode=octets))
        return RadioResult(RadioStatus.OK)

    async def set_link_key(self, eui: int, short: int, key: bytes) -> RadioResult:
        """The link key of key establishment: what APS security of data uses from now on."""
        await self._success(
            c.ZDO.SetLinkKey.Req(NWK=short, IEEE=t.EUI64(eui.to_bytes(8, "little")), LinkKeyData=t.KeyData(key))
        )
        return RadioResult(RadioStatus.OK)

    # ---- steps

    async def _read(self, item: Any, kind: Any) -> Any:
        """An old NV item, None where there is none. Raises RadioError where it holds something else."""
        try:
            return await self._link.nvram.osal_read(item, item_type=kind)
        except KeyError:
            return None
        except (ValueError, AssertionError, SecurityError) as error:
            raise RadioError(f"the radio's NV item 0x{int(item):04X} cannot be read: {error}") from None

    async def _write(self, item: Any, value: Any) -> None:
        await self._link.nvram.osal_write(item, value, create=True)

    async def _success(self, request: Any) -> None:
        await self._link.request(request, RspStatus=t.Status.SUCCESS)

    async def _reset(self) -> None:
        self.reset_expected = True
        try:
            await self._link.reset()
        finally:
            self.reset_expected = False

    async def _factory_reset(self) -> None:
        await self._write(OsalNvIds.STARTUP_OPTION, t.StartupOptions.ClearState | t.StartupOptions.ClearConfig)
        await self._reset()
        await self._write(OsalNvIds.STARTUP_OPTION, t.StartupOptions.NONE)

    async def _start_anew(self, logical_type: LogicalType, extended_pan_id: int | None) -> None:
        """Factory new, with the role that the chip reads when it is reset next."""
        await self._factory_reset()
        items: dict[Any, Any] = {
            OsalNvIds.LOGICAL_TYPE: t.uint8_t(logical_type.value),
            OsalNvIds.ZDO_DIRECT_CB: t.Bool(True),
        }
        if extended_pan_id is not None:
            items[OsalNvIds.APS_USE_EXT_PANID] = t.EUI64(extended_pan_id.to_bytes(8, "little"))
        for item, value in items.items():
            await self._write(item, value)

    async def _register(self) -> None:
        """Endpoint and ZDO callbacks live in the chip's RAM: again after every reset, harmless without one."""
        endpoint = self._endpoint
        answer = await self._link.request(
            c.AF.Register.Req(
                Endpoint=endpoint.number,
                ProfileId=endpoint.profile,
                DeviceId=endpoint.device,
                DeviceVersion=1,
                LatencyReq=c.af.LatencyReq.NoLatencyReqs,
                InputClusters=list(endpoint.input_clusters),
                OutputClusters=list(endpoint.output_clusters),
            )
        )
        if answer.Status not in (t.Status.SUCCESS, t.Status.APS_DUPLICATE_ENTRY):
            raise RadioError(f"the radio takes no endpoint {endpoint.number}: {answer.Status!r}")
        await self._success(c.ZDO.MsgCallbackRegister.Req(ClusterId=0xFFFF))

    async def _set_channels(self, channels: Any) -> None:
        await self._success(c.AppConfig.BDBSetChannel.Req(IsPrimary=True, Channel=channels))
        await self._success(c.AppConfig.BDBSetChannel.Req(IsPrimary=False, Channel=t.Channels.NO_CHANNELS))

    async def _require_install_codes(self) -> None:
        """BDB policies live in RAM too. GB devices establish keys by ZCL, so BDB's own exchange is not demanded."""
        await self._success(c.AppConfig.BDBSetJoinUsesInstallCodeKey.Req(BdbJoinUsesInstallCodeKey=True))
        await self._success(c.AppConfig.BDBSetTcRequireKeyExchange.Req(BdbTrustCenterRequireKeyExchange=False))

    async def _commission(self, mode: Any) -> Any:
        """Start and wait for the last word: the notification with nothing remaining and not in progress."""
        self._state = None
        done = self._link.make_waiter()

        def note(notification: Any) -> None:
            if notification.Status != STATUS.InProgress and not notification.RemainingModes and not done.done():
                done.set_result(notification.Status)

        listener = self._link.callback_for_response(
            c.AppConfig.BDBCommissioningNotification.Callback(partial=True), note
        )
        try:
            await self._success(c.AppConfig.BDBStartCommissioning.Req(Mode=mode))
            async with asyncio.timeout(COMMISSIONING_TIMEOUT_S):
                return await done
        finally:
            done.cancel()
            self._link.remove_listener(listener)

    async def _started(self, logical_type: LogicalType) -> RadioResult:
        """Wait for the ZDO state of the role, then read where we are."""
        async with asyncio.timeout(STATE_TIMEOUT_S):
            while self._state != STARTED_STATES[logical_type]:
                self._state_waiter = self._link.make_waiter()
                await self._state_waiter
        return RadioResult(RadioStatus.OK, await self.look(logical_type))

    async def look(self, logical_type: LogicalType) -> NetworkInfo:
        """Where we are, from the NIB; a real chip takes a moment to write it."""
        info = await self._link.request(c.UTIL.GetDeviceInfo.Req())
        for _ in range(NIB_TRIES):
            nib = await self._read(OsalNvIds.NIB, t.NIB)
            if nib is not None and nib.nwkLogicalChannel != 0 and nib.nwkPanId != 0xFFFE:
                break
            await asyncio.sleep(NIB_PERIOD_S)
        else:
            raise RadioError("the radio's NV item 0x0021 (NIB) names no network")
        return NetworkInfo(
            eui=int.from_bytes(info.IEEE.serialize(), "little"),
            short_address=int(info.NWK),
            pan_id=int(nib.nwkPanId),
            extended_pan_id=int.from_bytes(nib.extendedPANID.serialize(), "little"),
            channel=int(nib.nwkLogicalChannel),
            logical_type=logical_type,
        )


def _refused(status: Any) -> RadioResult:
    return RadioResult(STATUS_OF_BDB.get(status, RadioStatus.REFUSED), detail=f"BDB: {status.name}")


def _joining_key(request: JoinNetwork) -> tuple[Any, bytes]:
    """What BDBSetActiveDefaultCentralizedKey takes: mode, and code or key."""
    modes = c.app_config.CentralizedLinkKeyMode
    install_code = request.install_code
    if request.link_key:
        return modes.UseProvidedAPSLinkKey, request.link_key
    if not install_code:
        return modes.UseDefault, bytes(16)
    key = _key_of(install_code)
    if len(install_code) == LONG_INSTALL_CODE_OCTETS:
        return modes.UseProvidedInstallCode, install_code
    return modes.UseProvidedAPSLinkKey, key


def _key_of(install_code: bytes) -> bytes:
    """The link key that an install code with its CRC makes. Raises RadioError for a wrong length or CRC."""
    try:
        return bytes(zigpy.util.convert_install_code(install_code).serialize())
    except ValueError:  # its text shows the code, which is a secret
        raise RadioError("install code: wrong length or CRC; copy it from the label anew, CRC included") from None
