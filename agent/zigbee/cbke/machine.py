"""Key establishment, initiator and responder: one exchange at a time, pure, time and randomness as arguments.

The computations happen inside ``receive``: four point multiplications in an exchange, tens of milliseconds together on
a desktop, several times that on a small Pi; the times announced to the partner allow for much more.

*Our choices*, where the specification leaves room: a certificate of another device, of a wrong kind or with a bad point
is INVALID_CERTIFICATE in both suites; a message out of turn from the partner ends the exchange with BAD_MESSAGE, except
an exact repetition of the last one, which is ignored; a new Initiate from the same partner starts the responder anew; a
stranger's Initiate in the middle gets NO_RESOURCES with the time that is left; silence and a frame that does not arrive
end the exchange without a Terminate; the responder has the key as soon as it sends its own Confirm Key, because an
initiator that misses it begins again without APS security, while the opposite doubt would never be noticed.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from agent.errors import FormatError
from agent.zigbee.cbke import ecmqv
from agent.zigbee.cbke.certificates import parse_certificate
from agent.zigbee.cbke.curves import Point
from agent.zigbee.cbke.ecqv import Credentials, public_key, random_scalar
from agent.zigbee.cbke.events import (
    CbkeTimes,
    Event,
    KeyEstablishmentFailed,
    LinkKeyEstablished,
    OutgoingKeyFrame,
)
from agent.zigbee.cbke.messages import (
    TIME_INVALID,
    EphemeralData,
    Initiate,
    KeyCommand,
    KeyFrame,
    Message,
    Terminate,
    TerminateStatus,
    decode,
)
from agent.zigbee.cbke.states import AWAITED, Reason, State

REMEMBERED_PARTNERS = 32  # partners that must wait after a failure


class _RefusedError(Exception):
    """What came in ends the exchange with this status."""

    def __init__(self, status: TerminateStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status


@dataclass(slots=True)
class _Exchange:
    """One run. The secrets are empty until both ephemeral points are known."""

    partner: int
    initiator: bool
    suite: int
    ephemeral: ecmqv.EphemeralKey | None = None
    partner_static: Point | None = None
    ephemeral_time_s: int = 0
    confirm_time_s: int = 0
    own_mac: bytes = b""
    expected_mac: bytes = b""
    link_key: bytes = b""
    last: KeyFrame | None = None
    handle: int | None = None


class KeyEstablishment:
    """One device's key establishment. ``credentials`` by suite, all for ``eui``; EUIs are ints.

    ``random`` makes the ephemeral private keys: a ``random.SystemRandom`` outside of tests.
    """

    def __init__(
        self, eui: int, credentials: Mapping[int, Credentials], random: random.Random, times: CbkeTimes | None = None
    ) -> None:
        self.eui = eui
        self._credentials = dict(credentials)
        self._random = random
        self._times = times or CbkeTimes()
        self._exchange: _Exchange | None = None
        self._deadline: float | None = None
        self._outgoing: list[tuple[int, OutgoingKeyFrame]] = []
        self._events: deque[Event] = deque()
        self._not_before: dict[int, float] = {}
        self._finished: tuple[int, KeyFrame] | None = None  # the last message of the last success
        self._handles = 0
        self.state = State.IDLE

    @property
    def suites(self) -> int:
        """Attribute 0x0000 of either side of the cluster."""
        return sum(self._credentials)

    # the owner's side

    def start(self, partner: int, partner_suites: int, now: float) -> bool:
        """As initiator, with the highest suite in common. False, and nothing happens, when busy or not yet allowed."""
        if self.state is not State.IDLE or now < self.earliest_start(partner):
            return False
        common = [suite for suite in self._credentials if suite & partner_suites]
        if not common:
            detail = f"no suite in common: ours {self.suites:#06x}, the partner's {partner_suites:#06x}"
            wait_s = self._times.wait_s
            self._fail(KeyEstablishmentFailed(partner, Reason.UNSUPPORTED_SUITE, False, detail, wait_s), now)
            return True
        self._exchange = _Exchange(partner, initiator=True, suite=max(common))
        self._send(self._exchange, KeyCommand.INITIATE, self._own_initiate(max(common)))
        self.state = State.INITIATE_RESPONSE
        self._deadline = now + self._times.initiate_timeout_s
        return True

    def earliest_start(self, partner: int) -> float:
        """When ``start`` with this partner is allowed again after a failure."""
        return self._not_before.get(partner, float("-inf"))

    def cancel(self) -> None:
        """The network is gone: forget the exchange without a word."""
        self._forget()
        self._outgoing.clear()

    def frames_to_send(self, now: float) -> list[tuple[int, OutgoingKeyFrame]]:
        """New frames since the last call, each with a handle for ``frame_sent``."""
        frames, self._outgoing = self._outgoing, []
        return frames

    def frame_sent(self, handle: int, delivered: bool, now: float) -> None:
        """The delivery report. A lost frame of the running exchange ends it; of an older one, nothing."""
        exchange = self._exchange
        if delivered or exchange is None or exchange.handle != handle:
            return
        self._give_up(Reason.NOT_DELIVERED, now)

    def next_deadline(self) -> float | None:
        return self._deadline

    def handle_timer(self, now: float) -> None:
        if self._exchange is not None and self._deadline is not None and now >= self._deadline:
            self._give_up(Reason.TIME_OUT, now)

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    # the partner's side

    def receive(self, frame: KeyFrame, partner: int, now: float) -> None:
        """A frame of the cluster from the device with this EUI, which the network layer vouches for."""
        exchange = self._exchange
        if exchange is not None and (partner != exchange.partner or (exchange.initiator and _is_request(frame))):
            if _is_request(frame):
                self._refuse_busy(partner, now)
            return
        if (exchange is not None and frame == exchange.last) or (partner, frame) == self._finished:
            return  # repeated by the network
        try:
            message = decode(frame.command, frame.payload)
            if isinstance(message, Terminate):
                self._terminated(message, frame, now)
            elif self._may_begin(frame, partner, now):
                self._take(frame, message, partner, now)
        except FormatError as error:
            if frame.command != KeyCommand.TERMINATE:  # which is never answered
                self._end(frame, partner, TerminateStatus.BAD_MESSAGE, str(error), now)
        except _RefusedError as refused:
            self._end(frame, partner, refused.status, str(refused), now)

    def _may_begin(self, frame: KeyFrame, partner: int, now: float) -> bool:
        """For a request: a running exchange with the same partner starts anew; after a failure it must wait."""
        if not _is_request(frame):
            return True
        if self._exchange is not None:
            self._events.append(KeyEstablishmentFailed(partner, Reason.RESTARTED, True, "a new Initiate", 0.0))
            self._forget()
        elif now < self.earliest_start(partner):
            self._terminate(partner, TerminateStatus.NO_RESOURCES, self.earliest_start(partner) - now, to_client=True)
            return False
        return True

    def _take(self, frame: KeyFrame, message: Message, partner: int, now: float) -> None:
        awaited = AWAITED[self.state]
        if (frame.command, frame.to_client) != (awaited.command, awaited.to_client):
            raise _RefusedError(TerminateStatus.BAD_MESSAGE, f"{type(message).__name__} while {self.state.value}")
        if isinstance(message, Initiate):
            exchange, patience_s = self._take_initiate(message, partner)
        elif isinstance(message, EphemeralData):
            exchange, patience_s = self._take_ephemeral(self._running(), message)
        else:
            self._take_confirm(self._running(), frame, message.encode())
            return
        exchange.last = None if _is_request(frame) else frame
        self.state = awaited.then
        self._deadline = now + patience_s + self._times.margin_s

    def _take_initiate(self, message: Initiate, partner: int) -> tuple[_Exchange, int]:
        """Responder: a request begins the exchange. Initiator: the response brings the partner's certificate."""
        exchange = self._exchange or _Exchange(partner, initiator=False, suite=message.suite)
        if message.suite not in self._credentials or message.suite != exchange.suite:
            raise _RefusedError(TerminateStatus.UNSUPPORTED_SUITE, f"suite {message.suite:#06x}")
        exchange.partner_static = self._check_initiate(message, partner)
        exchange.ephemeral_time_s, exchange.confirm_time_s = message.ephemeral_time_s, message.confirm_time_s
        self._exchange = exchange
        if exchange.initiator:
            exchange.ephemeral = self._make_ephemeral(exchange.suite)
            self._send(exchange, KeyCommand.EPHEMERAL_DATA, exchange.ephemeral.octets)
        else:
            self._send(exchange, KeyCommand.INITIATE, self._own_initiate(exchange.suite))
        return exchange, exchange.ephemeral_time_s

    def _check_initiate(self, message: Initiate, partner: int) -> Point:
        """The partner's static public key, when its certificate deserves it."""
        if TIME_INVALID in (message.ephemeral_time_s, message.confirm_time_s):
            raise _RefusedError(TerminateStatus.BAD_MESSAGE, "a generate time of FF")
        own = self._credentials[message.suite]
        certificate = parse_certificate(message.suite, message.certificate)
        if certificate.issuer != own.certificate.issuer:
            raise _RefusedError(TerminateStatus.UNKNOWN_ISSUER, f"issued by {certificate.issuer:016X}")
        faults = certificate.faults(subject=partner)
        if faults:
            raise _RefusedError(TerminateStatus.INVALID_CERTIFICATE, "; ".join(faults))
        try:
            return public_key(certificate, own.ca_public)
        except FormatError as error:
            raise _RefusedError(TerminateStatus.INVALID_CERTIFICATE, str(error)) from None

    def _take_ephemeral(self, exchange: _Exchange, message: EphemeralData) -> tuple[_Exchange, int]:
        """Both: the partner's ephemeral point gives the keys."""
        if exchange.partner_static is None:  # no path of the table comes here without a certificate
            raise _RefusedError(TerminateStatus.BAD_MESSAGE, "no certificate yet")
        own = exchange.ephemeral or self._make_ephemeral(exchange.suite)
        secret = self._credentials[exchange.suite].private_key
        z = ecmqv.shared_secret(exchange.suite, secret, own, exchange.partner_static, message.point)
        keys = ecmqv.derive_keys(z)
        exchange.link_key = keys.link_key
        if exchange.initiator:
            inputs = (keys.mac_key, self.eui, exchange.partner, own.octets, message.point)
            exchange.own_mac, exchange.expected_mac = ecmqv.confirm_u(*inputs), ecmqv.confirm_v(*inputs)
            self._send(exchange, KeyCommand.CONFIRM_KEY, exchange.own_mac)
        else:
            inputs = (keys.mac_key, exchange.partner, self.eui, message.point, own.octets)
            exchange.own_mac, exchange.expected_mac = ecmqv.confirm_v(*inputs), ecmqv.confirm_u(*inputs)
            self._send(exchange, KeyCommand.EPHEMERAL_DATA, own.octets)
        return exchange, exchange.confirm_time_s

    def _take_confirm(self, exchange: _Exchange, frame: KeyFrame, mac: bytes) -> None:
        """Both: the partner's proof; the responder answers with its own."""
        if not ecmqv.same(exchange.expected_mac, mac):
            raise _RefusedError(TerminateStatus.BAD_KEY_CONFIRM, "the partner's key is not ours")
        if not exchange.initiator:
            self._send(exchange, KeyCommand.CONFIRM_KEY, exchange.own_mac)
        self._not_before.pop(exchange.partner, None)
        self._finished = (exchange.partner, frame)
        self._forget()
        self._events.append(
            LinkKeyEstablished(exchange.partner, exchange.suite, exchange.initiator, link_key=exchange.link_key)
        )

    # ends

    def _terminated(self, message: Terminate, frame: KeyFrame, now: float) -> None:
        exchange = self._exchange
        if exchange is None or frame.to_client != exchange.initiator:
            return
        known = message.status in {status.value for status in TerminateStatus}
        reason = Reason(message.status) if known else Reason.UNKNOWN_STATUS
        detail = f"Terminate with status {message.status:02X} while {self.state.value}"
        wait_s = max(message.wait_s, self._times.wait_s) if exchange.initiator else 0.0
        self._fail(KeyEstablishmentFailed(exchange.partner, reason, True, detail, wait_s, message.suites), now)

    def _end(self, frame: KeyFrame, partner: int, status: TerminateStatus, detail: str, now: float) -> None:
        """Answer with Terminate; it fails an exchange or a request, while a stray message fails nothing."""
        self._terminate(partner, status, self._times.wait_s, to_client=not frame.to_client)
        if self._exchange is not None or _is_request(frame):
            self._fail(KeyEstablishmentFailed(partner, Reason(status.value), False, detail, self._times.wait_s), now)

    def _give_up(self, reason: Reason, now: float) -> None:
        """The air failed, nobody's message did: the initiator waits, a responder takes the next request at once."""
        exchange = self._running()
        wait_s = float(self._times.wait_s) if exchange.initiator else 0.0
        detail = f"while awaiting {self.state.value}"
        self._fail(KeyEstablishmentFailed(exchange.partner, reason, False, detail, wait_s), now)

    def _refuse_busy(self, partner: int, now: float) -> None:
        left_s = self._deadline - now if self._deadline is not None else self._times.wait_s
        self._terminate(partner, TerminateStatus.NO_RESOURCES, left_s, to_client=True)

    def _fail(self, event: KeyEstablishmentFailed, now: float) -> None:
        """Forget the exchange, tell the owner, and remember until when this partner has to wait."""
        self._not_before = {eui: at for eui, at in self._not_before.items() if at > now and eui != event.partner}
        if event.retry_after_s:
            while len(self._not_before) >= REMEMBERED_PARTNERS:
                self._not_before.pop(next(iter(self._not_before)))
            self._not_before[event.partner] = now + event.retry_after_s
        self._forget()
        self._events.append(event)

    def _forget(self) -> None:
        self._exchange = None
        self._deadline = None
        self.state = State.IDLE

    # small things

    def _running(self) -> _Exchange:
        """The exchange that every state but IDLE has."""
        if self._exchange is None:
            raise _RefusedError(TerminateStatus.BAD_MESSAGE, "no exchange")
        return self._exchange

    def _own_initiate(self, suite: int) -> bytes:
        certificate = self._credentials[suite].certificate.octets
        return Initiate(suite, self._times.ephemeral_s, self._times.confirm_s, certificate).encode()

    def _make_ephemeral(self, suite: int) -> ecmqv.EphemeralKey:
        return ecmqv.make_ephemeral(suite, random_scalar(suite, self._random))

    def _send(self, exchange: _Exchange, command: KeyCommand, payload: bytes) -> None:
        exchange.handle = self._queue(exchange.partner, KeyFrame(command, payload, not exchange.initiator))

    def _terminate(self, partner: int, status: TerminateStatus, wait_s: float, to_client: bool) -> None:
        wait = min(max(int(wait_s) + (wait_s > int(wait_s)), 1), TIME_INVALID - 1)
        payload = Terminate(status, wait, self.suites).encode()
        self._queue(partner, KeyFrame(KeyCommand.TERMINATE, payload, to_client))

    def _queue(self, partner: int, frame: KeyFrame) -> int:
        self._handles += 1
        self._outgoing.append((self._handles, OutgoingKeyFrame(partner, frame)))
        return self._handles


def _is_request(frame: KeyFrame) -> bool:
    return frame.command == KeyCommand.INITIATE and not frame.to_client
