"""What a demo proved, as one JSON-ready object; codes are strings such as "0x8F8B"."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.events import format_eui
from boards.virtual.air.awake import RadioUse

Event = dict[str, object]


@dataclass(slots=True)
class DeviceOutcome:
    """One device's update as its log, the hub and the head end told it. Nothing here is assumed."""

    role: str
    eui: int
    image_octets: int
    starts: list[tuple[str, str]] = field(default_factory=list)  # version and slot that ran, in order
    blocks: int = 0
    retries: int = 0
    image_hash: str = ""
    reports: list[Event] = field(default_factory=list)  # verified by the head end
    seconds: float = 0.0
    logical_type: str = "router"
    polling: str = ""  # as its log said last
    update_use: RadioUse | None = None  # of its radio, measured there, in seconds of the air
    rest_use: RadioUse | None = None  # afterwards, of a sleepy device

    @property
    def final(self) -> Event | None:
        """The report that ends the update: CS09 of a PPMID, the CS06 response of an HCALCS."""
        wanted = ("alert", "0x012B") if self.role == "ppmid" else ("response", "0x0012")
        found = (one for one in self.reports if (one.get("cra"), one.get("message_code")) == wanted)
        return next(found, None)

    @property
    def receipt(self) -> Event | None:
        """An HCALCS's word that the image arrived whole and verified."""
        return next((one for one in self.reports if one.get("alert_code") == "0x8F72"), None)

    def ok(self, version: str) -> bool:
        """The head end verified the report that ``version`` runs, and it runs from the other slot."""
        final = self.final
        if final is None or len(self.starts) < 2:
            return False
        (old, old_slot), (new, new_slot) = self.starts[0], self.starts[-1]
        moved = old != new and old_slot != new_slot and new == version
        verified = final["verified"] is True and final["signature_verified"] is True
        complete = self.role == "ppmid" or self.receipt is not None
        return moved and verified and complete and final["result"] == "success" and final["version"] == version

    def as_object(self, version: str) -> Event:
        """See the module."""
        first, last = (self.starts[0], self.starts[-1]) if self.starts else (("", ""), ("", ""))
        whole: Event = {
            "role": self.role,
            "device": format_eui(self.eui),
            "version_before": first[0],
            "version_after": last[0],
            "slot_before": first[1],
            "slot_after": last[1],
            "image_octets": self.image_octets,
            "blocks": self.blocks,
            "retries": self.retries,
            "seconds": round(self.seconds, 1),
            "manufacturer_image_hash": self.image_hash,
            "radio": {
                "logical_type": self.logical_type,
                "update": _use(self.update_use),
                "at_rest": _use(self.rest_use),
            },
        }
        final = self.final
        if self.role == "ppmid":
            whole["alert"] = _pick(final, "message_code", "alert_code", "originator", "target", "version")
        else:
            whole["receipt"] = _pick(self.receipt, "message_code", "alert_code", "originator", "target", "image_hash")
            whole["response"] = _pick(final, "message_code", "code", "originator", "target", "version")
        whole["ok"] = self.ok(version)
        return whole


def _use(use: RadioUse | None) -> Event | None:
    if use is None:
        return None
    share = round(use.share, 6)
    return {"seconds": round(use.seconds, 1), "awake_s": round(use.awake_s, 3), "share": share, "polls": use.polls}


def _pick(report: Event | None, *names: str) -> Event | None:
    if report is None:
        return None
    picked: Event = {name: report.get(name) for name in names}
    if "alert_code" in names and report.get("result") in ("success", "failure"):
        picked["result"] = 0 if report["result"] == "success" else 1
    picked["signature_verified"] = report["signature_verified"]
    return picked
