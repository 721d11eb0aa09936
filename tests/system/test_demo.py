"""``han-agent demo`` as a stranger runs it, and what tshark says of the air that it leaves behind."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.errors import EXIT_OK, EXIT_REFUSED, EXIT_USAGE

FAST = ("--speed", "1000", "--limit", "400")
FACTS = {
    "role": str,
    "device": str,
    "version_before": str,
    "version_after": str,
    "slot_before": str,
    "slot_after": str,
    "image_octets": int,
    "blocks": int,
    "retries": int,
    "seconds": float,
    "manufacturer_image_hash": str,
    "radio": dict,
    "ok": bool,
}
ALERT = {
    "message_code": "0x012B",
    "alert_code": "0x8F8B",
    "originator": "02DB000000000001",
    "target": "02DB000000000A04",
    "version": "1.1.0",
    "result": 0,
    "signature_verified": True,
}

pytestmark = pytest.mark.timeout(450)


def demo(base: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(base), "-m", "agent.cli", "demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=430, check=False)


def refusal(result: subprocess.CompletedProcess[str]) -> object:
    """The words of a demo that ended without its object, for scripts."""
    told = json.loads(result.stdout)
    assert (told["ok"], told["exit_code"]) == (False, result.returncode)
    return told["error"]


def played(base: Path, workdir: Path, *arguments: str) -> dict[str, object]:
    """The object of a demo that has to end well."""
    result = demo(base, "--json", "--workdir", str(workdir), *FAST, *arguments)
    assert result.returncode == EXIT_OK, result.stdout + result.stderr + logs(workdir)
    assert result.stderr == ""
    (line,) = result.stdout.splitlines()
    assert "Traceback" not in logs(workdir)
    whole: dict[str, object] = json.loads(line)
    return whole


def logs(workdir: Path) -> str:
    return "\n".join(path.read_text(errors="replace")[-20_000:] for path in sorted(workdir.rglob("*.log")))


def check_facts(told: dict[str, object], role: str) -> None:
    assert {name: type(told[name]) for name in FACTS} == FACTS
    facts = [told[name] for name in ("role", "version_before", "version_after", "slot_before", "slot_after", "ok")]
    assert facts == [role, "1.0.0", "1.1.0", "A", "B", True]
    assert len(bytes.fromhex(str(told["manufacturer_image_hash"]))) == 32
    assert isinstance(told["blocks"], int)
    assert isinstance(told["image_octets"], int)
    assert told["blocks"] >= told["image_octets"] // 64 > 500


def test_a_ppmid_is_updated_on_an_air_that_loses_a_tenth(base: Path, workdir: Path) -> None:
    told = played(base, workdir, "--loss", "0.1", "--seed", "7")
    check_facts(told, "ppmid")
    assert told["alert"] == ALERT
    assert told["image_octets"] == (workdir / "images" / "ppmid-1.1.0.ota").stat().st_size
    radio = told["radio"]
    assert isinstance(radio, dict)
    assert (radio["logical_type"], radio["update"]["polls"], radio["at_rest"]) == ("router", 0, None)
    assert radio["update"]["share"] > 0.99  # all the time but while the chip resets
    assert told["devices"] == [{name: value for name, value in told.items() if name != "devices"}]


def check_hcalcs(told: dict[str, object]) -> None:
    parties = {"originator": "02DB000000000002", "target": "02DB000000000A02", "signature_verified": True}
    response = {"message_code": "0x0012", "code": 0, "version": "1.1.0", **parties}
    assert told["response"] == response, told
    receipt = told["receipt"]
    assert isinstance(receipt, dict)
    expected = {"alert_code": "0x8F72", "image_hash": told["manufacturer_image_hash"], **parties}
    assert expected.items() <= receipt.items(), told


def test_both_roles_on_one_hub_and_tshark_reads_all_of_it(base: Path, workdir: Path) -> None:
    """One demo for both, since its transfers take a while: the object, then the capture with its note's own line."""
    told = played(base, workdir, "--role", "both")
    assert told["ok"] is True
    devices = told["devices"]
    assert isinstance(devices, list)
    first, second = devices
    check_facts(first, "ppmid")
    assert first["alert"] == ALERT
    check_facts(second, "hcalcs")
    check_hcalcs(second)
    if shutil.which("tshark") is None:
        pytest.skip("the demo is right; tshark is not installed, so nobody judged its capture")
    judge = Judge(workdir / "air")
    judge.check_security()
    judge.check_ota()
    judge.check_messages()


def test_a_sleepy_ppmid_is_updated_and_tells_what_its_radio_spent(base: Path, workdir: Path) -> None:
    """Of the emulated radio's own account; and tshark sees its polls, and what waited for them."""
    told = played(base, workdir, "--logical-type", "end-device", "--speed", "40")
    check_facts(told, "ppmid")
    assert told["alert"] == ALERT
    radio = told["radio"]
    assert isinstance(radio, dict)
    update, rest = radio["update"], radio["at_rest"]
    assert radio["logical_type"] == "end-device"
    assert isinstance(told["blocks"], int)
    assert update["polls"] > told["blocks"]
    assert 0.0 < update["share"] < 0.5
    assert 0.0 < rest["share"] < 0.005
    assert 5 <= rest["polls"] <= 15
    if shutil.which("tshark") is None:
        pytest.skip("the demo is right; tshark is not installed, so nobody judged its capture")
    judge = Judge(workdir / "air")
    assert judge.rows("zbee_sec.encrypted_payload or _ws.malformed") == []
    assert len(judge.rows("wpan.cmd == 0x04")) >= update["polls"]
    assert len(judge.rows("wpan.frame_type == 2 and wpan.pending == 1")) > told["blocks"]
    assert judge.rows("wpan.cmd == 0x01", "wpan.cinfo.idle_rx") == ["0"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--role", "ihd"], "taken out of the scope of SECMP0007"),
        (["--role", "meter"], "'meter' is not one of ppmid, hcalcs, both"),
        (["--logical-type", "coordinator"], "--logical-type 'coordinator' is not router or end-device"),
        (["--speed", "0"], "--speed 0: must lie between 0.01 and 1000"),
        (["--speed", "nan"], "--speed nan: must lie between"),
        (["--loss", "1.5"], "--loss 1.5: must lie between 0 and 1"),
        (["--limit", "0"], "--limit 0: must lie between 1"),
        (["--workdir", "/proc/nowhere"], "--workdir /proc/nowhere: cannot be written"),
    ],
)
def test_a_wrong_option_is_refused_with_its_name(base: Path, workdir: Path, arguments: list[str], words: str) -> None:
    where = [] if "--workdir" in arguments else ["--workdir", str(workdir)]
    result = demo(base, "--json", *where, *arguments)
    assert result.returncode == EXIT_USAGE
    assert words in result.stderr
    assert result.stderr == f"han-agent: {refusal(result)}\n"


def test_a_folder_of_other_things_is_not_emptied(base: Path, workdir: Path) -> None:
    (workdir / "thesis.txt").write_text("years of work")
    result = demo(base, "--workdir", str(workdir))
    assert (result.returncode, result.stdout) == (EXIT_USAGE, "")
    assert "is not empty and no demo's" in result.stderr
    assert (workdir / "thesis.txt").read_text() == "years of work"
    result = demo(base, "--workdir", str(workdir / "thesis.txt"))
    assert (result.returncode, result.stdout) == (EXIT_USAGE, "")
    assert "is a file; name a folder" in result.stderr


def test_a_demo_that_does_not_come_to_its_end_says_where_it_stopped(base: Path, workdir: Path) -> None:
    result = demo(base, "--json", "--workdir", str(workdir), "--loss", "1", "--speed", "1000", "--limit", "8")
    assert result.returncode == EXIT_REFUSED
    assert "not done after 8 s, waiting for" in result.stderr
    assert result.stderr == f"han-agent: {refusal(result)}\n"


class Judge:
    """tshark with the line of the note beside the capture."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._command = shlex.split((folder / "air.txt").read_text().splitlines()[-1])

    def run(self, display_filter: str, *arguments: str) -> str:
        command = [*self._command, "-Y", display_filter, *arguments]
        return subprocess.run(command, cwd=self._folder, capture_output=True, text=True, timeout=120, check=True).stdout

    def rows(self, display_filter: str, field: str = "frame.number") -> list[str]:
        return self.run(display_filter, "-T", "fields", "-e", field).split()

    def check_security(self) -> None:
        """Nothing stays encrypted, nothing is malformed, and each device's Transport-Key is named."""
        assert len(self.rows("zbee.sec.counter")) > 1000
        assert self.rows("zbee_sec.encrypted_payload or _ws.malformed") == []
        keys = self.rows("zbee_aps.cmd.id == 0x05", "zbee_aps.cmd.dst")
        assert {"02:db:00:00:00:00:00:01", "02:db:00:00:00:00:00:02"} <= set(keys)

    def check_ota(self) -> None:
        asked, answered = "zbee_zcl_general.ota.cmd.srv_rx.id", "zbee_zcl_general.ota.cmd.srv_tx.id"
        queries = {int(code, 0) for code in self.rows(asked, asked)}
        assert {0x01, 0x03, 0x06} <= queries, "Query Next Image, Image Block, Upgrade End"
        answers = {int(code, 0) for code in self.rows(answered, answered)}
        assert {0x00, 0x02, 0x05, 0x07} <= answers, "Image Notify and the three answers"

    def check_messages(self) -> None:
        """tshark's own GBCS dissector, of messages out of the tunnel that are put together from fragments."""
        tunnel = self.run("zbee_aps.cluster == 0x0704")
        assert "ZCL Tunneling: Request Tunnel Response" in tunnel
        frames = self.run("gbcs_message", "-V").split("\nFrame ")
        alert = next(frame for frame in frames if "(0x012b)" in frame)  # newer than tshark 4.0's table of names
        for words in (
            "Transfer Data",
            "CRA Flag: Alert (0x03)",
            "Business Originator ID: 02:db:00:00:00:00:00:01",
            "Business Target ID: 02:db:00:00:00:00:0a:04",
            f"INTEGER: {0x8F8B}",
            "OCTETSTRING: 01010000",
        ):
            assert words in alert
        activations = [frame for frame in frames if "CS06" in frame]
        assert any("CRA Flag: Command (0x01)" in frame for frame in activations), frames
        assert any("CRA Flag: Response (0x02)" in frame for frame in activations), frames
