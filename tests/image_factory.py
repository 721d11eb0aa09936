"""Keys and images for the tests of the image: imgtool's, and crafted ones that no honest tool would make."""

from __future__ import annotations

import hashlib
import struct
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

from Crypto.Hash import SHA256
from Crypto.PublicKey import ECC
from Crypto.PublicKey.ECC import EccKey
from Crypto.Signature import DSS
from hypothesis import HealthCheck, settings

from agent.image import mcuboot
from agent.image.ota_form import Form, Trailer, encode_file
from agent.image.ota_header import OtaHeader
from agent.image.signature import key_hash
from agent.image.verdict import Requirements
from agent.image.version import Version
from flash.image_sign import ImageFacts, sign_image

steady = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a loaded machine is no fault
PAYLOAD = b"a payload of no meaning " * 3
HEADER = OtaHeader(
    manufacturer_code=0x1234,
    image_type=0x0042,
    file_version=Version(1, 1, 0).file_version,
    total_octets=0,
    header_string=b"for a test",
    hardware_versions=(1, 3),
)
FACTS = ImageFacts(
    version=Version(1, 1, 0),
    base_abi="debian-12",
    security_counter=7,
    upgrade_from=(Version(1, 0, 0), Version(1, 0, 9)),
)
CRAFTED_TLVS = (
    (mcuboot.SECURITY_COUNTER, struct.pack("<I", 7)),
    (mcuboot.BASE_ABI, b"debian-12"),
    (mcuboot.UPGRADE_FROM, struct.pack("<II", 0x01000000, 0x01000009)),
)


@cache
def make_key(name: str = "manufacturer") -> EccKey:
    """One key a name, the same in every run, so that a failing example can be run again."""
    return ECC.construct(curve="P-256", d=int.from_bytes(hashlib.sha256(name.encode()).digest()))


def requirements(**changes: object) -> Requirements:
    """A device that takes the image of FACTS in the file of HEADER."""
    usual = Requirements(
        manufacturer_code=0x1234,
        image_type=0x0042,
        hardware_version=2,
        trusted_keys={key_hash(make_key()): make_key().public_key()},
        maximum_octets=100_000,
        slot_octets=50_000,
        minimum_security_counter=7,
        running_version=Version(1, 0, 0),
        base_abi="debian-12",
        eui=0x00DB1234567890A0,
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


@cache
def imgtool_image(payload: bytes = PAYLOAD, facts: ImageFacts = FACTS) -> bytes:
    """Signed by imgtool with ``make_key()``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key.pem"
        path.write_text(make_key().export_key(format="PEM"))
        return sign_image(payload, path, facts)


def ota(image: bytes, form: Form = Form.GB_PPMID, header: OtaHeader = HEADER, trailer: Trailer | None = None) -> bytes:
    """A file round the image; for an HCALCS signed by the key ``supplier`` unless a trailer is given."""
    if form is Form.GB_HCALCS and trailer is None:
        signer = DSS.new(make_key("supplier"), "deterministic-rfc6979", encoding="binary")
        trailer = Trailer(0, signer.sign(SHA256.new(image)))
    return encode_file(form, header, image, trailer=trailer)


def craft(
    *,
    payload: bytes = PAYLOAD,
    version: tuple[int, int, int] = (1, 1, 0),
    flags: int = 0,
    protected: tuple[tuple[int, bytes], ...] = CRAFTED_TLVS,
    signer: EccKey | None = None,
    extra: tuple[tuple[int, bytes], ...] = (),
    leave_out: frozenset[int] = frozenset(),
    key_as: int = mcuboot.KEY_HASH,
) -> bytes:
    """A MCUboot image written by this file alone, correctly signed unless told otherwise."""
    key = signer or make_key()
    area = _area(mcuboot.PROTECTED_TLV_INFO_MAGIC, protected) if protected else b""
    header = struct.pack("<IIHHIIBBHII", mcuboot.IMAGE_MAGIC, 0, 32, len(area), len(payload), flags, *version, 0, 0)
    signed = header + payload + area
    signature = DSS.new(key, "deterministic-rfc6979", encoding="der").sign(SHA256.new(signed))
    spki = key.public_key().export_key(format="DER")
    own_key = (mcuboot.PUBLIC_KEY, spki) if key_as == mcuboot.PUBLIC_KEY else (mcuboot.KEY_HASH, key_hash(key))
    tlvs = ((mcuboot.SHA256, hashlib.sha256(signed).digest()), own_key, (mcuboot.ECDSA_SIGNATURE, signature), *extra)
    return signed + _area(mcuboot.TLV_INFO_MAGIC, tuple(tlv for tlv in tlvs if tlv[0] not in leave_out))


def _area(magic: int, tlvs: tuple[tuple[int, bytes], ...]) -> bytes:
    body = b"".join(struct.pack("<HH", kind, len(value)) + value for kind, value in tlvs)
    return struct.pack("<HH", magic, 4 + len(body)) + body
