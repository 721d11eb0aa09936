"""Hash, install codes, certificates, key agreement: the worked examples of Annex C, and what is refused."""

from __future__ import annotations

import random

import pytest
from annex_c import EXAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import FormatError, HanError
from agent.zigbee.cbke import ecmqv
from agent.zigbee.cbke.certificates import CERTIFICATE_OCTETS, CURVES, SUITE_1, SUITE_2, parse_certificate
from agent.zigbee.cbke.ecqv import check_credentials, issue, make_authority, public_key
from agent.zigbee.cbke.install_code import add_crc, check_install_code, crc16_x25, link_key, parse_install_code
from agent.zigbee.cbke.mmo import Mmo, hmac_mmo, mmo

SUITES = [SUITE_1, SUITE_2]
EUI, ISSUER = 0x90B3D51F30010000, 0x90B3D51F30000002


def test_mmo_of_the_published_install_codes() -> None:
    # ZigBee Smart Energy's examples, 16 and 6 octets
    assert link_key(bytes.fromhex("83FED3407A939723A5C639B26916D505C3B5")).hex() == "66b6900981e1ee3ca4206b6b861c02bb"
    assert link_key(bytes.fromhex("83FED3407A932B70")).hex() == "cd4fa064773f46941ec986c09963d1a8"


def test_mmo_agrees_with_zigpy() -> None:
    util = pytest.importorskip("zigpy.util")
    for length in (0, 1, 13, 14, 15, 16, 17, 48, 74, 500):
        data = random.Random(length).randbytes(length)
        assert mmo(data) == util.aes_mmo_hash(data).serialize()


def test_mmo_of_long_messages_ends_with_a_32_bit_length() -> None:
    short, long = Mmo(bytes(8191)), Mmo(bytes(8191))
    long.update(b"\0")
    state = Mmo(bytes(8176) + bytes(15) + b"\x80" + bytes(14) + (8 * 8191).to_bytes(2, "big"))
    assert short.digest() == state._state
    state = Mmo(bytes(8192) + b"\x80" + bytes(9) + (65536).to_bytes(4, "big") + bytes(2))
    assert long.digest() == state._state


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_mmo_runs_in_pieces(pieces: list[bytes]) -> None:
    running = Mmo()
    for piece in pieces:
        running.update(piece)
    assert running.digest() == running.digest() == mmo(b"".join(pieces))


def test_hmac_of_the_zigbee_specification() -> None:
    # ZigBee specification, C.6.1 and C.6.2
    key = bytes(range(0x40, 0x50))
    assert hmac_mmo(key, b"\xc0").hex() == "4512807bf94cb3400f0e2c25fb76e999"
    key = bytes(range(0x40, 0x60))
    assert hmac_mmo(key, bytes.fromhex("c0c1c2c3c4c5c6c7c8c9cacbcccdcecf")).hex() == "a3b0079984bf1557f74a0d6387e0a11a"


def test_crc_check_value() -> None:
    assert crc16_x25(b"123456789") == 0x906E  # catalogue of parametrised CRC algorithms, CRC-16/IBM-SDLC


@given(st.sampled_from([6, 8, 12, 16]).flatmap(lambda n: st.binary(min_size=n, max_size=n)), st.data())
def test_install_codes(code: bytes, data: st.DataObject) -> None:
    whole = add_crc(code)
    assert check_install_code(whole) == whole
    assert parse_install_code(whole.hex(" ", 2)) == whole
    wrong = bytearray(whole)
    wrong[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(FormatError, match="CRC"):
        link_key(bytes(wrong))


@given(st.one_of(st.text(max_size=40), st.binary(max_size=20).map(bytes.hex)))
def test_only_format_error_escapes_install_codes(text: str) -> None:
    try:
        assert len(parse_install_code(text)) in (8, 10, 14, 18)
    except FormatError:
        return


def test_install_code_lengths_are_named() -> None:
    with pytest.raises(FormatError, match="8, 10, 14 or 18"):
        check_install_code(bytes(9))
    with pytest.raises(FormatError, match="6, 8, 12 or 16"):
        add_crc(bytes(10))
    with pytest.raises(FormatError, match="hex"):
        parse_install_code("83FED3407A932B7")


@pytest.mark.parametrize("suite", SUITES)
def test_annex_c_keys(suite: int) -> None:
    example, curve = EXAMPLES[suite], CURVES[suite]
    ca = curve.decode(example.ca_public)
    for party in (example.u, example.v):
        certificate = parse_certificate(suite, party.certificate)
        assert certificate.faults(party.eui) == []
        assert curve.encode(public_key(certificate, ca)) == party.public
        ephemeral = ecmqv.make_ephemeral(suite, int.from_bytes(party.ephemeral_private, "big"))
        assert ephemeral.octets == party.ephemeral_public
        check_credentials(suite, party.certificate, party.private, example.ca_public, party.eui)


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("initiator", [True, False])
def test_annex_c_agreement(suite: int, initiator: bool) -> None:
    example = EXAMPLES[suite]
    own, other = (example.u, example.v) if initiator else (example.v, example.u)
    z = ecmqv.shared_secret(
        suite,
        int.from_bytes(own.private, "big"),
        ecmqv.make_ephemeral(suite, int.from_bytes(own.ephemeral_private, "big")),
        public_key(parse_certificate(suite, other.certificate), CURVES[suite].decode(example.ca_public)),
        other.ephemeral_public,
    )
    assert z == example.z
    keys = ecmqv.derive_keys(z)
    assert (keys.mac_key, keys.link_key) == (example.mac_key, example.link_key)
    inputs = (keys.mac_key, example.u.eui, example.v.eui, example.u.ephemeral_public, example.v.ephemeral_public)
    assert ecmqv.confirm_u(*inputs) == example.mac_u
    assert ecmqv.confirm_v(*inputs) == example.mac_v


@pytest.mark.parametrize("suite", SUITES)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_issued_certificates_agree_on_a_key(suite: int, seed: int) -> None:
    rng = random.Random(seed)
    authority = make_authority(suite, ISSUER, rng)
    a, b = issue(authority, 1, rng), issue(authority, 2, rng, serial=2)
    ephemeral = [ecmqv.make_ephemeral(suite, rng.randrange(1, CURVES[suite].n)) for _ in range(2)]
    secrets = [
        ecmqv.shared_secret(suite, own.private_key, mine, public_key(other.certificate, other.ca_public), theirs.octets)
        for own, other, mine, theirs in [(a, b, *ephemeral), (b, a, *reversed(ephemeral))]
    ]
    assert secrets[0] == secrets[1]
    assert len(a.certificate.octets) == CERTIFICATE_OCTETS[suite]
    assert a.certificate.issuer == ISSUER


@pytest.mark.parametrize("suite", [SUITE_1, SUITE_2, 3])
@given(
    octets=st.one_of(st.binary(max_size=100), st.binary(min_size=48, max_size=48), st.binary(min_size=74, max_size=74))
)
@settings(deadline=None)
def test_only_format_error_escapes_certificates(suite: int, octets: bytes) -> None:
    try:
        certificate = parse_certificate(suite, octets)
        public_key(certificate, CURVES[suite].generator)
    except FormatError:
        return
    assert certificate.octets == octets


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (0, 1, "type 01"),
        (9, 1, "curve 01"),
        (10, 7, "hash 07"),
        (36, 0x80, "key usage 80"),
        (37, 0, "point"),
        (35, 7, "made"),
    ],
)
def test_faults_of_a_suite_2_certificate(at: int, value: int, reason: str) -> None:
    rng = random.Random(1)
    good = issue(make_authority(SUITE_2, ISSUER, rng), EUI, rng).certificate
    assert good.faults(EUI) == []
    octets = bytearray(good.octets)
    octets[at] = value
    faults = parse_certificate(SUITE_2, bytes(octets)).faults(EUI)
    assert len(faults) == 1
    assert reason in faults[0]


@pytest.mark.parametrize("suite", SUITES)
def test_a_set_that_does_not_fit_is_refused(suite: int) -> None:
    rng = random.Random(5)
    authority, stranger = make_authority(suite, ISSUER, rng), make_authority(suite, ISSUER, rng)
    mine = issue(authority, EUI, rng)
    certificate, length = mine.certificate.octets, CURVES[suite].field.octets
    secret = mine.private_key.to_bytes(length, "big")
    assert check_credentials(suite, certificate, secret, authority.public, EUI) == mine
    with pytest.raises(HanError, match=r"made for 90B3D51F30010000, not for 90B3D51F30010001"):
        check_credentials(suite, certificate, secret, authority.public, EUI + 1)
    with pytest.raises(HanError, match="do not belong together"):
        check_credentials(suite, certificate, secret, stranger.public, EUI)
    with pytest.raises(HanError, match="do not belong together"):
        check_credentials(suite, certificate, (mine.private_key - 1).to_bytes(length, "big"), authority.public, EUI)
    for bad in (bytes(length), secret[1:], CURVES[suite].n.to_bytes(length, "big")):
        with pytest.raises(FormatError, match="private key"):
            check_credentials(suite, certificate, bad, authority.public, EUI)
    with pytest.raises(FormatError, match="point"):
        check_credentials(suite, certificate, secret, b"\x05" + authority.public[1:], EUI)


def test_an_infinite_public_key_is_refused() -> None:
    rng = random.Random(3)
    certificate = issue(make_authority(SUITE_1, ISSUER, rng), EUI, rng).certificate
    curve = CURVES[SUITE_1]
    e = int.from_bytes(mmo(certificate.octets), "big")
    opposite = curve.negate(curve.multiply(e, certificate.point()))
    assert opposite is not None
    with pytest.raises(FormatError, match="infinity"):
        public_key(certificate, opposite)


def test_secrets_do_not_show() -> None:
    rng = random.Random(2)
    authority = make_authority(SUITE_1, ISSUER, rng)
    mine = issue(authority, EUI, rng)
    keys = ecmqv.derive_keys(bytes(21))
    for thing, secret in ((authority, authority.private_key), (mine, mine.private_key)):
        assert str(secret) not in repr(thing)
    assert repr(keys) == "SharedKeys()"
