"""What the device calculates: the verdict on an image, key establishment's curve, and GBCS signatures."""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from Crypto.PublicKey import ECC
from image_factory import craft, make_key, ota, requirements

from agent.gbcs.message import Cra, GbcsMessage
from agent.gbcs.protection import sign, verify_signature
from agent.image.ota_form import Form
from agent.image.refusal import Acceptance
from agent.image.verdict import judge_file
from agent.zigbee.cbke.certificates import CURVES, SUITE_2
from tests.bench.measure import BenchError, Row, cost_of, cpu_s_of

IMAGE_OCTETS = 220 * 1024
VERIFY = """
import sys
from pathlib import Path
from agent.image import mcuboot
from agent.image.origin import check_for_boot
from agent.image.signature import load_trusted_keys
image = mcuboot.parse(Path(sys.argv[2]).read_bytes())
sys.exit(str(check_for_boot(image, load_trusted_keys(Path(sys.argv[1])), 0) or ""))
"""


def measure() -> list[Row]:
    """CPU of single operations, and of the same question asked of imgtool as a program."""
    return [*_verify(), *_single_operations()]


def _verify() -> list[Row]:
    """Both as programs from their start: the file read, the key loaded, hash and signature verified."""
    with tempfile.TemporaryDirectory(prefix="han-bench-") as name:
        folder = Path(name)
        image = folder / "image.bin"
        image.write_bytes(craft(payload=random.Random(0).randbytes(IMAGE_OCTETS)))
        trust = folder / "trust"
        trust.mkdir()
        key = trust / "manufacturer.pem"
        key.write_text(make_key().public_key().export_key(format="PEM"), encoding="ascii")
        ours = min(cost_of([sys.executable, "-c", VERIFY, trust, image]).cpu_s for _ in range(5))
        imgtool = [sys.executable, "-m", "imgtool.main", "verify", "--key", key, image]
        theirs = min(cost_of(imgtool).cpu_s for _ in range(5))
    what = f"CPU to verify {IMAGE_OCTETS // 1024} KiB, as a program"
    return [Row("image", what, ours * 1000, "ms", theirs * 1000, "imgtool verify")]


def _single_operations() -> list[Row]:
    file = ota(craft(payload=random.Random(0).randbytes(IMAGE_OCTETS)), Form.GB_PPMID)
    req = requirements(maximum_octets=10_240_000, slot_octets=10_240_000)
    if not isinstance(judge_file(file, Form.GB_PPMID, req), Acceptance):
        raise BenchError("the image of the bench is refused")
    key, public_key = make_key("bench"), make_key("bench").public_key()
    bare = GbcsMessage(Cra.ALERT, 1, 2, 3, 0x012B, bytes(64))
    signed = sign(bare, key)
    if not verify_signature(signed, public_key):
        raise BenchError("the message of the bench does not verify")
    curve = CURVES[SUITE_2]
    scalar = random.Random(0).randrange(1, curve.n)
    verdict = cpu_s_of(lambda: judge_file(file, Form.GB_PPMID, req), 10)
    p256 = cpu_s_of(lambda: ECC.construct(curve="P-256", d=scalar % (1 << 255)), 20)
    multiply = cpu_s_of(lambda: curve.multiply_in_group(scalar, curve.generator), 5)
    signing = cpu_s_of(lambda: sign(bare, key), 20)
    verifying = cpu_s_of(lambda: verify_signature(signed, public_key), 20)
    one = "one P-256 multiplication (pycryptodome)"
    return [
        Row("image", f"whole verdict on {IMAGE_OCTETS // 1024} KiB in memory", verdict * 1000, "ms", p256 * 1000, one),
        Row("key establishment", f"one multiplication on {curve.name}", multiply * 1000, "ms", p256 * 1000, one),
        Row("GBCS", "sign an alert", signing * 1000, "ms", p256 * 1000, one),
        Row("GBCS", "verify its signature", verifying * 1000, "ms", p256 * 1000, one),
    ]
