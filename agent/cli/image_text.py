"""How inspections and verdicts look on a terminal and in JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agent.image.verdict import Acceptance, Refusal

Facts = dict[str, Any]


def verdict_facts(verdict: Acceptance | Refusal) -> Facts:
    """A verdict as JSON holds it."""
    if isinstance(verdict, Refusal):
        return {
            "accepted": False,
            "reason": verdict.reason.value,
            "wire_status": f"0x{verdict.wire_status:02X}",
            "message": verdict.message,
        }
    return {
        "accepted": True,
        "version": str(verdict.version),
        "security_counter": verdict.security_counter,
        "manufacturer_image_hash": verdict.manufacturer_image_hash.hex(),
        "key_hash": verdict.key_hash.hex(),
    }


def render_verdict(facts: Facts) -> Iterator[str]:
    """Lines for a person."""
    if not facts["accepted"]:
        yield f"REFUSED ({facts['reason']}, status {facts['wire_status']}) {facts['file']}"
        yield f"  {facts['message']}"
        return
    yield f"ACCEPTED {facts['file']} as {facts['form']}"
    for name in ("version", "security_counter", "manufacturer_image_hash", "key_hash"):
        yield f"  {name.replace('_', ' ')}: {facts[name]}"
    if not facts["supplier_judged"]:
        yield "  the supplier's signature was not judged; name its certificate with --supplier-cert"


def render_facts(title: str, facts: Facts) -> Iterator[str]:
    """Lines for a person: the file, its header, then every form with what it makes of the rest."""
    yield f"{title}: {facts['kind']}, {facts['octets']} octets, SHA-256 {facts['sha256']}"
    if "header" in facts:
        yield "OTA header"
        yield from _render(facts["header"], 1)
    for form, reading in facts.get("forms", {}).items():
        yield f"As {form}: " + ("fits" if reading["fits"] else f"does not fit: {reading['problem']}")
        if reading["fits"] or facts["damaged"]:
            yield from _render({key: value for key, value in reading.items() if key not in ("fits", "problem")}, 1)
    if "image" in facts:
        yield "Manufacturer Image"
        yield from _render(facts["image"], 1)
    yield f"DAMAGED: {facts['problem']}" if facts["damaged"] else "Readable to its last octet."


def _render(facts: Facts, depth: int) -> Iterator[str]:
    pad = "  " * depth
    for key, value in facts.items():
        name = key.replace("_", " ")
        if isinstance(value, dict):
            yield f"{pad}{name}"
            yield from _render(value, depth + 1)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"{pad}{name}"
            for item in value:
                yield f"{pad}  - " + ", ".join(f"{inner.replace('_', ' ')} {shown}" for inner, shown in item.items())
        elif isinstance(value, list):
            yield f"{pad}{name}: {'..'.join(map(str, value))}"
        elif value is not None:
            yield f"{pad}{name}: {value}"
