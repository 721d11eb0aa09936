"""Tunneling commands: octets written by hand from SE D.6, round trips, and fuzz."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import FormatError
from agent.zigbee import tunnel_messages as tunnel

TO_SERVER: list[tuple[int, Any, str]] = [
    # protocol 6, any manufacturer, no flow control, 1500 octets
    (0x00, tunnel.RequestTunnel(6, 0xFFFF, 0, 1500), "06 FFFF 00 DC05"),
    (0x01, tunnel.CloseTunnel(0x0102), "0201"),
    (0x02, tunnel.TransferData(0x0102, b"\xdf\x09"), "0201 DF09"),
    (0x03, tunnel.TransferDataError(0x0102, 2), "0201 02"),
    (0x04, tunnel.AckTransferData(0x0102, 1500), "0201 DC05"),
    (0x05, tunnel.ReadyData(0x0102, 1500), "0201 DC05"),
    (0x06, tunnel.GetSupportedTunnelProtocols(0), "00"),
]
TO_CLIENT: list[tuple[int, Any, str]] = [
    (0x00, tunnel.RequestTunnelResponse(0xFFFF, tunnel.TunnelStatus.BUSY, 1500), "FFFF 01 DC05"),
    (0x01, tunnel.TransferData(0x0102, b""), "0201"),
    (0x02, tunnel.TransferDataError(0x0102, tunnel.TransferStatus.NO_SUCH_TUNNEL), "0201 00"),
    (0x03, tunnel.AckTransferData(0x0102, 0), "0201 0000"),
    (0x04, tunnel.ReadyData(0x0102, 9), "0201 0900"),
    (0x05, tunnel.SupportedTunnelProtocols(True, ((0xFFFF, 6),)), "01 01 FFFF 06"),
    (0x06, tunnel.ClosureNotification(0x0102), "0201"),
]


@pytest.mark.parametrize(("command", "message", "octets"), TO_SERVER)
def test_to_server(command: int, message: Any, octets: str) -> None:
    assert message.encode() == bytes.fromhex(octets)
    assert tunnel.decode_to_server(command, bytes.fromhex(octets)) == message


@pytest.mark.parametrize(("command", "message", "octets"), TO_CLIENT)
def test_to_client(command: int, message: Any, octets: str) -> None:
    assert message.encode() == bytes.fromhex(octets)
    assert tunnel.decode_to_client(command, bytes.fromhex(octets)) == message


def test_unknown_commands_are_none() -> None:
    assert tunnel.decode_to_server(0x07, b"") is None
    assert tunnel.decode_to_client(0x07, b"") is None


@given(st.integers(0, 255), st.binary(max_size=60), st.booleans())
def test_only_format_error_escapes(command: int, octets: bytes, to_client: bool) -> None:
    decode = tunnel.decode_to_client if to_client else tunnel.decode_to_server
    with contextlib.suppress(FormatError):
        decode(command, octets)
