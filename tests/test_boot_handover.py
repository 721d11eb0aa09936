"""The handover crosses the exec as it was, and nonsense raises FormatError only."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_factory import steady

from agent.boot.handover import VARIABLE, BootEvent, Handover, Reverted
from agent.boot.mark import MARK_OCTETS, ConfirmedMark, decode, encode
from agent.boot.state import EndReason, Slot
from agent.errors import FormatError

slots = st.sampled_from(Slot)
hashes = st.binary(min_size=32, max_size=32)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
handovers = st.builds(
    Handover,
    slot=slots,
    image_hash=hashes,
    trial=st.booleans(),
    tries_left=st.integers(0, 255),
    reverted=st.none() | st.builds(Reverted, slots, st.sampled_from(EndReason), hashes),
    events=st.lists(st.builds(BootEvent, st.just(0x8F1B), slots, texts)).map(tuple),
    notes=st.lists(texts).map(tuple),
)
u32 = st.integers(0, 2**32 - 1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@steady
@given(handovers)
def test_it_comes_back_as_it_was(handover: Handover) -> None:
    assert Handover.from_environment(handover.to_environment()) == handover


def test_no_first_stage_no_handover() -> None:
    assert Handover.from_environment({"PATH": "/bin"}) is None


@steady
@given(st.text() | json_values.map(json.dumps))
def test_nonsense_raises_format_error(text: str) -> None:
    with pytest.raises(FormatError):
        Handover.from_environment({VARIABLE: text})


@steady
@given(handovers, st.sampled_from(["slot", "image_hash", "reverted", "events", "notes", "tries_left"]), json_values)
def test_a_field_of_another_type_raises_format_error_only(handover: Handover, key: str, value: object) -> None:
    fields = json.loads(handover.to_environment()[VARIABLE])
    fields[key] = value
    try:
        Handover.from_environment({VARIABLE: json.dumps(fields)})
    except FormatError as error:
        assert str(error).startswith(VARIABLE)  # noqa: PT017  (some values are right by chance)


@steady
@given(st.builds(ConfirmedMark, hashes, u32, u32, u32), st.integers(0, 96 * 8 - 1))
def test_a_mark_comes_back_and_a_flipped_bit_is_no_mark(mark: ConfirmedMark, bit: int) -> None:
    octets = bytearray(encode(mark))
    assert len(octets) == MARK_OCTETS
    assert decode(bytes(octets)) == mark
    octets[bit // 8] ^= 1 << bit % 8
    with pytest.raises(FormatError):
        decode(bytes(octets))


@steady
@given(st.binary(max_size=200))
def test_foreign_octets_are_no_mark(octets: bytes) -> None:
    with pytest.raises(FormatError):
        decode(octets)
