"""One device or a list of them: identity, device.toml, labels, lines for the bench; and every way a list is wrong."""

from __future__ import annotations

import json
import re
import shutil
import stat
import tomllib
from pathlib import Path

import pytest
import zxingcpp
from hypothesis import given
from hypothesis import strategies as st

from agent.assembly import check_identity
from agent.cli import main
from agent.errors import EXIT_OK, EXIT_USAGE
from agent.settings import load_device
from agent.zigbee.cbke.install_code import add_crc, parse_install_code
from boards.bench.settings import load_hub
from flash.provision.labels import PER_SHEET
from flash.provision.rows import Defaults, ListError, parse_list
from flash.sd.device import read_device

CODE = "83FED3407A939723A5C639B26916D505C3B5"  # the specification's own example
OTHER_CODE = add_crc(bytes(6)).hex()
GOOD = f"""\
EUI, role, hardware_version, install_code, profile
02DB000000000011,ppmid
02-db-00-00-00-00-00-12,hcalcs,2,{CODE},raspberry-pi-4

# the display in the hall
02DB000000000013,PPMID,,,
"""


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    (tmp_path / "lot.csv").write_text(GOOD, encoding="utf-8-sig")  # with the mark that spreadsheets put before it
    return tmp_path


def provision(folder: Path, *more: str, name: str = "lot.csv") -> int:
    return main(["flash", "provision", "--csv", str(folder / name), "--output", str(folder / "made"), *more])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- made -------------------------------------------------------------------------------------------------------------


def test_every_device_of_the_list_is_ready_for_its_card(lists: Path) -> None:
    assert provision(lists) == EXIT_OK
    for eui, role, hardware, board in (
        ("02db000000000011", "ppmid", 1, ""),
        ("02db000000000012", "hcalcs", 2, "raspberry-pi-4"),
        ("02db000000000013", "ppmid", 1, ""),
    ):
        device = read_device(lists / "made" / "devices" / eui)
        settings = device.settings
        check_identity(settings)
        assert (settings.role, settings.image.hardware_version, settings.board.profile) == (role, hardware, board)
        assert settings.eui == eui.upper()
        assert f"keys/{eui}-ds.key" in device.files
        assert "device.toml" not in "".join(device.files), "only keys go with it"
        assert stat.S_IMODE(device.config.stat().st_mode) == 0o600
    assert load_device(lists / "made/devices/02db000000000012/device.toml").radio.install_code == CODE


def test_the_bench_takes_the_lines(lists: Path) -> None:
    assert provision(lists) == EXIT_OK
    lines = (lists / "made" / "hub-devices-lot.toml").read_text(encoding="utf-8")
    hub = lists / "hub.toml"
    hub.write_text('keys = "made/head-end"\n[radio]\npath = "socket://127.0.0.1:1"\n' + lines, encoding="utf-8")
    devices = load_hub(hub).devices
    assert [(one.eui, one.role) for one in devices] == [
        ("02DB000000000011", "ppmid"),
        ("02DB000000000012", "hcalcs"),
        ("02DB000000000013", "ppmid"),
    ]
    assert devices[1].install_code == CODE


def test_again_keeps_what_is_there_and_makes_what_is_new(lists: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert provision(lists) == EXIT_OK
    before = contents(lists / "made")
    with (lists / "lot.csv").open("a", encoding="utf-8") as file:
        file.write("02DB000000000014,ppmid\n")
    capsys.readouterr()
    assert provision(lists, "--json") == EXIT_OK
    told = json.loads(capsys.readouterr().out)
    assert [(one["eui"][-2:], one["kept"]) for one in told["devices"]] == [
        ("11", True), ("12", True), ("13", True), ("14", False),
    ]  # fmt: skip
    after = contents(lists / "made")
    derived = {"labels-lot.html", "hub-devices-lot.toml"}
    assert {name: after[name] for name in before if name not in derived} == {
        name: octets for name, octets in before.items() if name not in derived
    }
    assert b"00-00-00-14" in after["labels-lot.html"]
    assert CODE not in json.dumps(told), "install codes have no place in a log"


def test_it_goes_on_where_it_broke_off(lists: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The power went: once between the keys and device.toml, once within the keys."""
    assert provision(lists) == EXIT_OK
    devices = lists / "made" / "devices"
    (devices / "02db000000000011" / "device.toml").unlink()
    (lists / "made" / "install-codes" / "02db000000000013.txt").unlink()
    assert provision(lists) == EXIT_USAGE
    told = capsys.readouterr().err
    assert "02db000000000013: half a device" in told
    assert "head-end/02db000000000013-*, and run this again" in told
    assert not (devices / "02db000000000011" / "device.toml").exists(), "nothing is made while a line is wrong"
    shutil.rmtree(devices / "02db000000000013")
    for path in (lists / "made" / "head-end").glob("02db000000000013-*"):
        path.unlink()
    assert provision(lists) == EXIT_OK
    assert read_device(devices / "02db000000000011").settings.role == "ppmid"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("02DB000000000011,hcalcs,1,,raspberry-pi-4", "made for a PPMID"),
        ("02DB000000000011,ppmid,7,,", "device.toml: is there already and says otherwise"),
        (f"02DB000000000011,ppmid,1,{OTHER_CODE},", "is there already, with another one; nothing is overwritten"),
    ],
)
def test_a_device_that_is_there_is_not_made_another(
    lists: Path, line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert provision(lists) == EXIT_OK
    before = contents(lists / "made")
    (lists / "more.csv").write_text(f"{GOOD.splitlines()[0]}\n{line}\n", encoding="utf-8")
    assert provision(lists, name="more.csv") == EXIT_USAGE
    told = capsys.readouterr().err
    assert "line 2: " in told
    assert message in told
    assert contents(lists / "made") == before


def test_one_device_by_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["flash", "provision", "--output", str(tmp_path), "--device", "02DB000000000021"]
    assert main(words) == EXIT_USAGE
    assert "role: is missing" in capsys.readouterr().err
    options = ["--role", "ppmid", "--install-code", CODE, "--radio", "/dev/ttyAMA0", "--led"]
    assert main([*words, *options]) == EXIT_USAGE
    assert "profile: an LED is on a pin; name the board" in capsys.readouterr().err
    assert main([*words, *options, "--profile", "raspberry-pi-3"]) == EXIT_OK
    settings = load_device(tmp_path / "devices" / "02db000000000021" / "device.toml")
    assert (settings.radio.install_code, settings.radio.path) == (CODE, "/dev/ttyAMA0")
    assert settings.board.profile == "raspberry-pi-3"
    assert (tmp_path / "labels-02db000000000021.html").exists()


# --- a list with faults -----------------------------------------------------------------------------------------------


BAD = """\
eui,role,install_code,hardware_version,profile
xx,ppmid
02DB000000000011,ihd,1234,70000
02DB000000000011,hcalcs
02DB000000000011,ppmid,,,pi
02DB000000000A04,ppmid
,,83FED3407A939723A5C639B26916D505C3B6
02DB000000000016,ppmid,,,,,too many
"""


def test_every_fault_is_told_with_its_line_and_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lot.csv").write_text(BAD, encoding="utf-8")
    assert provision(tmp_path, "--json") == EXIT_USAGE
    told = json.loads(capsys.readouterr().out)["problems"]
    assert [(one["line"], one["text"].split(":")[0]) for one in told] == [
        (2, "eui"),
        (3, "role"),
        (3, "hardware_version"),
        (3, "install_code"),
        (4, "profile"),
        (4, "eui"),
        (5, "board.profile"),
        (5, "eui"),
        (6, "eui"),
        (7, "eui"),
        (7, "role"),
        (7, "install_code"),
        (8, "7 fields, but the heading has 5"),
    ]
    assert "02DB000000000011 is in line 3 already" in told[5]["text"]
    assert not (tmp_path / "made").exists()
    assert provision(tmp_path) == EXIT_USAGE
    assert "13 problems, nothing was made:\n  line 2: eui: 'xx'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no heading"),
        ("# only a comment\n\n", "no heading"),
        ("eui,role\n", "no device follows the heading"),
        ("eui;role\n02DB000000000011;ppmid\n", "separated by commas, not semicolons"),
        ("eui,roll\n", "line 1: unknown column 'roll'; did you mean role?"),
        ("\neui,eui,role\n", "line 2: column 'eui' is there twice"),
        ("role\nppmid\n", "column 'eui' is missing"),
        (
            f"eui,role,install_code\n02DB000000000011,ppmid,{CODE}\n02DB000000000012,ppmid,{CODE}\n",
            "line 3: install_co",
        ),
        ("eui,role,firmware\n02DB000000000011,ppmid,none.ota\n", "line 2: firmware: "),
    ],
)
def test_a_heading_or_a_file_that_does_not_fit(text: str, message: str) -> None:
    with pytest.raises(ListError, match=re.escape(message)):
        parse_list(text, "lot.csv", Defaults(), Path())


@given(st.text() | st.lists(st.text(alphabet='eui,role"\n 02DBpmdhcals#')).map("eui,role\n".__add__("").join))
def test_any_text_makes_rows_or_a_list_of_faults(text: str) -> None:
    rows, problems = [], []
    try:
        rows = parse_list(text, "lot.csv", Defaults(), Path())
    except ListError as error:
        problems = error.problems
    assert bool(rows) != bool(problems)


# --- labels -----------------------------------------------------------------------------------------------------------


def read_qr(svg: str) -> str:
    """What a reader of another make (ZXing) sees in the picture of the page."""
    size = int(re.search(r'viewBox="0 0 (\d+) ', svg)[1])  # type: ignore[index]
    path = re.search(r' d="([^"]+)"', svg)[1]  # type: ignore[index]
    dark = set()
    x, y = 0.0, 0.0
    for letter, words in re.findall(r"([Mmh])([-\d. ]+)", path):
        numbers = [float(word) for word in words.split()]
        if letter == "h":
            dark |= {(int(x + step), int(y)) for step in range(int(numbers[0]))}
            x += numbers[0]
        else:
            x, y = (numbers[0], numbers[1]) if letter == "M" else (x + numbers[0], y + numbers[1])
    scale, border = 4, 4
    edge = (size + 2 * border) * scale
    pixels = bytearray(
        0 if (column // scale - border, row // scale - border) in dark else 255
        for row in range(edge)
        for column in range(edge)
    )
    return str(zxingcpp.read_barcodes(memoryview(pixels).cast("B", shape=[edge, edge]))[0].text)


def test_a_label_says_the_same_to_a_person_and_to_a_reader(lists: Path) -> None:
    assert provision(lists) == EXIT_OK
    path = lists / "made" / "labels-lot.html"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    labels = re.findall(r"<article.*?</article>", path.read_text(encoding="utf-8"), re.DOTALL)
    assert len(labels) == 3
    for eui, label in zip(("02db000000000011", "02db000000000012", "02db000000000013"), labels, strict=True):
        config = tomllib.loads((lists / f"made/devices/{eui}/device.toml").read_text(encoding="utf-8"))
        code = config["radio"]["install_code"]
        parse_install_code(code)
        assert read_qr(label) == f"Z:{eui.upper()}$I:{code}"
        digits = [re.sub(r"<[^>]+>|[- ]", "", words) for words in re.findall(r'"digits">(.*?)</p>', label)]
        assert digits == [eui.upper(), code]


def test_a_sheet_holds_no_more_than_it_has_labels(tmp_path: Path) -> None:
    lines = [f"02DB0000000001{number:02X},ppmid" for number in range(PER_SHEET + 1)]
    (tmp_path / "lot.csv").write_text("eui,role\n" + "\n".join(lines) + "\n", encoding="utf-8")
    assert provision(tmp_path) == EXIT_OK
    page = (tmp_path / "made" / "labels-lot.html").read_text(encoding="utf-8")
    sheets = page.split('class="sheet"')[1:]
    assert [sheet.count("<article") for sheet in sheets] == [PER_SHEET, 1]
    assert "http" not in re.sub(r"http://www.w3.org/2000/svg", "", page), "nothing is fetched from elsewhere"
