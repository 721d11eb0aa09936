"""Virtual time: pure nodes on an in-process radio, no asyncio, no chip, no zigpy. A day of waiting takes a millisecond.

What it models: joining by install code and permit, short addresses, unicast and broadcast of APS payloads with a
latency, loss of the message, and loss of the acknowledgement alone (delivered, yet reported as not), and who can read
whom: a frame with APS security arrives only where both sides have set the same link key for each other. An end device
sleeps: what is sent to it waits for its next poll, and broadcasts pass it by. Each frame
bears a NWK frame counter, and a secured one an APS frame counter; a chip takes none twice, keeps network, keys and
counters over a loss of power (``boards.virtual.seat``), and ``reused`` tells of every counter that left a second time.
What it does not: MAC, NWK and APS frames, their encryption, acknowledgements with counters of their own, routing; those
are the emulated CC2652's (``boards.virtual.stack``). And its Trust Center lets a member in again by its install code.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable

from agent.events import (
    COORDINATOR,
    ApsIndication,
    ApsRequest,
    FormNetwork,
    JoinNetwork,
    LeaveNetwork,
    LogicalType,
    NetworkInfo,
    PermitInstallCode,
    PermitJoin,
    RadioEvent,
    RadioRequest,
    RadioResult,
    RadioStatus,
    RestoreNetwork,
    SetLinkKey,
    SetPollRate,
    format_eui,
)
from agent.ports import Node
from boards.virtual.chip_memory import ChipMemory
from boards.virtual.seat import Seat, Secured

OK = RadioResult(RadioStatus.OK)
DEVICE_ANNCE = 0x0013
CAPABILITY = {LogicalType.ROUTER: 0x8E, LogicalType.END_DEVICE: 0x80}  # FFD, mains, receiver on when idle: or none
CHIP_ANSWER_S = 0.002  # a chip's own work, without air


class World:
    """Nodes, their in-process radios and the clock. Deterministic for a seed."""

    def __init__(self, seed: int = 0, *, loss: float = 0.0, latency_s: float = 0.005) -> None:
        self.now = 0.0
        self.loss = loss
        self.latency_s = latency_s
        self.seats: dict[int, Seat] = {}
        self.blocked: set[int] = set()  # EUIs that nobody hears at present
        self.reused: list[str] = []  # frame counters that left twice under one key, or went back
        self._used: dict[tuple[int, bytes | int], int] = {}  # by sender and key: the highest counter
        self._random = random.Random(seed)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    # --- who is there -----------------------------------------------------------------------------------------------

    def put_chip(self, eui: int, memory: ChipMemory, lag_s: float = 0.0) -> Seat:
        """A chip with an NV of its own, before anybody is on it."""
        seat = self.seats[eui] = Seat(eui, memory, lag_s)
        return seat

    def attach(self, eui: int, node: Node) -> Seat:
        """Power a host up on the chip ``eui`` (a new chip, or one that remembers its network)."""
        seat = self.seats.setdefault(eui, Seat(eui))
        seat.generation += 1
        seat.node = node
        node.start(self.now)
        return seat

    def detach(self, eui: int) -> None:
        """The host is gone: nothing reaches it, and what it asked for is answered to nobody. The chip goes on."""
        self.seats[eui].detach()

    def cut_power(self, eui: int) -> None:
        """Host and chip are off: the chip's NV is what is left, and it comes back with the next ``attach``."""
        self.seats[eui].lose_power()

    # --- time -------------------------------------------------------------------------------------------------------

    def run(self, until: Callable[[], bool], limit_s: float) -> bool:
        """Let time pass until ``until()`` holds (True) or ``limit_s`` more seconds are over (False)."""
        end = self.now + limit_s
        while not until():
            self._collect()
            when = self._next_time()
            if when is None or when > end:
                self.now = end
                return until()
            self.now = max(self.now, when)
            self._advance()
        return True

    def _next_time(self) -> float | None:
        deadlines = [seat.node.next_deadline() for seat in self.seats.values() if seat.node]
        times = [deadline for deadline in deadlines if deadline is not None]
        if self._queue:
            times.append(self._queue[0][0])
        return min(times, default=None)

    def _advance(self) -> None:
        """Everything that is due at ``now``, one queued action at most, so that ``until`` is looked at often."""
        if self._queue and self._queue[0][0] <= self.now:
            heapq.heappop(self._queue)[2]()
        for seat in list(self.seats.values()):
            deadline = seat.node.next_deadline() if seat.node else None
            if seat.node and deadline is not None and deadline <= self.now:
                seat.node.handle_timer(self.now)

    def _collect(self) -> None:
        for seat in list(self.seats.values()):
            if seat.node is None:
                continue
            for handle, request in seat.node.radio_requests(self.now):
                self._execute(seat, handle, request)

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + delay_s, next(self._order), action))

    # --- the radio --------------------------------------------------------------------------------------------------

    def _execute(self, seat: Seat, handle: int, request: RadioRequest) -> None:
        if isinstance(request, ApsRequest):
            seat.traffic.append(request)
            seat.answer_poll = self.now + seat.poll_rate.answer_s
            self._plan_poll(seat)
            self._send(seat, handle, request)
        else:
            generation = seat.generation
            self._by_chip(seat, CHIP_ANSWER_S, lambda: self._answer_control(seat, generation, handle, request))

    def _by_chip(self, seat: Seat, delay_s: float, action: Callable[[], None]) -> None:
        """Something that the chip does then, unless its power goes before."""
        life = seat.life
        self._later(delay_s, lambda: action() if seat.life == life else None)

    def _answer_control(self, seat: Seat, generation: int, handle: int, request: RadioRequest) -> None:
        match request:
            case FormNetwork():
                result = self._form(seat, request)
            case JoinNetwork():
                result = self._join(seat, request)
            case RestoreNetwork():
                result = RadioResult(RadioStatus.OK if seat.network else RadioStatus.NO_NETWORK, seat.network)
            case LeaveNetwork():
                seat.forget()
                result = OK
            case PermitJoin():
                seat.permit_until = self.now + request.duration_s
                result = OK
            case PermitInstallCode():
                seat.install_codes[request.eui] = request.install_code
                result = OK
            case SetLinkKey():
                seat.set_link_key(request.eui, request.key)
                self._by_chip(seat, seat.lag_s, seat.keep_keys)
                result = OK
            case SetPollRate():
                seat.poll_rate = request
                seat.poll_rates.append((self.now, request))
                self._plan_poll(seat)
                result = OK
            case _:
                result = RadioResult(RadioStatus.REFUSED, detail=f"unknown request {request!r}")
        self._done(seat, generation, handle, result)
        if result.network and result.network.logical_type is not LogicalType.COORDINATOR:
            self._announce(seat)

    def _done(self, seat: Seat, generation: int, handle: int, result: RadioResult) -> None:
        if seat.node and seat.generation == generation:
            seat.node.radio_done(handle, result, self.now)

    def _form(self, seat: Seat, request: FormNetwork) -> RadioResult:
        pan_id = self._random.randrange(1, 0xFFF0) if request.pan_id is None else request.pan_id
        extended = seat.eui if request.extended_pan_id is None else request.extended_pan_id
        seat.network = NetworkInfo(seat.eui, COORDINATOR, pan_id, extended, request.channel, LogicalType.COORDINATOR)
        return RadioResult(RadioStatus.OK, seat.network)

    def _join(self, seat: Seat, request: JoinNetwork) -> RadioResult:
        seat.forget()
        for hub in self.seats.values():
            network = hub.network
            if hub is seat or network is None or network.logical_type is not LogicalType.COORDINATOR:
                continue
            if network.channel not in request.channels or self.now > hub.permit_until or hub.eui in self.blocked:
                continue
            if hub.install_codes.get(seat.eui) != request.install_code:
                return RadioResult(RadioStatus.KEY_EXCHANGE_FAILED, detail=f"{format_eui(seat.eui)} has no such key")
            short = self._random.randrange(1, 0xFFF0)
            seat.network = NetworkInfo(
                seat.eui, short, network.pan_id, network.extended_pan_id, network.channel, request.logical_type
            )
            return RadioResult(RadioStatus.OK, seat.network)
        return RadioResult(RadioStatus.NO_NETWORK, detail="no network with an open permit on these channels")

    def _announce(self, seat: Seat) -> None:
        """Device_annce, which a chip sends by itself after joining and after a restart."""
        if seat.network is None:
            return
        body = seat.network.short_address.to_bytes(2, "little") + seat.eui.to_bytes(8, "little")
        payload = bytes([0]) + body + bytes([CAPABILITY[seat.network.logical_type]])
        announce = ApsRequest(0xFFFD, 0, 0, 0, DEVICE_ANNCE, payload, aps_ack=False)
        self._broadcast(seat, announce)

    def _send(self, seat: Seat, handle: int, request: ApsRequest) -> None:
        generation = seat.generation
        if seat.network is None:
            lost = RadioResult(RadioStatus.NO_NETWORK)
            self._later(CHIP_ANSWER_S, lambda: self._done(seat, generation, handle, lost))
            return
        if request.destination >= 0xFFF8 and request.aps_security:
            refused = RadioResult(RadioStatus.REFUSED, detail="no link key secures a broadcast")
            self._later(CHIP_ANSWER_S, lambda: self._done(seat, generation, handle, refused))
            return
        if request.destination >= 0xFFF8:
            self._broadcast(seat, request)
            self._later(self.latency_s, lambda: self._done(seat, generation, handle, OK))
            return
        target = self._by_address(seat, request.destination)
        secured = self._secure(seat, target.eui if target is not None and request.aps_security else None)
        arrives = target is not None and self._random.random() >= self.loss
        arrives = arrives and target is not None and target.opens(seat.eui, secured, aps_security=request.aps_security)
        acknowledged = arrives and target is not None and target.node is not None and self._random.random() >= self.loss
        heard = acknowledged or not request.aps_ack
        result = OK if heard else RadioResult(RadioStatus.NOT_ACKNOWLEDGED)

        def arrive() -> None:
            if target is not None and arrives:
                self._deliver(seat, target, request)
            self._later(2 * self.latency_s, lambda: self._done(seat, generation, handle, result))

        if target is not None and target.sleeps:
            target.mailbox.append(arrive)
            self._plan_poll(target)
        else:
            arrive()

    def _plan_poll(self, seat: Seat) -> None:
        """A sleepy device polls at every multiple of its period, and soon after something went out or came in."""
        if not seat.sleeps or not seat.mailbox:
            return
        period_s = seat.poll_rate.period_s
        regular = (self.now // period_s + 1) * period_s
        soon = seat.answer_poll >= self.now
        self._later((min(regular, seat.answer_poll) if soon else regular) - self.now, lambda: self._poll(seat))

    def _poll(self, seat: Seat) -> None:
        """Fetch what there is; a poll that was planned twice finds nothing the second time."""
        waiting, seat.mailbox = seat.mailbox, []
        if waiting:
            seat.answer_poll = self.now + seat.poll_rate.answer_s
        for arrive in waiting:
            arrive()

    def _broadcast(self, seat: Seat, request: ApsRequest) -> None:
        secured = self._secure(seat, None)
        for target in self.seats.values():
            hears = target is not seat and not target.sleeps and self._same_network(seat, target)
            reached = hears and self._random.random() >= self.loss
            if reached and target.opens(seat.eui, secured, aps_security=False):
                self._deliver(seat, target, request)

    def _secure(self, seat: Seat, partner: int | None) -> Secured:
        """The frame's counters, which leave with it."""
        secured = seat.secure(partner)
        network = seat.network.extended_pan_id if seat.network else 0
        self._note(seat, network, "NWK", secured.nwk_counter)
        if secured.link_key is not None:
            self._note(seat, secured.link_key, "APS", secured.aps_counter)
        return secured

    def _note(self, seat: Seat, key: bytes | int, layer: str, counter: int) -> None:
        highest = self._used.get((seat.eui, key), -1)
        if counter <= highest:
            self.reused.append(f"{format_eui(seat.eui)}: {layer} frame counter {counter} after {highest} with one key")
        self._used[seat.eui, key] = max(counter, highest)

    def _deliver(self, seat: Seat, target: Seat, request: ApsRequest) -> None:
        assert seat.network is not None  # noqa: S101  # the sender was looked at by the caller
        indication = ApsIndication(
            source=seat.network.short_address,
            source_endpoint=request.source_endpoint,
            destination_endpoint=request.destination_endpoint,
            cluster=request.cluster,
            payload=request.payload,
            aps_security=request.aps_security,
            broadcast=request.destination >= 0xFFF8,
        )
        generation = target.generation
        self._later(self.latency_s, lambda: self._receive(target, generation, indication))

    def _receive(self, target: Seat, generation: int, event: RadioEvent) -> None:
        if target.node and target.generation == generation:
            target.node.receive(event, self.now)

    def _same_network(self, one: Seat, other: Seat) -> bool:
        if one.network is None or other.network is None or {one.eui, other.eui} & self.blocked:
            return False
        return one.network.extended_pan_id == other.network.extended_pan_id

    def _by_address(self, seat: Seat, short: int) -> Seat | None:
        for other in self.seats.values():
            if self._same_network(seat, other) and other.network and other.network.short_address == short:
                return other
        return None
