"""What the first firmware of a device has to fulfil: the device trusts it and it fits; no version is too old yet."""

from __future__ import annotations

from pathlib import Path

from agent.image.signature import load_trusted_keys
from agent.image.verdict import Requirements
from agent.settings import Settings


def first_requirements(settings: Settings, trust: Path, base_abi: str) -> Requirements:
    """``trust``: the folder of the manufacturers' public keys; ``base_abi`` "" takes any. Raises StorageError."""
    return Requirements(
        manufacturer_code=settings.image.manufacturer_code,
        image_type=settings.image.image_type,
        hardware_version=settings.image.hardware_version,
        trusted_keys=load_trusted_keys(trust),
        maximum_octets=settings.image.maximum_octets,
        slot_octets=settings.image.maximum_octets,
        base_abi=base_abi or None,
        eui=int(settings.eui, 16),
    )
