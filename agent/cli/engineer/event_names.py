"""What the codes of the event and security logs mean: GBCS 16.2, in the words of its table."""

from __future__ import annotations

EVENT_NAMES = {
    0x8F1B: "firmware verification failed at power on",
    0x8F1C: "firmware verification failed",
    0x8F1E: "content or format check failed",
    0x8F30: "no authority for the command",
    0x8F3D: "authentication failure",
    0x8F43: "firmware version changed",
    0x8F60: "unexpected command",
    0x8F66: "future dated command actioned",
    0x8F67: "future dated command not actioned",
    0x8F72: "firmware verified",
    0x8F89: "firmware transfer failed",
    0x8F8A: "firmware transfer succeeded",
    0x8F8B: "PPMID firmware activation",
}


def event_name(code: int) -> str:
    """The words, empty for 0 (an event that GBCS has no code for)."""
    return EVENT_NAMES.get(code, "event code not known here") if code else ""
