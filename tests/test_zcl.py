"""ZCL frames, foundation and OTA commands: ours against zigpy's octets, round trips, and fuzz."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import zigpy.types as t
from hypothesis import given
from hypothesis import strategies as st
from zigpy.zcl import foundation as zigpy_foundation
from zigpy.zcl.clusters.general import Ota

from agent.errors import FormatError
from agent.zigbee import foundation, ota_messages
from agent.zigbee.foundation import Typed, ZclType
from agent.zigbee.zcl import ZclFrame, ZclStatus, status_name

EUI = 0x0011223344556677
ZIGPY_EUI = t.EUI64.convert("00:11:22:33:44:55:66:77")
FILE = {"manufacturer_code": 0x1234, "image_type": 0x5678, "file_version": 0x01010002}
OURS = (0x1234, 0x5678, 0x01010002)

u8, u16, u32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)


def zigpy_to_client(name: str, **fields: Any) -> bytes:
    return bytes(getattr(Ota.ClientCommandDefs, name).schema(**fields).serialize())


def zigpy_to_server(name: str, **fields: Any) -> bytes:
    return bytes(getattr(Ota.ServerCommandDefs, name).schema(**fields).serialize())


NOTIFY = Ota.ImageNotifyCommand
QUERY = Ota.QueryNextImageCommand
BLOCK = Ota.ImageBlockCommand
S = zigpy_foundation.Status

TO_CLIENT = {
    "notify jitter": (
        ota_messages.ImageNotify(50),
        zigpy_to_client("image_notify", payload_type=NOTIFY.PayloadType.QueryJitter, query_jitter=50),
    ),
    "notify manufacturer": (
        ota_messages.ImageNotify(1, 0x1234),
        zigpy_to_client(
            "image_notify",
            payload_type=NOTIFY.PayloadType.QueryJitter_ManufacturerCode,
            query_jitter=1,
            manufacturer_code=0x1234,
        ),
    ),
    "notify image type": (
        ota_messages.ImageNotify(100, 0x1234, 0x5678),
        zigpy_to_client(
            "image_notify",
            payload_type=NOTIFY.PayloadType.QueryJitter_ManufacturerCode_ImageType,
            query_jitter=100,
            manufacturer_code=0x1234,
            image_type=0x5678,
        ),
    ),
    "notify version": (
        ota_messages.ImageNotify(100, 0x1234, 0x5678, 0x01010002),
        zigpy_to_client(
            "image_notify",
            payload_type=NOTIFY.PayloadType.QueryJitter_ManufacturerCode_ImageType_NewFileVersion,
            query_jitter=100,
            manufacturer_code=0x1234,
            image_type=0x5678,
            new_file_version=0x01010002,
        ),
    ),
    "no image": (
        ota_messages.QueryNextImageResponse(ZclStatus.NO_IMAGE_AVAILABLE),
        zigpy_to_client("query_next_image_response", status=S.NO_IMAGE_AVAILABLE),
    ),
    "image": (
        ota_messages.QueryNextImageResponse(0, ota_messages.ImageFound(*OURS, 123456)),
        zigpy_to_client("query_next_image_response", status=S.SUCCESS, image_size=123456, **FILE),
    ),
    "block": (
        ota_messages.ImageBlock(*OURS, 1000, b"octets"),
        zigpy_to_client(
            "image_block_response", status=S.SUCCESS, file_offset=1000, image_data=t.LVBytes(b"octets"), **FILE
        ),
    ),
    "wait": (
        ota_messages.WaitForData(100, 130, 250),
        zigpy_to_client(
            "image_block_response",
            status=S.WAIT_FOR_DATA,
            current_time=100,
            request_time=130,
            minimum_block_period=250,
        ),
    ),
    "abort": (
        ota_messages.BlockRefused(ZclStatus.ABORT),
        zigpy_to_client("image_block_response", status=S.ABORT),
    ),
    "upgrade end": (
        ota_messages.UpgradeEndResponse(*OURS, 5, 0xFFFFFFFF),
        zigpy_to_client("upgrade_end_response", current_time=5, upgrade_time=0xFFFFFFFF, **FILE),
    ),
    "specific file": (
        ota_messages.QueryDeviceSpecificFileResponse(0, ota_messages.ImageFound(*OURS, 7)),
        zigpy_to_client("query_specific_file_response", status=S.SUCCESS, image_size=7, **FILE),
    ),
}

TO_SERVER = {
    "query": (
        ota_messages.QueryNextImageRequest(*OURS),
        zigpy_to_server(
            "query_next_image",
            field_control=QUERY.FieldControl(0),
            manufacturer_code=OURS[0],
            image_type=OURS[1],
            current_file_version=OURS[2],
        ),
    ),
    "query with hardware version": (
        ota_messages.QueryNextImageRequest(*OURS, 3),
        zigpy_to_server(
            "query_next_image",
            field_control=QUERY.FieldControl.HardwareVersion,
            manufacturer_code=OURS[0],
            image_type=OURS[1],
            current_file_version=OURS[2],
            hardware_version=3,
        ),
    ),
    "block": (
        ota_messages.ImageBlockRequest(*OURS, 4096, 50),
        zigpy_to_server(
            "image_block", field_control=BLOCK.FieldControl(0), file_offset=4096, maximum_data_size=50, **FILE
        ),
    ),
    "block with all": (
        ota_messages.ImageBlockRequest(*OURS, 4096, 50, EUI, 250),
        zigpy_to_server(
            "image_block",
            field_control=BLOCK.FieldControl.RequestNodeAddr | BLOCK.FieldControl.MinimumBlockPeriod,
            file_offset=4096,
            maximum_data_size=50,
            request_node_addr=ZIGPY_EUI,
            minimum_block_period=250,
            **FILE,
        ),
    ),
    "page": (
        ota_messages.ImagePageRequest(*OURS, 0, 50, 1024, 20, EUI),
        zigpy_to_server(
            "image_page",
            field_control=1,
            file_offset=0,
            maximum_data_size=50,
            page_size=1024,
            response_spacing=20,
            request_node_addr=ZIGPY_EUI,
            **FILE,
        ),
    ),
    "upgrade end": (
        ota_messages.UpgradeEndRequest(ZclStatus.INVALID_IMAGE, *OURS),
        zigpy_to_server("upgrade_end", status=S.INVALID_IMAGE, **FILE),
    ),
    "specific file": (
        ota_messages.QueryDeviceSpecificFileRequest(EUI, *OURS, 2),
        zigpy_to_server("query_specific_file", request_node_addr=ZIGPY_EUI, current_zigbee_stack_version=2, **FILE),
    ),
}


@pytest.mark.parametrize("name", TO_CLIENT)
def test_server_commands_equal_zigpy(name: str) -> None:
    ours, octets = TO_CLIENT[name]
    assert ours.encode() == octets
    assert ota_messages.decode_to_client(ours.COMMAND, octets) == ours


@pytest.mark.parametrize("name", TO_SERVER)
def test_client_commands_equal_zigpy(name: str) -> None:
    ours, octets = TO_SERVER[name]
    assert ours.encode() == octets
    assert ota_messages.decode_to_server(ours.COMMAND, octets) == ours


def test_wait_for_data_without_block_period() -> None:
    # older servers (cluster revision 2 and before) end after the request time
    assert ota_messages.decode_to_client(5, bytes.fromhex("97 00000000 0A000000")) == ota_messages.WaitForData(0, 10)


def test_unknown_commands_are_none() -> None:
    assert ota_messages.decode_to_client(0x42, b"") is None
    assert ota_messages.decode_to_server(0x42, b"") is None


@pytest.mark.parametrize("to_client", [False, True])
@pytest.mark.parametrize("manufacturer", [None, 0x1234])
@pytest.mark.parametrize("cluster_specific", [False, True])
@pytest.mark.parametrize("disable", [False, True])
def test_header_equals_zigpy(to_client: bool, manufacturer: int | None, cluster_specific: bool, disable: bool) -> None:
    kind = zigpy_foundation.FrameType.CLUSTER_COMMAND if cluster_specific else zigpy_foundation.FrameType.GLOBAL_COMMAND
    direction = zigpy_foundation.Direction
    header = zigpy_foundation.ZCLHeader(
        frame_control=zigpy_foundation.FrameControl(
            frame_type=kind,
            is_manufacturer_specific=manufacturer is not None,
            direction=direction.Server_to_Client if to_client else direction.Client_to_Server,
            disable_default_response=disable,
            reserved=0,
        ),
        manufacturer=manufacturer,
        tsn=77,
        command_id=5,
    )
    frame = ZclFrame(0x19, 5, b"payload", 77, cluster_specific, to_client, disable, manufacturer)
    assert frame.encode() == header.serialize() + b"payload"
    assert ZclFrame.decode(0x19, frame.encode()) == frame


TYPED = [
    (Typed(ZclType.BOOLEAN, 1), zigpy_foundation.TypeValue(type=0x10, value=t.Bool(1))),
    (Typed(ZclType.UINT8, 200), zigpy_foundation.TypeValue(type=0x20, value=t.uint8_t(200))),
    (Typed(ZclType.UINT16, 0x1234), zigpy_foundation.TypeValue(type=0x21, value=t.uint16_t(0x1234))),
    (Typed(ZclType.UINT32, 0x12345678), zigpy_foundation.TypeValue(type=0x23, value=t.uint32_t(0x12345678))),
    (Typed(ZclType.INT32, -3600), zigpy_foundation.TypeValue(type=0x2B, value=t.int32s(-3600))),
    (Typed(ZclType.ENUM8, 3), zigpy_foundation.TypeValue(type=0x30, value=t.enum8(3))),
    (Typed(ZclType.CHARACTER_STRING, "HAN"), zigpy_foundation.TypeValue(type=0x42, value=t.CharacterString("HAN"))),
    (Typed(ZclType.OCTET_STRING, b"\x01\x02"), zigpy_foundation.TypeValue(type=0x41, value=t.LVBytes(b"\x01\x02"))),
    (Typed(ZclType.UTC_TIME, 800_000_000), zigpy_foundation.TypeValue(type=0xE2, value=t.UTCTime(800_000_000))),
    (Typed(ZclType.EUI64, EUI), zigpy_foundation.TypeValue(type=0xF0, value=ZIGPY_EUI)),
]


@pytest.mark.parametrize(("ours", "theirs"), TYPED, ids=lambda value: getattr(getattr(value, "type", None), "name", ""))
def test_attribute_types_equal_zigpy(ours: Typed, theirs: zigpy_foundation.TypeValue) -> None:
    assert ours.encode() == theirs.serialize()
    response = foundation.ReadAttributesResponse((foundation.ReadRecord(0x0004, 0, ours),))
    assert foundation.ReadAttributesResponse.decode(response.encode()) == response
    assert response.values() == {4: ours.value}


def test_foundation_commands_equal_zigpy() -> None:
    commands = zigpy_foundation.GENERAL_COMMANDS
    general = zigpy_foundation.GeneralCommand
    theirs = commands[general.Read_Attributes].schema(attribute_ids=[4, 0xFFFD]).serialize()
    assert foundation.ReadAttributes((4, 0xFFFD)).encode() == theirs
    theirs = commands[general.Default_Response].schema(command_id=5, status=S.ABORT).serialize()
    assert foundation.DefaultResponse(5, ZclStatus.ABORT).encode() == theirs
    record = zigpy_foundation.Attribute(3, TYPED[1][1])
    theirs = commands[general.Write_Attributes].schema(attributes=[record]).serialize()
    assert foundation.WriteAttributes(((3, TYPED[1][0]),)).encode() == theirs
    theirs = commands[general.Discover_Attributes].schema(start_attribute_id=0, max_attribute_ids=9).serialize()
    assert foundation.DiscoverAttributes(0, 9).encode() == theirs


def test_write_attributes_response() -> None:
    assert foundation.WriteAttributesResponse(()).encode() == b"\x00"
    refused = foundation.WriteAttributesResponse(((ZclStatus.READ_ONLY, 4),))
    assert refused.encode() == bytes.fromhex("88 0400")
    for response in (foundation.WriteAttributesResponse(()), refused):
        assert foundation.WriteAttributesResponse.decode(response.encode()) == response


def test_discover_attributes_response() -> None:
    response = foundation.DiscoverAttributesResponse(True, ((0, 0x20), (4, 0x42)))
    assert foundation.DiscoverAttributesResponse.decode(response.encode()) == response


def test_invalid_string_is_none() -> None:
    typed = Typed(ZclType.CHARACTER_STRING, None)
    record = foundation.ReadRecord(4, 0, typed)
    assert foundation.ReadAttributesResponse.decode(bytes.fromhex("0400 00 42 FF")).records == (record,)
    assert typed.encode() == bytes.fromhex("42 FF")


def test_a_value_of_another_type_is_our_defect() -> None:
    with pytest.raises(TypeError):
        Typed(ZclType.UINT8, "text").encode()
    with pytest.raises(TypeError):
        Typed(ZclType.OCTET_STRING, 1).encode()


def test_status_names() -> None:
    assert status_name(0x95) == "ABORT"
    assert status_name(0x42) == "status 0x42"


PARSERS = [
    lambda octets: ZclFrame.decode(0x19, octets),
    foundation.ReadAttributes.decode,
    foundation.ReadAttributesResponse.decode,
    foundation.WriteAttributes.decode,
    foundation.WriteAttributesResponse.decode,
    foundation.DefaultResponse.decode,
    foundation.DiscoverAttributes.decode,
    foundation.DiscoverAttributesResponse.decode,
    *[lambda octets, command=command: ota_messages.decode_to_client(command, octets) for command in range(10)],
    *[lambda octets, command=command: ota_messages.decode_to_server(command, octets) for command in range(10)],
]


@given(st.binary(max_size=80), st.sampled_from(PARSERS))
def test_only_format_error_escapes(octets: bytes, parse: Any) -> None:
    with contextlib.suppress(FormatError):
        parse(octets)


@given(u16, u16, u32, u32, st.binary(max_size=255))
def test_any_block_survives(manufacturer: int, image_type: int, version: int, offset: int, data: bytes) -> None:
    block = ota_messages.ImageBlock(manufacturer, image_type, version, offset, data)
    assert ota_messages.decode_image_block_response(block.encode()) == block
    for length in range(len(block.encode())):
        with pytest.raises(FormatError):
            ota_messages.decode_image_block_response(block.encode()[:length])
