"""The tunnel server, as transcripts and state by input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.settings import TunnelSettings
from agent.zigbee import tunnel_messages as tm
from agent.zigbee.clusters import Cluster
from agent.zigbee.peer import Peer
from agent.zigbee.tunnel_server import (
    MessageDelivered,
    MessageNotDelivered,
    TransferRefused,
    TunnelClosed,
    TunnelData,
    TunnelEvent,
    TunnelOpened,
    TunnelServer,
    TunnelState,
)
from agent.zigbee.zcl import ZclFrame, ZclStatus

HUB = Peer(0x0000, 1, 0xAABBCCDDEEFF0011)
OTHER = Peer(0x4321, 1, 0x0102030405060708)
OPEN = tm.RequestTunnel(6, 0xFFFF, 0, 1500)
ALERT = bytes(range(133))


class Lab:
    def __init__(self, resume: TunnelState | None = None, close_timeout_s: int = 0xFFFF) -> None:
        self.server = TunnelServer(TunnelSettings(), resume, close_timeout_s)
        self.now = 0.0

    def hub(self, message: tm.TunnelToServer, command: int | None = None, source: Peer = HUB) -> ZclStatus | None:
        number = message.COMMAND if command is None else command  # type: ignore[union-attr]
        frame = ZclFrame(Cluster.TUNNELING, number, message.encode(), 0x42)
        return self.server.receive(frame, source, self.now)

    def data(self, tunnel: int, octets: bytes, source: Peer = HUB) -> ZclStatus | None:
        return self.hub(tm.TransferData(tunnel, octets), tm.TransferData.TO_SERVER, source)

    def sent(self) -> list[tuple[int, tm.TunnelToClient | None]]:
        frames = []
        for handle, frame in self.server.frames_to_send():
            assert frame.to_client
            frames.append((handle, tm.decode_to_client(frame.command, frame.payload)))
        return frames

    def said(self) -> list[tm.TunnelToClient | None]:
        return [message for _handle, message in self.sent()]

    def events(self) -> list[TunnelEvent]:
        events = []
        while (event := self.server.next_event()) is not None:
            events.append(event)
        return events

    def opened(self, maximum: int = 1500) -> Lab:
        self.server.hub_found(self.now)
        assert self.hub(tm.RequestTunnel(6, 0xFFFF, 0, maximum)) is None
        assert self.said() == [tm.RequestTunnelResponse(1, 0, 1500)]
        assert self.events() == [TunnelOpened(TunnelState(1, 0, 1, HUB.eui, maximum))]
        return self


def test_the_hub_opens_it_and_asks_and_is_answered() -> None:
    lab = Lab().opened()
    # a GBCS command comes up in one piece, another in two
    assert lab.data(1, b"\xdd command") is ZclStatus.SUCCESS
    lab.data(1, b"\xdf first ")
    lab.data(1, b"second")
    assert lab.events() == [TunnelData(b"\xdd command"), TunnelData(b"\xdf first "), TunnelData(b"second")]
    # the alert goes down in one Transfer Data (to the client that is command 01)
    lab.server.send(77, ALERT, lab.now)
    ((handle, message),) = lab.sent()
    assert message == tm.TransferData(1, ALERT)
    assert lab.events() == []
    lab.server.frame_sent(handle, True, lab.now)
    assert lab.events() == [MessageDelivered(77)]


def test_the_answer_repeats_the_sequence_number() -> None:
    lab = Lab()
    lab.hub(OPEN)
    ((_handle, frame),) = lab.server.frames_to_send()
    assert frame.sequence == 0x42
    assert frame.peer == HUB


def test_pieces_of_the_hubs_size_one_after_another() -> None:
    lab = Lab().opened(maximum=60)
    lab.server.send(1, ALERT, lab.now)
    lab.server.send(2, b"next", lab.now)
    pieces = []
    while sent := lab.sent():
        ((handle, message),) = sent  # never two on the air
        assert isinstance(message, tm.TransferData)
        pieces.append(message.data)
        lab.server.frame_sent(handle, True, lab.now)
    assert pieces == [ALERT[:60], ALERT[60:120], ALERT[120:], b"next"]
    assert lab.events() == [MessageDelivered(1), MessageDelivered(2)]


def test_not_acknowledged_is_told_and_the_next_message_goes() -> None:
    lab = Lab().opened()
    lab.server.send(1, b"one", lab.now)
    lab.server.send(2, b"two", lab.now)
    ((handle, _message),) = lab.sent()
    lab.server.frame_sent(handle, False, lab.now)
    assert lab.events() == [MessageNotDelivered(1, "not acknowledged")]
    assert lab.said() == [tm.TransferData(1, b"two")]


def test_a_report_for_another_frame_changes_nothing() -> None:
    lab = Lab().opened()
    lab.server.send(1, b"one", lab.now)
    lab.server.frame_sent(999, True, lab.now)
    assert lab.events() == []


def test_messages_wait_for_a_tunnel() -> None:
    lab = Lab()
    lab.server.send(1, ALERT, lab.now)
    lab.server.hub_found(lab.now)
    assert lab.said() == []
    lab.hub(OPEN)
    assert lab.said() == [tm.RequestTunnelResponse(1, 0, 1500), tm.TransferData(1, ALERT)]


def test_reopening_replaces_and_starts_the_message_anew() -> None:
    lab = Lab().opened(maximum=60)
    lab.server.send(1, ALERT, lab.now)
    ((handle, _message),) = lab.sent()
    lab.server.frame_sent(handle, True, lab.now)
    lab.sent()
    lab.hub(OPEN)  # the hub heard Device_annce
    assert lab.said() == [tm.RequestTunnelResponse(2, 0, 1500), tm.TransferData(2, ALERT)]
    assert lab.data(1, b"old") is None
    assert lab.said() == [tm.TransferDataError(1, tm.TransferStatus.NO_SUCH_TUNNEL)]


def test_a_restart_goes_on_in_the_same_tunnel() -> None:
    state = Lab().opened().server.state
    assert state is not None
    lab = Lab(resume=TunnelState(**asdict(state)))
    lab.server.send(5, ALERT, lab.now)
    assert lab.said() == []  # no network yet
    lab.server.hub_found(lab.now)
    assert lab.said() == [tm.TransferData(1, ALERT)]
    assert lab.data(1, b"\xdd") is ZclStatus.SUCCESS


def test_without_network_messages_wait() -> None:
    lab = Lab().opened()
    lab.server.hub_lost()
    lab.server.send(1, ALERT, lab.now)
    assert lab.said() == []
    lab.server.hub_found(lab.now)
    assert lab.said() == [tm.TransferData(1, ALERT)]


@pytest.mark.parametrize(
    ("request_tunnel", "status"),
    [
        (tm.RequestTunnel(1, 0xFFFF, 0, 1500), tm.TunnelStatus.PROTOCOL_NOT_SUPPORTED),
        (tm.RequestTunnel(6, 0x1234, 0, 1500), tm.TunnelStatus.PROTOCOL_NOT_SUPPORTED),
        (tm.RequestTunnel(6, 0xFFFF, 1, 1500), tm.TunnelStatus.FLOW_CONTROL_NOT_SUPPORTED),
    ],
)
def test_refused_tunnels(request_tunnel: tm.RequestTunnel, status: tm.TunnelStatus) -> None:
    lab = Lab()
    lab.hub(request_tunnel)
    assert lab.said() == [tm.RequestTunnelResponse(0xFFFF, status, 1500)]
    assert lab.events() == []


def test_a_hub_that_can_take_nothing_is_refused() -> None:
    assert Lab().hub(tm.RequestTunnel(6, 0xFFFF, 0, 0)) is ZclStatus.INVALID_FIELD


def test_a_second_device_finds_no_more_ids() -> None:
    lab = Lab().opened()
    lab.hub(OPEN, source=OTHER)
    assert lab.said() == [tm.RequestTunnelResponse(0xFFFF, tm.TunnelStatus.NO_MORE_IDS, 1500)]
    assert lab.data(1, b"mine?", source=OTHER) is None
    assert lab.said() == [tm.TransferDataError(1, tm.TransferStatus.WRONG_DEVICE)]
    assert lab.events() == []


def test_too_many_octets_overflow() -> None:
    lab = Lab().opened()
    assert lab.data(1, bytes(1500)) is ZclStatus.SUCCESS
    lab.data(1, bytes(1501))
    assert lab.said() == [tm.TransferDataError(1, tm.TransferStatus.DATA_OVERFLOW)]


def test_closed_by_the_hub() -> None:
    lab = Lab().opened()
    assert lab.hub(tm.CloseTunnel(9)) is ZclStatus.NOT_FOUND
    assert lab.hub(tm.CloseTunnel(1)) is ZclStatus.SUCCESS
    assert lab.events() == [TunnelClosed("closed by the hub")]
    assert lab.hub(tm.CloseTunnel(1)) is ZclStatus.NOT_FOUND


def test_the_hub_does_not_know_the_tunnel_any_more() -> None:
    lab = Lab().opened()
    lab.server.send(3, ALERT, lab.now)
    ((handle, _message),) = lab.sent()
    lab.server.frame_sent(handle, True, lab.now)
    error = tm.TransferDataError(1, tm.TransferStatus.NO_SUCH_TUNNEL)
    assert lab.hub(error, error.TO_SERVER) is ZclStatus.SUCCESS
    reason = "the hub does not know the tunnel"
    assert lab.events() == [MessageDelivered(3), TransferRefused(0, 3), TunnelClosed(reason)]


def test_supported_protocols() -> None:
    lab = Lab()
    lab.hub(tm.GetSupportedTunnelProtocols(0))
    lab.hub(tm.GetSupportedTunnelProtocols(1))
    assert lab.said() == [
        tm.SupportedTunnelProtocols(True, ((0xFFFF, 6),)),
        tm.SupportedTunnelProtocols(True, ()),
    ]


def test_flow_control_commands_are_unsupported() -> None:
    lab = Lab().opened()
    assert lab.hub(tm.AckTransferData(1, 10), 0x04) is ZclStatus.UNSUP_CLUSTER_COMMAND
    assert lab.hub(tm.ReadyData(1, 10), 0x05) is ZclStatus.UNSUP_CLUSTER_COMMAND


def test_an_idle_tunnel_closes_where_that_is_wanted() -> None:
    lab = Lab(close_timeout_s=60).opened()
    lab.now = 30.0
    lab.data(1, b"\xdd")
    assert lab.server.next_deadline() == 90.0
    lab.server.handle_timer(89.0)
    assert lab.said() == []
    lab.server.handle_timer(90.0)
    assert lab.said() == [tm.ClosureNotification(1)]
    assert lab.events() == [TunnelData(b"\xdd"), TunnelClosed("idle")]
    assert Lab().opened().server.next_deadline() is None


def test_tunnel_ids_wrap_below_the_reserved_one() -> None:
    lab = Lab(resume=TunnelState(0xFFFE, 0, 1, HUB.eui, 1500))
    lab.hub(OPEN)
    assert lab.said() == [tm.RequestTunnelResponse(1, 0, 1500)]


PEERS = st.sampled_from([HUB, OTHER])
STEPS: st.SearchStrategy[Callable[[Lab], object]] = st.one_of(
    st.builds(
        lambda octets, command, peer: lambda lab: lab.server.receive(ZclFrame(0x0704, command, octets, 1), peer, 0.0),
        st.binary(max_size=8),
        st.integers(0, 8),
        PEERS,
    ),
    st.builds(lambda peer: lambda lab: lab.hub(OPEN, source=peer), PEERS),
    st.builds(lambda tunnel: lambda lab: lab.hub(tm.CloseTunnel(tunnel)), st.integers(0, 3)),
    st.builds(lambda tunnel, peer: lambda lab: lab.data(tunnel, b"\xdd", peer), st.integers(0, 3), PEERS),
    st.builds(lambda handle, ok: lambda lab: lab.server.frame_sent(handle, ok, 0.0), st.integers(0, 9), st.booleans()),
    st.just(lambda lab: lab.server.hub_lost()),
    st.just(lambda lab: lab.server.hub_found(0.0)),
)


@settings(deadline=None)
@given(st.lists(STEPS, max_size=30))
def test_any_sequence_delivers_every_message_at_most_once(steps: list[Callable[[Lab], object]]) -> None:
    """Never raises; every message ends delivered or not delivered, once, and the last tunnel carries the rest."""
    lab = Lab()
    ended: list[int] = []

    def check() -> None:
        for event in lab.events():
            if isinstance(event, MessageDelivered | MessageNotDelivered):
                ended.append(event.handle)

    for number, step in enumerate(steps):
        lab.server.send(number, bytes([number]), 0.0)
        step(lab)
        check()
    if lab.server.state is not None:
        lab.hub(tm.CloseTunnel(lab.server.state.tunnel), source=lab.server.state.peer)
        check()
    lab.hub(OPEN)
    for _ in range(4 * len(steps) + 4):
        for handle, _message in lab.sent():
            lab.server.frame_sent(handle, True, 0.0)
        check()
    assert sorted(ended) == list(range(len(steps)))
