"""The GBCS message codec: exact to the octet both ways, every length of other information, and only FormatError."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import FormatError
from agent.gbcs.message import Cra, GbcsMessage, PayloadKind, decode
from agent.gbcs.octets import Reader, encode_length

U64 = st.integers(0, 2**64 - 1)
OTHER_INFORMATION = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"supplementary_party": U64}),
    st.fixed_dictionaries({"supplementary_party": U64, "supplementary_party_counter": U64}),
    st.fixed_dictionaries(
        {
            "supplementary_party": U64,
            "supplementary_party_counter": U64,
            "supplementary_originator_counter": U64,
        }
    ),
    st.fixed_dictionaries(
        {
            "supplementary_party": U64,
            "supplementary_party_counter": U64,
            "supplementary_certificate": st.binary(min_size=9, max_size=600),
        }
    ),
)
SIGNATURE = st.binary(min_size=64, max_size=64)
MAC = st.binary(min_size=12, max_size=12)
PROTECTION = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"signature": SIGNATURE}),
    st.fixed_dictionaries({"signature": SIGNATURE | st.just(b""), "mac": MAC}),
)


@st.composite
def messages(draw: st.DrawFn) -> GbcsMessage:
    return GbcsMessage(
        cra=draw(st.sampled_from(Cra)),
        counter=draw(U64),
        originator=draw(U64),
        target=draw(U64),
        message_code=draw(st.integers(0, 0xFFFF)),
        payload=draw(st.binary(max_size=300)),
        date_time=draw(st.none() | st.binary(min_size=12, max_size=12)),
        **draw(OTHER_INFORMATION),
        **draw(PROTECTION),
    )


@settings(deadline=None)  # a loaded machine is no defect
@given(messages())
def test_every_message_survives_the_round_trip(message: GbcsMessage) -> None:
    octets = message.encode()
    assert decode(octets) == message
    assert decode(octets).encode() == octets


@pytest.mark.parametrize("length", [0, 1, 127, 128, 255, 256, 65_535, 65_536])
def test_every_form_of_length_survives_the_round_trip(length: int) -> None:
    message = GbcsMessage(Cra.ALERT, 1, 2, 3, 4, bytes(length), signature=bytes(64), mac=bytes(12))
    assert decode(message.encode()) == message


def test_published_messages_re_encode_to_the_same_octets(vectors: Path) -> None:
    files = sorted((vectors / "rtds").glob("*.HEX"))
    assert files
    for path in files:
        octets = bytes.fromhex(path.read_text())
        assert decode(octets).encode() == octets, path.name


def test_a_cs06_command_field_by_field() -> None:
    octets = bytes.fromhex(
        "DF 09 01 00000000000003ED 08 90B3D51F30010000 08 00DB1234567890A0"  # command, counter, originator, target
        "00 02 0012 04 05000102"  # no date-time, message code CS06, a payload of four octets
    )
    message = decode(octets)
    assert message == GbcsMessage(
        Cra.COMMAND, 0x3ED, 0x90B3D51F30010000, 0x00DB1234567890A0, 0x0012, bytes.fromhex("05000102")
    )
    assert message.is_pre_command


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        ("0500", PayloadKind.DER),
        ("3003020100", PayloadKind.DER),
        ("010901", PayloadKind.GBZ),
        ("0F0000", PayloadKind.DLMS),
        ("D90000", PayloadKind.DLMS),
        ("DA0000", PayloadKind.DLMS),
        ("01", PayloadKind.UNKNOWN),
        ("", PayloadKind.UNKNOWN),
    ],
)
def test_payload_kind_is_told_by_the_first_octets(payload: str, kind: PayloadKind) -> None:
    assert GbcsMessage(Cra.ALERT, 1, 2, 3, 4, bytes.fromhex(payload)).payload_kind is kind


SIGNED = GbcsMessage(Cra.RESPONSE, 5, 6, 7, 0x0012, b"\x05\x00", signature=bytes(64))
MACED = GbcsMessage(Cra.COMMAND, 5, 6, 7, 0x0129, b"\x05\x00", signature=b"", mac=bytes(12))


@pytest.mark.parametrize("message", [SIGNED, MACED])
def test_every_cut_is_an_error_but_the_pre_command(message: GbcsMessage) -> None:
    octets = message.encode()
    for length in range(len(octets)):
        with contextlib.suppress(FormatError):
            assert decode(octets[:length]).is_pre_command
    with pytest.raises(FormatError, match="after the end of the message"):
        decode(octets + b"\x00")


@pytest.mark.parametrize(
    ("octets", "offset", "reason"),
    [
        ("", 0, "starts with nothing"),
        ("E0", 0, "starts with E0"),
        ("DD 09 0000000000 00", 0, "MAC header is DD090000000000"),
        ("DF 08", 1, "transaction id length is 08"),
        ("DF 09 04", 2, "CRA flag 4"),
        ("DF 09 01 0000000000000001 08 0000000000000002 08 0000000000000003 01 00", 29, "date-time length 1"),
        ("DF 09 01 0000000000000001 08 0000000000000002 08 0000000000000003 00 01 00", 31, "message code needs 2"),
        ("DF 09 01 0000000000000001 08 0000000000000002 08 0000000000000003 00 02 0012 8101 00", 33, "shortest form"),
        ("DF 09 01 0000000000000001 08 0000000000000002 08 0000000000000003 00 02 0012 80", 33, "no definite length"),
        ("DF 09 01 0000000000000001 08 0000000000000002 08 0000000000000003 00 02 0012 00 3F", 34, "signature length"),
    ],
)
def test_an_error_names_the_offset_and_the_reason(octets: str, offset: int, reason: str) -> None:
    with pytest.raises(FormatError, match=reason) as caught:
        decode(bytes.fromhex(octets))
    assert caught.value.offset_octets == offset


@settings(deadline=None)  # a loaded machine is no defect
@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: b"\xdf\x09\x01" + tail))
def test_garbage_raises_nothing_but_format_errors(octets: bytes) -> None:
    with contextlib.suppress(FormatError):
        assert decode(octets).encode() == octets


@settings(deadline=None)  # a loaded machine is no defect
@given(message=messages(), data=st.data())
def test_a_damaged_message_raises_nothing_but_format_errors(message: GbcsMessage, data: st.DataObject) -> None:
    octets = bytearray(message.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        octets[data.draw(st.integers(0, min(len(octets) - 1, 80)))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(FormatError):
        assert decode(bytes(octets)).encode() == bytes(octets)


@settings(deadline=None)  # a loaded machine is no defect
@given(st.integers(0, 2**24 - 1))
def test_lengths_round_trip(value: int) -> None:
    reader = Reader("length", encode_length(value))
    assert reader.length("length") == value
    reader.end("length")
