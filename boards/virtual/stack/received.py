"""One NWK frame that passed the security check, with what the MAC knows of it."""

from __future__ import annotations

from dataclasses import dataclass

from boards.virtual.stack.nwk_frames import NwkFrame


@dataclass(frozen=True, slots=True)
class Received:
    """``frame.payload`` is plain. ``sender_eui`` is who sent it over the last hop, None without security."""

    frame: NwkFrame
    mac_source: int
    sender_eui: int | None
    lqi: int
