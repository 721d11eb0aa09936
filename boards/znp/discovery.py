"""Network discovery: ZDO_NETWORK_DISCOVERY_REQ, beacons by ZDO_BEACON_NOTIFY_IND, the end by ZDO_NWK_DISCOVERY_CNF.

Z-Stack scans for its host only while its own stack is not started (zigpy-znp's ``tools/network_scan.py`` says the same
of real chips), so the chip must have been reset just before; its network stays in NV. Untested on metal.
"""

from __future__ import annotations

import asyncio
from typing import Any

import zigpy_znp.commands as c
import zigpy_znp.types as t

from agent.events import Beacon, DiscoverNetworks, RadioResult, RadioStatus
from boards.znp.link import MtLink

MARGIN_S = 10.0  # our choice: beside the listening itself
SLOT_S = 0.01536  # aBaseSuperframeDuration at 2.4 GHz
ZSTACK_SUCCESS = 0


async def discover(link: MtLink, request: DiscoverNetworks) -> RadioResult:
    """Every beacon heard, each once. The link's REQUEST_ERRORS where the chip does not play along."""
    beacons: dict[Beacon, None] = {}
    done = link.make_waiter()

    def heard(indication: Any) -> None:
        beacons.update(dict.fromkeys(map(_beacon, indication.Beacons)))

    def over(confirm: Any) -> None:
        if not done.done():
            done.set_result(confirm.Status)

    listeners = (
        link.callback_for_response(c.ZDO.BeaconNotifyInd.Callback(partial=True), heard),
        link.callback_for_response(c.ZDO.NwkDiscoveryCnf.Callback(partial=True), over),
    )
    try:
        channels = t.Channels.from_channel_list(list(request.channels))
        scan = c.ZDO.NetworkDiscoveryReq.Req(Channels=channels, ScanDuration=request.duration)
        await link.request(scan, RspStatus=t.Status.SUCCESS)
        async with asyncio.timeout(len(request.channels) * SLOT_S * (2**request.duration + 1) + MARGIN_S):
            status = await done
    finally:
        done.cancel()
        for listener in listeners:
            link.remove_listener(listener)
    if status != ZSTACK_SUCCESS:
        return RadioResult(RadioStatus.REFUSED, detail=f"network discovery: {status!r}")
    return RadioResult(RadioStatus.OK, beacons=tuple(beacons))


def _beacon(beacon: Any) -> Beacon:
    return Beacon(
        channel=int(beacon.Channel),
        pan_id=int(beacon.PanId),
        extended_pan_id=int.from_bytes(beacon.ExtendedPanId.serialize(), "little"),
        sender=int(beacon.Src),
        permits_joining=bool(beacon.PermitJoining),
        link_quality=int(beacon.LQI),
        stack_profile=int(beacon.StackProfile),
        update_id=int(beacon.UpdateId),
    )
