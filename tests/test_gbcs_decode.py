"""``han-agent gbcs decode``: one object a message, HEX or binary, prefixes, checks, broken beside good."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.cli import main
from agent.errors import FormatError
from agent.gbcs.describe import describe, read_octets
from agent.gbcs.keystore import KeyStore

HERE = Path(__file__).parent / "vectors" / "gbcs"
KEYS = str(HERE / "keystore")
CS06 = HERE / "cs06-command.hex"


def decode(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict[str, object]], str]:
    code = main(["gbcs", "decode", "--json", *arguments])
    captured = capsys.readouterr()
    return code, [json.loads(line) for line in captured.out.splitlines()], captured.err


def test_a_cs06_with_keys(capsys: pytest.CaptureFixture[str]) -> None:
    code, (found,), errors = decode(capsys, "--keys", KEYS, str(CS06))
    assert (code, errors) == (0, "")
    wanted = {
        "source": str(CS06),
        "kind": "command",
        "use_case": "CS06 Activate Firmware",
        "message_code": "0012",
        "counter": 1000,
        "originator": "90B3D51F30AA0002",
        "target": "00DB1234567890B0",
        "payload_kind": "DER",
        "signature": "ok",
        "mac": "ok",
        "date_time": None,
    }
    assert {key: found[key] for key in wanted} == wanted
    assert found["decoded"] == {
        "timing": "immediate",
        "image_hash": "43CF587A67AC4D7330FFCBEA66550980152F4BC3D16E7F6C45AA47AD960C7B01",
        "originator_counter": 1000,
        "execution_time": None,
    }


def test_without_keys_nothing_is_claimed(capsys: pytest.CaptureFixture[str]) -> None:
    _, (found,), _ = decode(capsys, str(CS06))
    assert (found["signature"], found["mac"]) == ("no-key", "no-key")


def test_a_forged_message_decodes_and_is_called_bad(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    octets = bytearray(bytes.fromhex(CS06.read_text()))
    octets[60] ^= 1  # in the hash
    forged = tmp_path / "forged.bin"
    forged.write_bytes(octets)
    code, (found,), _ = decode(capsys, "--keys", KEYS, str(forged))
    assert (code, found["signature"], found["mac"]) == (0, "bad", "bad")


def test_pre_command_cs08_and_cs09(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("cs06-precommand", "cs08-command", "cs09-alert")
    code, found, _ = decode(capsys, "--keys", KEYS, *(str(HERE / f"{name}.hex") for name in names))
    assert code == 0
    assert [one["kind"] for one in found] == ["pre-command", "command", "alert"]
    assert [(one["signature"], one["mac"]) for one in found] == [
        ("absent", "absent"),
        ("absent", "ok"),
        ("ok", "absent"),
    ]
    assert found[1]["supplementary_party"] == "90B3D51F30AA0002"
    assert found[2]["decoded"] == {
        "event_code": "8F8B",
        "event": "ppmid activation",
        "time": "2026-01-02T03:04:05Z",
        "version": "01020003",
        "succeeded": True,
    }


def test_binary_on_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bytes.fromhex(CS06.read_text()))))
    code, (found,), _ = decode(capsys, "-")
    assert (code, found["source"], found["message_code"]) == (0, "-", "0012")


@pytest.mark.parametrize(
    ("prefix", "wanted"),
    [
        ("03", {"tunnel_command": "PUT"}),
        ("02", {"tunnel_command": "GET-RESPONSE"}),
        ("0205", {"tunnel_command": "GET-RESPONSE", "remaining_messages": 5}),
    ],
)
def test_gsme_prefixes_are_shown(prefix: str, wanted: dict[str, object]) -> None:
    found = describe(bytes.fromhex(prefix + CS06.read_text()), KeyStore())
    assert found["message_code"] == "0012"
    assert {key: found[key] for key in found if key in ("tunnel_command", "remaining_messages")} == wanted


def test_prefixes_without_a_message() -> None:
    assert describe(b"\x01", KeyStore()) == {"tunnel_command": "GET"}
    assert describe(b"\x02\x00", KeyStore()) == {"tunnel_command": "GET-RESPONSE", "remaining_messages": 0}
    for octets in (b"\x03", b"\x01\x00", b"\x02"):
        with pytest.raises(FormatError):
            describe(octets, KeyStore())


def test_an_offset_counts_from_the_prefix() -> None:
    with pytest.raises(FormatError, match="CRA flag 9") as caught:
        describe(bytes.fromhex("03DF0909"), KeyStore())
    assert caught.value.offset_octets == 3


def test_a_broken_message_does_not_stop_the_others(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.hex"
    broken.write_text(CS06.read_text().strip()[:-10])
    code, found, errors = decode(capsys, str(CS06), str(broken), str(HERE / "cs08-command.hex"))
    assert code == 1
    assert [one.get("message_code") for one in found] == ["0012", None, "0129"]
    assert found[1]["offset_octets"] == 9
    assert errors.splitlines() == [
        f"han-agent: {broken}: GBCS message: at octet 9: ciphered service needs 156 octets, 151 left"
    ]


def test_a_broken_payload_leaves_the_fields_readable(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    broken = tmp_path / "payload.hex"
    broken.write_text("DF090100000000000003E80890B3D51F30AA00020800DB1234567890B0000200120405000500")
    code, (found,), errors = decode(capsys, str(broken))
    assert (code, found["counter"]) == (1, 1000)
    assert "command payload: at octet 0: command has tag 05, not 30" in errors


def test_text_shows_a_field_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gbcs", "decode", "--keys", KEYS, str(CS06)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["signature", "ok"] in lines
    assert ["timing", "immediate"] in lines
    assert not any("None" in line for line in lines)


def test_what_is_no_message_names_the_remedy(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["gbcs", "decode", str(tmp_path / "nothing.hex")]) == 2
    assert "nothing.hex: cannot be read: No such file or directory" in capsys.readouterr().err
    assert main(["gbcs", "decode", "--keys", str(tmp_path / "no-keys"), str(CS06)]) == 4
    assert "no folder of keys" in capsys.readouterr().err
    text = tmp_path / "text.hex"
    text.write_text("DF 09 xyz")
    assert main(["gbcs", "decode", str(text)]) == 1
    assert "HEX text: at octet 6: 'x' is no HEX digit" in capsys.readouterr().err


def test_hex_may_have_blanks_and_either_case() -> None:
    assert read_octets(b" df 09\n01\tAb\r\n") == bytes.fromhex("DF0901AB")


@settings(deadline=None)  # a loaded machine is no defect
@given(st.binary(max_size=120))
def test_any_content_is_decoded_or_refused(content: bytes) -> None:
    with contextlib.suppress(FormatError):
        assert describe(read_octets(content), KeyStore())


def test_every_published_message_decodes(vectors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(path) for path in sorted((vectors / "rtds").glob("*.HEX"))]
    code, found, errors = decode(capsys, "--keys", str(vectors / "keystore"), *files)
    assert (code, errors, len(found)) == (0, "", len(files))
    assert all(one["signature"] in ("ok", "absent") and one["mac"] in ("ok", "absent") for one in found)
    assert all("decoded" in one for one in found)
