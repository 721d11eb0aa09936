"""The stack's cryptography against published values."""

from __future__ import annotations

import contextlib

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import FormatError
from boards.virtual.stack import keys


def test_aes_mmo_of_the_zigbee_specification() -> None:
    assert keys.aes_mmo(b"\xc0").hex().upper() == "AE3A102A28D43EE0D4A09E22788B206C"  # 05-3474 C.5.1
    one_block = bytes(range(0xC0, 0xD0))
    assert keys.aes_mmo(one_block).hex().upper() == "A7977E88BC0B61E8210827109A228F2D"  # C.5.2


def test_keyed_hash_of_the_zigbee_specification() -> None:
    key = bytes(range(0x40, 0x50))
    assert keys.keyed_hash(key, b"\xc0").hex().upper() == "4512807BF94CB3400F0E2C25FB76E999"  # C.6.1


def test_key_transport_key_of_the_default_link_key() -> None:
    """The value that every sniffer knows for ZigBeeAlliance09."""
    assert keys.key_transport_key(b"ZigBeeAlliance09").hex().upper() == "4BAB0F173E1434A2D572E1C1EF478782"


def test_ccm_star_of_the_zigbee_specification() -> None:
    """05-3474 C.4 has a MIC of 8 octets; ours has 4, which changes the MIC and leaves the ciphertext."""
    key, nonce = bytes(range(0xC0, 0xD0)), bytes.fromhex("A0A1A2A3A4A5A6A703020100 06")
    header, plain = bytes(range(8)), bytes(range(8, 0x1F))
    published = bytes.fromhex("1A55A36ABB6C610D066B3375649CEF10D4664ECAD854A8 0A895CC1D8FF9469")
    assert AESCCM(key, tag_length=8).encrypt(nonce, plain, header) == published
    assert keys.encrypt(key, nonce, header, plain)[:-4] == published[: len(plain)]


@pytest.mark.parametrize(
    ("code", "key"),
    [
        ("83FED3407A939723A5C639B26916D505C3B5", "66B6900981E1EE3CA4206B6B861C02BB"),
        ("83FED3407A932B70", "CD4FA064773F46941EC986C09963D1A8"),
    ],
)
def test_install_code_gives_the_published_link_key(code: str, key: str) -> None:
    assert keys.install_code_link_key(bytes.fromhex(code)).hex().upper() == key


def test_install_code_with_a_wrong_crc_is_refused_naming_the_right_one() -> None:
    with pytest.raises(FormatError, match="CRC should be C3B5"):
        keys.install_code_link_key(bytes.fromhex("83FED3407A939723A5C639B26916D505C3B6"))


@given(st.binary(max_size=40))
def test_any_other_install_code_is_a_format_error(code: bytes) -> None:
    with contextlib.suppress(FormatError):
        assert len(keys.install_code_link_key(code)) == 16


@given(st.binary(max_size=90), st.binary(max_size=30), st.integers(0, 200))
def test_a_changed_octet_never_opens(plain: bytes, header: bytes, position: int) -> None:
    key, nonce = bytes(16), bytes(13)
    sealed = bytearray(keys.encrypt(key, nonce, header, plain))
    assert keys.decrypt(key, nonce, header, bytes(sealed)) == plain
    sealed[position % len(sealed)] ^= 1
    assert keys.decrypt(key, nonce, header, bytes(sealed)) is None
    assert keys.decrypt(key, nonce, header, b"\x00" * 3) is None
