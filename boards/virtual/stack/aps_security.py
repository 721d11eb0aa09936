"""Protection of APS frames with link keys: data under the link key itself, Transport-Key under the derived one.

Source: ZigBee specification (05-3474) 4.4.1.
"""

from __future__ import annotations

from dataclasses import replace

from boards.virtual.air.octets import Reader
from boards.virtual.stack import aps_frames
from boards.virtual.stack.aps_frames import ApsFrame
from boards.virtual.stack.core import Core
from boards.virtual.stack.key_store import LinkKey
from boards.virtual.stack.keys import key_transport_key
from boards.virtual.stack.security import Auxiliary, KeyId, decode_auxiliary, protect, unprotect

OVERHEAD_OCTETS = 9  # auxiliary header without extended nonce, MIC


def seal(core: Core, frame: ApsFrame, entry: LinkKey) -> bytes:
    """A data or acknowledgement frame under the partner's link key."""
    auxiliary = Auxiliary(KeyId.DATA, entry.outgoing.take())
    return protect(entry.key, aps_frames.encode_header(frame), auxiliary, core.eui, frame.payload)


def seal_transport(core: Core, frame: ApsFrame, entry: LinkKey) -> bytes:
    """A Transport-Key command under the key-transport key; the joiner learns our EUI from the extended nonce."""
    auxiliary = Auxiliary(KeyId.KEY_TRANSPORT, entry.outgoing.take(), core.eui)
    key = key_transport_key(entry.key)
    return protect(key, aps_frames.encode_header(frame), auxiliary, core.eui, frame.payload)


def open_data(core: Core, frame: ApsFrame, header: bytes, sender: int | None) -> ApsFrame | None:
    """The frame with its plain payload; None (and counted) without a key, for a replay and for a wrong MIC."""
    reader = Reader(frame.payload, "APS auxiliary header")
    auxiliary = decode_auxiliary(reader)
    partner = sender if auxiliary.source is None else auxiliary.source
    entry = None if partner is None else core.keys.get(partner)
    if partner is None or entry is None or auxiliary.key_id != KeyId.DATA:
        core.statistics.no_key += 1
        return None
    if auxiliary.counter < entry.incoming:
        core.statistics.replays += 1
        return None
    plain = unprotect(entry.key, header, auxiliary, partner, reader.rest())
    if plain is None:
        core.statistics.mic_failures += 1
        return None
    entry.incoming = auxiliary.counter + 1
    return replace(frame, payload=plain)


def open_transport(core: Core, frame: ApsFrame, header: bytes, link_key: bytes) -> bytes | None:
    """The plain Transport-Key command, or None where ``link_key`` does not open it."""
    reader = Reader(frame.payload, "APS auxiliary header")
    auxiliary = decode_auxiliary(reader)
    if auxiliary.key_id != KeyId.KEY_TRANSPORT or auxiliary.source is None:
        return None
    plain = unprotect(key_transport_key(link_key), header, auxiliary, auxiliary.source, reader.rest())
    core.statistics.mic_failures += plain is None
    return plain
