"""Making an offer out of an OTA file: read, parsed in its form, checked as a head end does before it distributes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from agent.errors import FormatError, HanError, SettingsError
from agent.gbcs.certificate import KeyUse
from agent.gbcs.keystore import KeyStore
from agent.image import ota_file, verdict
from agent.image.ota_form import Form
from agent.image.ota_header import parse_header
from boards.bench.images import ServedImage
from boards.bench.settings import ImageOffer, parse_activation, parse_eui

MAXIMUM_OCTETS = 10_240_000  # the DUIS schema's bound on an image


class OfferError(HanError):
    """The file cannot be offered; the message names it, the reason and the remedy."""


def load_offer(offer: ImageOffer) -> ServedImage:
    """Read the file of ``offer``. With its ``as_is`` a file whose body makes no sense is offered all the same.

    Raises SettingsError for a file that is not there, OfferError for one that is not in its form.
    """
    octets = _read(offer.path)
    try:
        header = parse_header(octets)
        if not offer.as_is:
            ota_file.parse(octets, Form(offer.form))
    except FormatError as error:
        raise OfferError(f"{offer.path}: not a whole {offer.form} file: {error}") from None
    devices = frozenset(parse_eui(eui, f"{offer.path}: devices") for eui in offer.devices)
    return ServedImage(
        name=str(offer.path),
        manufacturer=header.manufacturer_code,
        image_type=header.image_type,
        file_version=header.file_version,
        octets=octets,
        form=offer.form,
        hardware=header.hardware_versions,
        target=header.destination,
        devices=devices,
        activation=parse_activation(offer.activate, offer.form, str(offer.path)),
        also_older=offer.also_older,
    )


def manufacturer_image_hash(image: ServedImage) -> bytes:
    """SHA-256 of the Manufacturer Image. Raises FormatError when the file is not in its form."""
    return hashlib.sha256(ota_file.parse(image.octets, Form(image.form)).image).digest()


def check_supplier(image: ServedImage, keys: KeyStore, supplier: int) -> None:
    """Refuse to distribute a gb-hcalcs file that the supplier has not signed. Raises OfferError."""
    if image.form != Form.GB_HCALCS.value:
        return
    trailer = ota_file.parse(image.octets, Form.GB_HCALCS).trailer
    key = keys.public_key(supplier, KeyUse.DIGITAL_SIGNING)
    if trailer is None or key is None:
        raise OfferError(f"{image.name}: no supplier signature, or no certificate of the supplier to verify it with")
    refusal = verdict.check_supplier(trailer, manufacturer_image_hash(image), key)
    if refusal is not None:
        raise OfferError(f"{image.name}: {refusal.message}")


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAXIMUM_OCTETS:
            raise SettingsError(f"{path}: larger than {MAXIMUM_OCTETS} octets, the bound of an OTA file")
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}; name an OTA file") from None
