"""Following one service request to its end, event by event, as a running hub tells them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from boards.bench.control_client import HubClient, HubError
from boards.bench.history import Event

SUCCESS = "0x00"
PPMID_ACTIVATION_ALERT = "0x012B"
FUTURE_DATED_ALERT = "0x00CA"
RECEIPT_VERIFIED, RECEIPT_FAILED = "0x8F72", "0x8F1C"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that went out, as the hub answered it. ``dated``: its alert is waited for, not its acceptance alone."""

    service_request: str
    device: str
    counter: int
    octets: str
    dated: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended. ``event`` is the one that decided; None when the time ran out."""

    asked: Asked
    ok: bool
    words: str
    event: Event | None

    def line(self) -> str:
        """The sentence for a person."""
        verdict = "done" if self.ok else "not done"
        return f"{self.asked.service_request} for {self.asked.device}: {verdict}: {self.words}"

    def as_object(self) -> Event:
        """The dict for a script."""
        return {
            "service_request": self.asked.service_request,
            "device": self.asked.device,
            "counter": self.asked.counter,
            "ok": self.ok,
            "outcome": self.words,
            "report": self.event,
        }


def asked_of(answer: Event, *, dated: bool) -> list[Asked]:
    """The requests in a hub's answer. Raises HubError when there are none."""
    requests = answer.get("requests")
    if not isinstance(requests, list) or not requests:
        raise HubError("the hub's answer names no requests; is it of another version?")
    return [Asked(one["service_request"], one["device"], one["counter"], one["octets"], dated) for one in requests]


class Follower:
    """Pure: ``look(event)`` is True or False when the request has ended, None while it goes on."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self._transferred = False

    def look(self, event: Event) -> bool | None:
        """One event of the device."""
        name = event.get("event")
        if name == "report":
            return self._report(event)
        if self.asked.service_request in ("11.2", "11.3"):
            mine = name == "message-down" and event.get("octets") == self.asked.octets
            return False if mine and event.get("delivered") is False else None
        if name == "transfer-ended":
            self._transferred = event.get("status") == SUCCESS
            return None if self._transferred else False
        if name == "image-queried" and not self._transferred:  # a new image asks again once it runs
            return None if event.get("status") == SUCCESS else False
        return None

    def _report(self, event: Event) -> bool | None:
        """What does not verify, or was seen before, decides nothing."""
        if event.get("verified") is not True or event.get("duplicate") is not False:
            return None
        number = self.asked.service_request
        if number == "11.4":
            return _success(event) if event.get("message_code") == PPMID_ACTIVATION_ALERT else None
        if number == "11.1":
            code = event.get("alert_code")
            return code == RECEIPT_VERIFIED if code in (RECEIPT_VERIFIED, RECEIPT_FAILED) else None
        if (event.get("service_request"), event.get("request_counter")) != (number, self.asked.counter):
            return None
        return self._answer(event)

    def _answer(self, event: Event) -> bool | None:
        """A response to this very request, or the alert that a dated one leads to."""
        accepted = event.get("accepted")
        if accepted is None:
            return _success(event)
        return None if accepted is True and self.asked.dated else accepted is True


def follow(
    client: HubClient, asked: Asked, mark: int, left: Callable[[], float], show: Callable[[Event], None]
) -> Outcome:
    """Show the device's events from ``mark`` on until the request has ended; ``left()`` tells the seconds left."""
    follower = Follower(asked)
    while (left_s := left()) > 0:
        found = client.wait({"device_eui": asked.device}, mark, left_s)
        if found is None:
            break
        mark, event = found
        show(event)
        ended = follower.look(event)
        if ended is not None:
            return Outcome(asked, ended, str(event.get("text", "")), event)
    return Outcome(asked, False, "nothing that ends it came in time; the request goes on at the hub", None)


def _success(event: Event) -> bool:
    return event.get("result") == "success"
