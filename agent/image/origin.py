"""What the first stage asks of an image before it runs it: flags, security counter, hash, key, signature.

No ZigBee notions here: the same questions stand at the end of the verdict on a downloaded file.
"""

from __future__ import annotations

from collections.abc import Mapping

from Crypto.PublicKey.ECC import EccKey

from agent.image import mcuboot
from agent.image.mcuboot import ImageHeader, ManufacturerImage
from agent.image.refusal import Reason, Refusal
from agent.image.signature import verify_digest


def check_for_boot(
    image: ManufacturerImage, trusted_keys: Mapping[bytes, EccKey], minimum_security_counter: int
) -> Refusal | None:
    """What the first stage needs before it runs a slot: flags, counter, hash, key, signature. No ZigBee notions."""
    return (
        check_shape(image.header, image.total_octets)
        or check_counter(image, minimum_security_counter)
        or check_counter_present(image, minimum_security_counter)
        or check_origin(image, trusted_keys)
    )


def check_origin(image: ManufacturerImage, trusted_keys: Mapping[bytes, EccKey]) -> Refusal | None:
    """Hash, key known, signature; and no unprotected TLV that anybody could have added (as MCUboot)."""
    understood = {mcuboot.KEY_HASH, mcuboot.PUBLIC_KEY, mcuboot.SHA256, mcuboot.ECDSA_SIGNATURE}
    for tlv in image.tlvs:
        if not tlv.protected and tlv.kind not in understood:
            return Refusal(
                Reason.UNPROTECTED_TLV,
                f"Manufacturer Image: unprotected TLV 0x{tlv.kind:04X} at octet {tlv.offset}: no signature covers it; "
                "sign with ECDSA P-256 and put vendor TLVs into the protected area",
            )
    return _check_hash(image) or _check_signature(image, trusted_keys)


def _check_hash(image: ManufacturerImage) -> Refusal | None:
    if image.digest is None:
        return Refusal(Reason.HASH, "Manufacturer Image: no SHA-256 TLV; sign it with imgtool and an ECDSA P-256 key")
    calculated = image.calculated_digest
    if calculated != image.digest:
        return Refusal(
            Reason.HASH,
            f"Manufacturer Image: SHA-256 is {calculated.hex()}, its TLV says {image.digest.hex()}: "
            "changed after signing or damaged on the way; fetch it again",
        )
    return None


def _check_signature(image: ManufacturerImage, trusted_keys: Mapping[bytes, EccKey]) -> Refusal | None:
    if image.key_hash is None or image.signature is None or image.digest is None:
        return Refusal(
            Reason.UNSIGNED, "Manufacturer Image: no key hash or no ECDSA signature, so nobody vouches for it"
        )
    key = trusted_keys.get(image.key_hash)
    if key is None:
        known = ", ".join(sorted(known.hex()[:16] for known in trusted_keys)) or "none"
        return Refusal(
            Reason.UNKNOWN_KEY,
            f"Manufacturer Image: signed by key {image.key_hash.hex()[:16]}..., trusted here: {known}; "
            "sign with a trusted key or provision its public key",
        )
    if not verify_digest(key, image.digest, image.signature, encoding="der"):
        return Refusal(
            Reason.SIGNATURE,
            f"Manufacturer Image: the signature does not verify with key {image.key_hash.hex()[:16]}...; "
            "damaged or forged, ask the manufacturer",
        )
    return None


def check_shape(image: ImageHeader, slot_octets: int) -> Refusal | None:
    if image.signed_octets > slot_octets:
        return too_long(image.signed_octets, slot_octets)
    strange = image.flags & ~mcuboot.FLAGS_UNDERSTOOD
    if strange:
        return Refusal(
            Reason.HEADER,
            f"Manufacturer Image: header flags 0x{strange:08X} ask for encryption, compression or no boot, "
            "which this device does not do; build it without",
        )
    return None


def check_counter(image: ManufacturerImage, minimum: int) -> Refusal | None:
    if image.security_counter is None or image.security_counter >= minimum:
        return None
    return Refusal(
        Reason.SECURITY_COUNTER,
        f"Manufacturer Image: security counter {image.security_counter} is below the stored {minimum}: "
        "withdrawn by its manufacturer; offer a newer one",
    )


def check_counter_present(image: ManufacturerImage, minimum: int) -> Refusal | None:
    if image.security_counter is not None or minimum == 0:
        return None
    return Refusal(
        Reason.SECURITY_COUNTER_ABSENT,
        f"Manufacturer Image: no security counter, this device asks for {minimum} at least; sign with one",
    )


def too_long(found: int, slot_octets: int) -> Refusal:
    return Refusal(Reason.SIZE, f"Manufacturer Image of {found} octets does not fit the slot of {slot_octets}")
