"""What an earlier signer made is still read and accepted, form by form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from image_factory import requirements

from agent.image import mcuboot, ota_file
from agent.image.ota_form import Form
from agent.image.signature import key_hash, load_public_key
from agent.image.verdict import Acceptance, Reason, Refusal, judge_file
from agent.image.version import Version

FOLDER = Path(__file__).parent / "vectors" / "image"
FACTS = json.loads((FOLDER / "facts.json").read_text())


@pytest.mark.parametrize("form", list(Form))
def test_a_stored_file_is_accepted(form: Form) -> None:
    octets = (FOLDER / f"{form.value}-1.1.0.ota").read_bytes()
    manufacturer, supplier = (load_public_key(FOLDER / f"{name}.pem") for name in ("manufacturer", "supplier"))
    asked = requirements(trusted_keys={key_hash(manufacturer): manufacturer})
    verdict = judge_file(octets, form, asked, supplier)
    assert isinstance(verdict, Acceptance)
    assert verdict.version == Version.parse(FACTS["version"])
    assert verdict.security_counter == FACTS["security_counter"]
    assert verdict.manufacturer_image_hash.hex() == FACTS["manufacturer_image_hash"]
    file = ota_file.parse(octets, form)
    image = mcuboot.parse(file.image)
    assert file.image[image.header.header_octets : image.header.tlv_offset].decode() == FACTS["payload"]
    assert image.base_abi == FACTS["base_abi"]
    assert [str(version) for version in image.upgrade_from or ()] == FACTS["upgrade_from"]


def test_a_stored_file_in_another_form_is_refused() -> None:
    for form in Form:
        for other in set(Form) - {form}:
            octets = (FOLDER / f"{form.value}-1.1.0.ota").read_bytes()
            verdict = judge_file(octets, other, requirements())
            assert isinstance(verdict, Refusal)
            assert verdict.reason in {Reason.MAGIC, Reason.FORMAT, Reason.SUPPLIER_TRAILER}
