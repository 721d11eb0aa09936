"""Joining as a story: from the lines that a device logs, the steps for a person and how it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agent.errors import EXIT_OK, EXIT_RADIO, EXIT_REFUSED
from agent.events import RadioStatus
from agent.zigbee.whereabouts import ranges

Facts = dict[str, Any]
_CHIP_FAILED = (RadioStatus.REFUSED.value, RadioStatus.TIMEOUT.value, RadioStatus.RADIO_LOST.value)


@dataclass(frozen=True, slots=True)
class Ending:
    """``reason`` is empty when the device has joined."""

    exit_code: int
    reason: str = ""


@dataclass(slots=True)
class JoinStory:
    """``deadline``: until when it is worth waiting; ``eui``: device.toml's. ``hear`` gives the steps of one line."""

    channels: tuple[int, ...]
    eui: str
    deadline: float
    ending: Ending | None = None
    network: Facts | None = None
    hub: str = ""
    suite: int | None = None
    steps: list[str] = field(default_factory=list)
    _failure: str = ""  # the last one that may pass

    def begin(self) -> list[str]:
        """What is said before anything has happened."""
        return self._told(f"scanning channels {ranges(self.channels)}")

    def hear(self, event: str, facts: Facts, now: float) -> list[str]:
        """One line of the device's log."""
        steps: list[str] = []
        match event:
            case "network up":
                steps = self._network_up(facts["network"], facts["joined"])
            case "join failed":
                self._join_failed(facts)
            case "link key made":
                held = facts["held"]
                self.hub, self.suite = str(held["hub_eui"]), int(held["suite"])
                steps = [f"link key with hub {self.hub} (suite {self.suite})"]
            case "link key failed":
                steps = self._key_failed(facts, now)
            case "hub found":
                self.hub = str(facts["peer"]["eui"])
                steps = [f"hub {self.hub} found at endpoint {facts['peer']['endpoint']}"]
            case "network sought":
                steps = [str(facts["detail"])]
            case "hub answers" | "hub answered":
                self.ending = Ending(EXIT_OK)
                steps = ["hub answers"]
            case "left network":
                self.ending = Ending(EXIT_REFUSED, f"joined, and left again: {facts['reason']}")
        return self._told(*steps)

    def time_is_over(self) -> None:
        """Nobody waits any longer: say how far it came."""
        if self.network is None:
            reason = "no attempt has ended in time; --wait gives it more"
        elif self._failure:
            reason = f"joined, but there is no link key: {self._failure}"
        elif self.hub:
            reason = f"joined, but hub {self.hub} does not answer a read of its clock"
        else:
            reason = "joined, but the hub does not tell the endpoint of its Key Establishment or OTA server"
        self.ending = Ending(EXIT_REFUSED, reason)

    def radio_is_gone(self, detail: str) -> None:
        """The radio went away in the middle."""
        self.ending = Ending(EXIT_RADIO, detail)

    def _told(self, *steps: str) -> list[str]:
        self.steps += steps
        return list(steps)

    def _network_up(self, network: Facts, joined: bool) -> list[str]:
        where = f"channel {network['channel']}, PAN {network['pan_id']}"
        if not joined:
            reason = (
                f"the device is on a network already: {where}, as {network['short_address']}; han-agent leave first"
            )
            self.ending = Ending(EXIT_REFUSED, reason)
            return []
        self.network = network
        steps = [
            f"network found: {where}, extended PAN {network['extended_pan_id']}",
            f"joined as {network['short_address']}",
        ]
        if network["eui"] != self.eui.upper():
            steps.append(
                f"NOTE: the radio's EUI is {network['eui']}, device.toml says {self.eui.upper()}: correct eui, and "
                "give the device certificates for it; the hub will not accept the others"
            )
        return steps

    def _join_failed(self, facts: Facts) -> None:
        status, detail = facts["status"], f" ({facts['detail']})" if facts["detail"] else ""
        if status == RadioStatus.KEY_EXCHANGE_FAILED.value:
            words = (
                f"a network was found, but the key exchange failed{detail}: the hub does not know this install code "
                f"for {self.eui.upper()}, or the code is wrong: compare it with the label, and with the hub's list"
            )
        elif status == RadioStatus.NO_NETWORK.value:
            words = (
                f"no network open for joining on channels {ranges(self.channels)}{detail}: is the hub on and in reach, "
                "and does it let devices join now?"
            )
        else:
            words = f"the radio: {status}{detail}"
        self.ending = Ending(EXIT_RADIO if status in _CHIP_FAILED else EXIT_REFUSED, words)

    def _key_failed(self, facts: Facts, now: float) -> list[str]:
        self._failure = f"{facts['reason']}: {facts['detail']}"
        if now + facts["retry_s"] >= self.deadline:
            self.time_is_over()
        return [f"no link key yet: {self._failure}; again in {facts['retry_s']:g} s"]
