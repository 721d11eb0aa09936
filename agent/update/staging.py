"""From OTA octets to a slot: streamed, judged as early as possible, resumable at every checkpoint.

A checkpoint falls on a multiple of ``checkpoint_octets`` of the *image*, so that no sector which the journal calls
durable is ever written again: a power cut that tears the next write cannot hurt what was stored before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from agent.errors import FormatError
from agent.image import mcuboot
from agent.image.mcuboot import HEADER_OCTETS, ImageReader, ManufacturerImage
from agent.image.ota_file import HeaderReady, ImageOctets, OtaStream, Piece
from agent.image.ota_form import Form, Trailer
from agent.image.refusal import Refusal, refuse_format
from agent.image.verdict import Acceptance, Requirements, accept, check_image, check_mcuboot_header, check_ota_header


class SlotSink(Protocol):
    """The slot under writing: ``agent.boot.slots.SlotWriter``."""

    def write(self, octets: bytes) -> None:
        """The next octets of the image. Raises StorageError."""

    def checkpoint(self) -> int:
        """Make all that was written durable; how many octets that is."""

    def finish(self, look: Callable[[bytes], None]) -> bytes:
        """Tail cleared, durable, read back past the cache and compared; ``look`` is shown each piece of that.

        Returns the SHA-256 of the whole image as it lies in the slot. Raises StorageError.
        """

    def accept(self, security_counter: int) -> None:
        """The verdict was good: the slot counts as written. Raises StorageError."""


SupplierCheck = Callable[[ManufacturerImage, Trailer], Refusal | None]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the journal stores: the offset in the OTA file that is durable, the image octets in the slot by then, and
    the reader's state there."""

    offset_octets: int
    image_octets: int
    stream: bytes


class Staging:
    """One transfer into one slot."""

    def __init__(
        self,
        sink: SlotSink,
        form: Form,
        requirements: Requirements,
        checkpoint_octets: int,
        supplier_check: SupplierCheck | None = None,
    ) -> None:
        self._sink = sink
        self._stream = OtaStream(form)
        self._requirements = requirements
        self._checkpoint_octets = checkpoint_octets
        self._supplier_check = supplier_check
        self._image_octets = 0
        self._head = b""  # the first 32 octets of the image, for the early verdict
        self._trailer: Trailer | None = None
        self.image_hash = b""  # SHA-256 of what the slot gave back, once ``finish`` has looked at it

    def resume(self, checkpoint: Checkpoint, head: bytes) -> None:
        """Go on at a checkpoint; ``head`` are the first image octets in the slot. Raises FormatError."""
        self._stream = OtaStream.resume(self._stream.form, checkpoint.stream)
        self._image_octets = checkpoint.image_octets
        self._head = head[:HEADER_OCTETS]

    @property
    def offset_octets(self) -> int:
        """Of the next octet, in the OTA file."""
        return self._stream.offset

    @property
    def finished(self) -> bool:
        """The last octet of the file has been read."""
        return self._stream.finished

    def feed(self, octets: bytes, save: Callable[[Checkpoint], None]) -> Refusal | None:
        """The next octets of the file. ``save`` is called at each checkpoint, with the slot durable up to it.

        A refusal ends the transfer. Raises StorageError.
        """
        while octets:
            cut = self._until_boundary(len(octets))
            part, octets = octets[:cut], octets[cut:]
            try:
                pieces = self._stream.feed(part)
            except FormatError as error:
                return refuse_format(error)
            for piece in pieces:
                refusal = self._take(piece)
                if refusal is not None:
                    return refusal
            if part and self._at_boundary(pieces):
                self._sink.checkpoint()
                save(Checkpoint(self._stream.offset, self._image_octets, self._stream.checkpoint()))
        return None

    def finish(self) -> Acceptance | Refusal:
        """The verdict on the whole image, judged on what the slot gives back, piece by piece. Raises StorageError."""
        reader = ImageReader()
        self.image_hash = self._sink.finish(reader.feed)
        try:
            image = reader.finish()
        except FormatError as error:
            return refuse_format(error)
        refusal = check_image(image, self._stream.header, self._requirements)
        if refusal is None and self._supplier_check is not None and self._trailer is not None:
            refusal = self._supplier_check(image, self._trailer)
        if refusal is not None:
            return refusal
        facts = accept(image)
        self._sink.accept(facts.security_counter)
        return facts

    def _until_boundary(self, available: int) -> int:
        """How many octets may be fed before a checkpoint is due. Only image octets bring one nearer."""
        return min(available, self._checkpoint_octets - self._image_octets % self._checkpoint_octets)

    def _at_boundary(self, pieces: list[Piece]) -> bool:
        fed_image = any(isinstance(piece, ImageOctets) for piece in pieces)
        return fed_image and self._image_octets % self._checkpoint_octets == 0

    def _take(self, piece: Piece) -> Refusal | None:
        match piece:
            case HeaderReady(header):
                return check_ota_header(header, self._requirements)
            case ImageOctets(_, octets):
                return self._take_image(octets)
            case Trailer():
                self._trailer = piece
        return None

    def _take_image(self, octets: bytes) -> Refusal | None:
        self._sink.write(octets)
        self._image_octets += len(octets)
        if len(self._head) >= HEADER_OCTETS:
            return None
        self._head = (self._head + octets)[:HEADER_OCTETS]
        if len(self._head) < HEADER_OCTETS:
            return None
        try:
            header = mcuboot.parse_header(self._head)
        except FormatError as error:
            return refuse_format(error)
        return check_mcuboot_header(header, self._stream.header, self._requirements)
