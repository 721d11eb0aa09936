"""The OTA file: the header exactly, the three forms, streaming in any chunks, resuming anywhere."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from image_factory import HEADER, craft, ota, steady
from zigpy.ota.image import OTAImage, OTAImageHeader

from agent.errors import FormatError
from agent.image import ota_file
from agent.image.ota_file import (
    ElementSkipped,
    FileEnd,
    HeaderReady,
    ImageOctets,
    ImageStart,
    OtaStream,
    Piece,
)
from agent.image.ota_form import Form, SubElement, Trailer, encode_file, parse_trailer
from agent.image.ota_header import OtaHeader, parse_header

IMAGE = bytes(range(256)) * 2
ELEMENTS = (SubElement(0x0004, b""), SubElement(0x0005, bytes(80)), SubElement(0xF123, b"v" * 300))
FORMS = list(Form)


def make_file(form: Form, image: bytes = IMAGE) -> bytes:
    if form is Form.GENERIC:
        return encode_file(form, HEADER, image, elements=ELEMENTS)
    return ota(image, form, trailer=Trailer(0, bytes(64)) if form is Form.GB_HCALCS else None)


def joined(pieces: list[Piece]) -> list[Piece]:
    """Neighbouring image octets as one piece, so that chunkings compare."""
    result: list[Piece] = []
    for piece in pieces:
        last = result[-1] if result else None
        if isinstance(piece, ImageOctets) and isinstance(last, ImageOctets):
            assert piece.offset == last.offset + len(last.octets)
            result[-1] = ImageOctets(last.offset, last.octets + piece.octets)
        else:
            result.append(piece)
    return result


headers = st.builds(
    OtaHeader,
    manufacturer_code=st.integers(0, 0xFFFF),
    image_type=st.integers(0, 0xFFFF),
    file_version=st.integers(0, 0xFFFF_FFFF),
    total_octets=st.integers(300, 0xFFFF_FFFF),
    header_string=st.binary(min_size=32, max_size=32),
    stack_version=st.integers(0, 0xFFFF),
    header_version=st.integers(0, 0xFFFF),
    security_credential_version=st.none() | st.integers(0, 0xFF),
    destination=st.none() | st.integers(0, 0xFFFF_FFFF_FFFF_FFFF),
    hardware_versions=st.none() | st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)),
    reserved_control=st.integers(0, 0x1FFF).map(lambda bits: bits << 3),
    extra=st.binary(max_size=20),
)


@steady
@given(headers)
def test_a_header_survives_encoding(header: OtaHeader) -> None:
    assert parse_header(header.encode() + b"what follows") == header


@steady
@given(headers)
def test_zigpy_reads_our_header_as_we_do(header: OtaHeader) -> None:
    theirs, rest = OTAImageHeader.deserialize(header.encode())
    assert rest == header.extra
    assert theirs.header_length == header.header_octets
    assert theirs.manufacturer_id == header.manufacturer_code
    assert theirs.image_type == header.image_type
    assert theirs.file_version == header.file_version
    assert theirs.image_size == header.total_octets
    assert theirs.security_credential_version == header.security_credential_version
    if header.destination is None:
        assert theirs.upgrade_file_destination is None
    else:
        assert theirs.upgrade_file_destination.serialize() == header.destination.to_bytes(8, "little")
    lowest, highest = header.hardware_versions or (None, None)
    assert (theirs.minimum_hardware_version, theirs.maximum_hardware_version) == (lowest, highest)


def test_zigpy_reads_our_generic_file() -> None:
    theirs, rest = OTAImage.deserialize(make_file(Form.GENERIC))
    assert rest == b""
    assert [(int(element.tag_id), bytes(element.data)) for element in theirs.subelements] == [
        (0x0000, IMAGE),
        *((element.tag, element.octets) for element in ELEMENTS),
    ]


def test_a_gb_header_is_60_octets_with_field_control_4() -> None:
    octets = make_file(Form.GB_PPMID)
    assert octets[:10].hex() == "1ef1ee0b00013c000400"
    assert octets[60:] == IMAGE
    assert int.from_bytes(octets[52:56], "little") == len(octets)


def test_the_published_sample_is_read_to_its_last_octet(vectors) -> None:
    octets = (vectors / "dcc_sample_ppmid_11_4.ota").read_bytes()
    file = ota_file.parse(octets, Form.GB_PPMID)
    assert file.header.encode() == octets[:60]
    assert file.header.header_string.rstrip() == b"I am a GFI PPMID firmware image"
    assert (file.header.manufacturer_code, file.header.image_type) == (0x121D, 0x0084)
    assert file.header.hardware_versions == (0x1111, 0x1211)
    assert file.image == octets[60:]


@pytest.mark.parametrize("form", FORMS)
def test_pieces_of_a_whole_file(form: Form) -> None:
    octets = make_file(form)
    stream = OtaStream(form)
    pieces = stream.feed(octets)
    expected: dict[Form, list[Piece]] = {
        Form.GB_PPMID: [],
        Form.GB_HCALCS: [Trailer(0, bytes(64))],
        Form.GENERIC: [ELEMENTS[0], ELEMENTS[1], ElementSkipped(0xF123, 300)],
    }
    header = parse_header(octets)
    start = [HeaderReady(header), ImageStart(512), ImageOctets(0, IMAGE)]
    assert pieces == [*start, *expected[form], FileEnd()]
    assert stream.finished
    assert (stream.offset, stream.total_octets, stream.image_octets) == (len(octets), len(octets), len(IMAGE))


@pytest.mark.parametrize("form", FORMS)
@steady
@given(sizes=st.lists(st.integers(1, 90), min_size=1, max_size=40))
@example(sizes=[1])
@example(sizes=[50])
def test_any_chunking_and_a_restart_at_every_chunk_give_the_same_pieces(form: Form, sizes: list[int]) -> None:
    octets = make_file(form)
    stream, position, pieces = OtaStream(form), 0, []
    while position < len(octets):
        size = sizes[len(pieces) % len(sizes)]
        pieces += stream.feed(octets[position : position + size])
        position = min(position + size, len(octets))
        assert stream.offset == position
        stored = stream.checkpoint()
        assert len(stored) < 700
        stream = OtaStream.resume(form, stored)
        assert stream.checkpoint() == stored
    assert stream.finished
    assert joined(pieces) == OtaStream(form).feed(octets)


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_ends_early_or_late_is_refused(form: Form) -> None:
    octets = make_file(form)
    for length in range(len(octets)):
        with pytest.raises(FormatError, match="ends after"):
            ota_file.parse(octets[:length], form)
    with pytest.raises(FormatError, match="beyond the total size"):
        ota_file.parse(octets + b"\0", form)


@pytest.mark.parametrize(
    ("form", "body", "words"),
    [
        (Form.GB_PPMID, b"", "no room"),
        (Form.GB_HCALCS, bytes(66), "no room"),
        (Form.GENERIC, b"", "too few"),
        (Form.GENERIC, bytes(5), "too few"),
        (Form.GENERIC, bytes.fromhex("0000 00000000"), "an empty Manufacturer Image"),
        (Form.GENERIC, bytes.fromhex("0000 01000000 aa 0000 01000000 aa"), "a second"),
        (Form.GENERIC, bytes.fromhex("0000 02000000 aa"), "crosses the end"),
        (Form.GENERIC, bytes.fromhex("0300 01000000 aa"), "without a Manufacturer Image"),
        (Form.GENERIC, bytes.fromhex("0000 01000000 aa ff"), "too few"),
        (Form.GB_HCALCS, b"i" + bytes((0, 0x41)) + bytes(64), "signature length 0x41"),
    ],
)
def test_bodies_that_make_no_sense(form: Form, body: bytes, words: str) -> None:
    header = OtaHeader(manufacturer_code=1, image_type=2, file_version=3, total_octets=56 + len(body))
    with pytest.raises(FormatError, match=words):
        OtaStream(form).feed(header.encode() + body)


@pytest.mark.parametrize(
    ("at", "octets", "words"),
    [
        (0, b"\0\0\0\0", "not an OTA file: magic 0x00000000"),
        (6, b"\x37\0", "header length 55"),
        (6, b"\xff\xff", "header length 65535"),
        (8, b"\x07\0", "its fields take 69"),
        (52, b"\x3b\0\0\0", "total size 59 is below"),
    ],
)
def test_headers_that_make_no_sense(at: int, octets: bytes, words: str) -> None:
    damaged = bytearray(make_file(Form.GB_PPMID))
    damaged[at : at + len(octets)] = octets
    with pytest.raises(FormatError, match=words):
        OtaStream(Form.GB_PPMID).feed(damaged)


def test_parts_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="a trailer belongs to gb-hcalcs"):
        encode_file(Form.GB_PPMID, HEADER, IMAGE, trailer=Trailer(0, bytes(64)))
    with pytest.raises(ValueError, match="a trailer belongs to gb-hcalcs"):
        encode_file(Form.GB_HCALCS, HEADER, IMAGE)
    with pytest.raises(FormatError, match="66 octets long"):
        parse_trailer(bytes(65))


@pytest.mark.parametrize("form", FORMS)
@steady
@given(octets=st.binary(max_size=400), sound_header=st.booleans())
def test_any_octets_stream_or_raise_format_error(form: Form, octets: bytes, sound_header: bool) -> None:
    if sound_header:
        total = 60 + len(octets)
        octets = (
            OtaHeader(
                manufacturer_code=1, image_type=2, file_version=3, total_octets=total, hardware_versions=(0, 1)
            ).encode()
            + octets
        )
    with contextlib.suppress(FormatError):
        OtaStream(form).feed(octets)


@pytest.mark.parametrize("form", FORMS)
@steady
@given(data=st.data())
def test_a_damaged_checkpoint_resumes_or_raises_format_error(form: Form, data: st.DataObject) -> None:
    stream = OtaStream(form)
    stream.feed(make_file(form)[: data.draw(st.integers(0, 700))])
    stored = bytearray(stream.checkpoint())
    stored[data.draw(st.integers(0, len(stored) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(FormatError):
        OtaStream.resume(form, bytes(stored)).feed(craft())
