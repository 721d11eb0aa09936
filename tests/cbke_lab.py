"""Two ends of a key establishment on the table, with what a test needs to make their frames wrong."""

from __future__ import annotations

import random
from dataclasses import replace

from annex_c import Party

from agent.zigbee.cbke.certificates import SUITE_1, SUITE_2
from agent.zigbee.cbke.ecqv import Credentials, issue, make_authority
from agent.zigbee.cbke.events import CbkeTimes, KeyEstablishmentFailed
from agent.zigbee.cbke.machine import KeyEstablishment
from agent.zigbee.cbke.messages import Initiate, KeyCommand, KeyFrame, Terminate, decode
from agent.zigbee.cbke.states import State

DEVICE, HUB, STRANGER = 0x90B3D51F30010000, 0x90B3D51F30000002, 0x90B3D51F300000AA
ISSUER = 0x1122334455667788
CA = {suite: make_authority(suite, ISSUER, random.Random(suite)) for suite in (SUITE_1, SUITE_2)}
SETS = {
    eui: {suite: issue(CA[suite], eui, random.Random(eui ^ suite)) for suite in CA} for eui in (DEVICE, HUB, STRANGER)
}
TIMES = CbkeTimes()


def machine(eui: int, *suites: int, times: CbkeTimes = TIMES) -> KeyEstablishment:
    chosen = {suite: SETS[eui][suite] for suite in suites or (SUITE_1,)}
    return KeyEstablishment(eui, chosen, random.Random(eui), times)


class Pair:
    """Device and hub, and the air between them: one frame a step."""

    def __init__(self, device: KeyEstablishment, hub: KeyEstablishment, now: float = 0.0) -> None:
        self.device, self.hub, self.now = device, hub, now
        self.transcript: list[tuple[str, KeyFrame]] = []

    def step(self) -> bool:
        """Carry what is waiting; False when nothing was."""
        carried = False
        for sender, receiver, name in ((self.device, self.hub, "device"), (self.hub, self.device, "hub")):
            for handle, out in sender.frames_to_send(self.now):
                assert out.partner == receiver.eui
                self.transcript.append((name, out.frame))
                sender.frame_sent(handle, True, self.now)
                receiver.receive(out.frame, sender.eui, self.now)
                carried = True
        return carried

    def run(self) -> None:
        while self.step():
            self.now += 0.5

    def run_until(self, one: KeyEstablishment, state: State) -> None:
        while one.state is not state:
            assert self.step()


def events(one: KeyEstablishment) -> list[object]:
    found = []
    while (event := one.next_event()) is not None:
        found.append(event)
    return found


def failure(one: KeyEstablishment) -> KeyEstablishmentFailed:
    (event,) = events(one)
    assert isinstance(event, KeyEstablishmentFailed)
    return event


def sent(one: KeyEstablishment, now: float = 0.0) -> list[KeyFrame]:
    return [out.frame for _, out in one.frames_to_send(now)]


def terminate(one: KeyEstablishment, now: float = 0.0) -> Terminate:
    """The one frame that it wants to send, a Terminate."""
    (frame,) = sent(one, now)
    message = decode(frame.command, frame.payload)
    assert isinstance(message, Terminate)
    return message


class Scripted(random.Random):
    """Gives the private keys of a worked example instead of random ones."""

    def __init__(self, party: Party) -> None:
        super().__init__(0)
        self.value = int.from_bytes(party.ephemeral_private, "big")

    def randrange(self, *_: int) -> int:  # type: ignore[override]
        return self.value


def changed(frame: KeyFrame, at: int, value: int) -> KeyFrame:
    payload = bytearray(frame.payload)
    payload[at] = value
    return replace(frame, payload=bytes(payload))


def initiate_frame(mine: Credentials, *, to_client: bool, suite: int | None = None, **times: int) -> KeyFrame:
    message = Initiate(
        suite or mine.suite, times.get("ephemeral", 10), times.get("confirm", 15), mine.certificate.octets
    )
    return KeyFrame(KeyCommand.INITIATE, message.encode(), to_client)


def foreign(eui: int, suite: int) -> Credentials:
    return issue(make_authority(suite, ISSUER + 1, random.Random(9)), eui, random.Random(10))
