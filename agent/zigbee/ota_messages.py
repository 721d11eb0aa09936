"""Every command of the OTA Upgrade cluster 0x0019 (ZCL 11.13), as plain values with codecs both ways.

A *file id* is manufacturer code u16, image type u16, file version u32. Offsets and sizes are octets of the whole OTA
file; times are ZigBee UTCTime (seconds since 2000-01-01). ``TO_CLIENT`` tells the direction. Decoding raises
FormatError.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

from agent.zigbee.wire import FixedLayout, Reader
from agent.zigbee.zcl import ZclStatus

ANY_MANUFACTURER = 0xFFFF
ANY_IMAGE_TYPE = 0xFFFF
ANY_FILE_VERSION = 0xFFFFFFFF
UNKNOWN_TIME = 0xFFFFFFFF

_HARDWARE_VERSION_PRESENT = 0x01  # Query Next Image Request, bit 0
_NODE_ADDRESS_PRESENT = 0x01  # Image Block and Image Page Request, bit 0
_BLOCK_PERIOD_PRESENT = 0x02  # Image Block Request, bit 1
_LAST_NOTIFY_TYPE = 3


@dataclass(frozen=True, slots=True)
class ImageNotify:
    """There may be something new. ZCL 11.13.3: payload types 0 jitter .. 3 + manufacturer, image type, file version."""

    COMMAND: ClassVar[int] = 0x00
    TO_CLIENT: ClassVar[bool] = True
    jitter: int
    manufacturer: int | None = None
    image_type: int | None = None
    file_version: int | None = None

    @property
    def payload_type(self) -> int:
        """0..3: how many of the optional fields are there, in their order."""
        extra = (self.manufacturer, self.image_type, self.file_version)
        return next((index for index, value in enumerate(extra) if value is None), _LAST_NOTIFY_TYPE)

    def encode(self) -> bytes:
        """The payload as it goes on the air."""
        octets = bytes([self.payload_type, self.jitter])
        for value, width in ((self.manufacturer, 2), (self.image_type, 2), (self.file_version, 4)):
            if value is None:
                break
            octets += value.to_bytes(width, "little")
        return octets

    @classmethod
    def decode(cls, octets: bytes) -> ImageNotify:
        """Raises FormatError when short or of a reserved payload type."""
        reader = Reader("Image Notify", octets)
        payload_type, jitter = reader.u8(), reader.u8()
        if payload_type > _LAST_NOTIFY_TYPE:
            raise reader.error(f"reserved payload type {payload_type}")
        manufacturer = reader.u16() if payload_type >= 1 else None
        image_type = reader.u16() if payload_type >= 2 else None
        return cls(jitter, manufacturer, image_type, reader.u32() if payload_type >= 3 else None)


@dataclass(frozen=True, slots=True)
class QueryNextImageRequest:
    """ZCL 11.13.4: is there an image for this manufacturer, type, running version, hardware version?"""

    COMMAND: ClassVar[int] = 0x01
    TO_CLIENT: ClassVar[bool] = False
    manufacturer: int
    image_type: int
    file_version: int
    hardware_version: int | None = None

    def encode(self) -> bytes:
        """The payload as it goes on the air."""
        control = 0 if self.hardware_version is None else _HARDWARE_VERSION_PRESENT
        head = struct.pack("<BHHI", control, self.manufacturer, self.image_type, self.file_version)
        return head if self.hardware_version is None else head + self.hardware_version.to_bytes(2, "little")

    @classmethod
    def decode(cls, octets: bytes) -> QueryNextImageRequest:
        """Raises FormatError when short."""
        reader = Reader("Query Next Image Request", octets)
        control = reader.u8()
        manufacturer, image_type, file_version = reader.u16(), reader.u16(), reader.u32()
        hardware = reader.u16() if control & _HARDWARE_VERSION_PRESENT else None
        return cls(manufacturer, image_type, file_version, hardware)


@dataclass(frozen=True, slots=True)
class ImageFound(FixedLayout):
    """What follows a status SUCCESS: the file id and the size of the whole OTA file in octets."""

    LAYOUT: ClassVar[str] = "HHII"
    manufacturer: int
    image_type: int
    file_version: int
    image_size: int


@dataclass(frozen=True, slots=True)
class QueryNextImageResponse:
    """ZCL 11.13.5: ``image`` is set exactly when ``status`` is SUCCESS."""

    COMMAND: ClassVar[int] = 0x02
    TO_CLIENT: ClassVar[bool] = True
    status: int
    image: ImageFound | None = None

    def encode(self) -> bytes:
        """The payload as it goes on the air."""
        return bytes([self.status]) + (self.image.encode() if self.image else b"")

    @classmethod
    def decode(cls, octets: bytes) -> Self:
        """Raises FormatError when short."""
        reader = Reader("Query Next Image Response", octets)
        status = reader.u8()
        return cls(status, None if status else ImageFound.decode(reader.rest()))


@dataclass(frozen=True, slots=True)
class ImageBlockRequest:
    """ZCL 11.13.6. ``node_eui`` and ``block_period`` (as attribute 0x0009) are there when their bit is set."""

    COMMAND: ClassVar[int] = 0x03
    TO_CLIENT: ClassVar[bool] = False
    manufacturer: int
    image_type: int
    file_version: int
    offset: int
    maximum_octets: int
    node_eui: int | None = None
    block_period: int | None = None

    def encode(self) -> bytes:
        """The payload as it goes on the air."""
        control = 0 if self.node_eui is None else _NODE_ADDRESS_PRESENT
        control |= 0 if self.block_period is None else _BLOCK_PERIOD_PRESENT
        octets = struct.pack(
            "<BHHIIB",
            control,
            self.manufacturer,
            self.image_type,
            self.file_version,
            self.offset,
            self.maximum_octets,
        )
        octets += b"" if self.node_eui is None else self.node_eui.to_bytes(8, "little")
        return octets if self.block_period is None else octets + self.block_period.to_bytes(2, "little")

    @classmethod
    def decode(cls, octets: bytes) -> ImageBlockRequest:
        """Raises FormatError when short."""
        reader = Reader("Image Block Request", octets)
        control = reader.u8()
        fixed = reader.u16(), reader.u16(), reader.u32(), reader.u32(), reader.u8()
        node_eui = reader.u64() if control & _NODE_ADDRESS_PRESENT else None
        return cls(*fixed, node_eui, reader.u16() if control & _BLOCK_PERIOD_PRESENT else None)


@dataclass(frozen=True, slots=True)
class ImagePageRequest:
    """ZCL 11.13.7: ``page_size`` octets in blocks, ``spacing_ms`` apart."""

    COMMAND: ClassVar[int] = 0x04
    TO_CLIENT: ClassVar[bool] = False
    manufacturer: int
    image_type: int
    file_version: int
    offset: int
    maximum_octets: int
    page_size: int
    spacing_ms: int
    node_eui: int | None = None

    def encode(self) -> bytes:
        """The payload as it goes on the air."""
        octets = struct.pack(
            "<BHHIIBHH",
            0 if self.node_eui is None else _NODE_ADDRESS_PRESENT,
            self.manufacturer,
            self.image_type,
            self.file_version,
            self.offset,
            self.maximum_octets,
            self.page_size,
            self.spacing_ms,
        )
        return octets if self.node_eui is None else octets + self.node_eui.to_bytes(8, "little")

    @classmethod
    def decode(cls, octets: bytes) -> ImagePageRequest:
        """Raises FormatError when short."""
        reader = Reader("Image Page Request", octets)
        control = reader.u8()
        fixed = reader.u16(), reader.u16(), reader.u32(), reader.u32(), reader.u8(), reader.u16(), reader.u16()
        return cls(*fixed, reader.u64() if control & _NODE_ADDRESS_PRESENT else None)


@dataclass(frozen=True, slots=True)
class ImageBlock:
    """ZCL 11.13.8, status SUCCESS: ``data`` (0..255 octets) stands at ``offset`` of the file."""

    COMMAND: ClassVar[int] = 0x05
    TO_CLIENT: ClassVar[bool] = True
    STATUS: ClassVar[int] = ZclStatus.SUCCESS
    manufacturer: int
    image_type: int
    file_version: int
    offset: int
    data: bytes

    def encode(self) -> bytes:
        """The payload as it goes on the air."""
        fixed = (self.manufacturer, self.image_type, self.file_version, self.offset, len(self.data))
        return struct.pack("<BHHIIB", self.STATUS, *fixed) + self.data


@dataclass(frozen=True, slots=True)
class WaitForData:
    """Status WAIT_FOR_DATA: ask again ``request_time - current_time`` seconds from now.

    With ``current_time`` 0 the server has no clock and ``request_time`` is itself the offset in seconds.
    ``block_period`` (unit as attribute 0x0009) is the new minimum; older servers leave it out.
    """

    COMMAND: ClassVar[int] = 0x05
    TO_CLIENT: ClassVar[bool] = True
    STATUS: ClassVar[int] = ZclStatus.WAIT_FOR_DATA
    current_time: int
    request_time: int
    block_period: int | None = None

    def encode(self) -> bytes:
        """The payload as it goes on the air."""
        head = struct.pack("<BII", self.STATUS, self.current_time, self.request_time)
        return head if self.block_period is None else head + self.block_period.to_bytes(2, "little")


@dataclass(frozen=True, slots=True)
class BlockRefused:
    """Any other status: ABORT, and what servers send in an Image Block Response besides."""

    COMMAND: ClassVar[int] = 0x05
    TO_CLIENT: ClassVar[bool] = True
    status: int

    def encode(self) -> bytes:
        """The payload as it goes on the air."""
        return bytes([self.status])


ImageBlockResponse = ImageBlock | WaitForData | BlockRefused


def decode_image_block_response(octets: bytes) -> ImageBlockResponse:
    """Command 05 in one of its three shapes. Raises FormatError when short."""
    reader = Reader("Image Block Response", octets)
    status = reader.u8()
    if status == ZclStatus.SUCCESS:
        fixed = reader.u16(), reader.u16(), reader.u32(), reader.u32()
        return ImageBlock(*fixed, reader.take(reader.u8()))
    if status == ZclStatus.WAIT_FOR_DATA:
        current, request = reader.u32(), reader.u32()
        return WaitForData(current, request, reader.u16() if reader.octets_left() >= 2 else None)
    return BlockRefused(status)


@dataclass(frozen=True, slots=True)
class UpgradeEndRequest(FixedLayout):
    """ZCL 11.13.9: status SUCCESS, INVALID_IMAGE, REQUIRE_MORE_IMAGE or ABORT, and the file id."""

    COMMAND: ClassVar[int] = 0x06
    TO_CLIENT: ClassVar[bool] = False
    LAYOUT: ClassVar[str] = "BHHI"
    status: int
    manufacturer: int
    image_type: int
    file_version: int


@dataclass(frozen=True, slots=True)
class UpgradeEndResponse(FixedLayout):
    """ZCL 11.13.9: the file id (wildcards allowed), the server's time and the time to upgrade at."""

    COMMAND: ClassVar[int] = 0x07
    TO_CLIENT: ClassVar[bool] = True
    LAYOUT: ClassVar[str] = "HHIII"
    manufacturer: int
    image_type: int
    file_version: int
    current_time: int
    upgrade_time: int


@dataclass(frozen=True, slots=True)
class QueryDeviceSpecificFileRequest(FixedLayout):
    """ZCL 11.13.10: a file for this device alone. ``file_version`` and ``stack_version`` are the wanted ones."""

    COMMAND: ClassVar[int] = 0x08
    TO_CLIENT: ClassVar[bool] = False
    LAYOUT: ClassVar[str] = "QHHIH"
    node_eui: int
    manufacturer: int
    image_type: int
    file_version: int
    stack_version: int


@dataclass(frozen=True, slots=True)
class QueryDeviceSpecificFileResponse(QueryNextImageResponse):
    """ZCL 11.13.11: as the Query Next Image Response."""

    COMMAND: ClassVar[int] = 0x09


OtaToServer = (
    QueryNextImageRequest | ImageBlockRequest | ImagePageRequest | UpgradeEndRequest | QueryDeviceSpecificFileRequest
)
OtaToClient = (
    ImageNotify
    | QueryNextImageResponse
    | ImageBlock
    | WaitForData
    | BlockRefused
    | UpgradeEndResponse
    | QueryDeviceSpecificFileResponse
)

_TO_SERVER_DECODERS: dict[int, Callable[[bytes], OtaToServer]] = {
    QueryNextImageRequest.COMMAND: QueryNextImageRequest.decode,
    ImageBlockRequest.COMMAND: ImageBlockRequest.decode,
    ImagePageRequest.COMMAND: ImagePageRequest.decode,
    UpgradeEndRequest.COMMAND: UpgradeEndRequest.decode,
    QueryDeviceSpecificFileRequest.COMMAND: QueryDeviceSpecificFileRequest.decode,
}
_TO_CLIENT_DECODERS: dict[int, Callable[[bytes], OtaToClient]] = {
    ImageNotify.COMMAND: ImageNotify.decode,
    QueryNextImageResponse.COMMAND: QueryNextImageResponse.decode,
    ImageBlock.COMMAND: decode_image_block_response,
    UpgradeEndResponse.COMMAND: UpgradeEndResponse.decode,
    QueryDeviceSpecificFileResponse.COMMAND: QueryDeviceSpecificFileResponse.decode,
}


def decode_to_server(command: int, payload: bytes) -> OtaToServer | None:
    """A cluster command of the client. None: no such command. Raises FormatError."""
    decoder = _TO_SERVER_DECODERS.get(command)
    return decoder(payload) if decoder else None


def decode_to_client(command: int, payload: bytes) -> OtaToClient | None:
    """A cluster command of the server. None: no such command. Raises FormatError."""
    decoder = _TO_CLIENT_DECODERS.get(command)
    return decoder(payload) if decoder else None
