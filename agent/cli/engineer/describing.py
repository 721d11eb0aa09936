"""A look as plain values: what ``status --json`` prints, and from which the text is made."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from agent.boot.engineer import SlotReport
from agent.boot.state import EndReason
from agent.cli.engineer.event_names import event_name
from agent.cli.engineer.looking import Look, Memory
from agent.events import format_eui
from agent.gbcs.names import use_case_name
from agent.image.version import Version
from agent.install_codes import is_in_force
from agent.update.facts import Fact, FactName
from agent.update.failed_version import FailedVersion
from agent.update.journal import LoggedEvent, Order, Record
from agent.update.states import PENDING, State
from agent.zigbee.clusters import Cluster, DeviceId, describe_basic, describe_endpoint, our_choices

Values = dict[str, Any]
LAST = 5  # refusals and events that a status shows; ``events`` shows more


def describe(look: Look) -> Values:
    """The whole look. Every key is always there; what is not known is None or empty."""
    settings, memory = look.settings, look.memory
    facts = memory.facts if memory else {}
    return {
        "config": str(look.config),
        "role": settings.role,
        "eui": settings.eui.upper(),
        "runs": look.process is not None,
        "process": look.process,
        "has_run": look.has_run,
        "last_start": _fact(facts, FactName.STARTED),
        "factory_agent": _is_factory(facts),
        **_role(look, facts),
        "install_code": _install_code(look),
        "network": _fact(facts, FactName.NETWORK),
        "logical_type": settings.radio.logical_type,
        "polling": _polling(look, facts),
        "joining_failed": _fact(facts, FactName.JOINING),
        "hub": _fact(facts, FactName.HUB),
        "hub_lost": _fact(facts, FactName.HUB_LOST),
        "network_sought": _fact(facts, FactName.SOUGHT),
        "last_contact": _fact(facts, FactName.CONTACT),
        "link_key": _link_key(memory),
        "trial_failed": _fact(facts, FactName.TRIAL_FAILED),
        "link_key_failed": _fact(facts, FactName.LINK_KEY_FAILED),
        "certificates": _certificates(look),
        **_firmware(look),
        **_memory(memory),
        "problems": [str(problem) for problem in look.problems],
    }


def describe_event(event: LoggedEvent) -> Values:
    """One line of a log."""
    return {
        "log": event.log,
        "time": time_of(event.utc),
        "code": f"0x{event.code:04X}" if event.code else None,
        "name": event_name(event.code),
        "what": event.what,
        "update_id": event.update_id,
    }


def describe_failed_version(failed: FailedVersion) -> Values:
    """``again``: from when on the device may fetch it by itself; None: not before another version was offered."""
    return {
        "version": str(Version.from_file_version(failed.file_version)),
        "reason": failed.reason,
        "unjudged_attempts": failed.unjudged_attempts,
        "time": time_of(failed.utc),
        "again": time_of(failed.again_utc),
    }


def time_of(utc: int | None) -> str | None:
    """Seconds of Unix time as ISO 8601, None when not known."""
    return None if utc is None else f"{datetime.fromtimestamp(utc, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _is_factory(facts: dict[str, Fact]) -> bool:
    """Whether the last start was of the factory agent, because no slot verified."""
    started = facts.get(FactName.STARTED)
    return started is not None and started.values.get("slot") is None


def _role(look: Look, facts: dict[str, Fact]) -> Values:
    radio, image = look.settings.radio, look.settings.image
    endpoint = describe_endpoint(look.settings.role, radio.endpoint, radio.profile)
    started = facts.get(FactName.STARTED)
    version = str(started.values.get("version", "")) if started else ""
    basic = describe_basic(look.settings.role, image.hardware_version, version)
    return {
        "endpoint": {
            "number": endpoint.endpoint,
            "profile": f"0x{endpoint.profile:04X}",
            "device": _named(DeviceId, endpoint.device),
            "input_clusters": [_named(Cluster, cluster) for cluster in endpoint.input_clusters],
            "output_clusters": [_named(Cluster, cluster) for cluster in endpoint.output_clusters],
        },
        "basic": {
            "manufacturer_name": basic.manufacturer_name,
            "model": basic.model,
            "hardware_version": basic.hardware_version,
            "software_build": basic.software_build,
        },
        "our_choices": list(our_choices(look.settings.role, radio.profile)),
    }


def _named(kind: type[IntEnum], number: int) -> str:
    return f"0x{number:04X} {kind(number).name.lower().replace('_', ' ')}"


def _fact(facts: dict[str, Fact], name: FactName) -> Values | None:
    fact = facts.get(name)
    return None if fact is None else {**fact.values, "time": time_of(fact.utc)}


def _polling(look: Look, facts: dict[str, Fact]) -> Values | None:
    """What the host asked its chip for; how long the radio was awake only the radio knows. None: it is always on."""
    radio = look.settings.radio
    if radio.logical_type != "end-device":
        return None
    told = _fact(facts, FactName.POLLING)
    return {"poll_rate_s": radio.poll_rate_s, "fast_poll_rate_s": radio.fast_poll_rate_s, "last": told}


def _link_key(memory: Memory | None) -> Values | None:
    """With whom and how; its hash is key material and never shown."""
    held = memory.hub_key if memory else {}
    hub, suite = held.get("hub_eui"), held.get("suite")
    return {"hub": format_eui(hub), "suite": suite} if isinstance(hub, int) else None


def _install_code(look: Look) -> str | None:
    """Where the device would look for it; never the code."""
    if look.memory and is_in_force(look.memory.given_code, look.settings.radio):
        return "given to han-agent join"
    return "device.toml" if look.settings.radio.install_code else None


def _certificates(look: Look) -> list[str]:
    return [f"{format_eui(name.eui)} {name.use.value}" for name in look.keys.names()] if look.keys else []


def _firmware(look: Look) -> Values:
    report = look.firmware
    if report is None:
        return {"boot": None, "slots": {}}
    boot = {
        "state": report.finding.name,
        "backend": report.backend,
        "active": report.active and report.active.name,
        "trial": report.trial and report.trial.name,
        "security_counter": report.security_counter,
    }
    return {"boot": boot, "slots": {one.slot.name: _slot(one) for one in report.slots}}


def _slot(one: SlotReport) -> Values:
    record = one.record
    return {
        "state": record.state.name,
        "version": one.version and str(one.version),
        "image_hash": record.image_hash.hex() if record.image_octets else None,
        "image_octets": record.image_octets,
        "tries_left": record.tries_left,
        "ended": None if record.reason is EndReason.NONE else record.reason.name,
        "confirmed_mark": one.marked,
    }


def _memory(memory: Memory | None) -> Values:
    if memory is None:
        names = ("update", "failed_version", "pending", "dated_activation", "owed_activation", "counters")
        return {**dict.fromkeys(names), "outbox": [], "refusals": [], "events": []}
    return {
        "update": _update(memory.record),
        "failed_version": describe_failed_version(memory.failed) if memory.failed else None,
        "pending": _pending(memory.record),
        "dated_activation": _order(memory.dated),
        "owed_activation": _order(memory.running),
        "counters": _counters(memory),
        "outbox": [
            {"kind": row.kind, "key": row.key, "octets": len(row.message), "update_id": row.update_id}
            for row in memory.outbox
        ],
        "refusals": _last(event for event in memory.events if event.log == "security"),
        "events": _last(event for event in memory.events if event.log != "security"),
    }


def _update(record: Record) -> Values:
    if record.state is State.IDLE:
        return {"state": record.state.value, "update_id": record.update_id}
    total = record.total_octets
    percent = round(100 * record.offset_octets / total, 1) if total else 0.0
    return {**record.outline(), "percent": percent}


def _pending(record: Record) -> Values | None:
    if record.state not in PENDING:
        return None
    return {
        "version": str(Version.from_file_version(record.file_version)),
        "image_hash": record.image_hash.hex(),
        "slot": record.slot,
        "state": record.state.value,
        "activate_at": time_of(record.activate_at_utc),
    }


def _order(order: Order | None) -> Values | None:
    return None if order is None else {"image_hash": order.image_hash.hex(), "execution": time_of(order.execution_utc)}


def _counters(memory: Memory) -> Values:
    originators = [
        {
            "originator": format_eui(originator),
            "message_code": f"0x{code:04X}",
            "use_case": use_case_name(code),
            "last_accepted": counter,
        }
        for (originator, code), counter in memory.accepted.items()
    ]
    return {"own": memory.own_counter or None, "originators": originators}


def _last(events: Iterable[LoggedEvent]) -> list[Values]:
    return [describe_event(event) for event in list(events)[-LAST:]]
