"""The device's gate: everything forged, replayed or misdirected is refused with its code, and nothing crashes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.gbcs import build
from agent.gbcs.build import Envelope, protect
from agent.gbcs.keystore import KeyStore
from agent.gbcs.message import Cra, GbcsMessage, decode
from agent.gbcs.names import CS06_ACTIVATE_FIRMWARE, CS08_READ_FIRMWARE_VERSION
from agent.gbcs.protection import add_mac, agree
from agent.gbcs.receiver import Accepted, Authority, GbcsReceiver, Refused
from agent.gbcs.use_cases import CANCELLED, ActivateFirmwareCommand, EventCode, ReadVersionCommand, Timing

HERE = Path(__file__).parent / "vectors" / "gbcs"
ACB, SUPPLIER, STRANGER = 0x90B3D51F30AA0001, 0x90B3D51F30AA0002, 0x90B3D51F30AA0003
HCALCS, PPMID = 0x00DB1234567890B0, 0x00DB1234567890B1
KEYS = KeyStore.load(HERE / "keystore")
HASH = bytes(range(32))


@dataclass
class Counters:
    """In memory, as a test needs them; the device's are in its database."""

    known: dict[tuple[int, int], int] = field(default_factory=dict)

    def last_accepted(self, originator: int, use: int) -> int:
        return self.known.get((originator, use), -1)


def receiver(identity: int = HCALCS, counters: Counters | None = None) -> GbcsReceiver:
    supplier = SUPPLIER if identity == HCALCS else None
    return GbcsReceiver(identity, KEYS, Authority(ACB, supplier), counters or Counters())


def vector(name: str) -> bytes:
    return bytes.fromhex((HERE / f"{name}.hex").read_text())


def command(**changes: object) -> GbcsMessage:
    """A bare CS06, to be protected."""
    payload = ActivateFirmwareCommand(HASH, 1000)
    bare = build.pre_command(Envelope(SUPPLIER, HCALCS, 1000), CS06_ACTIVATE_FIRMWARE, payload)
    return replace(bare, **changes)  # type: ignore[arg-type]


def refused(octets: bytes, **kwargs: object) -> EventCode:
    outcome = receiver(**kwargs).receive(octets)  # type: ignore[arg-type]
    assert isinstance(outcome, Refused), outcome
    assert outcome.reason
    return outcome.event_code


def test_a_cs06_made_by_another_implementation_is_accepted() -> None:
    outcome = receiver().receive(vector("cs06-command"))
    assert isinstance(outcome, Accepted)
    assert (outcome.message.originator, outcome.message.counter, outcome.use) == (SUPPLIER, 1000, 0x0012)
    assert isinstance(outcome.command, ActivateFirmwareCommand)
    assert outcome.command.timing is Timing.IMMEDIATE


def test_a_cs08_made_by_another_implementation_is_accepted() -> None:
    outcome = receiver(PPMID).receive(vector("cs08-command"))
    assert isinstance(outcome, Accepted)
    assert outcome.command == ReadVersionCommand()
    assert outcome.message.supplementary_party == SUPPLIER


@pytest.mark.parametrize(
    ("moment", "timing"),
    [(None, Timing.IMMEDIATE), (CANCELLED, Timing.CANCEL), (CANCELLED.replace(year=2030), Timing.FUTURE_DATED)],
)
def test_the_three_timings_are_told_apart(moment: object, timing: Timing) -> None:
    octets = build.cs06_command(KEYS, Envelope(SUPPLIER, HCALCS, 7), HASH, moment)  # type: ignore[arg-type]
    outcome = receiver().receive(octets)
    assert isinstance(outcome, Accepted)
    assert isinstance(outcome.command, ActivateFirmwareCommand)
    assert (outcome.command.timing, outcome.command.execution_time) == (timing, moment)


@pytest.mark.parametrize("last", [1000, 1001, 2**64 - 1])
def test_a_counter_not_above_the_last_is_refused(last: int) -> None:
    counters = Counters({(SUPPLIER, 0x0012): last})
    assert refused(vector("cs06-command"), counters=counters) is EventCode.UNEXPECTED_COMMAND


def test_the_counter_of_another_originator_or_use_does_not_matter() -> None:
    counters = Counters({(ACB, 0x0012): 5000, (SUPPLIER, 0x0129): 5000, (SUPPLIER, 0x0012): 999})
    assert isinstance(receiver(counters=counters).receive(vector("cs06-command")), Accepted)


def test_a_refusal_leaves_the_counters_alone() -> None:
    counters = Counters({(SUPPLIER, 0x0012): 5})
    refused(vector("cs06-command")[:-1] + b"\x00", counters=counters)
    assert counters.known == {(SUPPLIER, 0x0012): 5}


def test_another_target_is_refused_before_anything_else() -> None:
    counters = Counters({(SUPPLIER, 0x0012): 5000})
    assert refused(vector("cs06-command"), identity=PPMID, counters=counters) is EventCode.UNEXPECTED_COMMAND
    outcome = receiver(PPMID, counters).receive(vector("cs06-command"))
    assert isinstance(outcome, Refused)
    assert "is for 00DB1234567890B0" in outcome.reason


@pytest.mark.parametrize("originator", [ACB, STRANGER, HCALCS])
def test_an_originator_without_authority_is_refused(originator: int) -> None:
    octets = protect(command(originator=originator), KEYS).encode()
    assert refused(octets) is EventCode.NO_AUTHORITY


def test_nobody_may_activate_firmware_on_a_ppmid() -> None:
    octets = protect(command(target=PPMID), KEYS).encode()
    assert refused(octets, identity=PPMID) is EventCode.NO_AUTHORITY


def test_a_command_this_device_does_not_know_is_refused() -> None:
    octets = protect(command(message_code=0x0050), KEYS).encode()
    outcome = receiver().receive(octets)
    assert isinstance(outcome, Refused)
    assert outcome.event_code is EventCode.NO_AUTHORITY
    assert "ECS43" in outcome.reason


def test_the_signature_of_another_key_is_refused() -> None:
    strangers = protect(command(originator=STRANGER), KEYS).signature
    secret = agree(KEYS, ACB, HCALCS)
    assert secret is not None
    octets = add_mac(command(signature=strangers), secret).encode()
    assert refused(octets) is EventCode.AUTHENTICATION_FAILURE


def test_a_mac_with_another_brokers_key_is_refused() -> None:
    secret = agree(KEYS, STRANGER, HCALCS)
    assert secret is not None
    octets = add_mac(protect(command(), KEYS), secret).encode()
    assert refused(octets) is EventCode.AUTHENTICATION_FAILURE


def test_a_mac_from_another_counter_is_refused() -> None:
    mac = protect(command(counter=999), KEYS).mac
    octets = replace(protect(command(), KEYS), mac=mac).encode()
    assert refused(octets) is EventCode.AUTHENTICATION_FAILURE


def test_a_cs06_without_its_signature_or_its_mac_is_refused() -> None:
    whole = decode(vector("cs06-command"))
    secret = agree(KEYS, ACB, HCALCS)
    assert secret is not None
    for octets in (
        add_mac(replace(whole, signature=b""), secret).encode(),
        replace(whole, mac=None).encode(),
        vector("cs06-precommand"),
    ):
        assert refused(octets) is EventCode.AUTHENTICATION_FAILURE


def test_a_signed_cs08_is_refused() -> None:
    """A non-critical command has its MAC and nothing else."""
    signed = replace(decode(vector("cs08-command")), signature=bytes(64))
    secret = agree(KEYS, ACB, PPMID)
    assert secret is not None
    assert refused(add_mac(signed, secret).encode(), identity=PPMID) is EventCode.AUTHENTICATION_FAILURE


@pytest.mark.parametrize("cra", [Cra.RESPONSE, Cra.ALERT])
def test_what_is_no_command_is_refused(cra: Cra) -> None:
    assert refused(replace(decode(vector("cs06-command")), cra=cra).encode()) is EventCode.UNEXPECTED_COMMAND


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\x05\x00", "tag 05"),
        (b"", "needs 1 octets"),
        (ActivateFirmwareCommand(bytes(31), 1000).encode(), "31 octets, not 32"),
        (ActivateFirmwareCommand(HASH, 1001).encode(), "payload counter 1001"),
        (ActivateFirmwareCommand(HASH, 1000).encode() + b"\x00", "after the end"),
        (
            b"\x30\x33" + ActivateFirmwareCommand(HASH, 1000).encode()[2:] + b"\x18\x0b20301301000",
            "not YYYYMMDDHHMMSSZ",
        ),
    ],
)
def test_an_authentic_command_with_a_bad_payload_is_refused_last(payload: bytes, reason: str) -> None:
    octets = protect(command(payload=payload), KEYS).encode()
    outcome = receiver().receive(octets)
    assert isinstance(outcome, Refused)
    assert outcome.event_code is EventCode.CONTENT_OR_FORMAT
    assert reason in outcome.reason


def test_each_octet_of_a_cs06_flipped_is_refused() -> None:
    octets = vector("cs06-command")
    gate = receiver()
    for position in range(len(octets)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(octets)
            damaged[position] ^= flip
            assert isinstance(gate.receive(bytes(damaged)), Refused), (position, flip)


@settings(deadline=None)  # a loaded machine is no defect
@given(st.binary(max_size=200))
def test_garbage_is_refused_and_never_raises(octets: bytes) -> None:
    assert refused(octets) is EventCode.CONTENT_OR_FORMAT


@settings(deadline=None)  # a loaded machine is no defect
@given(payload=st.binary(max_size=60), code=st.sampled_from([CS06_ACTIVATE_FIRMWARE, CS08_READ_FIRMWARE_VERSION]))
def test_any_authentic_payload_is_judged_without_raising(payload: bytes, code: int) -> None:
    originator = SUPPLIER if code == CS06_ACTIVATE_FIRMWARE else ACB
    octets = protect(command(payload=payload, message_code=code, originator=originator), KEYS).encode()
    outcome = receiver().receive(octets)
    assert isinstance(outcome, Accepted) or outcome.event_code is EventCode.CONTENT_OR_FORMAT


def test_authority_comes_from_the_roles_in_the_certificates() -> None:
    store = KeyStore()
    for name in KEYS.names():
        certificate = KEYS.certificate(*name)
        if name.eui in (ACB, SUPPLIER, HCALCS) and certificate is not None:
            store.add_certificate(name, certificate, "test")
    assert Authority.from_keys(store) == Authority(ACB, SUPPLIER)
