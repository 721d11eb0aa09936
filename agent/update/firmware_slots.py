"""The update machine's slots on ``agent.boot``: what the boot side refuses is a StorageRefusedError to the update."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from agent.boot.area import Medium
from agent.boot.control import SlotsControl
from agent.boot.refusal import BootRefusedError
from agent.boot.slots import SlotWriter, WrittenImage, hash_medium
from agent.boot.state import NOT_JUDGED, EndReason, Slot, SlotState
from agent.errors import StorageRefusedError
from agent.image.mcuboot import HEADER_OCTETS
from agent.update.commands import SlotFacts

T = TypeVar("T")


class Sink:
    """A slot under writing."""

    def __init__(self, control: SlotsControl, slot: Slot, writer: SlotWriter) -> None:
        self._control = control
        self._slot = slot
        self._writer = writer
        self._written: WrittenImage | None = None

    def write(self, octets: bytes) -> None:
        """The next octets of the image. Raises StorageError."""
        self._writer.write(octets)

    def checkpoint(self) -> int:
        """Make them durable; how many that is. Raises StorageError."""
        return self._writer.checkpoint()

    def finish(self, look: Callable[[bytes], None]) -> bytes:
        """Everything durable, read back, shown to ``look`` and compared; its SHA-256. Raises StorageError."""
        self._written = self._writer.finish(look)
        return self._written.image_hash

    def accept(self, security_counter: int) -> None:
        """The verdict was good: the slot holds a whole, verified image. Raises StorageError."""
        if self._written is None:
            raise AssertionError("accepted before finish")
        self._control.mark_written(self._slot, self._written, security_counter)


class FirmwareSlots:
    """See ``agent.update.commands.Slots``."""

    def __init__(self, control: SlotsControl, areas: Mapping[Slot, Medium], tries: int) -> None:
        self._control = control
        self._areas = areas
        self._tries = tries

    def begin(self, slot: str) -> Sink:
        """Mark the slot unusable and start writing it."""
        return Sink(self._control, Slot[slot], _refusal(lambda: self._control.begin(Slot[slot])))

    def resume(self, slot: str, image_octets: int) -> tuple[Sink, bytes]:
        """Go on at a checkpoint; also the first octets of what is there."""
        writer = _refusal(lambda: self._control.resume(Slot[slot], image_octets))
        head = self._areas[Slot[slot]].read(0, min(HEADER_OCTETS, image_octets))
        return Sink(self._control, Slot[slot], writer), head

    def facts(self, slot: str) -> SlotFacts:
        """Boot state of a slot."""
        record = self._control.status().slots[Slot[slot]]
        return SlotFacts(
            record.state is SlotState.BAD,
            record.state is SlotState.CONFIRMED,
            record.reason.name.lower(),
            not_judged=record.reason in NOT_JUDGED,
            unhealthy=record.reason is EndReason.UNHEALTHY,
        )

    def holds(self, slot: str, image_hash: bytes) -> bool:
        """Whether the boot state has this image as whole in the slot, and the slot still holds it."""
        record = self._control.status().slots[Slot[slot]]
        if record.image_hash != image_hash or record.state not in (SlotState.WRITTEN, SlotState.TRIAL):
            return False
        return hash_medium(self._areas[Slot[slot]], record.image_octets) == image_hash

    def activate(self, slot: str) -> None:
        """Arm the trial of a written slot."""
        _refusal(lambda: self._control.activate(Slot[slot], self._tries))

    def report_running(self) -> None:
        """This program has come up: a trial that ends from now on was started."""
        self._control.report_running()

    def confirm(self) -> None:
        """The running slot is good."""
        self._control.confirm()

    def give_up(self) -> None:
        """The running trial is unhealthy: the next start is the old slot's."""
        running = self._control.status().running
        if running is not None:
            _refusal(lambda: self._control.mark_bad(running, EndReason.UNHEALTHY))

    def cancel(self, slot: str) -> None:
        """Forget an image that waits for its activation."""
        _refusal(lambda: self._control.cancel(Slot[slot]))


def _refusal(act: Callable[[], T]) -> T:
    try:
        return act()
    except BootRefusedError as error:
        raise StorageRefusedError(str(error)) from error
