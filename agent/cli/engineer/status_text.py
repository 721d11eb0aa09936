"""A status for a person: the same values as in JSON, a line a thing, with what to do where something is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agent.events import RadioStatus

Values = dict[str, Any]
NEVER = "not known: the device has not told it yet"


def render(status: Values) -> str:
    """The lines of ``han-agent status``."""
    return "\n".join([*_identity(status), *_surroundings(status), *_firmware(status), *_memory(status), *_end(status)])


def render_event(event: Values) -> str:
    """One line of a log."""
    code = f"  {event['code']} {event['name']}:" if event["code"] else ""
    return f"{event['time'] or 'time unknown':<20}  {event['log']:<8}{code}  {event['what']}"


def _line(name: str, text: object) -> str:
    return f"{name:<18}{text}"


def _identity(status: Values) -> Iterator[str]:
    endpoint, basic = status["endpoint"], status["basic"]
    yield _line("role", f"{status['role'].upper()}  {status['eui']}")
    yield _line("runs", f"yes, process {status['process']}" if status["runs"] else "no")
    start = status["last_start"]
    if status["factory_agent"]:
        yield _line(
            "last start", f"the factory agent, {start['time']}: no slot verifies; it fetches an image from the hub"
        )
        yield _line("", "why: han-agent slots verify; by hand: han-agent provision --again")
    elif start:
        trial = ", on trial" if start["trial"] else ""
        yield _line("last start", f"{start['version']} from slot {start['slot']}{trial}, {start['time']}")
    elif not status["has_run"]:
        yield _line("last start", "never: there is no journal yet; start it with han-agent run")
    yield _line("endpoint", f"{endpoint['number']}, profile {endpoint['profile']}, device {endpoint['device']}")
    yield _line("  servers", "; ".join(endpoint["input_clusters"]))
    yield _line("  clients", "; ".join(endpoint["output_clusters"]))
    yield _line("basic", f"{basic['manufacturer_name']}, model {basic['model']}, hardware {basic['hardware_version']}")
    for choice in status["our_choices"]:
        yield _line("  our choice", choice)


def _surroundings(status: Values) -> Iterator[str]:
    network, hub, contact = status["network"], status["hub"], status["last_contact"]
    yield _line("install code", status["install_code"] or "none known: give one with han-agent join --install-code")
    yield _line("network", _network(network) if network else NEVER)
    wanted = status["logical_type"]
    if network and network["logical_type"].replace("_", "-") != wanted:
        yield _line(
            "  differs", f"radio.logical_type is {wanted}, from the next join on: han-agent factory-reset network"
        )
    elif status["polling"]:
        yield _line("  polling", _polling(status["polling"]))
    failed = status["joining_failed"]
    if failed:
        detail = f" ({failed['detail']})" if failed["detail"] else ""
        again = "" if failed["retry_s"] is None else f", again {failed['retry_s']:g} s after"
        yield _line("  failing", f"{failed['status']}{detail}, {failed['time']}{again}")
        if failed["status"] == RadioStatus.KEY_EXCHANGE_FAILED.value:
            yield _line("", "the hub does not know this install code, or it is wrong: compare it with the label")
        if failed["retry_s"] is None:
            yield _line("", "not by itself: han-agent join, or a restart, makes it join again")
    yield _line("hub", f"{hub['eui']}, endpoint {hub['endpoint']}, found {hub['time']}" if hub else NEVER)
    lost = status["hub_lost"]
    if lost:
        yield _line("  lost", f"{lost['reason']}, {lost['time']}")
    sought = status["network_sought"]
    if sought:
        yield _line("  discovery", f"{sought['detail']}, {sought['time']}")
    if contact:
        quality = contact["link_quality"]
        timed = "" if contact["hub_has_time"] else ", without its time"
        yield _line("last contact", f"{contact['time']}, link quality {'?' if quality is None else quality}{timed}")
    else:
        yield _line("last contact", NEVER)
    key, failed = status["link_key"], status["link_key_failed"]
    yield _line("link key", f"held with {key['hub']}, suite {key['suite']}" if key else "none established")
    if failed:
        yield _line("  failing", f"{failed['reason']} {failed['detail']}, {failed['time']}")
    yield _line("certificates", "; ".join(status["certificates"]) or "none")


def _network(network: Values) -> str:
    return (
        f"channel {network['channel']}, PAN {network['pan_id']}, extended PAN {network['extended_pan_id']}, "
        f"address {network['short_address']}, {network['logical_type'].replace('_', ' ')}, since {network['time']}"
    )


def _polling(polling: Values) -> str:
    rates = f"every {polling['poll_rate_s']:g} s at rest, every {polling['fast_poll_rate_s']:g} s in an exchange"
    last = polling["last"]
    if last is None:
        return f"{rates}; not told to the radio yet"
    if "refused" in last:
        return f"as the radio likes: it cannot be told ({last['refused']} {last['detail']}), {last['time']}"
    return f"{rates}; {last['polling']} since {last['time']}, fast for {last['fast_s']:g} s since the start"


def _firmware(status: Values) -> Iterator[str]:
    boot = status["boot"]
    if boot is None:
        return
    yield _line("boot state", f"{boot['state'].lower()}, security counter {boot['security_counter']}")
    start = status["last_start"]
    for name, slot in status["slots"].items():
        roles = [
            word
            for word, applies in (
                ("runs" if status["runs"] else "ran last", start and start["slot"] == name),
                ("active", boot["active"] == name),
                ("next start, as a trial", boot["trial"] == name),
            )
            if applies
        ]
        yield _line(f"slot {name}", " ".join([_slot(slot), f"({', '.join(roles)})" if roles else ""]).rstrip())
    failed = status["trial_failed"]
    if failed:
        yield _line("  trial failed", f"{failed['version']}: {failed['reason']}, {failed['time']}")


def _slot(slot: Values) -> str:
    text = str(slot["state"].lower())
    if slot["tries_left"]:
        text += f", {slot['tries_left']} tries left"
    if slot["ended"]:
        text += f", ended: {slot['ended'].lower().replace('_', ' ')}"
    return f"{slot['version'] or 'no image'}, {text}"


def _memory(status: Values) -> Iterator[str]:
    update, counters = status["update"], status["counters"]
    if update is None:
        return
    yield _line("update", _update(update))
    if status["failed_version"]:
        yield _line("failed version", _failed(status["failed_version"]))
    pending, dated, owed = status["pending"], status["dated_activation"], status["owed_activation"]
    if pending:
        yield _line("pending image", f"{pending['version']} in slot {pending['slot']}, hash {pending['image_hash']}")
        yield _line("  activate at", pending["activate_at"] or "no time: it waits for the hub or a command")
    if dated:
        yield _line("dated command", f"{dated['execution']}, image {dated['image_hash']}")
    if owed:
        yield _line("owes a report", f"of the command for image {owed['image_hash']}")
    yield _line("own counter", counters["own"] or "none used yet")
    for one in counters["originators"]:
        yield _line("  accepted from", f"{one['originator']}: {one['last_accepted']}, {one['use_case']}")
    for row in status["outbox"]:
        yield _line("not delivered", f"{row['kind']}, {row['octets']} octets, {row['key']}")
    yield from _log("last refusals", status["refusals"])
    yield from _log("last events", status["events"])


def _update(update: Values) -> str:
    if update["state"] == "idle":
        return "none under way"
    text = f"{update['state']}: {update['version']} into slot {update['slot']}, id {update['update_id']}"
    if update["state"] == "downloading":
        text += f", {update['offset_octets']} of {update['total_octets']} octets ({update['percent']} %)"
    return text


def _failed(failed: Values) -> str:
    text = f"{failed['version']}, ended: {failed['reason'].replace('_', ' ')}, {failed['time']}; fetched again "
    if failed["again"]:
        return f"{text}from {failed['again']} on"
    return f"{text}after another version, or after han-agent update retry"


def _log(name: str, events: list[Values]) -> Iterator[str]:
    yield _line(name, "" if events else "none").rstrip()
    yield from (f"  {render_event(event)}" for event in events)


def _end(status: Values) -> Iterator[str]:
    yield from (_line("PROBLEM", problem) for problem in status["problems"])
