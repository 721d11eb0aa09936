"""What the device calculates: the verdict on an image, key establishment's curve, and GBCS signatures."""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from image_factory import craft, make_key, ota, requirements

from agent.gbcs.message import Cra, GbcsMessage
from agent.gbcs.protection import sign, signed_octets, verify_signature
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
refusal = check_for_boot(image, load_trusted_keys(Path(sys.argv[1])), 0)
sys.exit(refusal and str(refusal))
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
        imgtool: list[str | Path] = [sys.executable, "-m", "imgtool.main", "verify", "--key", key, image]
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
    other, message = ec.derive_private_key(scalar % (1 << 255), ec.SECP256R1()), signed_octets(signed)
    algorithm = ec.ECDSA(hashes.SHA256())
    other_signature = other.sign(message, algorithm)
    their_signing = cpu_s_of(lambda: other.sign(message, algorithm), 50)
    their_verifying = cpu_s_of(lambda: other.public_key().verify(other_signature, message, algorithm), 50)
    p256 = cpu_s_of(lambda: public_key.pointQ * scalar, 20)
    verdict = cpu_s_of(lambda: judge_file(file, Form.GB_PPMID, req), 10)
    multiply = cpu_s_of(lambda: curve.multiply_in_group(scalar, curve.generator), 5)
    signing = cpu_s_of(lambda: sign(bare, key), 20)
    verifying = cpu_s_of(lambda: verify_signature(signed, public_key), 20)
    verify, size = "P-256 verify, cryptography", IMAGE_OCTETS // 1024
    return [
        Row("image", f"whole verdict on {size} KiB in memory", verdict * 1000, "ms", their_verifying * 1000, verify),
        Row("CBKE", f"one multiplication on {curve.name}", multiply * 1000, "ms", p256 * 1000, "P-256, pycryptodome"),
        Row("GBCS", "sign an alert", signing * 1000, "ms", their_signing * 1000, "P-256 sign, cryptography"),
        Row("GBCS", "verify its signature", verifying * 1000, "ms", their_verifying * 1000, verify),
    ]
