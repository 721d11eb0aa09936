"""Implicit certificate requests (ECQV): the whole round trip in both suites, and every wrong answer refused."""

from __future__ import annotations

import contextlib
import random
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.cli import main
from agent.errors import EXIT_OK, EXIT_STORAGE, FormatError, HanError, StorageError
from agent.zigbee.cbke.certificates import CURVES, SUITE_1, SUITE_2, parse_certificate
from agent.zigbee.cbke.curves import Point
from agent.zigbee.cbke.ecqv import Credentials, make_authority, public_key
from agent.zigbee.cbke.key_files import load_credentials
from agent.zigbee.cbke.machine import KeyEstablishment
from flash.identity import new_hub, new_identities
from flash.implicit_request import (
    Answer,
    Request,
    answer_request,
    make_request,
    read_request,
    reconstruct,
)

EUI, OTHER, HUB = 0x02DB000000000021, 0x02DB000000000022, 0x02DB000000000C4F
SUITES = [SUITE_1, SUITE_2]
AUTHORITIES = {suite: make_authority(suite, 0x99, random.Random(suite)) for suite in SUITES}


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A laboratory's CA, from an earlier ``keys new``, and a hub of it."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    new_identities(tmp_path / "lab", 0x02DB000000000001, "ppmid", now)
    new_hub(tmp_path / "lab", HUB, now)
    return tmp_path


def run(*words: str | Path) -> int:
    return main(["keys", *map(str, words)])


def csr(lab: Path, *options: str, eui: int = EUI) -> int:
    return run("csr-zigbee", "--keys", lab / "keys", "--device", f"{eui:016X}", *options)


def sign(lab: Path, *requests: Path) -> int:
    return run("sign-zigbee", "--directory", lab / "lab", *requests)


def bring(lab: Path, *words: str | Path, eui: int = EUI) -> int:
    return run("import-zigbee", "--keys", lab / "keys", "--device", f"{eui:016X}", *words)


def file(lab: Path, suite: int, kind: str, eui: int = EUI) -> Path:
    return lab / "keys" / f"{eui:016x}-cbke-{suite}{kind}"


def asked_and_answered(lab: Path) -> list[Path]:
    assert csr(lab) == EXIT_OK
    assert sign(lab, *(file(lab, suite, ".req") for suite in SUITES)) == EXIT_OK
    return [file(lab, suite, ".answer") for suite in SUITES]


# --- the round trip ---------------------------------------------------------------------------------------------------


def test_from_the_request_to_a_link_key_with_the_hub(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = asked_and_answered(lab)
    pending = file(lab, SUITE_2, "-pending.txt")
    assert pending.stat().st_mode & 0o777 == 0o600
    ephemeral = re.findall(r"[0-9A-F]{40,}", pending.read_text())[0]
    for path in (*answers, file(lab, SUITE_2, ".req")):
        assert ephemeral not in path.read_text(), "the CA never sees it"
    assert bring(lab, *answers) == EXIT_OK
    assert "suite 2, issued by 02DB00000000CA02" in capsys.readouterr().out
    assert not pending.exists()
    assert not file(lab, SUITE_1, ".req").exists()
    sets = load_credentials(lab / "keys", EUI, SUITES)
    hub_sets = load_credentials(lab / "lab" / "head-end", HUB, SUITES)
    for suite in SUITES:
        assert agree({suite: sets[suite]}, {suite: hub_sets[suite]})


def agree(device: dict[int, Credentials], hub: dict[int, Credentials]) -> bool:
    """Whether device and hub come to the same link key by key establishment."""
    one = KeyEstablishment(EUI, device, random.Random(1))
    other = KeyEstablishment(HUB, hub, random.Random(2))
    one.start(HUB, sum(hub), 0.0)
    for _ in range(4):
        for sender, receiver, eui in ((one, other, EUI), (other, one, HUB)):
            for handle, out in sender.frames_to_send(0.0):
                sender.frame_sent(handle, True, 0.0)
                receiver.receive(out.frame, eui, 0.0)
    keys = [getattr(machine.next_event(), "link_key", b"") for machine in (one, other)]
    return keys[0] == keys[1] != b""


@pytest.mark.parametrize("suite", SUITES)
def test_the_key_is_the_devices_alone(suite: int) -> None:
    """What SEC 4 promises: d G = e P + Q_CA, and the contribution alone is not the private key."""
    request, ephemeral = make_request(EUI, suite, random.Random(3))
    answer = answer_request(AUTHORITIES[suite], request, random.Random(4))
    made = reconstruct(answer, ephemeral, EUI)
    curve = CURVES[suite]
    assert curve.public(made.private_key) == public_key(made.certificate, made.ca_public)
    assert made.private_key not in (ephemeral, int.from_bytes(answer.contribution, "big"))
    assert f"{made.private_key:x}" not in repr(made)
    again = answer_request(AUTHORITIES[suite], request, random.Random(5))
    assert reconstruct(again, ephemeral, EUI).private_key != made.private_key


def test_one_suite_alone_and_no_second_request_while_one_waits(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert csr(lab, "--suite", "2") == EXIT_OK
    assert not file(lab, SUITE_1, ".req").exists()
    before = file(lab, SUITE_2, ".req").read_text()
    assert csr(lab) == EXIT_STORAGE
    assert "waits for a certificate already asked for" in capsys.readouterr().err
    assert not file(lab, SUITE_1, ".req").exists(), "all or nothing"
    assert csr(lab, "--suite", "2", "--replace") == EXIT_OK
    assert file(lab, SUITE_2, ".req").read_text() != before


# --- what is refused --------------------------------------------------------------------------------------------------


def change(path: Path, label: str, value: str) -> None:
    text, found = re.subn(rf"(?m)^{label}: .*$", f"{label}: {value}", path.read_text())
    assert found == 1
    path.write_text(text)


def test_wrong_answers_are_refused_and_nothing_is_written(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (_, answer) = asked_and_answered(lab)
    good = answer.read_text()
    contribution = re.findall(r"Contribution: (\w+)", good)[0]
    other = make_authority(SUITE_2, 0x02DB00000000CA02, random.Random(1)).public.hex()
    for label, value, says in (
        ("Private Key Contribution", f"{int(contribution, 16) ^ 1:072X}", "do not belong together"),
        ("Private Key Contribution", "FF" * 36, "below the curve's order"),
        ("Private Key Contribution", "00" * 35, "below the curve's order"),
        ("Private Key Contribution", "xyz", "is not hex"),
        ("Private Key Contribution", "", "suite 2 has no line 'Device Private Key'"),
        ("CA Public Key", other, "do not belong together"),
        ("CA Public Key", "02" + "FF" * 36, "refused"),
        ("Device Implicit Cert", "00" * 74, "does not fit the device"),
    ):
        answer.write_text(good)
        change(answer, label, value)
        assert bring(lab, answer) == EXIT_STORAGE, label
        assert says in capsys.readouterr().err, (label, value)
        assert not file(lab, SUITE_2, ".txt").exists()
        assert file(lab, SUITE_2, "-pending.txt").exists(), "the right answer may still come"
    answer.write_text(good)
    assert bring(lab, answer) == EXIT_OK


def test_an_answer_to_somebody_else_or_to_another_request(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (_, answer) = asked_and_answered(lab)
    assert csr(lab, "--suite", "2", eui=OTHER) == EXIT_OK
    assert bring(lab, answer, eui=OTHER) == EXIT_STORAGE
    assert "made for 02DB000000000021, not for 02DB000000000022" in capsys.readouterr().err
    assert csr(lab, "--suite", "2", "--replace") == EXIT_OK
    assert bring(lab, answer) == EXIT_STORAGE
    assert "must be the answer to the request that waits here" in capsys.readouterr().err
    file(lab, SUITE_2, "-pending.txt").unlink()
    assert bring(lab, answer) == EXIT_STORAGE
    assert "no request of suite 2 by 02DB000000000021 waits" in capsys.readouterr().err


def test_wrong_requests_get_no_certificate(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert csr(lab) == EXIT_OK
    request = file(lab, SUITE_2, ".req")
    good = request.read_text()
    for label, value, says in (
        ("Request Public Key", "02" + "FF" * 36, ""),
        ("Request Public Key", "00", ""),
        ("Request Public Key", "zz", "is not hex"),
        ("Suite", "3", "is not 1 or 2"),
        ("Suite", "1", ""),
        ("Device IEEE Address", "1234", "16 hex digits"),
    ):
        request.write_text(good)
        change(request, label, value)
        assert sign(lab, file(lab, SUITE_1, ".req"), request) == EXIT_STORAGE, label
        assert says in capsys.readouterr().err
        assert not list((lab / "keys").glob("*.answer")), "all or nothing"
    assert sign(lab, lab / "nothing") == EXIT_STORAGE
    assert run("sign-zigbee", "--directory", lab / "no lab", file(lab, SUITE_1, ".req")) == EXIT_STORAGE
    request.write_text("hello\n")
    assert sign(lab, request) == EXIT_STORAGE
    assert "make one with keys csr-zigbee" in capsys.readouterr().err


@pytest.mark.parametrize("suite", SUITES)
def test_a_point_outside_the_large_group_gets_no_certificate(suite: int) -> None:
    """(0, 1) has order 2 on both curves: alone, and hidden in a point that looks good."""
    curve, small = CURVES[suite], Point(0, 1)
    assert curve.contains(small)
    hidden = curve.add(curve.public(5), small)
    assert hidden is not None
    for point, says in ((small, "small order"), (hidden, "another order")):
        with pytest.raises(FormatError, match=says):
            answer_request(AUTHORITIES[suite], Request(EUI, suite, curve.encode(point)), random.Random(1))
    with pytest.raises(HanError, match="this CA is of suite"):
        answer_request(AUTHORITIES[3 - suite], make_request(EUI, suite, random.Random(1))[0], random.Random(1))


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(SUITES), st.integers(0, 2**32), st.integers(0, 47))
def test_an_octet_that_was_changed_on_the_way_is_noticed(suite: int, seed: int, place: int) -> None:
    rng = random.Random(seed)
    request, ephemeral = make_request(EUI, suite, rng)
    answer = answer_request(AUTHORITIES[suite], request, rng)
    parse_certificate(suite, answer.certificate)
    octets = bytearray(answer.certificate)
    octets[place] ^= 1 << seed % 8
    changed = Answer(suite, bytes(octets), answer.contribution, answer.ca_public)
    with pytest.raises((HanError, FormatError)):
        reconstruct(changed, ephemeral, EUI)


@given(st.text())
def test_any_request_file(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("requests") / "x.req"
    path.write_text(text, encoding="utf-8", errors="replace")
    with contextlib.suppress(StorageError):
        read_request(path)
