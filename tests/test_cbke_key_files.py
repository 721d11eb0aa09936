"""Certificate sets as files, the commands that make them, and what is refused before a radio is touched."""

from __future__ import annotations

import random
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli import main
from agent.errors import EXIT_OK, EXIT_STORAGE, EXIT_USAGE, FormatError, StorageError
from agent.zigbee.cbke.certificates import SUITE_1, SUITE_2
from agent.zigbee.cbke.ecqv import issue, make_authority
from agent.zigbee.cbke.key_files import (
    file_name,
    format_authority,
    format_credentials,
    holders,
    load_credentials,
    parse_authority,
    parse_sets,
    read_set,
)
from flash.identity import DEFAULT_DEVICE, Identities, new_hub, new_identities

EUI = 0x0011223344556677
CA = {suite: make_authority(suite, 0x99, random.Random(suite)) for suite in (SUITE_1, SUITE_2)}
SETS = {suite: issue(CA[suite], EUI, random.Random(suite)) for suite in CA}
HUB = 0x02DB_0000_0000_0C4F


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Identities:
    folder = tmp_path_factory.mktemp("identities")
    now = datetime(2026, 1, 2, tzinfo=UTC)
    identities = new_identities(folder, DEFAULT_DEVICE, "ppmid", now)
    new_hub(folder, HUB, now)
    return identities


@pytest.mark.parametrize("suite", [SUITE_1, SUITE_2])
def test_a_set_goes_out_and_comes_in(suite: int) -> None:
    (read,) = parse_sets(format_credentials(SETS[suite])).values()
    assert read.suite == suite
    assert read.check(EUI) == SETS[suite]


def test_both_suites_in_one_file_with_a_vendors_labels() -> None:
    text = format_credentials(SETS[SUITE_1]) + format_credentials(SETS[SUITE_2])
    text = text.replace("CA Public Key", "CA Pub Key 283k1", 1).replace("Device Implicit Cert", "device implicit CERT")
    assert set(parse_sets("IEEE Address: 0011223344556677\nnothing here\n" + text)) == {SUITE_1, SUITE_2}


def test_a_damaged_line_is_named() -> None:
    text = format_credentials(SETS[SUITE_2])
    with pytest.raises(FormatError, match="line 1: CA Public Key is not hex"):
        parse_sets(text.replace("CA Public Key: 0", "CA Public Key: x"))
    with pytest.raises(FormatError, match="38 octets instead of 22 or 37"):
        parse_sets(text.replace("CA Public Key: ", "CA Public Key: 00"))


def test_a_value_that_is_there_twice_and_one_that_is_missing() -> None:
    text = format_credentials(SETS[SUITE_2])
    with pytest.raises(FormatError, match="there twice"):
        parse_sets(text + text)
    (read,) = parse_sets(text.replace("Device Private Key", "Other")).values()
    with pytest.raises(FormatError, match="no line 'Device Private Key'"):
        read.check(EUI)


@given(st.text(max_size=200) | st.builds(lambda h: f"Device Private Key: {h}", st.text("0123456789abcdefx ")))
def test_any_text_parses_or_is_a_format_error(text: str) -> None:
    for parse in (parse_sets, parse_authority):
        try:
            parse(text)
        except FormatError:
            continue


def test_an_authority_goes_out_and_comes_in() -> None:
    for authority in CA.values():
        assert parse_authority(format_authority(authority)) == authority
    mixed = format_authority(CA[SUITE_1]).splitlines()[:2] + format_authority(CA[SUITE_2]).splitlines()[2:]
    with pytest.raises(FormatError, match="do not belong together"):
        parse_authority("\n".join(mixed))


def test_identities_have_both_suites_for_device_and_hub(made: Identities) -> None:
    device = load_credentials(made.device_keys, DEFAULT_DEVICE, (SUITE_1, SUITE_2))
    hub = load_credentials(made.head_end_keys, HUB, (SUITE_1, SUITE_2))
    for suite in (SUITE_1, SUITE_2):
        assert device[suite].ca_public == hub[suite].ca_public
        assert device[suite].certificate.issuer == hub[suite].certificate.issuer
    assert holders(made.device_keys) == [DEFAULT_DEVICE]
    assert holders(made.head_end_keys) == [HUB]
    files = [*made.device_keys.glob("*-cbke-*"), *made.certificate_authority.glob("cbke-*")]
    assert len(files) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_set_of_another_device_is_refused(tmp_path: Path) -> None:
    path = tmp_path / file_name(EUI + 1, SUITE_2)
    path.write_text(format_credentials(SETS[SUITE_2]))
    with pytest.raises(StorageError, match=f"made for {EUI:016X}, not for {EUI + 1:016X}"):
        read_set(path, EUI + 1, SUITE_2)
    with pytest.raises(StorageError, match="han-agent keys new"):
        load_credentials(tmp_path, EUI, (SUITE_2,))
    with pytest.raises(StorageError, match="no certificate set of suite 1"):
        read_set(path, EUI, SUITE_1)


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_import_checks_everything_before_it_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    delivered = tmp_path / "delivered.txt"
    delivered.write_text(format_credentials(SETS[SUITE_1]) + format_credentials(SETS[SUITE_2]))
    keys = tmp_path / "keys"
    wrong = ("keys", "import-zigbee", "--keys", keys, "--device", f"{EUI + 1:016X}", delivered)
    assert run(*wrong) == EXIT_STORAGE
    assert "does not fit the device: made for" in capsys.readouterr().err
    assert not keys.exists()
    right = ("keys", "import-zigbee", "--keys", keys, "--device", f"{EUI:016X}", delivered)
    assert run(*right) == EXIT_OK
    assert "suite 2, issued by 0000000000000099" in capsys.readouterr().out
    assert load_credentials(keys, EUI, (SUITE_1, SUITE_2)) == SETS
    assert run(*right) == EXIT_STORAGE
    assert "nothing is overwritten" in capsys.readouterr().err
    assert run(*right, "--replace") == EXIT_OK
    (tmp_path / "other.txt").write_text("hello")
    assert (
        run("keys", "import-zigbee", "--keys", keys, "--device", f"{EUI:016X}", tmp_path / "other.txt") == EXIT_STORAGE
    )
    assert "holds no certificate set" in capsys.readouterr().err


def test_hub_and_link_key_commands(made: Identities, capsys: pytest.CaptureFixture[str]) -> None:
    directory = made.certificate_authority.parent
    assert run("keys", "hub", "--directory", directory, "--hub", "00124B0026520001") == EXIT_OK
    assert 0x00124B0026520001 in holders(made.head_end_keys)
    assert run("keys", "link-key", "83FED3407A939723A5C639B26916D505C3B5") == EXIT_OK
    assert "66B6900981E1EE3CA4206B6B861C02BB" in capsys.readouterr().out
    assert run("keys", "link-key", "--add-crc", "83FED3407A93") == EXIT_OK
    assert "CD4FA064773F46941EC986C09963D1A8" in capsys.readouterr().out
    assert run("keys", "link-key", "83FED3407A939723A5C639B26916D505C3B6") == EXIT_USAGE
    assert "mistyped?; compare it with the label" in capsys.readouterr().err
    assert run("keys", "link-key", "hello") == EXIT_USAGE


CONFIG = """\
role = "ppmid"
eui = "{eui:016X}"
[radio]
path = "/nonexistent"
install_code = "{code}"
[image]
manufacturer_code = 1
image_type = 1
hardware_version = 1
[storage]
slot_a = "a"
slot_b = "b"
boot_state = "state"
database = "db"
keys = "{keys}"
"""


@pytest.mark.parametrize(
    ("eui", "code", "words"),
    [
        (DEFAULT_DEVICE + 1, "", "cbke-2.txt: cannot be read"),
        (DEFAULT_DEVICE, "83FED3407A939723A5C639B26916D505C3B6", "its CRC is C3B6, computed C3B5"),
    ],
)
def test_provisioning_refuses_what_would_fail_on_the_air(
    made: Identities, tmp_path: Path, capsys: pytest.CaptureFixture[str], eui: int, code: str, words: str
) -> None:
    (tmp_path / "device.toml").write_text(CONFIG.format(eui=eui, code=code, keys=made.device_keys))
    assert run("provision", "--config", tmp_path / "device.toml", "--image", tmp_path / "none") != EXIT_OK
    assert words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["device.toml"]


def test_provisioning_refuses_a_certificate_of_another_device(
    made: Identities, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = DEFAULT_DEVICE + 1
    keys = tmp_path / "keys"
    keys.mkdir()
    source = made.device_keys / file_name(DEFAULT_DEVICE, SUITE_2)
    (keys / file_name(other, SUITE_2)).write_bytes(source.read_bytes())
    (tmp_path / "device.toml").write_text(CONFIG.format(eui=other, code="", keys=keys))
    assert run("provision", "--config", tmp_path / "device.toml", "--image", tmp_path / "none") == EXIT_STORAGE
    assert f"made for {DEFAULT_DEVICE:016X}, not for {other:016X}" in capsys.readouterr().err
