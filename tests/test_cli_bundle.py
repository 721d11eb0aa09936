"""``han-agent support-bundle``: whole, readable elsewhere, and without one octet of key material."""

from __future__ import annotations

import base64
import io
import json
import sqlite3
import stat
import tarfile
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest
from Crypto.PublicKey import ECC
from hypothesis import given
from hypothesis import strategies as st

from agent.cli.engineer.bundle import LOG_OCTETS
from agent.cli.engineer.redaction import REDACTED, Redactor
from agent.errors import EXIT_OK, EXIT_USAGE
from agent.update.database import open_database
from agent.update.journal import Journal
from agent.zigbee.cbke.install_code import add_crc, link_key
from tests.device_folder import NEW, DeviceFolder, make_device

KEY_HASH = bytes(range(0x40, 0x50))


@pytest.fixture
def device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> DeviceFolder:
    folder = tmp_path / "device"
    folder.mkdir()
    made = make_device(folder)
    made.provision(capsys)
    made.write_slot("B", NEW)
    made.have_run()
    return made


def bundle(device: DeviceFolder, *options: str | Path) -> dict[str, bytes]:
    """The members of a new bundle, by name."""
    target = device.folder.parent / "bundle.tar.gz"
    target.unlink(missing_ok=True)
    assert device.call("support-bundle", "-o", str(target), *map(str, options)) == EXIT_OK
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with tarfile.open(target) as archive:
        members = {}
        for info in archive.getmembers():
            file = archive.extractfile(info)
            assert file is not None
            members[info.name.removeprefix("han-agent-support/")] = file.read()
    return members


def scalar(path: Path) -> bytes:
    return int(ECC.import_key(path.read_bytes()).d).to_bytes(32, "big")


def test_what_is_inside(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    (device.folder / "device.log").write_text('{"event": "running"}\n')
    members = bundle(device)
    out = capsys.readouterr().out
    assert sorted(members) == [
        "CONTENTS.txt",
        "boot-state.bin",
        "device.toml",
        "events.jsonl",
        "journal.db",
        "logs/device.log",
        "status.json",
        "status.txt",
        "versions.txt",
    ]
    assert all(name in out for name in members)
    assert "left out: a capture of the air" in out
    assert json.loads(members["status.json"])["pending"]["version"] == "1.0.1"
    assert len(members["events.jsonl"].splitlines()) == 3
    assert b"HANBOOT\0" in members["boot-state.bin"]
    assert f"cryptography {version('cryptography')}" in members["versions.txt"].decode()
    assert members["logs/device.log"] == b'{"event": "running"}\n'
    assert REDACTED in members["device.toml"].decode()
    assert 'role = "hcalcs"' in members["device.toml"].decode()


def test_the_journals_copy_can_be_read_as_the_journal(device: DeviceFolder, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_bytes(bundle(device)["journal.db"])
    journal, original = Journal(open_database(copy)), Journal(open_database(device.database))
    assert journal.load() == original.load()
    assert (journal.events(), journal.undelivered()) == (original.events(), original.undelivered())
    assert journal.accepted_counters() == original.accepted_counters()


def test_no_key_leaves_the_device_by_any_way(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    code = device.identity.install_code
    private = device.keys / f"{device.identity.device_eui:016x}-ds.key"
    given = add_crc(bytes(range(0x60, 0x70)))
    secrets = [code, code[:-2], scalar(private), KEY_HASH, given, given[:-2], link_key(given)]
    with closing(sqlite3.connect(device.database)) as opened:
        held = {"hub_eui": 0x02DB000000000C4F, "suite": 2, "key_hash": KEY_HASH.hex()}
        opened.execute("INSERT INTO hub_key VALUES (1, ?)", (json.dumps(held),))
        kept = {"install_code": given.hex(), "channels": [11], "instead_of": ""}
        opened.execute("INSERT INTO given_code VALUES (1, ?)", (json.dumps(kept),))
        opened.execute("INSERT INTO fact VALUES ('of a newer program', 1, ?)", (json.dumps({"key": KEY_HASH.hex()}),))
        opened.execute("INSERT INTO event VALUES (NULL, 'event', 1, 0, ?, '')", (f"key is {KEY_HASH.hex().upper()}",))
        opened.commit()
    device.config.write_text(f"# old: install_code = '{'AB' * 18}'\n" + device.config.read_text())
    written = [code.hex(":"), code.hex(" ").upper(), base64.b64encode(scalar(private)).decode(), repr(code)]
    (device.folder / "device.log").write_text("\n".join([*written, private.read_text(), KEY_HASH.hex(), given.hex()]))
    members = bundle(device)
    told = capsys.readouterr().out
    for name, octets in members.items():
        for secret in secrets:
            assert secret not in octets, name
            for text in (secret.hex(), secret.hex().upper(), base64.b64encode(secret).decode().rstrip("=")):
                assert text.encode() not in octets, name
            assert secret.hex(":") not in octets.decode("latin-1").lower(), name
        for line in private.read_text().splitlines()[1:-1]:
            assert line.encode() not in octets, name
    assert "AB" * 18 not in members["device.toml"].decode()
    assert "02DB000000000C4F, suite 2" in members["status.txt"].decode()
    assert "tables given_code, hub_key: keys" in told
    assert "journal.db: holds key material" in told, "a secret in a log line inside keeps the whole copy here"
    assert "journal.db" not in members


def test_a_capture_with_a_key_in_it_stays(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    capture = device.folder / "air.pcapng"
    capture.write_bytes(b"frames")
    assert bundle(device)["air.pcapng"] == b"frames"
    capture.write_bytes(b"frames" + device.identity.install_code + b"frames")
    capsys.readouterr()
    assert "air.pcapng" not in bundle(device)
    assert "air.pcapng: holds key material" in capsys.readouterr().out


def test_captures_and_logs_that_are_named(device: DeviceFolder, tmp_path: Path) -> None:
    log, capture = tmp_path / "journalctl.txt", tmp_path / "mine.pcapng"
    log.write_bytes(b"first line\n" * (LOG_OCTETS // 11 + 10))
    capture.write_bytes(b"mine")
    members = bundle(device, "--log", log, "--capture", capture)
    assert members["mine.pcapng"] == b"mine"
    tail = members["logs/journalctl.txt"]
    assert len(tail) <= LOG_OCTETS
    assert tail.startswith(b"first line\n"), "begins with a whole line"


@pytest.mark.parametrize("option", ["--log", "--capture"])
def test_a_named_file_that_is_not_there(
    device: DeviceFolder, tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "bundle.tar.gz"
    assert device.call("support-bundle", "-o", str(target), option, str(tmp_path / "none")) == EXIT_USAGE
    assert "none: cannot be read" in capsys.readouterr().err
    assert not target.exists()


def test_nothing_is_overwritten(device: DeviceFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "bundle.tar.gz"
    target.write_bytes(b"mine")
    assert device.call("support-bundle", "-o", str(target)) == EXIT_USAGE
    assert "is there already" in capsys.readouterr().err
    assert target.read_bytes() == b"mine"


def test_a_device_that_was_never_provisioned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "device"
    folder.mkdir()
    members = bundle(make_device(folder))
    assert "journal.db" not in members
    assert "PROBLEM" in members["status.txt"].decode()
    out = capsys.readouterr().out
    assert "left out: journal: the device has never run" in out
    assert "boot.bin" in out


def test_json_names_members_and_what_is_left_out(device: DeviceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    target = device.folder.parent / "bundle.tar.gz"
    told = device.json(capsys, "support-bundle", "-o", str(target))
    assert told["bundle"] == str(target)
    assert told["members"]["boot-state.bin"] > 0
    assert [reason.split(":")[0] for reason in told["left_out"]] == ["journal", "a capture of the air"]
    with tarfile.open(fileobj=io.BytesIO(target.read_bytes())) as archive:
        assert len(archive.getmembers()) == len(told["members"])


SECRET = st.binary(min_size=12, max_size=40)


@given(SECRET, st.text(max_size=20), st.text(max_size=20), st.sampled_from(["", ":", " ", "-", ", "]), st.booleans())
def test_a_secret_is_taken_out_of_any_text(secret: bytes, before: str, after: str, between: str, upper: bool) -> None:
    digits = between.join(f"{octet:02x}" for octet in secret)
    words = [digits.upper() if upper else digits, base64.b64encode(secret).decode(), repr(secret)]
    redactor = Redactor([secret])
    for word in words:
        told = redactor.text(f"{before}{word}{after}")
        assert word not in told
        assert not redactor.finds(told.encode())
    assert redactor.finds(b"x" + secret)


def test_a_redactor_without_secrets_changes_nothing() -> None:
    assert Redactor([b""]).text("plain words") == "plain words"
    assert not Redactor([]).finds(b"anything")
