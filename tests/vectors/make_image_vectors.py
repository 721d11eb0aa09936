"""Makes ``tests/vectors/image/``: three small OTA files, signed by imgtool with a test key, and what they hold.

    python tests/vectors/make_image_vectors.py

They pin the formats: a later reader has to read what an earlier signer made. ECDSA is random, so that a new run
gives other signatures; run it only when a format changes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "image"
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from image_factory import FACTS, HEADER, PAYLOAD, imgtool_image, make_key, ota  # noqa: E402

from agent.image import mcuboot  # noqa: E402
from agent.image.ota_form import Form  # noqa: E402


def main() -> None:
    """Write the files anew."""
    FOLDER.mkdir(exist_ok=True)
    image = imgtool_image()
    for form in Form:
        (FOLDER / f"{form.value}-1.1.0.ota").write_bytes(ota(image, form))
    for name in ("manufacturer", "supplier"):
        (FOLDER / f"{name}.pem").write_text(make_key(name).public_key().export_key(format="PEM") + "\n")
    facts = {
        "manufacturer_code": HEADER.manufacturer_code,
        "image_type": HEADER.image_type,
        "version": str(FACTS.version),
        "security_counter": FACTS.security_counter,
        "base_abi": FACTS.base_abi,
        "upgrade_from": [str(version) for version in FACTS.upgrade_from or ()],
        "payload": PAYLOAD.decode(),
        "manufacturer_image_hash": mcuboot.parse(image).manufacturer_image_hash.hex(),
    }
    (FOLDER / "facts.json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
