"""What stands between hub and head end: service requests down, messages and the hub's own alerts up. Pure.

``carry(now)`` takes what the hub has to tell, hands messages to the head end, makes the hub's CCS08 where a transfer
ended, and gives it all back in order, the head end's reports among it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from agent.errors import HanError, StorageError
from agent.events import format_eui
from agent.gbcs.use_cases import CANCELLED, TransferOutcome
from agent.zigbee.zcl import ZclStatus
from boards.bench import offers
from boards.bench.happenings import DeviceAwaited, ImageOnOffer, ImageQueried, MessageUp, NetworkUp, TransferEnded
from boards.bench.head_end import HeadEnd
from boards.bench.hub import Hub
from boards.bench.images import ServedImage
from boards.bench.report import Request
from boards.bench.settings import Activation

OUTCOMES = {
    ZclStatus.SUCCESS: TransferOutcome.SUCCESS,
    ZclStatus.INVALID_IMAGE: TransferOutcome.IMAGE_DISCARDED,
    ZclStatus.ABORT: TransferOutcome.TRANSFER_FAILED,
}


class RequestError(HanError):
    """A service request that makes no sense here; the message says why."""


@dataclass(frozen=True, slots=True)
class RequestSent:
    """A service request went out. ``counter`` is its originator's."""

    service_request: str
    device_eui: int
    originator_eui: int
    counter: int

    def line(self) -> str:
        names = {"11.1": "update firmware", "11.2": "read version", "11.3": "activate", "11.4": "update PPMID firmware"}
        return f"head end asks {format_eui(self.device_eui)}: {self.service_request} {names[self.service_request]}"


@dataclass(frozen=True, slots=True)
class AlertNotMade:
    """The hub could not sign its CCS08."""

    reason: str

    def line(self) -> str:
        return f"hub sends no CCS08: {self.reason}"


class Backhaul:
    """``wall(now)`` is the date and time at ``now``, aware. ``hub_eui`` 0: the hub signs under its radio's EUI."""

    def __init__(self, hub: Hub, head_end: HeadEnd, wall: Callable[[float], datetime], hub_eui: int = 0) -> None:
        self.hub = hub
        self.head_end = head_end
        self._wall = wall
        self._hub_eui = hub_eui
        self._mismatches: set[tuple[int, int]] = set()  # device and version that a CCS08 was sent about

    # service requests

    def update_ppmid_firmware(self, image: ServedImage, devices: Sequence[int], now: float) -> list[Request]:
        """11.4: offer ``image`` to these devices; its activation says when they upgrade. Raises HanError."""
        for device in devices:
            self._check_role(device, "ppmid", "11.4 is for a PPMID; an HCALCS takes 11.1 and then 11.3")
        return self._distribute("11.4", image, devices, now)

    def update_firmware(self, image: ServedImage, devices: Sequence[int], now: float) -> list[Request]:
        """11.1: offer a supplier-signed ``image`` to these devices, which hold it until 11.3. Raises HanError.

        An activation other than WAIT is a hub that does wrong: it is served all the same, to see how a device takes it.
        """
        for device in devices:
            self._check_role(device, "hcalcs", "11.1 is for an HCALCS here; a PPMID takes 11.4")
        offers.check_supplier(image, self.head_end.keys, self.head_end.parties.supplier)
        return self._distribute("11.1", image, devices, now)

    def activate_firmware(
        self, device: int, now: float, image_hash: bytes | None = None, at: datetime | None = None
    ) -> Request:
        """11.3: activate now or ``at`` a time. No hash: that of what was last distributed. Raises HanError."""
        self._check_role(device, "hcalcs", "11.3 is for an HCALCS; a PPMID activates with 11.4")
        found = image_hash or self.head_end.image_hash_of(device)
        if found is None:
            eui = format_eui(device)
            raise RequestError(f"nothing was distributed to {eui} yet: send 11.1 first, or name the hash")
        return self._down(self.head_end.activate_firmware(device, found, self._wall(now), at), now)

    def cancel_activation(self, device: int, now: float, image_hash: bytes | None = None) -> Request:
        """11.3 with the time that takes a dated command back. Raises HanError."""
        return self.activate_firmware(device, now, image_hash, CANCELLED)

    def read_firmware_version(self, device: int, now: float) -> Request:
        """11.2. Raises HanError."""
        self._check_role(device, "", "")
        return self._down(self.head_end.read_firmware_version(device, self._wall(now)), now)

    def set_activation(self, name: str, activation: Activation, now: float) -> None:
        """Change when devices upgrade, and tell those that wait. Raises RequestError."""
        image = self.hub.ota.table.set_activation(name, activation)
        if image is None:
            raise RequestError(f"no image {name} is on offer")
        for member in self.hub.members.by_eui.values():
            if image.is_for(member.eui):
                self.hub.ota.answer_upgrade(member, now)

    def offer(self, image: ServedImage, now: float) -> None:
        """Put an image on offer and tell the devices."""
        self.hub.ota.table.add(image)
        told = (image.name, *image.file_id, len(image.octets), str(image.activation))
        self.hub.desk.tell(ImageOnOffer(*told))
        self.hub.notify_all(now)

    # what comes up

    def carry(self, now: float) -> list[object]:
        """Everything that there is to tell, in order."""
        told: list[object] = []
        for happening in self.hub.take_happenings():
            told.append(happening)
            if isinstance(happening, NetworkUp) and not self._hub_eui:
                self._hub_eui = happening.hub_eui
            elif isinstance(happening, MessageUp):
                told.append(self.head_end.message_up(happening.device_eui, happening.octets, self._wall(now)))
            elif isinstance(happening, TransferEnded) and happening.status in OUTCOMES:
                outcome = OUTCOMES[ZclStatus(happening.status)]
                told += self._transfer_alert(happening.device_eui, happening.file_version, outcome, now)
            elif isinstance(happening, ImageQueried) and happening.mismatched_version is not None:
                told += self._mismatch(happening.device_eui, happening.mismatched_version, now)
        return told

    def _mismatch(self, device: int, version: int, now: float) -> list[object]:
        """Once for each image: a device asks every day."""
        if (device, version) in self._mismatches:
            return []
        self._mismatches.add((device, version))
        return self._transfer_alert(device, version, TransferOutcome.HARDWARE_MISMATCH, now)

    def _transfer_alert(self, device: int, version: int, outcome: TransferOutcome, now: float) -> list[object]:
        wall = self._wall(now)
        try:
            octets = self.head_end.transfer_alert(self._hub_eui, device, version, outcome, wall)
        except StorageError as error:
            return [AlertNotMade(str(error))]
        return [self.head_end.message_up(self._hub_eui, octets, wall)]

    # inside

    def _distribute(self, number: str, image: ServedImage, devices: Sequence[int], now: float) -> list[Request]:
        if not devices:
            raise RequestError(f"{number} names no device")
        facts: dict[str, object] = {
            "image": image.name,
            "file_version": f"0x{image.file_version:08X}",
            "manufacturer_image_hash": offers.manufacturer_image_hash(image).hex(),
        }
        wall = self._wall(now)
        requests = [self.head_end.distribute(number, device, facts, wall) for device in devices]
        for request in requests:
            self._tell(request)
        self.offer(image, now)
        for member in map(self.hub.members.by_eui.__getitem__, devices):
            if member.peer is None:
                self.hub.desk.tell(DeviceAwaited(member.eui, member.short is not None))
        return requests

    def _down(self, request: Request, now: float) -> Request:
        self._tell(request)
        self.hub.send_message(request.device_eui, request.octets, now)
        return request

    def _tell(self, request: Request) -> None:
        told = RequestSent(request.service_request, request.device_eui, request.originator, request.counter)
        self.hub.desk.tell(told)

    def _check_role(self, device: int, role: str, words: str) -> None:
        member = self.hub.members.by_eui.get(device)
        if member is None or not member.listed:
            raise RequestError(f"{format_eui(device)} is not a device of this hub; list it in hub.toml")
        if role and member.role != role:
            raise RequestError(f"{format_eui(device)}: {words}")
