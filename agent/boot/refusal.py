"""The boot side says no: the request is understood and not carried out."""

from __future__ import annotations

from agent.errors import HanError


class BootRefusedError(HanError):
    """What was asked would touch the slot that runs, or start what nobody verified. Nothing was changed."""
