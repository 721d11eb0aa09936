"""The OTA file as it streams in: octets in order in, pieces out, with memory that does not grow with the image.

One section after the other; ``checkpoint`` gives the reader's whole state in at most a few hundred octets, so that a
restart goes on at the very octet (journal it together with what was done with the pieces so far)::

    HEADER -> IMAGE -> END                                gb-ppmid
    HEADER -> IMAGE -> TRAILER -> END                     gb-hcalcs
    HEADER -> HEAD -> IMAGE | ELEMENT | SKIPPED -> HEAD ... -> END   generic
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from agent.errors import FormatError
from agent.image.ota_form import (
    ELEMENT_HEAD,
    TRAILER_OCTETS,
    UPGRADE_IMAGE,
    Form,
    SubElement,
    Trailer,
    parse_trailer,
)
from agent.image.ota_header import OtaHeader, header_length, parse_header

WHAT = "OTA file"
MAXIMUM_ELEMENT_OCTETS = 256  # our choice: a signature or certificate fits; what is longer is skipped, not kept
_CHECKPOINT = struct.Struct("<BBQQQHHH")
_CHECKPOINT_FORMAT = 1


@dataclass(frozen=True, slots=True)
class HeaderReady:
    """The OTA header is complete: judge it now."""

    header: OtaHeader


@dataclass(frozen=True, slots=True)
class ImageStart:
    """The Manufacturer Image starts with the next octet and will be this long."""

    total_octets: int


@dataclass(frozen=True, slots=True)
class ImageOctets:
    """Octets of the Manufacturer Image; ``offset`` counts from its first one."""

    offset: int
    octets: bytes


@dataclass(frozen=True, slots=True)
class ElementSkipped:
    """A sub-element too long to be kept and of no use here."""

    tag: int
    length: int


@dataclass(frozen=True, slots=True)
class FileEnd:
    """The last octet of the file has been read, and a Manufacturer Image was in it."""


Piece = HeaderReady | ImageStart | ImageOctets | SubElement | ElementSkipped | Trailer | FileEnd


class _Section(IntEnum):
    HEADER, IMAGE, TRAILER, HEAD, ELEMENT, SKIPPED, END = range(7)


class OtaStream:
    """Reads one OTA file of a known form. After a FormatError the stream is of no more use."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.offset = 0  # of the next octet, in the file
        self.header: OtaHeader | None = None
        self.image_octets: int | None = None  # length of the Manufacturer Image, once known
        self._section = _Section.HEADER
        self._left = 0  # octets of the section that are still to come
        self._tag = 0
        self._pending = bytearray()  # the start of a header, head, element or trailer

    @property
    def total_octets(self) -> int | None:
        """Length of the file, once the header is there."""
        return None if self.header is None else self.header.total_octets

    @property
    def finished(self) -> bool:
        """Whether the whole file has been read."""
        return self._section is _Section.END

    def feed(self, octets: bytes | memoryview) -> list[Piece]:
        """The next octets of the file, any number of them. Raises FormatError."""
        pieces: list[Piece] = []
        view = memoryview(octets)
        while view:
            if self.finished:
                raise FormatError(WHAT, self.offset, f"{len(view)} octets beyond the total size of its header")
            taken = self._read_section(view, pieces)
            self.offset += taken
            view = view[taken:]
            self._close_sections(pieces)
        return pieces

    def checkpoint(self) -> bytes:
        """The reader's state, for ``resume``."""
        header = b"" if self.header is None else self.header.encode()
        image_octets = 0 if self.image_octets is None else self.image_octets + 1
        head = _CHECKPOINT.pack(
            _CHECKPOINT_FORMAT,
            self._section,
            self.offset,
            self._left,
            image_octets,
            self._tag,
            len(header),
            len(self._pending),
        )
        return head + header + self._pending

    @classmethod
    def resume(cls, form: Form, checkpoint: bytes) -> OtaStream:
        """A reader that goes on where ``checkpoint`` was taken. Raises FormatError."""
        try:
            form_number, section, offset, left, image, tag, header, pending = _CHECKPOINT.unpack_from(checkpoint)
            if form_number != _CHECKPOINT_FORMAT or len(checkpoint) != _CHECKPOINT.size + header + pending:
                raise ValueError("another format")
            stream = cls(form)
            stream._section = _Section(section)
        except (struct.error, ValueError) as error:
            raise FormatError("OTA file checkpoint", 0, f"unusable: {error}; start the transfer anew") from None
        stream.offset, stream._left, stream._tag = offset, left, tag
        stream.image_octets = image - 1 if image else None
        stream.header = parse_header(checkpoint[_CHECKPOINT.size :]) if header else None
        stream._pending += checkpoint[_CHECKPOINT.size + header :]
        if not stream._is_consistent():
            raise FormatError("OTA file checkpoint", 0, "contradicts itself; start the transfer anew")
        return stream

    def _is_consistent(self) -> bool:
        """Whether the state is one that ``feed`` can have left behind."""
        if (self.header is None) != (self._section is _Section.HEADER):
            return False
        if self._section is _Section.HEADER:
            return len(self._pending) == self.offset and _header_wanted(self._pending) > 0
        if self._section is _Section.IMAGE:
            return self.image_octets is not None and 0 < self._left <= self.image_octets
        whole = {_Section.HEAD: ELEMENT_HEAD.size, _Section.TRAILER: TRAILER_OCTETS}.get(self._section)
        return whole is None or len(self._pending) + self._left == whole

    def _read_section(self, view: memoryview, pieces: list[Piece]) -> int:
        """Take octets of the present section; how many."""
        if self._section is _Section.HEADER:
            return self._read_header(view, pieces)
        taken = min(self._left, len(view))
        if self._section is _Section.IMAGE:
            pieces.append(ImageOctets((self.image_octets or 0) - self._left, bytes(view[:taken])))
        elif self._section is not _Section.SKIPPED:
            self._pending += view[:taken]
        self._left -= taken
        return taken

    def _read_header(self, view: memoryview, pieces: list[Piece]) -> int:
        """Up to 8 octets tell how long the header is, then the rest of it."""
        taken = min(_header_wanted(self._pending), len(view))
        self._pending += view[:taken]
        if _header_wanted(self._pending) == 0:
            self.header = parse_header(bytes(self._pending))
            self._pending.clear()
            pieces.append(HeaderReady(self.header))
            self._enter_body(self.header, pieces)
        return taken

    def _enter_body(self, header: OtaHeader, pieces: list[Piece]) -> None:
        """Into the first section after the header."""
        body = header.total_octets - header.header_octets
        if self.form is Form.GENERIC:
            self._enter_head(header.header_octets)
            return
        if self.form is Form.GB_HCALCS:
            body -= TRAILER_OCTETS
        if body <= 0:
            raise FormatError(WHAT, 52, f"total size {header.total_octets} leaves no room for a Manufacturer Image")
        self._enter_image(body, pieces)

    def _close_sections(self, pieces: list[Piece]) -> None:
        """Move on from every section that is complete (a sub-element may be empty)."""
        while self._left == 0 and self._section not in (_Section.HEADER, _Section.END):
            at = self.offset
            if self._section is _Section.HEAD:
                self._open_element(pieces)
                continue
            if self._section is _Section.TRAILER:
                pieces.append(parse_trailer(bytes(self._pending)))
            elif self._section is _Section.ELEMENT:
                pieces.append(SubElement(self._tag, bytes(self._pending)))
            self._pending.clear()
            self._leave(at, pieces)

    def _leave(self, at: int, pieces: list[Piece]) -> None:
        """What comes after an image, a trailer or a sub-element that ended at octet ``at``."""
        if self.form is Form.GB_HCALCS and self._section is _Section.IMAGE:
            self._enter(_Section.TRAILER, TRAILER_OCTETS)
        elif self.form is Form.GENERIC and at != self.total_octets:
            self._enter_head(at)
        elif self.image_octets is None:
            raise FormatError(WHAT, at, "ends without a Manufacturer Image (sub-element 0x0000)")
        else:
            self._enter(_Section.END, 0)
            pieces.append(FileEnd())

    def _open_element(self, pieces: list[Piece]) -> None:
        """Into the sub-element whose head has just been completed."""
        self._tag, length = ELEMENT_HEAD.unpack(self._pending)
        self._pending.clear()
        end = self.total_octets or 0
        if self.offset + length > end:
            at = self.offset - ELEMENT_HEAD.size
            raise FormatError(WHAT, at, f"sub-element 0x{self._tag:04X} of {length} octets crosses the end at {end}")
        if self._tag == UPGRADE_IMAGE:
            if self.image_octets is not None or length == 0:
                raise FormatError(WHAT, self.offset, "a second or an empty Manufacturer Image")
            self._enter_image(length, pieces)
        elif length > MAXIMUM_ELEMENT_OCTETS:
            pieces.append(ElementSkipped(self._tag, length))
            self._enter(_Section.SKIPPED, length)
        else:
            self._enter(_Section.ELEMENT, length)

    def _enter_head(self, at: int) -> None:
        left = (self.total_octets or 0) - at
        if left < ELEMENT_HEAD.size:
            raise FormatError(WHAT, at, f"{left} octets are left, too few for a sub-element")
        self._enter(_Section.HEAD, ELEMENT_HEAD.size)

    def _enter_image(self, length: int, pieces: list[Piece]) -> None:
        self.image_octets = length
        pieces.append(ImageStart(length))
        self._enter(_Section.IMAGE, length)

    def _enter(self, section: _Section, length: int) -> None:
        self._section = section
        self._left = length


def _header_wanted(pending: bytearray) -> int:
    """How many octets of the header are to come; its first 8 tell how long it is."""
    octets = bytes(pending)
    return (header_length(octets) or 8) - len(octets)


@dataclass(frozen=True, slots=True)
class OtaFile:
    """A whole file in memory, for tools; a device never holds one."""

    header: OtaHeader
    image: bytes
    elements: tuple[SubElement, ...]
    trailer: Trailer | None


def parse(octets: bytes, form: Form) -> OtaFile:
    """A whole file, read by the stream that a device reads with. Raises FormatError, also for octets behind the end."""
    stream = OtaStream(form)
    pieces = stream.feed(octets)
    if not stream.finished or stream.header is None:
        expected = f"its header says {stream.total_octets}" if stream.header else "not even a whole header"
        raise FormatError(WHAT, len(octets), f"ends after {len(octets)} octets, {expected}")
    image = b"".join(piece.octets for piece in pieces if isinstance(piece, ImageOctets))
    elements = tuple(piece for piece in pieces if isinstance(piece, SubElement))
    trailer = next((piece for piece in pieces if isinstance(piece, Trailer)), None)
    return OtaFile(stream.header, image, elements, trailer)
