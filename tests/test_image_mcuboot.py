"""The Manufacturer Image's parser: imgtool's images are read, octets of any other kind raise FormatError only."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import FormatError
from agent.image import mcuboot
from agent.image.version import Version


@given(st.integers(0, 0xFFFF_FFFF))
def test_version_and_file_version_are_one_to_one(number: int) -> None:
    version = Version.from_file_version(number)
    assert version.file_version == number
    assert Version.parse(str(version)) == version
    assert int.from_bytes(version.to_octets(), "big") == number


@given(st.integers(0, 0xFFFF_FFFF), st.integers(0, 0xFFFF_FFFF))
def test_versions_are_ordered_as_file_versions_are(one: int, other: int) -> None:
    assert (Version.from_file_version(one) < Version.from_file_version(other)) == (one < other)


@pytest.mark.parametrize(
    "text", ["", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.-3", "256.0.0", "0.0.65536", "1.2.3\n", "\u0661.2.3"]
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        Version.parse(text)


@given(st.binary(max_size=200))
def test_any_octets_parse_or_raise_format_error(octets: bytes) -> None:
    for candidate in (octets, mcuboot.IMAGE_MAGIC.to_bytes(4, "little") + octets):
        with contextlib.suppress(FormatError):
            mcuboot.parse(candidate, allow_trailing=True)
