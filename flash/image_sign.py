"""From payload to firmware file: imgtool (MCUboot's own) signs the Manufacturer Image, the OTA file goes round it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from Crypto.Hash import SHA256
from Crypto.PublicKey import ECC
from Crypto.PublicKey.ECC import EccKey
from Crypto.Signature import DSS

from agent.errors import SettingsError, StorageError
from agent.image import mcuboot
from agent.image.ota_form import Form, Trailer, encode_file
from agent.image.ota_header import OtaHeader
from agent.image.signature import P256
from agent.image.version import Version

SLOT_OCTETS = 16 * 1024 * 1024  # the partitions of flash/
HEADER_STRING_OCTETS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What goes into the signed part of a Manufacturer Image beside the payload."""

    version: Version
    base_abi: str = ""
    security_counter: int | None = None
    upgrade_from: tuple[Version, Version] | None = None


def sign_image(payload: bytes, key: Path, facts: ImageFacts, *, slot_octets: int = SLOT_OCTETS) -> bytes:
    """The Manufacturer Image, signed by imgtool with the P-256 private key in ``key``.

    Raises StorageError (no such key, no private key) and SettingsError (imgtool refuses, with its own words).
    """
    load_private_key(key)
    with tempfile.TemporaryDirectory(prefix="han-image-") as folder:
        source, target = Path(folder) / "payload.bin", Path(folder) / "image.bin"
        source.write_bytes(payload)
        command = [sys.executable, "-m", "imgtool.main", "sign", "--key", str(key), *_options(facts, slot_octets)]
        result = subprocess.run([*command, str(source), str(target)], capture_output=True, text=True, check=False)
        if result.returncode != 0 or not target.is_file():
            words = (result.stderr or result.stdout).strip().splitlines()
            raise SettingsError(f"imgtool did not sign the image: {words[-1] if words else 'no words'}")
        image = target.read_bytes()
    mcuboot.parse(image)
    return image


def wrap_image(
    image: bytes,
    form: Form,
    *,
    manufacturer_code: int,
    image_type: int,
    hardware_versions: tuple[int, int],
    supplier_key: Path | None = None,
    header_string: str = "",
) -> bytes:
    """The OTA file round a signed image, of its version. Raises SettingsError, StorageError, FormatError."""
    version = mcuboot.parse(image).version
    text = (header_string or f"HAN agent {version}").encode()
    if len(text) > HEADER_STRING_OCTETS:
        raise SettingsError(f"header string of {len(text)} octets, at most {HEADER_STRING_OCTETS}; shorten it")
    if (form is Form.GB_HCALCS) != (supplier_key is not None):
        raise SettingsError(f"--supplier-key belongs to the form gb-hcalcs, and to no other; this is {form.value}")
    header = OtaHeader(
        manufacturer_code=manufacturer_code,
        image_type=image_type,
        file_version=version.file_version,
        total_octets=0,
        header_string=text,
        hardware_versions=hardware_versions,
    )
    trailer = None if supplier_key is None else sign_trailer(image, supplier_key)
    return encode_file(form, header, image, trailer=trailer)


def sign_trailer(image: bytes, supplier_key: Path) -> Trailer:
    """The supplier's signature over the Manufacturer Image, with forcedReplace 0 as in every published sample."""
    signer = DSS.new(load_private_key(supplier_key), "fips-186-3", encoding="binary")
    return Trailer(0, signer.sign(SHA256.new(image)))


def load_private_key(path: Path) -> EccKey:
    """A P-256 private key in PEM. Raises StorageError."""
    try:
        key = ECC.import_key(path.read_text(encoding="ascii"))
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}; make keys with han-agent keys new") from None
    except (ValueError, IndexError, TypeError) as error:
        raise StorageError(f"{path}: not a private key in PEM: {error}") from None
    if key.curve != P256 or not key.has_private():
        raise StorageError(f"{path}: not a {P256} private key; name the one that signs, not the public one")
    return key


def _options(facts: ImageFacts, slot_octets: int) -> list[str]:
    """imgtool's options; both vendor TLVs are protected, as every custom TLV of imgtool is."""
    options = ["--version", str(facts.version), "--header-size", str(mcuboot.HEADER_OCTETS), "--pad-header"]
    options += ["--align", "1", "--overwrite-only", "--slot-size", str(slot_octets)]
    if facts.security_counter is not None:
        options += ["--security-counter", str(facts.security_counter)]
    if facts.base_abi:
        options += ["--custom-tlv", hex(mcuboot.BASE_ABI), "0x" + facts.base_abi.encode().hex()]
    if facts.upgrade_from is not None:
        octets = b"".join(version.file_version.to_bytes(4, "little") for version in facts.upgrade_from)
        options += ["--custom-tlv", hex(mcuboot.UPGRADE_FROM), "0x" + octets.hex()]
    return options
