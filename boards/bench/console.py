"""What the control socket can ask of a running hub: names and values in, JSON-ready answers out. No I/O of its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from agent.errors import HanError, SettingsError
from agent.events import format_eui
from boards.bench.backhaul import Backhaul
from boards.bench.history import Event
from boards.bench.offers import load_offer
from boards.bench.report import Request
from boards.bench.settings import ZIGBEE_EPOCH, ImageOffer, parse_activation, parse_eui, parse_utc

CHANNELS = range(11, 27)
PAN_IDS = range(1, 0xFFFF)


class Console:
    """``dispatch(request)`` answers one request; ``now()`` is the driver's clock."""

    def __init__(self, backhaul: Backhaul, now: Callable[[], float]) -> None:
        self._backhaul = backhaul
        self._now = now
        self._commands: dict[str, Callable[[Event], Event]] = {
            "status": self._status,
            "offer": self._offer,
            "withdraw": self._withdraw,
            "set-activation": self._set_activation,
            "notify": self._notify,
            "pause": self._pause,
            "remove-device": self._remove_device,
            "permit-device": self._permit_device,
            "move-network": self._move_network,
            "update-firmware": self._update_firmware,
            "update-ppmid-firmware": self._update_ppmid_firmware,
            "activate": self._activate,
            "read-version": self._read_version,
        }

    def dispatch(self, request: Event) -> Event:
        """Raises HanError for a command that is none, a value that is wrong, a request that makes no sense."""
        name = str(request.get("command", ""))
        command = self._commands.get(name)
        if command is None:
            raise SettingsError(f"no command {name!r}; there are {', '.join(self._commands)}, wait and events")
        return command(request)

    # looking

    def _status(self, _request: Event) -> Event:
        hub = self._backhaul.hub
        network = hub.network
        where = None
        if network is not None:
            where = {
                "hub_eui": format_eui(network.eui),
                "channel": network.channel,
                "pan_id": f"0x{network.pan_id:04X}",
            }
        return {
            "network": where,
            "devices": [self._device(eui) for eui in hub.members.by_eui],
            "images": [
                {
                    "name": image.name,
                    "file_version": f"0x{image.file_version:08X}",
                    "octets": len(image.octets),
                    "activation": str(image.activation),
                    "devices": [format_eui(eui) for eui in sorted(image.devices)],
                }
                for image in hub.ota.table.images.values()
            ],
        }

    def _device(self, eui: int) -> Event:
        hub = self._backhaul.hub
        member, tunnel, session = hub.members.by_eui[eui], hub.tunnels.get(eui), hub.ota.sessions.get(eui)
        transfer = None
        if session is not None:
            transfer = {
                "file_version": f"0x{session.file_id[2]:08X}",
                "reached": session.reached,
                "blocks": session.blocks,
                "octets": session.octets,
                "repeats": session.repeats,
                "waits": session.waits,
                "pages": session.pages,
                "resumed": session.resumed,
                "ended": session.answer is not None,
            }
        return {
            "eui": format_eui(eui),
            "role": member.role,
            "listed": member.listed,
            "short_address": None if member.short is None else f"0x{member.short:04X}",
            "sleeps": member.sleeps,
            "kept_out": member.kept_out,
            "endpoint": member.endpoint,
            "tunnel": tunnel.state.value if tunnel else "closed",
            "transfer": transfer,
        }

    # images

    def _offer(self, request: Event) -> Event:
        image = load_offer(_offer_of(request))
        self._backhaul.offer(image, self._now())
        return {"image": image.name}

    def _withdraw(self, request: Event) -> Event:
        name = _text(request, "image")
        if self._backhaul.hub.ota.table.withdraw(name) is None:
            raise SettingsError(f"no image {name} is on offer")
        return {"image": name}

    def _set_activation(self, request: Event) -> Event:
        activation = parse_activation(_text(request, "activate"), "", "activate")
        self._backhaul.set_activation(_text(request, "image"), activation, self._now())
        return {"activation": str(activation)}

    def _notify(self, _request: Event) -> Event:
        self._backhaul.hub.notify_all(self._now())
        return {}

    def _pause(self, request: Event) -> Event:
        seconds = request.get("seconds")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
            raise SettingsError(f"seconds: {seconds!r} is not a number of seconds")
        self._backhaul.hub.ota.paused_until = self._now() + seconds
        return {"seconds": seconds}

    # the network

    def _remove_device(self, request: Event) -> Event:
        devices, rejoin, keep_out = _devices(request), request.get("rejoin") is True, request.get("keep_out") is True
        for device in devices:
            if not self._backhaul.hub.remove(device, rejoin=rejoin, keep_out=keep_out):
                raise HanError(f"{format_eui(device)}: the hub does not know where this device is")
        return {"devices": [format_eui(device) for device in devices]}

    def _permit_device(self, request: Event) -> Event:
        devices = _devices(request)
        for device in devices:
            if not self._backhaul.hub.permit(device, self._now()):
                raise SettingsError(f"{format_eui(device)}: no install code of it in hub.toml's [[devices]]")
        return {"devices": [format_eui(device) for device in devices]}

    def _move_network(self, request: Event) -> Event:
        channel = _whole(request, "channel", CHANNELS)
        pan_id = None if request.get("pan_id") is None else _whole(request, "pan_id", PAN_IDS)
        if not self._backhaul.hub.move_network(channel, pan_id, self._now()):
            raise SettingsError("move-network: the hub is on no network yet; wait for its network-up")
        return {"channel": channel}

    # service requests

    def _update_firmware(self, request: Event) -> Event:
        if request.get("activate", "wait") not in ("", "wait"):
            raise SettingsError("activate: 11.1 only distributes; an HCALCS holds its image until 11.3")
        offer = _offer_of(request | {"form": request.get("form", "gb-hcalcs")})
        return self._asked(self._backhaul.update_firmware(load_offer(offer), _devices(request), self._now()))

    def _update_ppmid_firmware(self, request: Event) -> Event:
        image = load_offer(_offer_of(request))
        return self._asked(self._backhaul.update_ppmid_firmware(image, _devices(request), self._now()))

    def _activate(self, request: Event) -> Event:
        image_hash = _hash(request)
        when = str(request.get("at", "now"))
        asked = []
        for device in _devices(request):
            if when == "cancel":
                asked.append(self._backhaul.cancel_activation(device, self._now(), image_hash))
            else:
                moment = None if when == "now" else _moment(when)
                asked.append(self._backhaul.activate_firmware(device, self._now(), image_hash, moment))
        return self._asked(asked)

    def _read_version(self, request: Event) -> Event:
        return self._asked([self._backhaul.read_firmware_version(device, self._now()) for device in _devices(request)])

    def _asked(self, requests: list[Request]) -> Event:
        return {
            "requests": [
                {
                    "service_request": request.service_request,
                    "device": format_eui(request.device_eui),
                    "originator": format_eui(request.originator),
                    "counter": request.counter,
                    "octets": request.octets.hex(),
                }
                for request in requests
            ]
        }


def _text(request: Event, key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str) or not value:
        raise SettingsError(f"{key}: is missing, or not text")
    return value


def _whole(request: Event, key: str, allowed: range) -> int:
    value = request.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value not in allowed:
        raise SettingsError(f"{key}: {value!r} is not a whole number from {allowed.start} to {allowed.stop - 1}")
    return value


def _devices(request: Event) -> list[int]:
    value = request.get("devices")
    if not isinstance(value, list) or not value:
        raise SettingsError("devices: name at least one EUI")
    return [parse_eui(str(eui), "devices") for eui in value]


def _offer_of(request: Event) -> ImageOffer:
    """The file must be named absolutely: hub and client may stand in different folders."""
    path = Path(_text(request, "path"))
    if not path.is_absolute():
        raise SettingsError(f"path: {path} is relative; the hub needs the whole path")
    devices = request.get("devices", [])
    return ImageOffer(
        path=path,
        form=str(request.get("form", "gb-ppmid")),
        activate=str(request.get("activate", "")),
        devices=[str(eui) for eui in devices] if isinstance(devices, list) else [],
        also_older=request.get("also_older") is True,
        as_is=request.get("as_is") is True,
    )


def _hash(request: Event) -> bytes | None:
    value = request.get("hash")
    if value is None:
        return None
    try:
        octets = bytes.fromhex(str(value))
    except ValueError:
        octets = b""
    if len(octets) != 32:
        raise SettingsError(f"hash: {value!r} is not 64 hex digits (SHA-256 of the Manufacturer Image)")
    return octets


def _moment(text: str) -> datetime:
    return datetime.fromtimestamp(parse_utc(text, "at") + ZIGBEE_EPOCH, UTC)
