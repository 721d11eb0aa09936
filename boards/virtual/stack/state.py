"""NetworkState as JSON text, for NV. Keys are base64, as msgspec writes octets; everything else stands as it is."""

from __future__ import annotations

import msgspec

from agent.errors import FormatError
from boards.virtual.air.medium import CHANNELS
from boards.virtual.stack.interface import NetworkState
from boards.virtual.stack.keys import KEY_OCTETS


def to_json(state: NetworkState) -> str:
    """The state as one JSON object."""
    return msgspec.json.encode(state).decode()


def from_json(text: str | bytes) -> NetworkState:
    """The state again. Raises FormatError for anything that ``to_json`` would not have written."""
    try:
        state = msgspec.json.decode(text, type=NetworkState)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError("network state", 0, str(error)) from None
    keys = [state.network_key, state.default_link_key, *(entry.key for entry in state.link_keys)]
    if any(len(key) != KEY_OCTETS for key in keys):
        raise FormatError("network state", 0, f"a key that does not have {KEY_OCTETS} octets")
    shorts = [state.short, state.pan_id, state.parent_short]
    shorts += [neighbour.short for neighbour in state.neighbours] + [short for _, short in state.addresses]
    euis = [state.extended_pan_id, state.trust_center, state.parent_eui]
    euis += [entry.eui for entry in state.link_keys] + [eui for eui, _ in state.addresses]
    counters = [state.outgoing_counter] + [entry.outgoing_counter for entry in state.link_keys]
    limits = ((shorts, 0x10000), (euis, 1 << 64), (counters, 0xFFFFFFFF), ([state.network_key_sequence], 0x100))
    if state.channel not in CHANNELS or any(not 0 <= value < end for values, end in limits for value in values):
        raise FormatError("network state", 0, "a channel, an address or a counter out of range")
    return state
