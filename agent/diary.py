"""What the device notes of its surroundings for the engineer who comes later: ``agent.update.facts``, from events."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict

from agent.errors import StorageError
from agent.events import COORDINATOR, ApsIndication, NetworkInfo, RadioEvent, format_eui
from agent.update.facts import FactName, Facts
from agent.zigbee import joining, whereabouts
from agent.zigbee.cbke import hub_key
from agent.zigbee.endpoint import EndpointEvent
from agent.zigbee.peer import Peer
from agent.zigbee.polling import PollRateChanged, PollRateRefused


class Diary:
    """Decides nothing, and a full medium does not disturb it. ``utc``: seconds of Unix time."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._link_quality: int | None = None

    def heard(self, event: RadioEvent) -> None:
        """Something came up from the radio; kept in memory until the hub's next answer. A chip tells no LQI of ZDO."""
        if isinstance(event, ApsIndication) and event.source == COORDINATOR and event.destination_endpoint:
            self._link_quality = event.link_quality

    def note(self, event: EndpointEvent, utc: int) -> None:
        """What the endpoint told."""
        match event:
            case joining.NetworkUp():
                self._network_up(event, utc)
            case joining.JoinFailed(status, detail, retry_s):
                self._facts.note(FactName.JOINING, utc, status=status.value, detail=detail, retry_s=retry_s)
            case joining.HubFound(peer):
                self._hub_found(peer, utc)
            case whereabouts.NetworkSought(sight, detail):
                self._facts.note(FactName.SOUGHT, utc, sight=sight.value, detail=detail)
            case whereabouts.AddressChanged(network, _):
                self._network(network, "the chip's own doing", utc)
            case joining.HubLost(reason):
                self._facts.note(FactName.HUB_LOST, utc, reason=reason)
            case joining.HubAnswered(hub_utc):
                self._facts.note(
                    FactName.CONTACT, utc, link_quality=self._link_quality, hub_has_time=hub_utc is not None
                )
            case joining.LeftNetwork(reason, retry_s):
                self._facts.note(FactName.JOINING, utc, status="left the network", detail=reason, retry_s=retry_s)
            case hub_key.LinkKeyFailed(reason, detail, retry_s):
                self._facts.note(FactName.LINK_KEY_FAILED, utc, reason=reason, detail=detail, retry_s=retry_s)
            case PollRateChanged() | PollRateRefused():
                self._polling(event, utc)
            case hub_key.LinkKeyMade():
                self._forget(FactName.LINK_KEY_FAILED)
            case _:
                pass

    def _polling(self, event: PollRateChanged | PollRateRefused, utc: int) -> None:
        if isinstance(event, PollRateRefused):
            self._facts.note(FactName.POLLING, utc, refused=event.status.value, detail=event.detail)
        else:
            self._facts.note(FactName.POLLING, utc, **asdict(event))

    def _network_up(self, event: joining.NetworkUp, utc: int) -> None:
        self._network(event.network, "join" if event.joined else "restore", utc)
        self._forget(FactName.JOINING)

    def _network(self, network: NetworkInfo, by: str, utc: int) -> None:
        self._facts.note(
            FactName.NETWORK,
            utc,
            channel=network.channel,
            pan_id=f"0x{network.pan_id:04X}",
            extended_pan_id=format_eui(network.extended_pan_id),
            short_address=f"0x{network.short_address:04X}",
            logical_type=network.logical_type.name.lower(),
            by=by,
        )

    def _hub_found(self, peer: Peer, utc: int) -> None:
        self._facts.note(
            FactName.HUB,
            utc,
            eui=format_eui(peer.eui),
            short_address=f"0x{peer.short_address:04X}",
            endpoint=peer.endpoint,
        )
        self._forget(FactName.HUB_LOST)
        self._forget(FactName.SOUGHT)

    def _forget(self, name: FactName) -> None:
        with suppress(StorageError):
            self._facts.forget(name)
